//! Repeated requests that change something and that no log recognises: with an Idempotency-Key each
//! is carried out once, and a repetition is given the same answer, whichever node it comes to.
//!
//! Publications have no need of it: the log knows them by their origin (I3), and no acknowledgement
//! waits for what may be lost. What is kept here may be lost (I6), and while nobody can be asked,
//! requests are carried out as if they had no key.

use std::time::Duration;

use axum::body::{self, Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use sterna_core::volatile::{Begun, Claim, RESULT_BYTES};
use sterna_proto::{ErrorCode, v1};

use super::answer::ApiError;
use super::caller::Caller;
use super::publish::IdempotencyKey;
use super::{BODY_BYTES, Shared, Surface};

/// How long an answer is kept for repetitions.
const KEPT: Duration = Duration::from_hours(24);

/// Beyond the deadline of a request: whoever carries it out has ended by then.
const LEASE_BEYOND: Duration = Duration::from_secs(5);

/// Says that an answer is that of an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Between a route and its handler.
pub(super) async fn once(
    State(surface): Shared,
    caller: Caller,
    request: Request,
    next: Next,
) -> Response {
    match carry_out(&surface, &caller, request, next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn carry_out(
    surface: &Surface,
    caller: &Caller,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let IdempotencyKey::Given(key) = IdempotencyKey::from_headers(request.headers())? else {
        return Ok(next.run(request).await);
    };
    let (parts, content) = request.into_parts();
    let content = body::to_bytes(content, BODY_BYTES).await.map_err(|_| {
        let message = format!("a body has at most {BODY_BYTES} bytes");
        ApiError(v1::Error::new(ErrorCode::TooLarge, message))
    })?;
    let key = Bytes::from(format!("{} {key}", caller.client_id));
    let fingerprint = fingerprint(parts.uri.path(), &content);
    let request = Request::from_parts(parts, Body::from(content));
    let volatile = surface.parts.node.volatile();
    let lease = surface.request_deadline + LEASE_BEYOND;
    match volatile.begin_once(key.clone(), fingerprint, lease).await {
        None => Ok(next.run(request).await),
        Some(Begun::New { claim }) => {
            let response = next.run(request).await;
            keep(surface, key, claim, response).await
        }
        Some(Begun::Done(result)) => replay(&result),
        Some(Begun::Running) => {
            let message = "the same request is being carried out; ask again for its answer";
            Err(ApiError(v1::Error::new(ErrorCode::Busy, message).with_retry_after_ms(200)))
        }
        Some(Begun::Mismatch) => {
            let message = "this Idempotency-Key belongs to another request; take a fresh one";
            Err(ApiError(v1::Error::new(ErrorCode::Conflict, message)))
        }
    }
}

/// What is final is kept; what may go better next time is tried again then.
async fn keep(
    surface: &Surface,
    key: Bytes,
    claim: Claim,
    response: Response,
) -> Result<Response, ApiError> {
    let volatile = surface.parts.node.volatile();
    let status = response.status();
    let (parts, content) = response.into_parts();
    // What handlers answer is bounded, and so is what they read it from.
    let content = body::to_bytes(content, usize::MAX).await.map_err(|error| {
        ApiError(v1::Error::new(ErrorCode::Internal, format!("an answer that ends: {error}")))
    })?;
    let is_final = status.is_success() || (status.is_client_error() && !may_pass(status));
    if is_final && content.len() + 2 <= RESULT_BYTES {
        let mut result = status.as_u16().to_be_bytes().to_vec();
        result.extend_from_slice(&content);
        volatile.finish_once(key, claim, result.into(), KEPT).await;
    } else {
        volatile.abandon_once(key, claim).await;
    }
    Ok(Response::from_parts(parts, Body::from(content)))
}

/// The same request may be answered otherwise later.
fn may_pass(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        || status == StatusCode::UNAUTHORIZED
}

fn replay(result: &Bytes) -> Result<Response, ApiError> {
    let status = result.first_chunk().map(|status| u16::from_be_bytes(*status));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let Some(status) = status else {
        let message = "what was kept of the earlier answer cannot be read; take a fresh key";
        return Err(ApiError(v1::Error::new(ErrorCode::Internal, message)));
    };
    let mut response = (status, result.slice(2..)).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    metrics::counter!("sterna_edge_http_replays_total").increment(1);
    Ok(response)
}

fn fingerprint(path: &str, content: &[u8]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"sterna request v1\0");
    hash.update(path);
    hash.update([0]);
    hash.update(content);
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_be_bytes(first)
}
