//! Thousands of schedules, judged. `STERNA_SEEDS=N` runs more of them; `STERNA_SEED=N` with the
//! test `replay` runs one and writes its history out when it fails.

#![allow(clippy::unwrap_used)]

use std::process::Command;

use sterna_simulation::campaign::{Campaign, describe};
use sterna_simulation::run;

/// Schedules of one test run: when none of them fails, fewer than one in 650 do (95 % sure).
const SCHEDULES: u64 = 2000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// A seed in a process of its own.
fn history_elsewhere(seed: u64) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["replay", "--exact", "--nocapture"])
        .env("STERNA_SEED", seed.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().find(|line| line.contains("history")).unwrap_or(&said).to_owned()
}

fn line(seed: u64, hash: u64) -> String {
    format!("seed {seed}: history {hash:016x}")
}

/// The one test of this process that runs schedules here: others begin a process for theirs.
#[test]
fn i1_i2_i3_i4_i5_i8_i10_i11_i13_hold_in_thousands_of_schedules() {
    let campaign = Campaign::run(0..number("STERNA_SEEDS").unwrap_or(SCHEDULES));
    println!(
        "{} schedules, {} events, {} acks; met: {:#?}",
        campaign.schedules, campaign.events, campaign.acks, campaign.met
    );
    println!("prompt outside faults: {} of {}", campaign.prompt, campaign.undisturbed);
    if let Some(wrong) = campaign.verdict() {
        panic!("{wrong}");
    }
    // In other company, on other threads, with other randomness of the process.
    for (seed, hash) in campaign.samples {
        assert_eq!(history_elsewhere(seed), line(seed, hash), "the seed does not repeat itself");
    }
}

/// What a report tells to run.
#[test]
fn replay() {
    let Some(seed) = number("STERNA_SEED") else {
        assert_eq!(history_elsewhere(7), history_elsewhere(7));
        return;
    };
    let outcome = run(seed);
    println!("{}", line(seed, outcome.hash()));
    if !outcome.violations.is_empty() || number("STERNA_SHOW").is_some() {
        for (index, event) in outcome.events.iter().enumerate() {
            println!("#{index} {} ms {:?}", event.at_ms, event.what);
        }
        panic!("{}", describe(&outcome));
    }
}
