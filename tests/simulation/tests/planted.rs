//! The simulation finds what it is there to find: every planted bug is caught within a number of
//! seeds that the healthy build passes. Run by `make test-planted`.
#![cfg(feature = "planted")]

use std::collections::BTreeMap;

use sterna_simulation::plan::{Plan, Setting};
use sterna_simulation::run::begin;
use sterna_storage::planted::{Bug, plant};

/// Schedules in which a bug has to show.
const SEEDS: u64 = 500;

/// The healthy build passes these, as the test `schedules` shows.
const HEALTHY: u64 = 2000;

#[test]
fn every_planted_bug_is_caught() {
    let mut missed = Vec::new();
    let mut caught: BTreeMap<Bug, (u64, String)> = BTreeMap::new();
    // Seeds of one process rise: each bug begins where the one before it was caught.
    let mut next = 0..;
    for bug in Bug::ALONE {
        let tried = (1..=SEEDS).zip(next.by_ref());
        let found = tried.into_iter().find_map(|(tries, seed)| {
            let schedule = move || {
                plant(Some(bug));
                Plan::of(Setting::Alone, seed)
            };
            let outcome = begin(seed, schedule).finish();
            let first = outcome.violations.first()?;
            Some((tries, format!("{}: {}", first.invariant, first.message)))
        });
        match found {
            Some(found) => {
                println!("{bug:?} after {} seeds: {}", found.0, found.1);
                caught.insert(bug, found);
            }
            None => {
                println!("{bug:?} NOT CAUGHT");
                missed.push(bug);
            }
        }
    }
    let used = next.start;
    assert!(used <= HEALTHY, "the healthy build is not known to pass all of {used} seeds");
    assert!(missed.is_empty(), "{} caught, not caught: {missed:?}", caught.len());
}
