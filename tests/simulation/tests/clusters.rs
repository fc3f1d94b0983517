//! Hundreds of schedules of clusters, judged. `STERNA_SEEDS=N` runs more of them; `STERNA_SEED=N`
//! with the test `replay` runs one and writes its history out when it fails.

#![allow(clippy::unwrap_used)]

mod support;

use sterna_simulation::plan::Setting;

/// Schedules of one test run.
const SCHEDULES: u64 = 40;

/// The one test of this process that runs schedules here: others begin a process for theirs.
#[test]
fn i2_i3_i4_i5_i8_i9_i11_i13_hold_in_clusters() {
    support::judge(Setting::Cluster, SCHEDULES);
}

/// What a report tells to run.
#[test]
fn replay() {
    support::replay(Setting::Cluster);
}
