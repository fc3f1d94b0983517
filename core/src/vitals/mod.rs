//! How a node fares: what it says of itself with each beat, so that an operator sees the whole
//! cluster from any node of it. Nothing is decided by these figures.
//!
//! [`tally`] counts beside the metrics, [`sampler`] makes rates of it, [`history`] keeps them for a
//! quarter of an hour, [`inspect`] looks at single
//! sessions and channels when somebody asks, [`journey`] remembers where sessions were, [`trace`] follows
//! one publication. On the path of a publication this costs an addition.

pub mod history;
pub mod inspect;
pub mod journey;
pub mod latencies;
pub mod queues;
pub mod sampler;
pub mod tally;
pub mod trace;

use std::time::Duration;

use sterna_proto::link::v1;

use crate::cluster::NodeInfo;

pub use sterna_storage::TierLookups;

/// How a node fares. Rates and latencies are those of the last seconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Vitals {
    /// Of the software, as in 1.2.3.
    pub release: String,
    /// The node's clock when it said so.
    pub unix_ms: u64,
    pub up: Duration,
    pub sessions: SessionCounts,
    pub publications_per_second: f32,
    /// Publications given to sessions.
    pub deliveries_per_second: f32,
    /// Slots and channels that the node owns.
    pub slots: u32,
    pub channels: u32,
    /// How long appends take, the median and the 99th percentile; zero without any.
    pub append_p50: Duration,
    pub append_p99: Duration,
    /// `None`: the node has no database that others share.
    pub database: Option<Answering>,
    /// How long what nodes share and may lose (I6) has not answered; zero: it answers, `None`: the
    /// node has none.
    pub shared_silent: Option<Duration>,
    pub totals: Totals,
    /// `None`: all are empty.
    pub fullest: Option<QueueDepth>,
    /// How often what was read was found at hand, since the node started, the nearest places first; not
    /// of places where nothing was looked for.
    pub lookups: Vec<TierLookups>,
}

/// Places of one node that are heard of. A node has fewer.
const MOST_TIERS: usize = 16;

/// Sessions of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionCounts {
    pub quic: u32,
    pub webtransport: u32,
    pub websocket: u32,
    /// Over plain HTTP: an answer of events, and requests.
    pub http: u32,
    /// Without a connection.
    pub detached: u32,
    /// With one that does not keep up with a channel (lag mode).
    pub behind: u32,
}

/// What has happened since the node started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Appends that lost their compare, or had to be looked up.
    pub conflicts: u64,
    /// Sessions that were continued on another connection.
    pub resumes: u64,
    /// Clients whose address has changed under a connection.
    pub path_changes: u64,
}

/// Whether a server that the node needs answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answering {
    /// It did, the last time.
    pub healthy: bool,
    /// How long its last answer took.
    pub took: Duration,
}

/// How full a queue is; of several of a kind the fullest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueDepth {
    /// As the register in ARCHITECTURE.md names it.
    pub name: String,
    pub depth: u64,
    pub bound: u64,
}

/// A node as this one has heard of it.
#[derive(Debug, Clone)]
pub struct Observed {
    pub info: NodeInfo,
    pub vitals: Vitals,
    /// How old the news is.
    pub age: Duration,
    /// Heard of within the lease.
    pub alive: bool,
}

impl SessionCounts {
    /// Those with a connection.
    pub fn attached(&self) -> u32 {
        self.quic + self.webtransport + self.websocket + self.http
    }

    /// Adds those of another worker.
    pub fn add(&mut self, other: &Self) {
        self.quic += other.quic;
        self.webtransport += other.webtransport;
        self.websocket += other.websocket;
        self.http += other.http;
        self.detached += other.detached;
        self.behind += other.behind;
    }
}

impl QueueDepth {
    /// How much of its bound is taken, 0 to 1.
    pub fn share(&self) -> f64 {
        self.depth as f64 / self.bound.max(1) as f64
    }
}

