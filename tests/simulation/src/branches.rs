//! Counts the branches of the real code that a schedule went through, from the metrics of the
//! core. A campaign in which one of them was never taken has not tested it, and fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Counters of the core that every campaign has to move.
pub const BRANCHES: &[&str] = &[
    "sterna_core_append_conflicts_total",
    "sterna_core_background_refused_total",
    "sterna_core_beacons_total",
    "sterna_core_duplicates_total",
    "sterna_core_lagged_total",
    "sterna_core_link_dropped_total",
    "sterna_core_mailbox_busy_total",
    "sterna_core_owed_dropped_total",
    "sterna_core_pages_total history",
    "sterna_core_pages_total log",
    "sterna_core_pages_total none",
    "sterna_core_pages_total ring",
    "sterna_core_rate_limited_total",
    "sterna_core_sessions_opened_total new",
    "sterna_core_sessions_opened_total resumed",
    "sterna_core_storage_errors_total",
];

/// The same for campaigns of clusters.
pub const BRANCHES_OF_CLUSTERS: &[&str] = &[
    "sterna_core_append_conflicts_total",
    "sterna_core_duplicates_total",
    "sterna_core_heads_behind_total",
    "sterna_core_lagged_total",
    "sterna_core_link_dropped_total",
    "sterna_core_pages_total edge",
    "sterna_core_roster_failures_total",
    "sterna_core_storage_errors_total",
    "sterna_link_calls_resent_total",
    "sterna_link_interests_moved_total",
];

/// A part of a node that ended by a panic; never allowed.
pub const PANICS: &str = "sterna_core_task_panics_total";

/// Records the counters named above and nothing else.
#[derive(Debug)]
pub struct BranchCounts {
    counts: BTreeMap<String, Arc<AtomicU64>>,
}

impl BranchCounts {
    pub fn new() -> Self {
        let named = BRANCHES.iter().chain(BRANCHES_OF_CLUSTERS).chain([&PANICS]);
        Self { counts: named.map(|name| ((*name).to_owned(), Arc::default())).collect() }
    }

    pub fn taken(&self) -> BTreeMap<String, u64> {
        let taken = self.counts.iter();
        taken.map(|(name, count)| (name.clone(), count.load(Ordering::Relaxed))).collect()
    }
}

impl Default for BranchCounts {
    fn default() -> Self {
        Self::new()
    }
}

impl Recorder for BranchCounts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let found = match key.labels().find(|label| matches!(label.key(), "tier" | "how")) {
            Some(label) => self.counts.get(&format!("{} {}", key.name(), label.value())),
            None => self.counts.get(key.name()),
        };
        found.map_or_else(Counter::noop, |count| Counter::from_arc(count.clone()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
