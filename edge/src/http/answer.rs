//! What a request is answered with: `{"result": …}`, or `{"error": {…}}` with the HTTP status that
//! the code of the error table stands for.

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use sterna_proto::{ErrorCode, v1};

use super::channels::MemberChangeBody;

pub(super) type Answer<T> = Result<Success<T>, ApiError>;

/// When to repeat what could not be done now and may be done soon, where nobody knows better.
const RETRY_AFTER_MS: u32 = 1000;

/// `{"result": …}`.
#[derive(Debug, Serialize)]
pub(super) struct Success<T> {
    pub(super) result: T,
}

pub(super) fn success<T>(result: T) -> Answer<T> {
    Ok(Success { result })
}

impl<T: Serialize> IntoResponse for Success<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// An error as API callers see it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ErrorBody {
    code: u32,
    name: String,
    message: String,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u32>,
}

impl From<v1::Error> for ErrorBody {
    fn from(error: v1::Error) -> Self {
        Self {
            code: error.code,
            name: error.name,
            message: error.message,
            retryable: error.retryable,
            retry_after_ms: (error.retry_after_ms > 0).then_some(error.retry_after_ms),
        }
    }
}

/// A refusal. Its status comes from its code, unless [`Refused`] says it better.
#[derive(Debug, Clone)]
pub(super) struct ApiError(pub(super) v1::Error);

impl ApiError {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self(v1::Error::new(ErrorCode::BadRequest, message))
    }
}

impl From<v1::Error> for ApiError {
    fn from(error: v1::Error) -> Self {
        Self(error)
    }
}

impl From<sterna_proto::InvalidId> for ApiError {
    fn from(error: sterna_proto::InvalidId) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = status_of(self.0.code);
        respond(status, self.0)
    }
}

/// An error with the status that HTTP itself has for it (404 for a path, 415, 422…).
pub(super) fn respond(status: StatusCode, error: v1::Error) -> Response {
    failure(status, error).map(Body::from)
}

/// The same for whoever has a body of another type.
pub(crate) fn failure(status: StatusCode, mut error: v1::Error) -> http::Response<Bytes> {
    #[derive(Serialize)]
    struct Failure {
        error: ErrorBody,
    }
    if status == StatusCode::SERVICE_UNAVAILABLE && error.retryable && error.retry_after_ms == 0 {
        error.retry_after_ms = RETRY_AFTER_MS;
    }
    let retry_after_ms = error.retry_after_ms;
    let body = serde_json::to_vec(&Failure { error: error.into() })
        .unwrap_or_else(|_| unreachable!("every value has a text"));
    let mut response = http::Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if retry_after_ms > 0 {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_ms.div_ceil(1000)));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn status_of(code: u32) -> StatusCode {
    let Some(code) = ErrorCode::from_number(code) else {
        return StatusCode::INTERNAL_SERVER_ERROR;
    };
    match code {
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::Unauthorized | ErrorCode::TokenExpired => StatusCode::UNAUTHORIZED,
        ErrorCode::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorCode::UnknownChannel => StatusCode::NOT_FOUND,
        ErrorCode::BadRequest | ErrorCode::NotSubscribed => StatusCode::BAD_REQUEST,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::RateLimited | ErrorCode::LimitExceeded => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Busy | ErrorCode::Unavailable | ErrorCode::Draining => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorCode::Conflict | ErrorCode::ChannelExists | ErrorCode::OnHold => StatusCode::CONFLICT,
    }
}

/// A publication as API callers see it. `id` is text: JavaScript cannot hold 64 bits.
#[derive(Debug, Serialize)]
pub(super) struct PublicationBody {
    channel: String,
    epoch: u32,
    offset: u64,
    id: String,
    sender: String,
    /// The payload when it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_msg_id: Option<String>,
    /// With kind "membership", in place of a payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<MemberChangeBody>,
    /// The payload was taken away after it had been stored.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    redacted: bool,
    server_ts_ms: u64,
    client_ts_ms: u64,
}

impl From<v1::Publication> for PublicationBody {
    fn from(publication: v1::Publication) -> Self {
        use base64::Engine as _;
        let kind = super::publish::kind_name(publication.kind());
        let member = publication.member.map(MemberChangeBody::from);
        let redacted = publication.redacted;
        let (text, payload_base64) = match String::from_utf8(publication.payload.into()) {
            Ok(text) => (Some(text).filter(|_| member.is_none() && !redacted), None),
            Err(bytes) => {
                let encoded = base64::engine::general_purpose::STANDARD.encode(bytes.as_bytes());
                (None, Some(encoded))
            }
        };
        let client_msg_id = publication.client_msg_id;
        Self {
            channel: publication.channel,
            epoch: publication.epoch,
            offset: publication.offset,
            id: publication.id.to_string(),
            sender: publication.sender,
            text,
            payload_base64,
            kind,
            target_offset: (publication.target_offset > 0).then_some(publication.target_offset),
            member,
            redacted,
            client_msg_id: (!client_msg_id.is_empty())
                .then(|| super::input::uuid_text(&client_msg_id)),
            server_ts_ms: publication.server_ts_ms,
            client_ts_ms: publication.client_ts_ms,
        }
    }
}
