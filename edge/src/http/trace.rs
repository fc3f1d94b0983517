//! The way of one publication through the nodes, for an operator who asks for the next one of a channel.
//! Every node that is alive waits for it, and tells of its own steps; here they are put in one order by
//! the nodes' clocks.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use bytes::Bytes;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sterna_core::link::asking::Question;
use sterna_core::vitals::trace::{Step, TRACES, Trace, WAIT};
use sterna_proto::{ChannelId, ErrorCode, NodeId, v1};
use tokio::time::Instant;

use super::answer::{Answer, ApiError, success};
use super::caller::Caller;
use super::elsewhere::{others, told};
use super::input::Body;
use super::{Shared, Surface};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ArmBody {
    channel: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ArmedBody {
    /// Names the trace.
    trace: String,
    /// Until when the next publication is waited for.
    until_unix_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceQuery {
    trace: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TraceBody {
    trace: String,
    channel: String,
    /// `waiting`, `seen` or `expired`.
    state: Cow<'static, str>,
    position: Option<PositionBody>,
    /// When the first step was, by the clock of its node; `None`: there is none.
    began_unix_us: Option<u64>,
    steps: Vec<StepBody>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PositionBody {
    epoch: u32,
    offset: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct StepBody {
    /// Since the first step.
    at_us: u64,
    node: String,
    what: Cow<'static, str>,
    /// How many others, links or sessions, as `what` says.
    count: Option<usize>,
}

/// Publishes nothing: waits for what somebody publishes.
pub(super) async fn arm(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<ArmBody>,
) -> Answer<ArmedBody> {
    caller.check_observer("follow a publication")?;
    let channel = ChannelId::new(&body.channel)?;
    let node = &surface.parts.node;
    let asked = (!caller.is_peer()).then(|| json!({ "channel": channel.as_str() }).to_string());
    let id = node.traces().arm(channel, Instant::now());
    if let Some(body) = asked {
        let armed = arm_others(&surface, &body.into()).await;
        surface.traced.keep(id, armed);
    }
    let until_unix_ms = node.clock().unix_ms() + WAIT.as_millis() as u64;
    success(ArmedBody { trace: format!("{id:016x}"), until_unix_ms })
}

pub(super) async fn trace(
    State(surface): Shared,
    caller: Caller,
    query: Result<Query<TraceQuery>, QueryRejection>,
) -> Answer<TraceBody> {
    caller.check_observer("follow a publication")?;
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let id = u64::from_str_radix(&query.trace, 16)
        .map_err(|_| ApiError::bad_request("trace is what arming it has answered"))?;
    let node = &surface.parts.node;
    let now = Instant::now();
    let Some(trace) = node.traces().trace(id, now) else {
        let message = "no such trace on this node, or others have been asked for since";
        return Err(ApiError(v1::Error::new(ErrorCode::UnknownChannel, message)));
    };
    let own = TraceBody::of(trace, node.config().node.as_str(), now);
    let others = surface.traced.others(id).into_iter().map(|(node, id)| {
        let path = format!("/api/v1/operate/trace?trace={id}");
        let surface = &surface;
        async move { told(surface, &node, Question { path, body: None }).await }
    });
    let others = join_all(others).await.into_iter().flatten();
    let others = others.filter_map(|found| serde_json::from_value(found).ok());
    success(own.joined(others.collect()))
}

/// Has all other nodes wait for the same publication; those that do not answer tell nothing.
async fn arm_others(surface: &Surface, body: &Bytes) -> Elsewhere {
    let asked = others(surface).into_iter().map(|info| async move {
        let path = "/api/v1/operate/trace".to_owned();
        let question = Question { path, body: Some(body.clone()) };
        let armed = told(surface, &info.name, question).await?;
        Some((info.name, armed["trace"].as_str()?.to_owned()))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// What other nodes call the traces that were asked for here: as many as a node keeps.
#[derive(Debug, Default)]
pub(super) struct Traced(Mutex<VecDeque<(u64, Elsewhere)>>);

/// Nodes, and what they call one trace.
type Elsewhere = Vec<(NodeId, String)>;

impl Traced {
    fn keep(&self, id: u64, others: Elsewhere) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= TRACES {
            kept.pop_front();
        }
        kept.push_back((id, others));
    }

    /// None if it was asked for by another node.
    fn others(&self, id: u64) -> Elsewhere {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .find(|(kept, _)| *kept == id)
            .map(|(_, others)| others.clone())
            .unwrap_or_default()
    }
}

impl TraceBody {
    fn of(trace: Trace, node: &str, now: Instant) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began =
            trace.began.map(|began| wall.saturating_sub(now.saturating_duration_since(began)));
        let state = match (trace.steps.is_empty(), trace.expired) {
            (false, _) => "seen",
            (true, true) => "expired",
            (true, false) => "waiting",
        };
        let position = trace
            .position
            .map(|position| PositionBody { epoch: position.epoch.0, offset: position.offset.0 });
        Self {
            trace: format!("{:016x}", trace.id),
            channel: trace.channel.to_string(),
            state: state.into(),
            position,
            began_unix_us: began.map(|began| began.as_micros() as u64),
            steps: trace.steps.into_iter().map(|(at, step)| StepBody::of(at, step, node)).collect(),
        }
    }

    /// With what other nodes have seen of the publication.
    fn joined(mut self, others: Vec<Self>) -> Self {
        let begins = others.iter().map(|other| other.began_unix_us).chain([self.began_unix_us]);
        let Some(first) = begins.flatten().min() else { return self };
        let own = std::mem::take(&mut self.steps);
        let mut steps = shifted(own, self.began_unix_us, first);
        for other in others {
            steps.extend(shifted(other.steps, other.began_unix_us, first));
            // A node with subscribers alone knows its place only.
            self.position = self.position.or(other.position);
        }
        steps.sort_by_key(|step| step.at_us);
        (self.began_unix_us, self.state) = (Some(first), "seen".into());
        self.steps = steps;
        self
    }
}

/// Steps since the first one of all nodes.
fn shifted(steps: Vec<StepBody>, began: Option<u64>, first: u64) -> Vec<StepBody> {
    let by = began.map_or(0, |began| began.saturating_sub(first));
    steps.into_iter().map(|step| StepBody { at_us: step.at_us + by, ..step }).collect()
}

impl StepBody {
    fn of(at: Duration, step: Step, node: &str) -> Self {
        let (what, count) = match step {
            Step::Received => ("received from its publisher", None),
            Step::AtOwner => ("with the owner of the channel", None),
            Step::Appending { with } => ("given to the store, with so many others", Some(with)),
            Step::Stored => ("stored, and in its place", None),
            Step::Answered => ("acknowledged", None),
            Step::Spread { links } => ("sent on its ways to workers and nodes", Some(links)),
            Step::Given { sessions } => ("given to sessions", Some(sessions)),
        };
        let (at_us, node) = (at.as_micros() as u64, node.to_owned());
        Self { at_us, node, what: what.into(), count }
    }
}
