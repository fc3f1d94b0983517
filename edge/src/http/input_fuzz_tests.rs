//! Fuzz targets of what callers of the HTTP API say: any bytes become a body or a query of the shape
//! that is asked for, or a refusal that says which.

use std::collections::BTreeSet;

use axum::extract::Query;
use axum::http::Uri;
use serde_json::Value;
use sterna_fuzz::check;

use super::super::{
    channel, channels, cluster, elsewhere, inbox, jobs, keeping, operate, publish, read, session,
    trace,
};
use super::*;

/// Why it is not taken, if it is not, behind its name or path in `openapi.json`.
type Shape<T> = (&'static str, fn(&T) -> Option<String>);

macro_rules! bodies {
    ($($module:ident::$body:ident),* $(,)?) => {
        &[$((stringify!($body), body_refusal::<$module::$body>)),*]
    };
}

const BODIES: &[Shape<[u8]>] = bodies![
    publish::PublishBody,
    publish::BroadcastBody,
    channels::CreateBody,
    channels::ListBody,
    channels::MembersBody,
    channels::SetMemberBody,
    channels::RemoveMemberBody,
    read::HistoryBody,
    read::ChannelBody,
    inbox::InboxBody,
    inbox::ChangeInboxBody,
    operate::SessionsBody,
    operate::RevokeBody,
    operate::DrainBody,
    keeping::KeepingBody,
    keeping::RetentionBody,
    keeping::SwitchBody,
    keeping::RedactBody,
    keeping::EraseBody,
    jobs::NothingBody,
    jobs::BackupBody,
    trace::ArmBody,
];

fn body_refusal<T: DeserializeOwned>(body: &[u8]) -> Option<String> {
    let refusal = parse::<T>(body).err()?;
    assert!(refusal.status.is_client_error());
    Some(refusal.error.message)
}

#[test]
fn fuzz_api_json() {
    check!("api_json", |bytes: &[u8]| {
        let Some((shape, body)) = bytes.split_first() else { return };
        let shape = usize::from(*shape) % (BODIES.len() + 2);
        let Some((name, taken)) = BODIES.get(shape) else {
            return if shape == BODIES.len() { check_uuid(body) } else { check_payload(body) };
        };
        match taken(body) {
            None => assert!(serde_json::from_slice::<Value>(body).unwrap().is_object(), "{name}"),
            Some(why) => assert!(!why.is_empty(), "{name}"),
        }
    });
}

/// What the API describes and the target does not know would never be damaged.
#[test]
fn every_body_of_the_api_has_its_shape_in_the_target() {
    let document: Value = serde_json::from_str(operate::OPENAPI).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let bodies = paths.filter_map(|methods| methods["post"]["requestBody"].as_object());
    let described: BTreeSet<&str> = bodies
        .map(|body| body["content"]["application/json"]["schema"]["$ref"].as_str().unwrap())
        .map(|schema| schema.strip_prefix("#/components/schemas/").unwrap())
        .collect();
    let known: BTreeSet<&str> = BODIES.iter().map(|(name, _)| *name).collect();
    assert_eq!(known, described);
}

fn check_uuid(body: &[u8]) {
    let Ok(text) = std::str::from_utf8(body) else { return };
    if let Ok(bytes) = uuid_bytes(text) {
        assert_eq!(bytes.len(), 16);
        assert_eq!(uuid_bytes(&uuid_text(&bytes)).ok(), Some(bytes));
    }
}

fn check_payload(body: &[u8]) {
    let Ok(text) = std::str::from_utf8(body) else { return };
    if let Ok(bytes) = payload(None, Some(text.to_owned())) {
        assert_eq!(STANDARD.encode(&bytes), text, "one payload has one form");
    }
    assert!(payload(Some(text.to_owned()), None).is_ok_and(|bytes| bytes == text.as_bytes()));
}

/// Paths whose handlers read a query, each with what it is read as.
const QUERIES: &[Shape<Uri>] = &[
    ("/api/v1/operate/node", query_refusal::<cluster::NodeQuery>),
    ("/api/v1/operate/session", query_refusal::<session::SessionQuery>),
    ("/api/v1/operate/channel", query_refusal::<channel::ChannelQuery>),
    ("/api/v1/operate/following", query_refusal::<channel::ChannelQuery>),
    ("/api/v1/operate/trace", query_refusal::<trace::TraceQuery>),
    ("/api/v1/operate/job", query_refusal::<jobs::JobQuery>),
];

fn query_refusal<T: DeserializeOwned>(uri: &Uri) -> Option<String> {
    Query::<T>::try_from_uri(uri).err().map(|rejection| rejection.body_text())
}

/// A query behind any of the paths, as the node that is asked reads it, and as one reads it that asks
/// another node first.
#[test]
fn fuzz_api_query() {
    check!("api_query", |bytes: &[u8]| {
        let Some((at, query)) = bytes.split_first() else { return };
        let (path, refused) = QUERIES[usize::from(*at) % QUERIES.len()];
        let Ok(uri) = [path.as_bytes(), b"?", query].concat().try_into().map(|uri: Uri| uri) else {
            return;
        };
        assert!(refused(&uri).is_none_or(|why| !why.is_empty()));
        if let Ok(id) = session::parse(uri.query().unwrap_or_default()) {
            assert_eq!(session::parse(&format!("{:032x}", id.0)).ok(), Some(id));
        }
        let Some((node, rest)) = elsewhere::target(&uri) else { return };
        assert!(!node.contains('&'));
        let rest: Uri = rest.parse().unwrap();
        assert_eq!(rest.path(), path);
        assert!(elsewhere::target(&rest).is_none(), "the question goes no further");
    });
}

/// As for bodies: by the parameters that the API describes, `node` aside, which every path has.
#[test]
fn every_query_of_the_api_is_read_in_the_target() {
    let document: Value = serde_json::from_str(operate::OPENAPI).unwrap();
    let mut described = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let parameters = methods["get"]["parameters"].as_array().into_iter().flatten();
        if parameters.into_iter().any(|it| it["in"] == "query" && it["name"] != "node") {
            described.push(path.as_str());
        }
    }
    described.sort_unstable();
    let mut known: Vec<&str> = QUERIES.iter().map(|(path, _)| *path).collect();
    known.sort_unstable();
    assert_eq!(known, described);
}
