//! For balancers, scrapers and operators.

use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use sterna_core::volatile::{SESSIONS_PER_USER, VolatileState};
use sterna_proto::{ErrorCode, UserId, v1};

use super::answer::{Answer, ApiError, respond, success};
use super::caller::Caller;
use super::input::Body;
use super::{DrainOrder, Shared, Surface};

/// The description of the API, kept by hand; a test holds it against the routes.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// Time to leave when the caller does not say.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// Longest time to leave.
const DRAIN_DEADLINE_MOST: Duration = Duration::from_secs(3600);

pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// The process answers.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Storage has not failed for good.
pub(super) async fn healthz(State(surface): Shared) -> Response {
    match surface.parts.node.failed().now_or_never() {
        None => "ok\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// New clients are welcome and would get in.
pub(super) async fn readyz(State(surface): Shared) -> Response {
    let unready = |reason: String| (StatusCode::SERVICE_UNAVAILABLE, reason + "\n").into_response();
    if surface.parts.node.is_draining() {
        return unready("draining".into());
    }
    if let Some(reason) = surface.parts.node.failed().now_or_never() {
        return unready(reason);
    }
    if surface.parts.node.router().is_some_and(|router| !router.is_connected()) {
        return unready("no way leads to a node that owns channels".into());
    }
    if !surface.parts.auth.has_keys() {
        return unready("no key to check access tokens with: the JWKS could not be read".into());
    }
    match surface.ready.check().await {
        Ok(()) => format!("ok\n{}", shared_state(&surface)).into_response(),
        Err(reason) => unready(reason),
    }
}

/// What may be lost makes no node unready: a line for whoever looks.
fn shared_state(surface: &Surface) -> String {
    let volatile = surface.parts.node.volatile();
    match volatile.state() {
        _ if !volatile.is_shared() => String::new(),
        VolatileState::Answering => "redis ok\n".to_owned(),
        VolatileState::Silent { since, reason } => format!(
            "redis has not answered for {} s, and nobody has to wait for it: {reason}\n",
            since.as_secs()
        ),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionsBody {
    user: String,
}

#[derive(Debug, Serialize)]
pub(super) struct SessionListBody {
    user: String,
    sessions: Vec<SessionBody>,
}

#[derive(Debug, Serialize)]
struct SessionBody {
    session: String,
    edge: String,
}

/// Where a user's sessions are: what edges have told lately, which may be a moment behind.
pub(super) async fn sessions(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<SessionsBody>,
) -> Answer<SessionListBody> {
    caller.check_observer("see where a user's sessions are")?;
    let user = UserId::new(&body.user)?;
    let volatile = surface.parts.node.volatile();
    if !volatile.is_shared() {
        let message =
            "this node has no Redis, in which nodes keep where sessions are; see `redis.urls`";
        return Err(ApiError(v1::Error::new(ErrorCode::BadRequest, message)));
    }
    let found = volatile.sessions_of(user, SESSIONS_PER_USER).await.ok_or_else(|| {
        let message = "Redis, in which nodes keep where sessions are, does not answer";
        ApiError(v1::Error::new(ErrorCode::Unavailable, message))
    })?;
    let sessions = found.into_iter().map(|entry| SessionBody {
        session: entry.session.to_string(),
        edge: entry.edge.to_string(),
    });
    success(SessionListBody { user: body.user, sessions: sessions.collect() })
}

pub(super) async fn metrics(State(surface): Shared) -> Response {
    let text = surface.parts.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainBody {
    deadline_ms: Option<u64>,
    successor: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct DrainingBody {
    draining: bool,
    deadline_ms: u64,
}

/// Leaves the order; who asked hears at once that it was taken, not that it is done.
pub(super) async fn drain(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<DrainBody>,
) -> Answer<DrainingBody> {
    caller.check_operator("drain the node")?;
    let deadline = body.deadline_ms.map_or(DRAIN_DEADLINE, Duration::from_millis);
    if deadline > DRAIN_DEADLINE_MOST {
        return Err(ApiError::bad_request("deadline_ms is at most 3600000, an hour"));
    }
    let successor = body.successor.unwrap_or_default();
    check_successor(&successor)?;
    // The first order stands: clients have been told its deadline.
    surface.parts.drain.send_if_modified(|order| {
        let first = order.is_none();
        order.get_or_insert(DrainOrder { deadline, successor });
        first
    });
    let standing = surface.parts.drain.borrow().as_ref().map_or(deadline, |order| order.deadline);
    success(DrainingBody { draining: true, deadline_ms: standing.as_millis() as u64 })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeBody {
    user: String,
}

#[derive(Debug, Serialize)]
pub(super) struct RevokedBody {
    /// Tokens issued before this time are void.
    before_ms: u64,
}

/// Voids the tokens of a user that are out and ends the sessions made with them (I11), here and, as
/// soon as they hear of it, at all other nodes.
pub(super) async fn revoke(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<RevokeBody>,
) -> Answer<RevokedBody> {
    caller.check_operator("revoke a user")?;
    let user = UserId::new(&body.user)?;
    let before_ms = surface.parts.node.clock().unix_ms();
    surface.parts.node.revoke(&user, before_ms).await.map_err(|error| {
        let message = format!(
            "the tokens are void and the sessions end, but a restart may forget it: {error}; ask again"
        );
        ApiError(v1::Error::new(ErrorCode::Unavailable, message).with_retry_after_ms(1000))
    })?;
    success(RevokedBody { before_ms })
}

fn check_successor(successor: &str) -> Result<(), ApiError> {
    let valid = match successor.rsplit_once(':') {
        None => successor.is_empty(),
        Some((host, port)) => {
            !host.is_empty()
                && host.len() <= 255
                && host.bytes().all(|byte| byte.is_ascii_graphic())
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        }
    };
    if valid { Ok(()) } else { Err(ApiError::bad_request("successor is host:port")) }
}

pub(super) async fn unknown_path() -> Response {
    let message = "no such path; GET /api/v1/openapi.json lists them";
    respond(StatusCode::NOT_FOUND, v1::Error::new(ErrorCode::BadRequest, message))
}

pub(super) async fn wrong_method() -> Response {
    let message = "this path takes another method; see GET /api/v1/openapi.json";
    respond(StatusCode::METHOD_NOT_ALLOWED, v1::Error::new(ErrorCode::BadRequest, message))
}
