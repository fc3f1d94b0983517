//! Many seeds on all processors, and whether they were worth it: every kind of fault must have
//! struck, every branch must have been taken, and outside faults clients must have been served. A
//! system that refuses everything is safe and does not pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;

use sterna_proto::CloseReason;

use crate::branches::{BRANCHES, BRANCHES_OF_CLUSTERS};
use crate::checker::Witness;
use crate::cluster::plan::SPLITTING;
use crate::history::{Event, Text, What};
use crate::plan::{Fault, Plan, Setting};
use crate::run::{self, Outcome, Running};

/// Outside faults an ack takes no longer.
const PROMPT_MS: u64 = 1000;

/// What a fault has disturbed is undisturbed after this long.
const AFTERMATH_MS: u64 = 1500;

/// What clients have to have met.
const MET: &[&str] = &[
    "acked as duplicate",
    "change of activity refused",
    "closed as revoked",
    "epoch change told",
    "gap named",
    "gone to the background",
    "head told",
    "history read",
    "page followed by another",
    "receipt",
    "refused and tried again",
    "refused for good",
    "sent again",
    "session not resumed",
];

/// The same in clusters.
const MET_IN_CLUSTERS: &[&str] = &[
    "acked as duplicate",
    "change of activity refused",
    "gap named",
    "gone to the background",
    "head told",
    "history read",
    "page followed by another",
    "presence gap named",
    "publications crossed",
    "receipt",
    "refused and tried again",
    "refused for good",
    "removed while two may own",
    "sent again",
    "session not resumed",
];

/// One history in so many is kept as a sample.
const SAMPLED: u64 = 100;

/// Failures that a report writes out.
const WRITTEN_OUT: usize = 3;

#[derive(Debug)]
pub struct Campaign {
    setting: Setting,
    pub schedules: u64,
    pub events: u64,
    pub acks: u64,
    /// Publications sent outside faults, and how many of them were acked promptly.
    pub undisturbed: u64,
    pub prompt: u64,
    /// Seeds in which some were not.
    pub late: Vec<u64>,
    /// What was met, and how often.
    pub met: BTreeMap<String, u64>,
    /// Of some seeds, what their history hashes to.
    pub samples: BTreeMap<u64, u64>,
    /// Seeds with violations, written out.
    pub failures: BTreeMap<u64, String>,
}

