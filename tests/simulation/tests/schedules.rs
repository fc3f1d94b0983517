//! Thousands of schedules of one node, judged. `STERNA_SEEDS=N` runs more of them; `STERNA_SEED=N`
//! with the test `replay` runs one and writes its history out when it fails.

#![allow(clippy::unwrap_used)]

mod support;

use sterna_simulation::plan::Setting;

/// Schedules of one test run: when none of them fails, fewer than one in 650 do (95 % sure).
const SCHEDULES: u64 = 2000;

/// The one test of this process that runs schedules here: others begin a process for theirs.
#[test]
fn i1_i2_i3_i4_i5_i8_i10_i11_i13_hold_in_thousands_of_schedules() {
    support::judge(Setting::Alone, SCHEDULES);
}

/// What a report tells to run.
#[test]
fn replay() {
    support::replay(Setting::Alone);
}
