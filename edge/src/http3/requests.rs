//! What a request gets: a session, or one line that says what to do instead. The counterpart of
//! `listen::upgrade` for HTTP/3, with the same path, origins and words. Pure.

use bytes::Bytes;
use http::StatusCode;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN};
use sterna_core::AffinityKey;
use sterna_proto::version;

use super::fields::Request;
use super::{frame, frame_of, qpack};
use crate::listen::Refused;

/// What is to be done about a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It begins a session, if there is none.
    Session { answer: Bytes, affinity: Option<AffinityKey> },
    /// That is all. Ends the stream.
    Answer { status: StatusCode, answer: Bytes },
}

/// `affinity_field`: where a balancer or the application has written what keeps clients together.
pub(crate) fn decide(
    request: &Request,
    allowed_origins: &[String],
    affinity_field: Option<&str>,
) -> Verdict {
    match check(request, allowed_origins) {
        Ok(protocol) => {
            let value = affinity_field.and_then(|field| request.values(field).next());
            let affinity = value.map(AffinityKey::of);
            Verdict::Session { answer: accept(request, protocol), affinity }
        }
        Err(refused) => answer(&refused, request.method == "HEAD"),
    }
}

/// The answer to whoever has sent more fields than are taken.
pub(crate) fn too_large() -> Verdict {
    let line = format!("Fields have room for {} octets.", qpack::SECTION_BYTES);
    answer(&Refused { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, line }, false)
}

/// The name of the protocol to answer with, if the client has offered names.
fn check(request: &Request, allowed: &[String]) -> Result<Option<&'static str>, Refused> {
    let refused = |status, line: String| Err(Refused { status, line });
    let (method, path) = (request.method.as_str(), request.path.as_str());
    let reads = matches!(method, "GET" | "HEAD");
    match (path, method, &request.protocol) {
        (_, "CONNECT", None) => {
            let line = "This is no proxy; a session begins with :protocol webtransport.".to_owned();
            return refused(StatusCode::BAD_REQUEST, line);
        }
        (_, "CONNECT", Some(protocol)) if !PROTOCOLS.contains(&protocol.as_str()) => {
            let line = "No such :protocol here; a session begins with webtransport.".to_owned();
            return refused(StatusCode::NOT_IMPLEMENTED, line);
        }
        ("/", _, None) if reads => return Err(Refused::welcome()),
        ("/", ..) => return refused(StatusCode::METHOD_NOT_ALLOWED, "Only GET here.".to_owned()),
        (version::WEBSOCKET_PATH, "CONNECT", Some(_)) => {}
        (version::WEBSOCKET_PATH, ..) => {
            let line = "WebTransport connects here, with an extended CONNECT.".to_owned();
            return refused(StatusCode::METHOD_NOT_ALLOWED, line);
        }
        _ => return Err(Refused::nothing_at(path)),
    }
    Refused::check_origins(request.values(ORIGIN.as_str()), allowed)?;
    let mut offers = request.values(AVAILABLE_PROTOCOLS).filter_map(|it| str::from_utf8(it).ok());
    if request.values(AVAILABLE_PROTOCOLS).next().is_none() {
        return Ok(None);
    }
    let known = |list: &str| names(list).any(|name| name == version::WEBTRANSPORT_PROTOCOL);
    match offers.any(known) {
        true => Ok(Some(version::WEBTRANSPORT_PROTOCOL)),
        false => {
            let line = format!("Offer {} as protocol, or none.", version::WEBTRANSPORT_PROTOCOL);
            refused(StatusCode::BAD_REQUEST, line)
        }
    }
}

/// The names in a list of strings (RFC 9651); what is none is passed over.
fn names(list: &str) -> impl Iterator<Item = &str> {
    let items = list.split(',').map(|item| item.split(';').next().unwrap_or_default().trim());
    items.filter_map(|item| item.strip_prefix('"')?.strip_suffix('"'))
}

fn accept(request: &Request, protocol: Option<&str>) -> Bytes {
    let quoted = protocol.map(|name| format!("\"{name}\""));
    let mut fields = Vec::new();
    if let Some(quoted) = &quoted {
        fields.push((SELECTED_PROTOCOL, quoted.as_str()));
    }
    if request.values(DRAFT02_OFFERED).next().is_some() {
        fields.push((DRAFT02_ACCEPTED, "draft02"));
    }
    frame_of(frame::HEADERS, &qpack::encode("200", &fields)).into()
}

fn answer(refused: &Refused, without_body: bool) -> Verdict {
    let Refused { status, line } = refused;
    let length = (line.len() + 1).to_string();
    let mut fields = vec![
        (CONTENT_TYPE.as_str(), "text/plain; charset=utf-8"),
        (CONTENT_LENGTH.as_str(), length.as_str()),
    ];
    if *status == StatusCode::METHOD_NOT_ALLOWED {
        fields
            .push((ALLOW.as_str(), if line.contains("CONNECT") { "CONNECT" } else { "GET, HEAD" }));
    }
    let mut answer = frame_of(frame::HEADERS, &qpack::encode(status.as_str(), &fields));
    if !without_body {
        answer.extend(frame_of(frame::DATA, format!("{line}\n").as_bytes()));
    }
    Verdict::Answer { status: *status, answer: answer.into() }
}