impl Vitals {
    pub(crate) fn to_wire(&self) -> v1::Vitals {
        let fullest = self.fullest.clone().unwrap_or_default();
        v1::Vitals {
            release: self.release.clone(),
            unix_ms: self.unix_ms,
            up_seconds: u32::try_from(self.up.as_secs()).unwrap_or(u32::MAX),
            sessions_quic: self.sessions.quic,
            sessions_webtransport: self.sessions.webtransport,
            sessions_websocket: self.sessions.websocket,
            sessions_http: self.sessions.http,
            sessions_detached: self.sessions.detached,
            sessions_behind: self.sessions.behind,
            publications_per_second: self.publications_per_second,
            deliveries_per_second: self.deliveries_per_second,
            slots: self.slots,
            channels: self.channels,
            append_p50_us: micros(self.append_p50),
            append_p99_us: micros(self.append_p99),
            database: self.database.map(|database| v1::Answering {
                healthy: database.healthy,
                answer_us: micros(database.took),
            }),
            conflicts: self.totals.conflicts,
            resumes: self.totals.resumes,
            path_changes: self.totals.path_changes,
            fullest_queue: fullest.name,
            fullest_depth: fullest.depth,
            fullest_bound: fullest.bound,
            shared_silent_seconds: self.shared_silent.map(begun_seconds),
            lookups: self.lookups.iter().map(lookups_to_wire).collect(),
        }
    }

    pub(crate) fn from_wire(wire: v1::Vitals) -> Self {
        let us = |us: u32| Duration::from_micros(us.into());
        let fullest = QueueDepth {
            name: wire.fullest_queue,
            depth: wire.fullest_depth,
            bound: wire.fullest_bound,
        };
        Self {
            release: wire.release,
            unix_ms: wire.unix_ms,
            up: Duration::from_secs(wire.up_seconds.into()),
            sessions: SessionCounts {
                quic: wire.sessions_quic,
                webtransport: wire.sessions_webtransport,
                websocket: wire.sessions_websocket,
                http: wire.sessions_http,
                detached: wire.sessions_detached,
                behind: wire.sessions_behind,
            },
            publications_per_second: wire.publications_per_second,
            deliveries_per_second: wire.deliveries_per_second,
            slots: wire.slots,
            channels: wire.channels,
            append_p50: us(wire.append_p50_us),
            append_p99: us(wire.append_p99_us),
            database: wire.database.map(|database| Answering {
                healthy: database.healthy,
                took: us(database.answer_us),
            }),
            shared_silent: wire.shared_silent_seconds.map(|s| Duration::from_secs(s.into())),
            totals: Totals {
                conflicts: wire.conflicts,
                resumes: wire.resumes,
                path_changes: wire.path_changes,
            },
            fullest: (!fullest.name.is_empty()).then_some(fullest),
            lookups: wire.lookups.into_iter().take(MOST_TIERS).map(lookups_from_wire).collect(),
        }
    }
}

fn lookups_to_wire(lookups: &TierLookups) -> v1::Lookups {
    let TierLookups { tier, hits, misses } = lookups.clone();
    v1::Lookups { tier, hits, misses }
}

fn lookups_from_wire(v1::Lookups { tier, hits, misses }: v1::Lookups) -> TierLookups {
    TierLookups { tier, hits, misses }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// Silence that has begun is none that has not.
fn begun_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_of_itself_arrives_as_it_was_said() {
        let vitals = Vitals {
            release: "1.2.3".into(),
            unix_ms: 1_800_000_000_000,
            up: Duration::from_secs(7),
            sessions: SessionCounts {
                quic: 1,
                webtransport: 2,
                websocket: 3,
                http: 18,
                detached: 4,
                behind: 5,
            },
            publications_per_second: 6.5,
            deliveries_per_second: 70.25,
            slots: 8,
            channels: 9,
            append_p50: Duration::from_micros(10),
            append_p99: Duration::from_micros(11),
            database: Some(Answering { healthy: true, took: Duration::from_micros(12) }),
            shared_silent: Some(Duration::from_secs(17)),
            totals: Totals { conflicts: 13, resumes: 14, path_changes: 15 },
            fullest: Some(QueueDepth { name: "outbox_frames".into(), depth: 16, bound: 32 }),
            lookups: vec![TierLookups { tier: "owner_ring".into(), hits: 19, misses: 20 }],
        };
        assert_eq!(Vitals::from_wire(vitals.to_wire()), vitals);
        assert_eq!(Vitals::from_wire(v1::Vitals::default()), Vitals::default());
        assert_eq!([0, 1, 1000, 1001].map(Duration::from_millis).map(begun_seconds), [0, 1, 1, 2]);
        let many = vec![vitals.lookups[0].clone(); 2 * MOST_TIERS];
        let heard = Vitals::from_wire(Vitals { lookups: many, ..vitals.clone() }.to_wire());
        assert_eq!(heard.lookups.len(), MOST_TIERS, "whatever another node says");
        assert_eq!(vitals.sessions.attached(), 24);
        assert_eq!(vitals.fullest.map(|fullest| fullest.share()), Some(0.5));
    }
}
