//! Accounts for every acknowledged publication: clients note what was acknowledged, afterwards all
//! channels are read back, and the two are held against each other.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, ensure};

use crate::client::Client;
use crate::dialect::Page;
use crate::meter::STAMP_BYTES;
use crate::progress::Progress;

/// One publication of one visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) visit: u32,
    pub(crate) sequence: u32,
}

impl Name {
    /// Writes itself behind the stamp of a payload.
    pub(crate) fn sign(self, payload: &mut [u8]) {
        let text = format!("{:08x}{:08x}", self.visit, self.sequence);
        payload[STAMP_BYTES..STAMP_BYTES + text.len()].copy_from_slice(text.as_bytes());
    }

    /// `None`: nothing that a visit wrote.
    fn read(payload: &[u8]) -> Option<Self> {
        let number = |from: usize| {
            let text = payload.get(STAMP_BYTES + from..STAMP_BYTES + from + 8)?;
            u32::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
        };
        Some(Self { visit: number(0)?, sequence: number(8)? })
    }
}

/// What a client saw acknowledged.
#[derive(Debug, Clone, Copy)]
struct Acked {
    name: Name,
    /// In which stage, counted from 0.
    stage: usize,
}

/// What is known of publications, by channel.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    acked: BTreeMap<u32, Vec<Acked>>,
    /// The stage that goes on.
    pub(crate) stage: usize,
    /// Sent, and no answer came: stored or not.
    pub(crate) unanswered: u64,
}

impl Ledger {
    /// How many publications were acknowledged in a stage.
    pub(crate) fn acked_in(&self, stage: usize) -> u64 {
        self.acked.values().flatten().filter(|acked| acked.stage == stage).count() as u64
    }

    pub(crate) fn channels(&self) -> usize {
        self.acked.len()
    }

    pub(crate) fn on_ack(&mut self, channel: u32, name: Name) {
        let stage = self.stage;
        self.acked.entry(channel).or_default().push(Acked { name, stage });
    }
}

/// The outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Consistency {
    pub acked: u64,
    /// Acknowledged, and not to be found.
    pub missing: u64,
    /// Stored more than once.
    pub doubled: u64,
    /// Offsets that no publication has.
    pub holes: u64,
    /// Stored, while the client does not know.
    pub unacked: u64,
    /// Sent without an answer.
    pub unanswered: u64,
}

impl Consistency {
    /// Every acknowledged publication is there, once, and nothing has a hole.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.missing == 0 && self.doubled == 0 && self.holes == 0
    }

    const fn add(&mut self, other: &Self) {
        self.acked += other.acked;
        self.missing += other.missing;
        self.doubled += other.doubled;
        self.holes += other.holes;
        self.unacked += other.unacked;
        self.unanswered += other.unanswered;
    }
}

/// The outcome, and of it what belongs to each stage: what was acknowledged in it, and the empty offsets
/// in front of that. What no client saw acknowledged belongs to none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    pub(crate) all: Consistency,
    pub(crate) stages: Vec<Consistency>,
}

impl Verdict {
    fn of(stages: usize) -> Self {
        Self { all: Consistency::default(), stages: vec![Consistency::default(); stages] }
    }

    fn judge(&mut self, acked: &[Acked], stored: &[(u64, Option<Name>)]) {
        let stages: HashMap<Name, usize> = acked.iter().map(|it| (it.name, it.stage)).collect();
        let mut found: HashMap<Name, u64> = HashMap::new();
        for name in stored.iter().filter_map(|(_, name)| *name) {
            *found.entry(name).or_default() += 1;
        }
        for it in acked {
            let missing = u64::from(!found.contains_key(&it.name));
            self.add(Some(it.stage), &Consistency { acked: 1, missing, ..Default::default() });
        }
        for (name, count) in found {
            let stage = stages.get(&name).copied();
            let (doubled, unacked) = (count - 1, u64::from(stage.is_none()));
            self.add(stage, &Consistency { doubled, unacked, ..Default::default() });
        }
        for pair in stored.windows(2) {
            let holes = pair[1].0.saturating_sub(pair[0].0 + 1);
            let stage = pair[1].1.and_then(|name| stages.get(&name)).copied();
            self.add(stage, &Consistency { holes, ..Default::default() });
        }
    }

