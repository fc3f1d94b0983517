//! The simulation of clusters finds what it is there to find: every planted bug of links, placement
//! and what follows from them is caught, in schedules that pass without it. Run by `make
//! test-planted`; `STERNA_BUG=NAME` looks for one of them only.
#![cfg(feature = "planted")]

#[path = "support/aims.rs"]
mod aims;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sterna_simulation::campaign::describe;
use sterna_simulation::plan::Plan;
use sterna_simulation::run::{Outcome, Running, begin};
use sterna_storage::planted::{Bug, plant};

/// Schedules in which one bug has to show.
const TRIES: u64 = 48;

const BUGS: u64 = Bug::OF_CLUSTERS.len() as u64;

/// Schedules with their bugs: each seed belongs to one bug, whatever becomes of the others, so that
/// a bug is caught by the same seed every time.
struct Search {
    next: u64,
    /// All bugs, or the one that is asked for.
    wanted: Vec<Bug>,
    /// The lowest seed in which each was seen.
    caught: BTreeMap<Bug, u64>,
}

impl Search {
    fn new() -> Self {
        let name = std::env::var("STERNA_BUG").ok();
        let is_wanted = |bug: &Bug| name.as_ref().is_none_or(|name| *name == format!("{bug:?}"));
        let wanted: Vec<Bug> = Bug::OF_CLUSTERS.into_iter().filter(is_wanted).collect();
        assert!(!wanted.is_empty(), "no bug of clusters is called {name:?}");
        Self { next: 0, wanted, caught: BTreeMap::new() }
    }

    /// The next schedule whose bug has not been caught.
    fn begin_next(&mut self) -> Option<Running> {
        while self.next < TRIES * BUGS {
            let seed = self.next;
            let bug = bug_of(seed);
            self.next += 1;
            if self.missed().contains(&bug) {
                let schedule = move || {
                    plant(Some(bug));
                    plan(seed)
                };
                return Some(begin(seed, schedule));
            }
        }
        None
    }

    fn on_outcome(&mut self, outcome: &Outcome) {
        let Some(first) = outcome.violations.first() else { return };
        let seed = outcome.plan.seed;
        let bug = bug_of(seed);
        println!("{bug:?} in seed {seed}: {}: {}", first.invariant, first.message);
        let earliest = self.caught.entry(bug).or_insert(seed);
        *earliest = seed.min(*earliest);
    }

    fn missed(&self) -> Vec<Bug> {
        let missed = self.wanted.iter().filter(|bug| !self.caught.contains_key(bug));
        missed.copied().collect()
    }
}

fn bug_of(seed: u64) -> Bug {
    Bug::OF_CLUSTERS[(seed % BUGS) as usize]
}

fn plan(seed: u64) -> Plan {
    aims::aimed(bug_of(seed), seed)
}

#[test]
fn every_planted_bug_of_clusters_is_caught() {
    let search = Mutex::new(Search::new());
    on_all_processors(|| lock(&search).begin_next(), |outcome| lock(&search).on_outcome(outcome));
    let search = lock(&search);
    // What was caught is the bug and not the schedule: without the one the other passes.
    let healthy = Mutex::new((TRIES * BUGS..).zip(search.caught.values().copied()));
    let begin_next = || {
        let (place, seed) = lock(&healthy).next()?;
        Some(begin(place, move || plan(seed)))
    };
    let guilty = Mutex::new(Vec::new());
    on_all_processors(begin_next, |outcome| {
        if !outcome.violations.is_empty() {
            lock(&guilty).push(describe(outcome));
        }
    });
    let guilty = lock(&guilty);
    assert!(guilty.is_empty(), "without a bug:\n{}", guilty.join("\n"));
    let missed = search.missed();
    assert!(missed.is_empty(), "{} caught, not caught: {missed:?}", search.caught.len());
}

fn on_all_processors(
    begin_next: impl Fn() -> Option<Running> + Sync,
    on_outcome: impl Fn(&Outcome) + Sync,
) {
    let work = || {
        while let Some(running) = begin_next() {
            on_outcome(&running.finish());
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        (0..threads).for_each(|_| {
            scope.spawn(work);
        });
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
