//! The simulation of clusters finds what it is there to find: every planted bug of links, placement
//! and what follows from them is caught, in schedules that the healthy build passes. Run by `make
//! test-planted`.
#![cfg(feature = "planted")]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use sterna_simulation::plan::Setting;
use sterna_simulation::run::{Running, begin};
use sterna_storage::planted::{Bug, plant};

/// Schedules in which one bug has to show.
const SEEDS: u64 = 12;

/// Schedules with their bugs: each seed belongs to one bug, whatever becomes of the others, so that
/// a bug is caught by the same seed every time.
#[derive(Default)]
struct Search {
    next: u64,
    caught: BTreeMap<Bug, String>,
}

impl Search {
    /// The next schedule whose bug has not been caught.
    fn begin_next(&mut self) -> Option<(Bug, Running)> {
        while self.next < SEEDS * Bug::OF_CLUSTERS.len() as u64 {
            let bug = Bug::OF_CLUSTERS[self.next as usize % Bug::OF_CLUSTERS.len()];
            let seed = self.next;
            self.next += 1;
            if !self.caught.contains_key(&bug) {
                return Some((bug, begin(Setting::Cluster, seed, move || plant(Some(bug)))));
            }
        }
        None
    }
}

#[test]
fn every_planted_bug_of_clusters_is_caught() {
    let search = Mutex::new(Search::default());
    let lock = || search.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        loop {
            let Some((bug, running)) = lock().begin_next() else { return };
            let outcome = running.finish();
            if let Some(first) = outcome.violations.first() {
                let found = format!("{}: {}", first.invariant, first.message);
                println!("{bug:?} in seed {}: {found}", outcome.plan.seed);
                lock().caught.entry(bug).or_insert(found);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        (0..threads).for_each(|_| {
            scope.spawn(work);
        });
    });
    let caught = &lock().caught;
    let missed: Vec<_> = Bug::OF_CLUSTERS.iter().filter(|bug| !caught.contains_key(bug)).collect();
    assert!(missed.is_empty(), "{} caught, not caught: {missed:?}", caught.len());
}