/// What browsers say, and what they will say by newer drafts.
const PROTOCOLS: [&str; 2] = ["webtransport", "webtransport-h3"];

const AVAILABLE_PROTOCOLS: &str = "wt-available-protocols";
const SELECTED_PROTOCOL: &str = "wt-protocol";

/// How draft 02 makes sure that both speak it.
const DRAFT02_OFFERED: &str = "sec-webtransport-http3-draft02";
const DRAFT02_ACCEPTED: &str = "sec-webtransport-http3-draft";

#[cfg(test)]
mod tests {
    use super::super::fields::tests::request;
    use super::*;

    const APP: &str = "https://app.example.com";

    fn ask(method: &str, path: &str, further: &[(&str, &str)]) -> Verdict {
        let target = [(":scheme", "https"), (":authority", "localhost:4443"), (":path", path)];
        let request = request(&[&[(":method", method)], &target[..], further].concat()).unwrap();
        decide(&request, &[APP.to_owned()], Some("X-Tenant"))
    }

    fn connect(path: &str, further: &[(&str, &str)]) -> Verdict {
        ask("CONNECT", path, &[&[(":protocol", "webtransport")], further].concat())
    }

    /// Status, and what stands in the answer.
    fn refused(verdict: Verdict) -> (u16, String) {
        match verdict {
            Verdict::Answer { status, answer } => {
                (status.as_u16(), String::from_utf8_lossy(&answer).into_owned())
            }
            Verdict::Session { .. } => panic!("a session"),
        }
    }

    fn accepted(verdict: Verdict) -> String {
        match verdict {
            Verdict::Session { answer, .. } => String::from_utf8_lossy(&answer).into_owned(),
            Verdict::Answer { status, .. } => panic!("{status}"),
        }
    }

    #[test]
    fn both_names_of_the_protocol_begin_a_session() {
        for protocol in PROTOCOLS {
            let verdict = ask("CONNECT", "/v1/connect?x=y", &[(":protocol", protocol)]);
            assert!(!accepted(verdict).contains("wt-protocol"), "nothing was offered");
        }
    }

    #[test]
    fn sub_protocols_and_the_draft_are_answered_when_they_are_offered() {
        let offered = |list| connect("/v1/connect", &[("wt-available-protocols", list)]);
        assert!(accepted(offered("\"mqtt\", \"sterna.1\";q=1")).contains("\"sterna.1\""));
        for bad in ["\"mqtt\"", "sterna.1", "", "\"sterna.1"] {
            let (status, line) = refused(offered(bad));
            assert!(status == 400 && line.contains("sterna.1"), "{bad}: {status} {line}");
        }
        let draft = connect("/v1/connect", &[("sec-webtransport-http3-draft02", "1")]);
        assert!(accepted(draft).contains("draft02"));
    }

    #[test]
    fn origins_are_those_of_wss() {
        let from = |origin| connect("/v1/connect", &[("origin", origin)]);
        accepted(from(APP));
        accepted(connect("/v1/connect", &[]));
        for bad in ["https://app.example.com.evil.example", "http://app.example.com", "null", ""] {
            assert_eq!(refused(from(bad)).0, 403, "{bad}");
        }
        let both = connect("/v1/connect", &[("origin", APP), ("origin", "https://evil.example")]);
        assert_eq!(refused(both).0, 403, "one of two");
    }

    #[test]
    fn a_field_keeps_clients_together() {
        let of = |further: &[(&str, &str)]| match connect("/v1/connect", further) {
            Verdict::Session { affinity, .. } => affinity,
            Verdict::Answer { .. } => panic!("no session"),
        };
        assert_eq!(of(&[("x-tenant", "acme")]), Some(AffinityKey::of(b"acme")));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let tunnel = request(&[(":method", "CONNECT"), (":authority", "x:1")]).unwrap();
        for (verdict, status, word) in [
            (ask("GET", "/", &[]), 200, "/v1/connect"),
            (ask("POST", "/", &[]), 405, "GET, HEAD"),
            (ask("GET", "/v1/connect", &[]), 405, "CONNECT"),
            (ask("GET", "/chat", &[]), 404, "/v1/connect"),
            (connect("/chat", &[]), 404, "/v1/connect"),
            (connect("/", &[]), 405, "GET"),
            (ask("CONNECT", "/v1/connect", &[(":protocol", "websocket")]), 501, "webtransport"),
            (decide(&tunnel, &[], None), 400, "webtransport"),
            (too_large(), 431, "16384"),
        ] {
            let (found, text) = refused(verdict);
            assert!(found == status && text.contains(word), "{found} {text}");
        }
    }

    #[test]
    fn a_head_has_the_fields_and_no_more() {
        let (get, head) = (refused(ask("GET", "/", &[])).1, refused(ask("HEAD", "/", &[])).1);
        assert!(get.starts_with(&head) && get.len() > head.len() + 20, "{head}");
    }
}
