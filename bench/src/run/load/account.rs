//! Accounts for every acknowledged publication: clients note what was acknowledged, afterwards all
//! channels are read back, and the two are held against each other.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, ensure};

use crate::client::Client;
use crate::dialect::Page;
use crate::meter::STAMP_BYTES;

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

/// What is known of publications, by channel.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    acked: BTreeMap<u32, Vec<Name>>,
    /// Sent, and no answer came: stored or not.
    pub(crate) unanswered: u64,
}

impl Ledger {
    /// How many publications were acknowledged.
    pub(crate) fn acked(&self) -> u64 {
        self.acked.values().map(|names| names.len() as u64).sum()
    }

    pub(crate) fn on_ack(&mut self, channel: u32, name: Name) {
        self.acked.entry(channel).or_default().push(name);
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

    fn judge(&mut self, acked: &[Name], stored: &[(u64, Option<Name>)]) {
        let mut found: HashMap<Name, u64> = HashMap::new();
        for name in stored.iter().filter_map(|(_, name)| *name) {
            *found.entry(name).or_default() += 1;
        }
        self.acked += acked.len() as u64;
        self.missing += acked.iter().filter(|name| !found.contains_key(name)).count() as u64;
        self.doubled += found.values().map(|count| count - 1).sum::<u64>();
        let distinct = acked.iter().filter(|name| found.contains_key(name)).count();
        self.unacked += (found.len() - distinct) as u64;
        let first = stored.first().map_or(1, |(offset, _)| *offset);
        let last = stored.last().map_or(0, |(offset, _)| *offset);
        self.holes += (last + 1).saturating_sub(first) - stored.len() as u64;
    }
}

/// Reads all channels back and judges.
pub(crate) async fn settle(ledger: &Ledger, reader: &Client) -> Result<Consistency> {
    let mut consistency = Consistency { unanswered: ledger.unanswered, ..Default::default() };
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
        consistency.judge(acked, &stored);
    }
    Ok(consistency)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(visit: u32, sequence: u32) -> Name {
        Name { visit, sequence }
    }

    fn judged(acked: &[Name], stored: &[(u64, Option<Name>)]) -> Consistency {
        let mut consistency = Consistency::default();
        consistency.judge(acked, stored);
        consistency
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
}