    fn add(&mut self, stage: Option<usize>, found: &Consistency) {
        self.all.add(found);
        if let Some(stage) = stage.and_then(|stage| self.stages.get_mut(stage)) {
            stage.add(found);
        }
    }
}

/// Reads all channels back and judges.
pub(crate) async fn settle(
    ledger: &Ledger,
    stages: usize,
    reader: &Client,
    progress: &Progress,
) -> Result<Verdict> {
    let mut verdict = Verdict::of(stages);
    verdict.all.unanswered = ledger.unanswered;
    for (&channel, acked) in &ledger.acked {
        let (mut epoch, mut after, mut stored) = (0, 0, Vec::new());
        loop {
            let Page { epoch: read, publications, more } =
                reader.history(channel, epoch, after).await?;
            let Some((last, _)) = publications.last() else { break };
            ensure!(*last > after, "the history of channel {channel} goes round in circles");
            (epoch, after) = (read, *last);
            stored.extend(publications.iter().map(|(at, payload)| (*at, Name::read(payload))));
            if !more {
                break;
            }
        }
        verdict.judge(acked, &stored);
        progress.step();
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(visit: u32, sequence: u32) -> Name {
        Name { visit, sequence }
    }

    /// The first was acknowledged in stage 0, the second in stage 1, and so on.
    fn verdict(acked: &[Name], stored: &[(u64, Option<Name>)]) -> Verdict {
        let mut verdict = Verdict::of(3);
        let acked = acked.iter().enumerate().map(|(stage, name)| Acked { name: *name, stage });
        verdict.judge(&acked.collect::<Vec<_>>(), stored);
        verdict
    }

    fn judged(acked: &[Name], stored: &[(u64, Option<Name>)]) -> Consistency {
        verdict(acked, stored).all
    }

    #[test]
    fn a_payload_tells_its_name() {
        let mut payload = vec![b'x'; 64];
        name(0xab, 7).sign(&mut payload);
        assert_eq!(Name::read(&payload), Some(name(0xab, 7)));
        assert_eq!(Name::read(b"short"), None);
        assert_eq!(Name::read(&[b'x'; 64]), None);
    }

    #[test]
    fn what_is_there_once_holds() {
        let stored = [(1, None), (2, Some(name(1, 1))), (3, Some(name(2, 1)))];
        let consistency = judged(&[name(1, 1)], &stored);
        assert!(consistency.holds());
        assert_eq!((consistency.acked, consistency.unacked), (1, 1));
    }

    #[test]
    fn planted_faults_are_found() {
        let one = [(1, Some(name(1, 1)))];
        assert_eq!(judged(&[name(1, 1), name(1, 2)], &one).missing, 1);
        let twice = [(1, Some(name(1, 1))), (2, Some(name(1, 1)))];
        assert_eq!(judged(&[name(1, 1)], &twice).doubled, 1);
        let torn = [(1, Some(name(1, 1))), (4, Some(name(1, 2)))];
        assert_eq!(judged(&[name(1, 1), name(1, 2)], &torn).holes, 2);
        assert_eq!(judged(&[name(1, 1)], &[]).missing, 1);
    }

    #[test]
    fn what_is_wrong_belongs_to_a_stage() {
        let acked = [name(1, 1), name(1, 2), name(1, 3)];
        let stored = [(1, Some(name(1, 1))), (4, Some(name(1, 2))), (5, Some(name(1, 2)))];
        let found = verdict(&acked, &[&stored[..], &[(6, Some(name(9, 1)))]].concat());
        let wrong = |it: &Consistency| (it.acked, it.missing, it.doubled, it.holes, it.unacked);
        let stages: Vec<_> = found.stages.iter().map(wrong).collect();
        assert_eq!(stages, [(1, 0, 0, 0, 0), (1, 0, 1, 2, 0), (1, 1, 0, 0, 0)]);
        assert_eq!(wrong(&found.all), (3, 1, 1, 2, 1));
    }

    #[test]
    fn a_ledger_knows_in_which_stage_it_was() {
        let mut ledger = Ledger::default();
        ledger.on_ack(7, name(1, 1));
        ledger.stage = 1;
        ledger.on_ack(7, name(1, 2));
        ledger.on_ack(8, name(2, 1));
        assert_eq!([ledger.acked_in(0), ledger.acked_in(1)], [1, 2]);
        assert_eq!(ledger.channels(), 2);
    }
}
