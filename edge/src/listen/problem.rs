//! What a request over plain HTTP is answered with that is not done: a status, and the same JSON that
//! the HTTP API has for errors. And what pages of other origins may see. Pure.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use sterna_proto::{DecodeError, ErrorCode, v1, version};

use super::upgrade::Refused;
use crate::http::failure;
use crate::transport::http::StreamId;

/// A request that was not done.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) error: v1::Error,
    /// Value of the metric label `result`.
    pub(super) result: &'static str,
}

impl Problem {
    fn new(
        status: StatusCode,
        code: ErrorCode,
        result: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { status, error: v1::Error::new(code, message), result }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, "invalid", message)
    }

    pub(super) fn media_type(expected: &str) -> Self {
        let message = format!("the body of this request has to be {expected}");
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(status, ErrorCode::BadRequest, "invalid", message)
    }

    pub(super) fn method() -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        let message = "POST opens a connection or sends on it, DELETE leaves, GET looks whether \
                       anybody is here";
        Self::new(status, ErrorCode::BadRequest, "invalid", message)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("a body has {limit} bytes at most");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::TooLarge, "too_large", message)
    }

    pub(super) fn slow() -> Self {
        let message = "the body has not come in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::BadRequest, "slow", message)
    }

    /// Of this edge, that is: behind a balancer it may be another one's.
    pub(super) fn unknown() -> Self {
        let message = "there is no such connection here, or not any more; open one with the ticket";
        Self::new(StatusCode::NOT_FOUND, ErrorCode::BadRequest, "unknown", message)
    }

    pub(super) fn skipped(expected: u64) -> Self {
        let message = format!("request {expected} has to come before");
        Self::new(StatusCode::CONFLICT, ErrorCode::BadRequest, "skipped", message)
    }

    pub(super) fn crowded(at_once: usize) -> Self {
        let message = format!("{at_once} requests of this connection are here already");
        Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::Busy, "crowded", message)
            .after(Duration::from_secs(1))
    }

    pub(super) fn busy() -> Self {
        let message = "the connection has more to do than it can take; send the same again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Busy, "busy", message)
            .after(Duration::from_secs(1))
    }

    pub(super) fn draining() -> Self {
        let message = "this node leaves; connect to another one";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Draining, "draining", message)
            .after(Duration::from_secs(1))
    }

    pub(super) fn forbidden(refused: Refused) -> Self {
        Self::new(refused.status, ErrorCode::PermissionDenied, "forbidden", refused.line)
    }

    fn after(mut self, wait: Duration) -> Self {
        self.error.retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        self
    }

    /// The whole answer.
    pub(super) fn response(self) -> Response<Bytes> {
        let mut response = failure(self.status, self.error);
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static(METHODS);
            response.headers_mut().insert(header::ALLOW, allowed);
        }
        response
    }
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Self {
        let message = error.to_string();
        match error {
            DecodeError::TooLarge { .. } => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                Self::new(status, ErrorCode::TooLarge, "too_large", message)
            }
            _ => Self::invalid(message),
        }
    }
}

/// Lets the page see the answer. Its origin is allowed already; without one there is nobody to tell.
pub(super) fn share(headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let seen = HeaderValue::from_static("retry-after");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, seen);
    }
}

/// What a browser asks before it sends anything that a form could not: once for all requests of a
/// page, as all have one address.
pub(super) fn preflight(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS)),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, allowed_fields()),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS)),
    ] {
        headers.insert(name, value);
    }
}

fn allowed_fields() -> HeaderValue {
    let fields =
        format!("content-type, {}, {}", version::HTTP_STREAM_FIELD, version::HTTP_SEQUENCE_FIELD);
    HeaderValue::try_from(fields).unwrap_or_else(|_| unreachable!("the names are ours"))
}

/// The connection that a request names, if it names one.
pub(super) fn stream_of(headers: &HeaderMap) -> Result<Option<StreamId>, Problem> {
    let Some(value) = headers.get(version::HTTP_STREAM_FIELD) else { return Ok(None) };
    // What is no name of ours names no connection.
    let id = value.to_str().ok().and_then(StreamId::parse);
    id.ok_or_else(Problem::unknown).map(Some)
}

/// The number of a request.
pub(super) fn sequence_of(headers: &HeaderMap) -> Result<u64, Problem> {
    let value = headers.get(version::HTTP_SEQUENCE_FIELD).and_then(|value| value.to_str().ok());
    let number = value.and_then(|value| value.parse().ok()).filter(|number| *number > 0);
    number.ok_or_else(|| {
        let field = version::HTTP_SEQUENCE_FIELD;
        Problem::invalid(format!("{field} counts the requests of a connection from 1 on"))
    })
}

/// Whether a browser asks what a page may.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

const METHODS: &str = "GET, POST, DELETE";

/// As long as Chromium remembers at most.
const PREFLIGHT_SECONDS: &str = "7200";

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field =
            |(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value));
        fields.iter().copied().map(field).collect()
    }

    #[test]
    fn problems_are_typed_and_say_when_to_come_back() {
        let response = Problem::busy().response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "1");
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["error"]["name"], "BUSY");
        assert_eq!(body["error"]["retryable"], true);
        let response = Problem::method().response();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], METHODS);
    }

    #[test]
    fn a_request_names_its_connection_and_its_number() {
        let id = StreamId::random().to_string();
        let mut named = HeaderMap::new();
        named.insert(version::HTTP_STREAM_FIELD, id.parse().unwrap());
        assert_eq!(stream_of(&named).unwrap().unwrap().to_string(), id);
        assert!(stream_of(&headers(&[])).unwrap().is_none());
        let foreign = stream_of(&headers(&[("sterna-stream", "1234")]));
        assert_eq!(foreign.unwrap_err().status, 404);
        let number = |value| sequence_of(&headers(&[("sterna-sequence", value)]));
        assert_eq!(number("7").unwrap(), 7);
        for bad in ["0", "-1", "1.0", "", "99999999999999999999"] {
            assert_eq!(number(bad).unwrap_err().status, 400, "{bad}");
        }
        assert_eq!(sequence_of(&headers(&[])).unwrap_err().status, 400);
    }

    #[test]
    fn a_page_sees_what_it_may() {
        let mut shared = HeaderMap::new();
        share(&mut shared, None);
        assert!(!shared.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        share(&mut shared, Some(&HeaderValue::from_static("https://app.example.com")));
        preflight(&mut shared);
        assert_eq!(shared["access-control-allow-origin"], "https://app.example.com");
        let fields = &shared["access-control-allow-headers"];
        assert_eq!(fields, "content-type, sterna-stream, sterna-sequence");
    }
}
