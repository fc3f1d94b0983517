//! A round of scenarios with a fresh seed, each in a test of its own: whichever of them breaks a
//! promise, hits nothing or is skipped is told by its name. What takes too long for every run has its
//! turn in one of them. And a check that the campaign can find what it looks for. The long form is
//! `make test-faults`.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::io::Write as _;
use std::time::Duration;

use sterna_faults::campaign::{self, Campaign, Scenario};

/// Those that have a test below.
const EVERY_RUN: &[Scenario] = &[
    Scenario::KillStep,
    Scenario::PowerLoss,
    Scenario::BitFlip,
    Scenario::DiskError,
    Scenario::DiskFull,
    Scenario::SlowDisk,
    Scenario::Clock,
    Scenario::Relay,
    Scenario::Mtu,
    Scenario::Certificate,
    Scenario::ConfigReload,
    Scenario::Tiers,
    Scenario::EdgeKill,
    Scenario::CoreKill,
    Scenario::Partition,
    Scenario::BlockedLink,
    Scenario::Database,
];

/// Those that take long come first: two of all run at a time.
mod archive {
    use super::*;

    /// Over memory, log and archive, whose object store misbehaves.
    #[test]
    fn i7_random_cursors_over_three_tiers_are_answered_exactly() {
        play(Scenario::Tiers);
    }
}

mod cluster {
    use super::*;

    #[test]
    fn i13_edges_are_killed() {
        play(Scenario::EdgeKill);
    }

    #[test]
    fn i13_cores_are_killed_or_stand_still() {
        play(Scenario::CoreKill);
    }

    /// Both wait most of the time: together they take no longer.
    #[test]
    fn i13_links_are_cut_between_hosts_and_at_relays() {
        std::thread::scope(|scope| {
            scope.spawn(|| play(Scenario::Partition));
            scope.spawn(|| play(Scenario::BlockedLink));
        });
    }

    #[test]
    fn i13_the_database_is_in_trouble() {
        play(Scenario::Database);
    }
}

mod node {
    use super::*;

    #[test]
    fn i1_it_is_killed_at_every_step_of_a_publication() {
        play(Scenario::KillStep);
    }

    #[test]
    fn i1_power_is_lost() {
        play(Scenario::PowerLoss);
    }

    #[test]
    fn i1_files_are_damaged() {
        play(Scenario::BitFlip);
    }

    #[test]
    fn i1_disks_fail_or_are_full_or_slow() {
        [Scenario::DiskError, Scenario::DiskFull, Scenario::SlowDisk].into_iter().for_each(play);
    }

    #[test]
    fn i1_the_clock_jumps() {
        play(Scenario::Clock);
    }

    #[test]
    fn i1_networks_are_bad_or_narrow() {
        [Scenario::Relay, Scenario::Mtu].into_iter().for_each(play);
    }

    #[test]
    fn i1_operators_change_certificates_and_make_mistakes() {
        [Scenario::Certificate, Scenario::ConfigReload].into_iter().for_each(play);
    }

    #[test]
    fn i1_one_that_takes_long_has_its_turn() {
        let all = Scenario::all();
        let others: Vec<Scenario> = all.into_iter().filter(|it| !EVERY_RUN.contains(it)).collect();
        let turn = others[campaign::fresh_seed() as usize % others.len()];
        let left_out: Vec<String> =
            others.iter().filter(|it| **it != turn).map(|it| it.name()).collect();
        say(&format!("{} of the fault campaign (not their turn)", left_out.join(", ")));
        play(turn);
    }
}

#[test]
fn what_is_of_every_run_has_a_test() {
    let tests = include_str!("campaign.rs");
    for scenario in EVERY_RUN {
        let named = tests.matches(&format!("Scenario::{scenario:?}")).count();
        assert!(named > 1, "{scenario:?} stands in the list alone");
    }
}

/// One round. Whatever begins has to be hit by a fault that was seen.
fn play(scenario: Scenario) {
    let campaign = Campaign {
        scenarios: vec![scenario],
        seed: campaign::fresh_seed(),
        rounds: 1,
        limit: Duration::MAX,
    };
    let table = campaign::run(&campaign);
    println!("{table}");
    match &table.rows[0].skipped {
        Some(reason) => say(&format!("{} of the fault campaign ({reason})", scenario.name())),
        None => assert!(table.is_clean(), "{:?}; see above how to repeat it", table.complaints()),
    }
}

/// A line that `tools/run_tests.py` shows: what a test that passes prints is shown to nobody, but for
/// what goes around the macros.
fn say(skipped: &str) {
    let line = format!("skipped: {skipped}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_found() {
    let outcome = campaign::run_round(Scenario::LyingDisk, 1).expect("nobody interrupts a test");
    if let Some(reason) = outcome.skipped {
        say(&format!("the check of the fault campaign by a lying disk ({reason})"));
        return;
    }
    // By the node itself, whose guard file knows how much was synced, or by the checker.
    let words = ["acknowledged publications are missing", "Lost"];
    let lost = outcome.violations.iter().any(|it| words.iter().any(|word| it.contains(word)));
    assert!(lost, "nothing is missed: {outcome:?}");
}
