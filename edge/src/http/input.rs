//! Request bodies: JSON objects with known fields only, bounded, and of the declared type.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use sterna_proto::{ErrorCode, limits, v1};

use super::answer::{ApiError, respond};

/// A parsed body.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        check_type(&request)?;
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let status = rejection.into_response().status();
            if status == StatusCode::PAYLOAD_TOO_LARGE {
                let message = format!("a body has at most {} bytes", super::BODY_BYTES);
                return Refusal::new(status, ErrorCode::TooLarge, message);
            }
            Refusal::new(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, "the body ended too early")
        })?;
        parse(&bytes).map(Self)
    }
}

/// A body that is not taken, with the status that HTTP has for it.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: Box<v1::Error>,
}

impl Refusal {
    fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { status, error: Box::new(v1::Error::new(code, message)) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        respond(self.status, *self.error)
    }
}

fn check_type(request: &Request) -> Result<(), Refusal> {
    let refuse = |message: &str| {
        Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::BadRequest, message))
    };
    let headers = request.headers();
    if headers.contains_key(header::CONTENT_ENCODING) {
        return refuse("compressed bodies are not taken; send it plain");
    }
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let declared = declared.and_then(|value| value.split(';').next()).unwrap_or("").trim();
    if declared.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    refuse("send JSON, with `Content-Type: application/json`")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let refuse = |status, message: String| Refusal::new(status, ErrorCode::BadRequest, message);
    // serde would take a list for a struct, member by member.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(refuse(StatusCode::BAD_REQUEST, "the body is not a JSON object".into()));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let status = match error.classify() {
            serde_json::error::Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::BAD_REQUEST,
        };
        refuse(status, error.to_string())
    })
}

/// The payload of a publication: exactly one of the two forms.
pub(super) fn payload(
    text: Option<String>,
    payload_base64: Option<String>,
) -> Result<Bytes, ApiError> {
    let payload: Vec<u8> = match (text, payload_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(encoded)) => STANDARD.decode(encoded).map_err(|_| {
            ApiError::bad_request("payload_base64 is not base64 (RFC 4648, padded)")
        })?,
        _ => return Err(ApiError::bad_request("give one of text and payload_base64")),
    };
    if payload.len() > limits::PAYLOAD_BYTES {
        let message = format!(
            "a payload has at most {} bytes, this one has {}; put larger content into a blob",
            limits::PAYLOAD_BYTES,
            payload.len()
        );
        return Err(ApiError(v1::Error::new(ErrorCode::TooLarge, message)));
    }
    Ok(payload.into())
}

/// 16 bytes from a UUID's text, dashes or not.
pub(super) fn uuid_bytes(text: &str) -> Result<Bytes, ApiError> {
    let refuse = || ApiError::bad_request("client_msg_id is not a UUID");
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    if digits.len() != 32 || text.len() > 36 {
        return Err(refuse());
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).ok_or_else(refuse);
    digits
        .chunks(2)
        .map(|pair| Ok((nibble(pair[0])? * 16 + nibble(pair[1])?) as u8))
        .collect::<Result<Vec<u8>, ApiError>>()
        .map(Into::into)
}

/// The other way round: 16 bytes as a UUID, anything else as plain hexadecimal.
pub(super) fn uuid_text(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if bytes.len() == 16 && matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
#[path = "input_fuzz_tests.rs"]
mod fuzz_tests;
