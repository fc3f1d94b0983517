//! The way of one publication through this node, for an operator who asks for the next one of a channel.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use sterna_core::vitals::trace::{Step, Trace, WAIT};
use sterna_proto::{ChannelId, ErrorCode, v1};
use tokio::time::Instant;

use super::Shared;
use super::answer::{Answer, ApiError, success};
use super::caller::Caller;
use super::input::Body;

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

#[derive(Debug, Serialize)]
pub(super) struct TraceBody {
    trace: String,
    channel: String,
    /// `waiting`, `seen` or `expired`.
    state: &'static str,
    position: Option<PositionBody>,
    steps: Vec<StepBody>,
}

#[derive(Debug, Serialize)]
struct PositionBody {
    epoch: u32,
    offset: u64,
}

#[derive(Debug, Serialize)]
struct StepBody {
    /// Since the first step.
    at_us: u64,
    node: String,
    what: &'static str,
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
    let id = node.traces().arm(channel, Instant::now());
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
    let Some(trace) = node.traces().trace(id, Instant::now()) else {
        let message = "no such trace on this node, or others have been asked for since";
        return Err(ApiError(v1::Error::new(ErrorCode::UnknownChannel, message)));
    };
    success(TraceBody::of(trace, node.config().node.as_str()))
}

impl TraceBody {
    fn of(trace: Trace, node: &str) -> Self {
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
            state,
            position,
            steps: trace.steps.into_iter().map(|(at, step)| StepBody::of(at, step, node)).collect(),
        }
    }
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
        Self { at_us: at.as_micros() as u64, node: node.to_owned(), what, count }
    }
}
