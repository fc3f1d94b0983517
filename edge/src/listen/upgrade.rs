//! What an HTTP/1.1 request on the client port gets: the WebSocket upgrade, or one line that says what
//! to do instead. Pure; [`wss`](super::wss) moves the bytes.

use http::header::{HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, Method, StatusCode};
use sterna_core::{AffinityKey, Encoding};
use sterna_proto::version;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response};

/// A request that will not be upgraded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) line: String,
}

/// An upgrade: the whole response head, and how frames will be encoded.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) head: Vec<u8>,
    pub(crate) encoding: Encoding,
}

pub(crate) fn decide(request: &Request, allowed_origins: &[String]) -> Result<Upgraded, Refused> {
    let path = request.uri().path();
    if path == "/" && request.method() == Method::GET {
        return Err(Refused::welcome());
    }
    if path != version::WEBSOCKET_PATH {
        return Err(Refused::nothing_at(path));
    }
    let origins = request.headers().get_all(ORIGIN);
    Refused::check_origins(origins.iter().map(HeaderValue::as_bytes), allowed_origins)?;
    let response = create_response(request).map_err(|error| {
        bad_request(format!("Not a WebSocket upgrade (RFC 6455, version 13): {error}."))
    })?;
    let (name, encoding) = subprotocol(request)?;
    let mut head = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
    for (field, value) in response.headers() {
        append_field(&mut head, field, value.as_bytes());
    }
    append_field(&mut head, &SEC_WEBSOCKET_PROTOCOL, name.as_bytes());
    head.extend_from_slice(b"\r\n");
    Ok(Upgraded { head, encoding })
}

/// What a balancer or the application has written into this field to keep clients together.
pub(crate) fn affinity(headers: &HeaderMap, field: Option<&str>) -> Option<AffinityKey> {
    let value = headers.get(field?)?;
    Some(AffinityKey::of(value.as_bytes()))
}

impl Refused {
    /// Somebody looks whether anybody is here.
    pub(crate) fn welcome() -> Self {
        let line = format!("Sterna is here. Clients connect to {}.", version::WEBSOCKET_PATH);
        Self { status: StatusCode::OK, line }
    }

    /// The path of WebSockets, by a request that can be none.
    pub(crate) fn not_here() -> Self {
        bad_request(format!(
            "{} takes GET with an upgrade, as the first request of a TCP connection.",
            version::WEBSOCKET_PATH
        ))
    }

    pub(crate) fn nothing_at(path: &str) -> Self {
        let line = format!("Nothing at {path}. Clients connect to {}.", version::WEBSOCKET_PATH);
        Self { status: StatusCode::NOT_FOUND, line }
    }

    /// Browsers tell whose page it is; everything else has no Origin and is let through to the
    /// Hello.
    pub(crate) fn check_origins<'a>(
        origins: impl Iterator<Item = &'a [u8]>,
        allowed: &[String],
    ) -> Result<(), Self> {
        for origin in origins {
            let origin = String::from_utf8_lossy(origin);
            if !allowed.iter().any(|each| each == "*" || each.eq_ignore_ascii_case(&origin)) {
                let line = format!("Pages of {origin} may not connect; see allowed_origins.");
                return Err(Self { status: StatusCode::FORBIDDEN, line });
            }
        }
        Ok(())
    }

    /// The whole response.
    pub(crate) fn response(&self) -> Vec<u8> {
        let Self { status, line } = self;
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{line}\n",
            line.len() + 1
        )
        .into_bytes()
    }
}

/// The first subprotocol of the client's list that we speak.
fn subprotocol(request: &Request) -> Result<(&'static str, Encoding), Refused> {
    let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    offers
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .find_map(|offer| SUBPROTOCOLS.into_iter().find(|(name, _)| *name == offer.trim()))
        .ok_or_else(|| {
            let [(protobuf, _), (json, _)] = SUBPROTOCOLS;
            bad_request(format!("Offer {protobuf} or {json} in Sec-WebSocket-Protocol."))
        })
}

fn bad_request(line: String) -> Refused {
    Refused { status: StatusCode::BAD_REQUEST, line }
}

fn append_field(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

const SUBPROTOCOLS: [(&str, Encoding); 2] = [
    (version::SUBPROTOCOL_PROTOBUF, Encoding::Protobuf),
    (version::SUBPROTOCOL_JSON, Encoding::Json),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn request(path: &str, fields: &[(&str, &str)]) -> Request {
        let mut request = Request::builder()
            .uri(path)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    fn refused(path: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let allowed = ["https://app.example.com".to_owned()];
        let refused = decide(&request(path, fields), &allowed).unwrap_err();
        (refused.status.as_u16(), refused.line)
    }

    #[test]
    fn the_first_subprotocol_that_both_speak_wins() {
        for (offer, encoding) in [
            ("sterna.v1.json", Encoding::Json),
            ("mqtt, sterna.v1.protobuf,sterna.v1.json", Encoding::Protobuf),
        ] {
            let fields = [("Sec-WebSocket-Protocol", offer)];
            let upgraded = decide(&request("/v1/connect", &fields), &[]).unwrap();
            assert_eq!(upgraded.encoding, encoding);
            let head = String::from_utf8(upgraded.head).unwrap();
            assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
            assert!(head.ends_with("\r\n\r\n"));
        }
    }

    #[test]
    fn origins_are_compared_whole() {
        let json = ("Sec-WebSocket-Protocol", "sterna.v1.json");
        let upgrade = |origin, allowed: &[&str]| {
            let allowed: Vec<String> = allowed.iter().map(|each| (*each).to_owned()).collect();
            decide(&request("/v1/connect", &[json, ("Origin", origin)]), &allowed)
                .map(drop)
                .map_err(|refused| refused.status.as_u16())
        };
        let app = "https://app.example.com";
        assert_eq!(upgrade(app, &[app]), Ok(()));
        assert_eq!(upgrade("https://other.example", &["*"]), Ok(()));
        for bad in ["https://app.example.com.evil.example", "http://app.example.com", "null", ""] {
            assert_eq!(upgrade(bad, &[app]), Err(403), "{bad}");
        }
        assert_eq!(upgrade(app, &[]), Err(403));
    }

    #[test]
    fn a_field_keeps_clients_together() {
        let of = |value| request("/v1/connect", &[("X-Tenant", value)]);
        let key = |request: &Request| affinity(request.headers(), Some("x-tenant"));
        assert!(key(&of("acme")).is_some());
        assert_eq!(key(&of("acme")), key(&of("acme")));
        assert_ne!(key(&of("acme")), key(&of("other")));
        assert_eq!(key(&request("/v1/connect", &[])), None);
        assert_eq!(affinity(of("acme").headers(), None), None);
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        assert_eq!(refused("/", &[]).0, 200);
        let (status, line) = refused("/chat", &[]);
        assert!(status == 404 && line.contains("/v1/connect"), "{line}");
        let (status, line) = refused("/v1/connect", &[("Sec-WebSocket-Protocol", "mqtt")]);
        assert!(status == 400 && line.contains("sterna.v1.json"), "{line}");
        let plain = Request::builder().uri("/v1/connect").body(()).unwrap();
        assert_eq!(decide(&plain, &[]).unwrap_err().status, 400);
    }
}
