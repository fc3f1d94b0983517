//! A short campaign with fixed seeds and a fresh one, and a check that the campaign can find what it
//! looks for. The long form is `make test-faults`.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::time::Duration;

use sterna_faults::campaign::{self, Campaign, Scenario};

#[test]
fn i1_a_seeded_campaign_breaks_no_promise() {
    for seed in [7, campaign::fresh_seed()] {
        let campaign = Campaign {
            scenarios: vec![
                Scenario::KillStep,
                Scenario::PowerLoss,
                Scenario::BitFlip,
                Scenario::Relay,
                Scenario::ConfigReload,
            ],
            seed,
            rounds: 1,
            limit: Duration::from_secs(40),
        };
        let table = campaign::run(&campaign);
        println!("{table}");
        assert!(table.is_clean(), "a promise was broken; the lines above say how to repeat it");
        let injected: u64 = table.rows.iter().map(|row| row.injected).sum();
        assert!(injected > 0, "nothing was broken: the campaign proves nothing");
    }
}

/// Of a cluster, with a fresh seed, for as long as a run of all tests can spare.
#[test]
fn i13_a_seeded_campaign_on_a_cluster_breaks_no_promise() {
    let campaign = Campaign {
        scenarios: vec![
            Scenario::Partition,
            Scenario::EdgeKill,
            Scenario::Database,
            Scenario::BlockedLink,
            Scenario::CoreKill,
        ],
        seed: campaign::fresh_seed(),
        rounds: 1,
        limit: Duration::from_secs(60),
    };
    let table = campaign::run(&campaign);
    println!("{table}");
    assert!(table.is_clean(), "a promise was broken; the lines above say how to repeat it");
    let injected: u64 = table.rows.iter().map(|row| row.injected).sum();
    assert!(injected > 0, "nothing was broken: the campaign proves nothing");
}

/// Over memory, log and archive, whose object store misbehaves, with a fresh seed.
#[test]
fn i7_random_cursors_over_three_tiers_are_answered_exactly() {
    let campaign = Campaign {
        scenarios: vec![Scenario::Tiers],
        seed: campaign::fresh_seed(),
        rounds: 1,
        limit: Duration::from_secs(60),
    };
    let table = campaign::run(&campaign);
    println!("{table}");
    assert!(table.is_clean(), "a promise was broken; the lines above say how to repeat it");
    assert!(table.rows[0].injected > 0, "nothing was broken: the round proves nothing");
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_found() {
    let outcome = campaign::run_round(Scenario::LyingDisk, 1).expect("nobody interrupts a test");
    if let Some(reason) = outcome.skipped {
        println!("skipped: {reason}");
        return;
    }
    // By the node itself, whose guard file knows how much was synced, or by the checker.
    let words = ["acknowledged publications are missing", "Lost"];
    let lost = outcome.violations.iter().any(|it| words.iter().any(|word| it.contains(word)));
    assert!(lost, "nothing is missed: {outcome:?}");
}
