//! What `sterna top` and `sterna drain` show: all nodes as they fare, the busiest of this node's
//! sessions and channels, and how far it has come with leaving. Only for operators.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use serde::{Deserialize, Serialize};
use sterna_core::vitals::inspect::{ChannelReport, INSPECTED, SessionReport};
use sterna_core::vitals::{Answering, Observed, QueueDepth, SessionCounts, TierLookups};
use sterna_proto::NodeId;

use super::Shared;
use super::answer::{Answer, ApiError, success};
use super::caller::Caller;

#[derive(Debug, Serialize)]
pub(super) struct ClusterBody {
    /// Who has been asked.
    node: String,
    unix_ms: u64,
    /// What the caller's API key lets it do: `operator` or `observer`.
    role: &'static str,
    nodes: Vec<NodeBody>,
}

#[derive(Debug, Serialize)]
struct NodeBody {
    name: String,
    state: &'static str,
    roles: Vec<&'static str>,
    region: String,
    zone: String,
    release: String,
    up_s: u64,
    client_address: String,
    link_address: String,
    /// How old the news is.
    heard_ms_ago: u64,
    /// How far its clock is ahead of that of the node that was asked; as good as the way between
    /// them is short. `None` before its first word.
    clock_ahead_ms: Option<i64>,
    sessions: SessionsBody,
    /// Connections that it takes; 0: not said.
    capacity: u32,
    publications_per_second: f32,
    deliveries_per_second: f32,
    slots: u32,
    channels: u32,
    append_p50_ms: f64,
    append_p99_ms: f64,
    /// `None`: it has none that others share.
    database: Option<AnsweringBody>,
    /// `None`: it has none.
    redis: Option<RedisBody>,
    conflicts: u64,
    resumes: u64,
    path_changes: u64,
    /// `None`: all are empty.
    fullest_queue: Option<QueueBody>,
    /// By where it was looked for what somebody read, since the node started.
    lookups: BTreeMap<String, LookupsBody>,
}

#[derive(Debug, Serialize)]
struct LookupsBody {
    hits: u64,
    misses: u64,
}

#[derive(Debug, Serialize)]
struct SessionsBody {
    quic: u32,
    webtransport: u32,
    wss: u32,
    http: u32,
    detached: u32,
    behind: u32,
}

#[derive(Debug, Serialize)]
struct RedisBody {
    healthy: bool,
    /// How long it has not answered.
    silent_s: u64,
}

#[derive(Debug, Serialize)]
struct AnsweringBody {
    healthy: bool,
    answer_ms: f64,
}

#[derive(Debug, Serialize)]
struct QueueBody {
    name: String,
    depth: u64,
    bound: u64,
}

/// All nodes that this one has heard of in the last minutes.
pub(super) async fn cluster(State(surface): Shared, caller: Caller) -> Answer<ClusterBody> {
    caller.check_observer("look at the cluster")?;
    let node = &surface.parts.node;
    let unix_ms = node.clock().unix_ms();
    let own = &node.config().node;
    let nodes = node.observed().into_iter().map(|observed| NodeBody::of(observed, own, unix_ms));
    let (role, name) = (caller.role_name(), node.config().node.to_string());
    success(ClusterBody { node: name, unix_ms, role, nodes: nodes.collect() })
}

impl NodeBody {
    fn of(observed: Observed, own: &NodeId, now_ms: u64) -> Self {
        let Observed { info, vitals, age, alive } = observed;
        let mut roles = Vec::new();
        roles.extend(info.edge.then_some("edge"));
        roles.extend(info.core.then_some("core"));
        let then_ms = now_ms.saturating_sub(age.as_millis() as u64);
        // Of its own clock a node only knows what it said with its last beat.
        let ahead = |said_ms: u64| match info.name == *own {
            true => 0,
            false => said_ms as i64 - then_ms as i64,
        };
        let clock_ahead_ms = (vitals.unix_ms > 0).then(|| ahead(vitals.unix_ms));
        Self {
            name: info.name.to_string(),
            state: match (alive, info.is_serving()) {
                (true, true) => "serving",
                (true, false) => "draining",
                (false, true) => "silent",
                (false, false) => "gone",
            },
            roles,
            region: info.region,
            zone: info.zone,
            release: vitals.release,
            up_s: vitals.up.as_secs(),
            client_address: info.client_address,
            link_address: info.link_address,
            heard_ms_ago: age.as_millis() as u64,
            clock_ahead_ms,
            sessions: vitals.sessions.into(),
            capacity: info.capacity,
            publications_per_second: vitals.publications_per_second,
            deliveries_per_second: vitals.deliveries_per_second,
            slots: vitals.slots,
            channels: vitals.channels,
            append_p50_ms: ms(vitals.append_p50),
            append_p99_ms: ms(vitals.append_p99),
            database: vitals.database.map(Into::into),
            redis: vitals.shared_silent.map(Into::into),
            conflicts: vitals.totals.conflicts,
            resumes: vitals.totals.resumes,
            path_changes: vitals.totals.path_changes,
            fullest_queue: vitals.fullest.map(Into::into),
            lookups: vitals.lookups.into_iter().map(LookupsBody::of).collect(),
        }
    }
}