impl Campaign {
    /// Runs the schedules of these seeds.
    pub fn run(setting: Setting, seeds: Range<u64>) -> Self {
        let next = Mutex::new(seeds);
        let campaign = Mutex::new(Self::of(setting));
        let work = || {
            while let Some(running) = begin_next(setting, &next) {
                let outcome = running.finish();
                campaign.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome);
            }
        };
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(2, usize::from);
            (0..threads).for_each(|_| {
                scope.spawn(work);
            });
        });
        campaign.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(setting: Setting) -> Self {
        Self {
            setting,
            schedules: 0,
            events: 0,
            acks: 0,
            undisturbed: 0,
            prompt: 0,
            late: Vec::new(),
            met: BTreeMap::new(),
            samples: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    fn add(&mut self, outcome: &Outcome) {
        self.schedules += 1;
        let seed = outcome.plan.seed;
        if seed.is_multiple_of(SAMPLED) {
            self.samples.insert(seed, outcome.hash());
        }
        self.events += outcome.events.len() as u64;
        for event in &outcome.events {
            self.acks += u64::from(matches!(event.what, What::Acked { .. }));
            if let Some(name) = met(&event.what) {
                *self.met.entry(name).or_default() += 1;
            }
        }
        *self.met.entry("removed while two may own".into()).or_default() += split_removals(outcome);
        for (name, count) in &outcome.branches {
            *self.met.entry(name.clone()).or_default() += count;
        }
        let (undisturbed, prompt) = prompt_acks(outcome);
        self.undisturbed += undisturbed;
        self.prompt += prompt;
        if prompt < undisturbed {
            self.late.push(seed);
        }
        if !outcome.violations.is_empty() {
            self.failures.insert(seed, describe(outcome));
        }
    }

    /// What is wrong with the campaign; `None`: nothing.
    pub fn verdict(&self) -> Option<String> {
        let mut text = String::new();
        for failure in self.failures.values().take(WRITTEN_OUT) {
            let _ = writeln!(text, "{failure}");
        }
        if self.failures.len() > WRITTEN_OUT {
            let seeds: Vec<_> = self.failures.keys().collect();
            let _ = writeln!(text, "{} seeds fail: {seeds:?}", seeds.len());
        }
        let never = self.never_met();
        if !never.is_empty() {
            let _ = writeln!(text, "never met, so not tested: {never:?}");
        }
        if self.prompt * 100 < self.undisturbed * 99 || self.undisturbed == 0 {
            let (prompt, all) = (self.prompt, self.undisturbed);
            let _ = writeln!(text, "outside faults only {prompt} of {all} acks came in time");
            let _ = writeln!(text, "late in seeds {:?}", self.late);
        }
        (!text.is_empty()).then_some(text)
    }

    fn never_met(&self) -> BTreeSet<String> {
        let faults = Plan::faults(self.setting).iter().map(|fault| format!("fault {fault:?}"));
        let (met, branches) = match self.setting {
            Setting::Alone => (MET, BRANCHES),
            Setting::Cluster => (MET_IN_CLUSTERS, BRANCHES_OF_CLUSTERS),
        };
        let branches = branches.iter().chain(met).map(|name| (*name).to_owned());
        faults.chain(branches).filter(|name| self.met.get(name).is_none_or(|n| *n == 0)).collect()
    }
}

/// In the order of the seeds: the next one begins once this one has.
fn begin_next(setting: Setting, seeds: &Mutex<Range<u64>>) -> Option<Running> {
    let mut seeds = seeds.lock().unwrap_or_else(PoisonError::into_inner);
    seeds.next().map(|seed| run::begin(seed, move || Plan::of(setting, seed)))
}

/// The first violation with its events, and how to see it again.
pub fn describe(outcome: &Outcome) -> String {
    let seed = outcome.plan.seed;
    let mut text = format!("seed {seed}: {} violations\n", outcome.violations.len());
    if let Some(violation) = outcome.violations.first() {
        let _ = write!(text, "{}", Witness { violation, events: &outcome.events });
    }
    let test = match outcome.plan.setting() {
        Setting::Alone => "schedules",
        Setting::Cluster => "clusters",
    };
    let _ = write!(
        text,
        "again: STERNA_SEED={seed} cargo test -p sterna-simulation --test {test} replay"
    );
    text
}

fn met(what: &What) -> Option<String> {
    Some(match what {
        What::FaultBegan(fault) => format!("fault {fault:?}"),
        What::Acked { duplicate: true, .. } => "acked as duplicate".into(),
        What::Closed { code, .. } if *code == CloseReason::Revoked.code() => {
            "closed as revoked".into()
        }
        What::Page { page, .. } if page.keep_upto.is_some() => "epoch change told".into(),
        What::Page { page, .. } if !page.live => "page followed by another".into(),
        What::Crossed { .. } => "publications crossed".into(),
        What::ActivityRefused => "change of activity refused".into(),
        What::Background { begins: true, .. } => "gone to the background".into(),
        What::Gap { .. } => "gap named".into(),
        What::Head { .. } => "head told".into(),
        What::History { .. } => "history read".into(),
        What::PresenceGap { .. } => "presence gap named".into(),
        What::Receipt { .. } => "receipt".into(),
        What::Refused { retryable: true, .. } => "refused and tried again".into(),
        What::Refused { .. } => "refused for good".into(),
        What::Sent { attempt: 2.., .. } => "sent again".into(),
        What::Opened { resumed: false, .. } => "session not resumed".into(),
        _ => return None,
    })
}

/// Members that were removed while two cores may have owned their channel.
fn split_removals(outcome: &Outcome) -> u64 {
    let (mut splitting, mut removals) = (0, 0);
    for event in &outcome.events {
        match event.what {
            What::FaultBegan(fault) if SPLITTING.contains(&fault) => splitting += 1,
            What::FaultEnded(fault) if SPLITTING.contains(&fault) => splitting -= 1,
            What::Evicted { .. } if splitting > 0 => removals += 1,
            _ => {}
        }
    }
    removals
}

/// Publications that no fault has disturbed, and those of them that were acked promptly.
fn prompt_acks(outcome: &Outcome) -> (u64, u64) {
    if outcome.plan.config.queues.mailbox_patience.is_zero() {
        // Each of a burst is refused until its turn has come: so it was asked for.
        return (0, 0);
    }
    let events = &outcome.events;
    let disturbed = disturbances(events);
    let mut sent: BTreeMap<Text, u64> = BTreeMap::new();
    let mut acked: BTreeMap<Text, u64> = BTreeMap::new();
    for event in events {
        match &event.what {
            What::Sent { text, attempt: 1, .. } => {
                sent.insert(*text, event.at_ms);
            }
            What::Acked { text, .. } => {
                acked.entry(*text).or_insert(event.at_ms);
            }
            What::Healed => break,
            _ => {}
        }
    }
    let end = events.last().map_or(0, |last| last.at_ms);
    let calm = |from: u64| {
        from + PROMPT_MS < end
            && !disturbed.iter().any(|(began, ended)| from + PROMPT_MS >= *began && from <= *ended)
    };
    let calm: Vec<_> = sent.into_iter().filter(|(_, at_ms)| calm(*at_ms)).collect();
    let in_time = |(text, at_ms): &&(Text, u64)| {
        acked.get(text).is_some_and(|ack_ms| *ack_ms <= at_ms + PROMPT_MS)
    };
    (calm.len() as u64, calm.iter().filter(in_time).count() as u64)
}

/// From when until when faults were felt.
fn disturbances(events: &[Event]) -> Vec<(u64, u64)> {
    let mut open: Vec<(Fault, u64)> = Vec::new();
    let mut found = Vec::new();
    for event in events {
        match event.what {
            What::FaultBegan(fault) => open.push((fault, event.at_ms)),
            What::FaultEnded(fault) => {
                if let Some(at) = open.iter().position(|(began, _)| *began == fault) {
                    found.push((open.swap_remove(at).1, event.at_ms + AFTERMATH_MS));
                }
            }
            _ => {}
        }
    }
    found.extend(open.into_iter().map(|(_, began)| (began, u64::MAX)));
    found
}
