//! What the parts of a node count beside its metrics: shared by its shards and workers, read twice
//! a second by the [sampler](super::sampler).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sterna_storage::{Lookups, TierLookups};

use crate::vitals::latencies::Latencies;
use crate::vitals::{Answering, SessionCounts, Totals};

/// See the module. What is counted here is counted in a metric by the same call.
#[derive(Debug, Default)]
pub struct Tally {
    publications: AtomicU64,
    deliveries: AtomicU64,
    conflicts: AtomicU64,
    resumes: AtomicU64,
    path_changes: AtomicU64,
    appends: Latencies,
    edge_rings: Lookups,
    owner_rings: Lookups,
    page_reads: Lookups,
    gauges: Mutex<Gauges>,
}

/// What has one value at a time, as its owner said last.
#[derive(Debug, Default)]
struct Gauges {
    /// By worker.
    workers: Vec<WorkerCounts>,
    /// Channels, by shard.
    shards: Vec<u32>,
    database: Option<Answering>,
}

/// Where what is hot is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HotRing {
    Edge,
    Owner,
}

/// What a worker says of its sessions.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkerCounts {
    pub sessions: SessionCounts,
    /// Frames in the fullest outbox.
    pub outbox_frames: usize,
    /// Commands without a connection.
    pub background: usize,
}

impl Tally {
    /// Publications were committed, and are given to the links.
    pub fn on_published(&self, count: usize) {
        metrics::counter!("sterna_core_publications_total").increment(count as u64);
        add(&self.publications, count);
    }

    /// Publications were given to sessions.
    pub fn on_delivered(&self, count: usize) {
        metrics::counter!("sterna_core_deliveries_total").increment(count as u64);
        add(&self.deliveries, count);
    }

    /// An append has ended, well or not.
    pub fn on_appended(&self, took: Duration) {
        metrics::histogram!("sterna_core_append_seconds").record(took);
        self.appends.note(took);
    }

    /// The log has to be read again after an append.
    pub fn on_conflict(&self) {
        metrics::counter!("sterna_core_append_conflicts_total").increment(1);
        add(&self.conflicts, 1);
    }

    pub fn on_session_opened(&self, resumed: bool) {
        let how = if resumed { "resumed" } else { "new" };
        metrics::counter!("sterna_core_sessions_opened_total", "how" => how).increment(1);
        add(&self.resumes, usize::from(resumed));
    }

    pub fn on_path_changed(&self) {
        metrics::counter!("sterna_core_path_changes_total").increment(1);
        add(&self.path_changes, 1);
    }

    /// Something that is asked for was looked for in a ring.
    pub fn on_ring_lookup(&self, ring: HotRing, is_hit: bool) {
        let (tier, lookups) = match ring {
            HotRing::Edge => ("edge_ring", &self.edge_rings),
            HotRing::Owner => ("owner_ring", &self.owner_rings),
        };
        let result = if is_hit { "hit" } else { "miss" };
        let name = "sterna_core_hot_lookups_total";
        metrics::counter!(name, "tier" => tier, "result" => result).increment(1);
        lookups.note(usize::from(is_hit), usize::from(!is_hit));
    }

    /// A page of the log was asked for; `is_shared`: somebody else was reading it.
    pub fn on_page_read(&self, is_shared: bool) {
        let result = if is_shared { "shared" } else { "read" };
        metrics::counter!("sterna_core_page_reads_total", "result" => result).increment(1);
        self.page_reads.note(usize::from(is_shared), usize::from(!is_shared));
    }

    /// The database that the cores share has answered, or has not.
    pub fn on_database(&self, answering: Answering) {
        self.gauges().database = Some(answering);
    }

    pub fn set_worker(&self, index: u16, counts: WorkerCounts) {
        let mut gauges = self.gauges();
        put(&mut gauges.workers, index.into(), counts);
    }

    /// How many channels a shard has.
    pub fn set_shard(&self, index: usize, channels: usize) {
        let mut gauges = self.gauges();
        put(&mut gauges.shards, index, u32::try_from(channels).unwrap_or(u32::MAX));
        let all: u64 = gauges.shards.iter().map(|count| u64::from(*count)).sum();
        metrics::gauge!("sterna_core_owned_channels").set(all as f64);
    }

    /// Of all workers; of queues the fullest.
    pub fn workers(&self) -> WorkerCounts {
        let mut all = WorkerCounts::default();
        for worker in &self.gauges().workers {
            all.sessions.add(&worker.sessions);
            all.outbox_frames = all.outbox_frames.max(worker.outbox_frames);
            all.background = all.background.max(worker.background);
        }
        all
    }

    pub fn channels(&self) -> u32 {
        self.gauges().shards.iter().sum()
    }

    pub fn database(&self) -> Option<Answering> {
        self.gauges().database
    }

    pub fn publications(&self) -> u64 {
        self.publications.load(Ordering::Relaxed)
    }

    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    pub fn appends(&self) -> &Latencies {
        &self.appends
    }

    pub fn totals(&self) -> Totals {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Totals {
            conflicts: read(&self.conflicts),
            resumes: read(&self.resumes),
            path_changes: read(&self.path_changes),
        }
    }

    /// What was looked for in what is hot, the nearest first.
    pub fn lookups(&self) -> Vec<TierLookups> {
        vec![
            self.edge_rings.told("edge_ring"),
            self.owner_rings.told("owner_ring"),
            self.page_reads.told("shared_reads"),
        ]
    }

    fn gauges(&self) -> MutexGuard<'_, Gauges> {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(count: &AtomicU64, more: usize) {
    count.fetch_add(more as u64, Ordering::Relaxed);
}

fn put<T: Clone + Default>(values: &mut Vec<T>, index: usize, value: T) {
    if values.len() <= index {
        values.resize(index + 1, T::default());
    }
    values[index] = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_are_told_from_the_nearest_place_on() {
        let tally = Tally::default();
        tally.on_ring_lookup(HotRing::Owner, true);
        tally.on_ring_lookup(HotRing::Owner, false);
        tally.on_ring_lookup(HotRing::Edge, true);
        [true, false, true].into_iter().for_each(|is_shared| tally.on_page_read(is_shared));
        let told = |tier: &str, hits, misses| TierLookups { tier: tier.into(), hits, misses };
        let wanted =
            [told("edge_ring", 1, 0), told("owner_ring", 1, 1), told("shared_reads", 2, 1)];
        assert_eq!(tally.lookups(), wanted);
    }

    #[test]
    fn a_node_is_the_sum_of_its_workers_and_shards() {
        let tally = Tally::default();
        let of = |quic, outbox_frames| WorkerCounts {
            sessions: SessionCounts { quic, behind: 1, ..SessionCounts::default() },
            outbox_frames,
            background: 0,
        };
        tally.set_worker(1, of(5, 7));
        tally.set_worker(0, of(2, 9));
        tally.set_worker(0, of(3, 1));
        let all = tally.workers();
        assert_eq!((all.sessions.quic, all.sessions.behind, all.outbox_frames), (8, 2, 7));
        tally.set_shard(2, 40);
        tally.set_shard(0, 2);
        assert_eq!(tally.channels(), 42);
    }
}