impl LookupsBody {
    fn of(TierLookups { tier, hits, misses }: TierLookups) -> (String, Self) {
        (tier, Self { hits, misses })
    }
}

impl From<SessionCounts> for SessionsBody {
    fn from(counts: SessionCounts) -> Self {
        Self {
            quic: counts.quic,
            webtransport: counts.webtransport,
            wss: counts.websocket,
            http: counts.http,
            detached: counts.detached,
            behind: counts.behind,
        }
    }
}

impl From<Answering> for AnsweringBody {
    fn from(answering: Answering) -> Self {
        Self { healthy: answering.healthy, answer_ms: ms(answering.took) }
    }
}

impl From<Duration> for RedisBody {
    fn from(silent: Duration) -> Self {
        Self { healthy: silent.is_zero(), silent_s: silent.as_secs() }
    }
}

impl From<QueueDepth> for QueueBody {
    fn from(queue: QueueDepth) -> Self {
        Self { name: queue.name, depth: queue.depth, bound: queue.bound }
    }
}

/// With three digits after the point: microseconds.
fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeQuery {
    #[serde(default = "most_shown")]
    most: usize,
}

fn most_shown() -> usize {
    20
}

#[derive(Debug, Serialize)]
pub(super) struct InspectionBody {
    node: String,
    sessions: Vec<SessionBody>,
    channels: Vec<ChannelBody>,
    /// By their names in the register of ARCHITECTURE.md.
    queues: BTreeMap<String, DepthBody>,
}

#[derive(Debug, Serialize)]
struct SessionBody {
    session: String,
    user: String,
    client: String,
    transport: &'static str,
    remote: String,
    subscriptions: usize,
    behind: bool,
    frames_per_second: f32,
    outbox_frames: usize,
    outbox_bytes: usize,
}

#[derive(Debug, Serialize)]
struct ChannelBody {
    channel: String,
    publications_per_second: f32,
    epoch: u32,
    offset: u64,
    links: usize,
    present: usize,
    pending: usize,
}

#[derive(Debug, Serialize)]
struct DepthBody {
    depth: u64,
    bound: u64,
}

/// The busiest sessions and channels of this node.
pub(super) async fn node(
    State(surface): Shared,
    caller: Caller,
    query: Result<axum::extract::Query<NodeQuery>, QueryRejection>,
) -> Answer<InspectionBody> {
    caller.check_observer("look at sessions")?;
    let query = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    if query.most > INSPECTED {
        return Err(ApiError::bad_request(format!("most is at most {INSPECTED}")));
    }
    let node = &surface.parts.node;
    let inspection = node.inspect(query.most).await;
    let depths = node.queue_depths().into_iter();
    success(InspectionBody {
        node: node.config().node.to_string(),
        sessions: inspection.sessions.into_iter().map(Into::into).collect(),
        channels: inspection.channels.into_iter().map(Into::into).collect(),
        queues: depths
            .map(|queue| (queue.name, DepthBody { depth: queue.depth, bound: queue.bound }))
            .collect(),
    })
}

impl From<SessionReport> for SessionBody {
    fn from(report: SessionReport) -> Self {
        Self {
            session: report.session,
            user: report.user,
            client: report.client,
            transport: report.transport,
            remote: report.remote,
            subscriptions: report.subscriptions,
            behind: report.behind,
            frames_per_second: report.frames_per_second,
            outbox_frames: report.outbox_frames,
            outbox_bytes: report.outbox_bytes,
        }
    }
}

impl From<ChannelReport> for ChannelBody {
    fn from(report: ChannelReport) -> Self {
        Self {
            channel: report.channel,
            publications_per_second: report.publications_per_second,
            epoch: report.epoch,
            offset: report.offset,
            links: report.links,
            present: report.present,
            pending: report.pending,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ProgressBody {
    draining: bool,
    /// Until connections that have not moved are closed.
    left_ms: u64,
    successor: String,
    /// With a connection.
    sessions: u32,
    /// Handshakes included.
    connections: usize,
    /// Of channels that no other node has taken over yet.
    slots: u32,
}

/// How far the node has come with leaving.
pub(super) async fn drain_progress(State(surface): Shared, caller: Caller) -> Answer<ProgressBody> {
    caller.check_observer("look at the drain")?;
    let connections = surface.parts.connections.as_ref().map_or(0, |edge| edge.open());
    let Some(progress) = surface.parts.node.drain_progress() else {
        return success(ProgressBody {
            draining: false,
            left_ms: 0,
            successor: String::new(),
            sessions: 0,
            connections,
            slots: surface.parts.node.owned_slots(),
        });
    };
    success(ProgressBody {
        draining: true,
        left_ms: progress.left.as_millis() as u64,
        successor: progress.successor,
        // One that has just gone may still be counted.
        sessions: progress.sessions.min(u32::try_from(connections).unwrap_or(u32::MAX)),
        connections,
        slots: progress.slots,
    })
}
