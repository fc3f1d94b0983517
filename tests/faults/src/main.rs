//! `sterna-faults`: runs the campaign, or a part of it, and ends with a table. Status 1 when a
//! promise was broken, or when it proves nothing.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use sterna_faults::campaign::{self, Campaign, Scenario};

#[derive(Debug, Parser)]
#[command(about = "Breaks real nodes on purpose and checks that they keep what they promised")]
struct Arguments {
    /// Only this one; may be repeated. All by default.
    #[arg(long, value_enum)]
    scenario: Vec<Scenario>,
    /// What the faults are drawn from. The time by default.
    #[arg(long)]
    seed: Option<u64>,
    /// Of each scenario; round N takes seed + N.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// No round begins later than this.
    #[arg(long, default_value_t = 20)]
    minutes: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let scenarios = match arguments.scenario.is_empty() {
        true => Scenario::all(),
        false => arguments.scenario,
    };
    let campaign = Campaign {
        scenarios,
        seed: arguments.seed.unwrap_or_else(campaign::fresh_seed),
        rounds: arguments.rounds,
        limit: Duration::from_secs(60 * arguments.minutes),
    };
    let table = campaign::run(&campaign);
    println!("{table}");
    ExitCode::from(u8::from(!table.is_clean()))
}
