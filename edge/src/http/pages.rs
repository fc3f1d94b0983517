//! Pages for browsers beside the API, brought by the composition root: the operators' console, and
//! the try-it page of `sterna dev`. They come with the strictest policy that they can work under. What
//! has tokens in it comes only to whoever asks for this machine by a name of its own, so that no page
//! of somebody else reads it through a name that was made to point here (DNS rebinding).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sterna_proto::{ErrorCode, v1};

use super::{Shared, answer};

/// What lies at one path.
#[derive(Debug, Clone)]
pub struct Page {
    /// As in `/try/`.
    pub path: String,
    /// As in `text/html; charset=utf-8`.
    pub content_type: &'static str,
    pub content: Content,
    pub audience: Audience,
}

/// Who gets a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Whoever can connect, through whatever proxy: there is no secret in it.
    Anybody,
    /// Who asks for this machine by a name of its own.
    ThisMachine,
}

/// The bytes of a page.
#[derive(Clone)]
pub enum Content {
    Fixed(&'static [u8]),
    /// None: the page is there, relative to where it was looked for.
    Elsewhere(&'static str),
    /// Made anew for each request, by what is told where clients connect.
    Made(Make),
}

/// Takes the address of the client port, if the node has one.
type Make = Arc<dyn Fn(Option<SocketAddr>) -> Vec<u8> + Send + Sync>;

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(bytes) => write!(f, "Fixed({} bytes)", bytes.len()),
            Self::Elsewhere(place) => write!(f, "Elsewhere({place})"),
            Self::Made(_) => f.write_str("Made"),
        }
    }
}

/// Answers with the page at the path of the request.
pub(super) async fn page(State(surface): Shared, request: Request) -> Response {
    let path = request.uri().path();
    let Some(page) = surface.pages.iter().find(|page| page.path == path) else {
        return super::operate::unknown_path().await;
    };
    if page.audience == Audience::ThisMachine && !is_local(&request) {
        return foreign();
    }
    let body = match &page.content {
        Content::Fixed(bytes) => Bytes::from_static(bytes),
        Content::Made(make) => make(surface.parts.ready.client_address).into(),
        Content::Elsewhere(place) => return moved(place),
    };
    let mut response = Body::from(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, page.audience.policy()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Relative, so that a proxy may have put the surface under a path of its own.
fn moved(place: &'static str) -> Response {
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, place)]).into_response()
}

/// Whether the request was sent to a name that cannot but mean this machine.
pub(super) fn is_local(request: &Request) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let name = host.map(|host| {
        host.rsplit_once(':').map_or(host, |(name, port)| {
            // The colons of a bare IPv6 address are no port's.
            if port.ends_with(']') { host } else { name }
        })
    });
    matches!(name, Some("localhost" | "127.0.0.1" | "[::1]"))
}

pub(super) fn foreign() -> Response {
    let message = "this page is for browsers on this machine: open it as http://localhost:PORT";
    answer::respond(StatusCode::FORBIDDEN, v1::Error::new(ErrorCode::PermissionDenied, message))
}

impl Audience {
    /// Nothing from elsewhere, nothing written into the page; the pages of this machine may connect
    /// to the client port of a node on it.
    const fn policy(self) -> &'static str {
        match self {
            Self::Anybody => {
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                 connect-src 'self'; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            }
            Self::ThisMachine => {
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                 connect-src 'self' https://127.0.0.1:*; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            }
        }
    }
}
