//! One session, for an operator who looks: what it is subscribed to, whether it keeps up, and where its
//! client has been.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use sterna_core::link::asking::Question;
use sterna_core::vitals::inspect::{SUBSCRIPTIONS_TOLD, SessionDetail, SubscriptionReport};
use sterna_core::vitals::journey::{Leg, Way};
use sterna_proto::{ErrorCode, SessionId, v1};

use super::Shared;
use super::answer::{ApiError, success};
use super::caller::Caller;
use super::elsewhere::{others, told};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionQuery {
    session: String,
}

#[derive(Debug, Serialize)]
pub(super) struct SessionDetailBody {
    session: String,
    user: String,
    client: String,
    /// The node that has it.
    edge: String,
    /// False: it may be resumed.
    attached: bool,
    transport: &'static str,
    encoding: &'static str,
    remote: String,
    /// What the client has said that it is connected through.
    network: Option<&'static str>,
    frames_per_second: f32,
    /// That it was ever given; wraps at 2^32.
    sent_frames: u32,
    queue: QueueBody,
    subscriptions: Vec<SubscriptionBody>,
    /// There are more subscriptions.
    more: bool,
    /// The newest last.
    paths: Vec<PathBody>,
}

#[derive(Debug, Serialize)]
struct QueueBody {
    frames: usize,
    bytes: usize,
    bound_frames: usize,
    bound_bytes: usize,
}

#[derive(Debug, Serialize)]
struct SubscriptionBody {
    channel: String,
    activity: &'static str,
    state: &'static str,
    epoch: u32,
    offset: u64,
    head_offset: u64,
}

#[derive(Debug, Serialize)]
struct PathBody {
    unix_ms: u64,
    kind: &'static str,
    from: Option<String>,
    to: String,
    transport: &'static str,
    /// What the client has said that it was connected through, and then was.
    network_from: Option<&'static str>,
    network_to: Option<&'static str>,
    /// At most so long nothing was heard of the client. `None`: not known.
    gap_ms: Option<u64>,
    /// Publications that went with the old way and could not be recovered. `None`: not known.
    lost: Option<u64>,
}

/// A session of this node, or of the one that has it.
pub(super) async fn session(
    State(surface): Shared,
    caller: Caller,
    uri: Uri,
    query: Result<Query<SessionQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    caller.check_observer("look at a session")?;
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let id = parse(&query.session)?;
    let node = &surface.parts.node;
    if let Some(detail) = node.examine(id).await {
        let edge = node.config().node.to_string();
        let body = SessionDetailBody::of(detail, edge, node.journey(id));
        return Ok(success(body)?.into_response());
    }
    let edges = others(&surface).into_iter().filter(|info| info.edge && !caller.is_peer());
    let mut asked: FuturesUnordered<_> = edges
        .map(|edge| {
            let question = Question { path: uri.to_string(), body: None };
            let surface = &surface;
            async move { told(surface, &edge.name, question).await }
        })
        .collect();
    while let Some(answer) = asked.next().await {
        if let Some(result) = answer {
            return Ok(success(result)?.into_response());
        }
    }
    let message = "no node that answers has such a session; POST /api/v1/sessions says which a \
                   user has";
    Err(ApiError(v1::Error::new(ErrorCode::UnknownChannel, message)))
}

const fn network(network: v1::Network) -> Option<&'static str> {
    match network {
        v1::Network::Unspecified => None,
        v1::Network::Wifi => Some("wifi"),
        v1::Network::Cellular => Some("cellular"),
        v1::Network::Ethernet => Some("ethernet"),
        v1::Network::Other => Some("other"),
    }
}

/// As it is written everywhere: 32 hexadecimal digits.
pub(super) fn parse(text: &str) -> Result<SessionId, ApiError> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u128::from_str_radix(text, 16).ok().filter(|_| digits);
    id.map(SessionId).ok_or_else(|| ApiError::bad_request("session is 32 hexadecimal digits"))
}

impl SessionDetailBody {
    fn of(detail: SessionDetail, edge: String, journey: Vec<Leg>) -> Self {
        let report = detail.report;
        Self {
            session: report.session,
            user: report.user,
            client: report.client,
            edge,
            attached: detail.attached,
            transport: report.transport,
            encoding: detail.encoding,
            remote: report.remote,
            network: network(report.network),
            frames_per_second: report.frames_per_second,
            sent_frames: detail.frames,
            queue: QueueBody {
                frames: report.outbox_frames,
                bytes: report.outbox_bytes,
                bound_frames: detail.max_frames,
                bound_bytes: detail.max_bytes,
            },
            more: report.subscriptions > SUBSCRIPTIONS_TOLD,
            subscriptions: detail.subscriptions.into_iter().map(Into::into).collect(),
            paths: journey.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<SubscriptionReport> for SubscriptionBody {
    fn from(report: SubscriptionReport) -> Self {
        Self {
            channel: report.channel,
            activity: report.activity,
            state: report.state,
            epoch: report.epoch,
            offset: report.offset,
            head_offset: report.head_offset,
        }
    }
}

impl From<Leg> for PathBody {
    fn from(leg: Leg) -> Self {
        Self {
            unix_ms: leg.unix_ms,
            kind: match leg.way {
                Way::PathChanged => "path_changed",
                Way::Resumed => "resumed",
            },
            from: leg.from.map(|from| from.to_string()),
            to: leg.to.to_string(),
            transport: leg.transport,
            network_from: network(leg.from_network),
            network_to: network(leg.to_network),
            gap_ms: leg.silence.map(|silence| silence.as_millis() as u64),
            lost: leg.lost,
        }
    }
}
