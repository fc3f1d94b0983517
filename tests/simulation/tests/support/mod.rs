//! Campaigns and single seeds, for the tests of both settings.

use std::process::Command;

use sterna_simulation::campaign::{Campaign, describe};
use sterna_simulation::plan::Setting;
use sterna_simulation::run;

/// Runs as many schedules, or as the environment says, and fails if anything is wrong.
pub fn judge(setting: Setting, schedules: u64) {
    let campaign = Campaign::run(setting, 0..number("STERNA_SEEDS").unwrap_or(schedules));
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

/// Runs the seed that the environment names, or shows that a seed repeats itself.
pub fn replay(setting: Setting) {
    let Some(seed) = number("STERNA_SEED") else {
        assert_eq!(history_elsewhere(7), history_elsewhere(7));
        return;
    };
    let outcome = run(setting, seed);
    println!("{}", line(seed, outcome.hash()));
    if !outcome.violations.is_empty() || number("STERNA_SHOW").is_some() {
        for (index, event) in outcome.events.iter().enumerate() {
            println!("#{index} {} ms {:?}", event.at_ms, event.what);
        }
        panic!("{}", describe(&outcome));
    }
}

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
