//! HTTP/3 beside sessions: plain requests, and clients that do not keep to the rules or want more
//! than anybody needs.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::webtransport::{
    Answer, DATA, HEADERS, Http3, SETTINGS, WebTransportClient, answer, connect_request, headers,
    item, request, varint,
};
use common::{TestEdge, hello, within};
use quinn::{ReadError, RecvStream, SendStream, StoppedError, TransportConfig};
use sterna_proto::{codec, version};

const PATH: &str = version::WEBSOCKET_PATH;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_requests_are_answered() {
    let edge = TestEdge::start().await;
    let http3 = Http3::start(&edge).await;
    let Answer { status, fields, body } = http3.ask(&request("GET", "/")).await;
    assert!(status == 200 && body.contains(PATH), "{status} {body}");
    assert!(fields.contains("text/plain"));
    let (mut send, mut receive) = http3.connection.open_bi().await.unwrap();
    send.write_all(&headers(&request("GET", "/"))).await.unwrap();
    send.finish().unwrap();
    assert_eq!(answer(&mut receive).await.status, 200);
    let stopped = within("the end", send.stopped()).await.unwrap();
    assert_eq!(stopped, None, "whoever has said all is not stopped");
    let head = http3.ask(&request("HEAD", "/?x=y")).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for (method, path, status) in
        [("GET", "/chat", 404), ("POST", "/", 405), ("GET", PATH, 405), ("DELETE", PATH, 405)]
    {
        assert_eq!(http3.ask(&request(method, path)).await.status, status, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_a_session_that_cannot_be_is_told_why() {
    let edge = TestEdge::start().await;
    let http3 = Http3::start(&edge).await;
    let with = |further: &[(&'static str, &'static str)]| [&connect_request(), further].concat();
    let foreign = http3.ask(&with(&[("origin", "https://evil.example")])).await;
    assert!(foreign.status == 403 && foreign.body.contains("allowed_origins"), "{foreign:?}");
    let other = http3.ask(&with(&[("wt-available-protocols", "\"mqtt\"")])).await;
    assert!(other.status == 400 && other.body.contains("sterna.1"), "{other:?}");
    let mut websocket = connect_request();
    websocket[4].1 = "websocket";
    assert_eq!(http3.ask(&websocket).await.status, 501);
    let mut elsewhere = connect_request();
    elsewhere[3].1 = "/chat";
    assert_eq!(http3.ask(&elsewhere).await.status, 404);
    assert_eq!(http3.ask(&[(":method", "CONNECT"), (":authority", "x:1")]).await.status, 400);
    // The connection is as good as before.
    let mut client = WebTransportClient::on(http3).await;
    client.send(&hello("alice")).await;
    client.reply(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_one_session_and_a_second_request_is_rejected() {
    let edge = TestEdge::start().await;
    let mut client = WebTransportClient::start(&edge, "alice").await;
    for id in 2..8 {
        let (mut send, mut receive) = client.http3.connection.open_bi().await.unwrap();
        send.write_all(&headers(&connect_request())).await.unwrap();
        assert_eq!(reset_code(&mut receive).await, REQUEST_REJECTED);
        client.ping(id).await;
    }
    let mut foreign = client.http3.connection.open_uni().await.unwrap();
    foreign.write_all(&[varint(0x54), varint(4000)].concat()).await.unwrap();
    assert_eq!(stop_code(&foreign).await, BUFFERED_STREAM_REJECTED);
    let plain = client.http3.ask(&request("GET", "/")).await;
    assert_eq!(plain.status, 200, "beside the session");
    client.ping(9).await;
}

/// Streams of a session may overtake its request; some wait for it, more do not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_come_before_the_request_wait_for_it() {
    let edge = TestEdge::start().await;
    let http3 = Http3::start(&edge).await;
    let (mut request, _answers) = http3.connection.open_bi().await.unwrap();
    let (mut commands, mut replies) = http3.connection.open_bi().await.unwrap();
    let session = [varint(0x41), varint(0)].concat();
    let early = [session, codec::encode_to_bytes(&hello("alice")).to_vec()].concat();
    commands.write_all(&early).await.unwrap();
    request.write_all(&headers(&connect_request())).await.unwrap();
    let mut octet = [0];
    within("a Welcome", replies.read_exact(&mut octet)).await.unwrap();
    let many = Http3::start(&edge).await;
    let mut lanes = Vec::new();
    for _ in 0..2 {
        let mut lane = many.connection.open_uni().await.unwrap();
        lane.write_all(&[varint(0x54), varint(0)].concat()).await.unwrap();
        lanes.push(lane);
    }
    let mut refused = Vec::new();
    for _ in 0..2 {
        let (mut send, receive) = many.connection.open_bi().await.unwrap();
        send.write_all(&[varint(0x41), varint(0)].concat()).await.unwrap();
        refused.push((send, receive));
    }
    let (_send, mut fourth) = refused.pop().unwrap();
    assert_eq!(reset_code(&mut fourth).await, BUFFERED_STREAM_REJECTED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_without_end_are_refused_before_they_come() {
    let edge = TestEdge::start().await;
    let http3 = Http3::start(&edge).await;
    // A frame of 2^30 octets, of which none comes.
    let (mut send, mut receive) = http3.connection.open_bi().await.unwrap();
    send.write_all(&[varint(HEADERS), varint(1 << 29)].concat()).await.unwrap();
    assert_eq!(answer(&mut receive).await.status, 431);
    drop(send);
    // Small ones that would be large in memory.
    let (mut send, mut receive) = http3.connection.open_bi().await.unwrap();
    let mut section = vec![0, 0];
    section.resize(16 * 1024, 0xc0 | 58);
    send.write_all(&item(HEADERS, &section)).await.unwrap();
    assert_eq!(answer(&mut receive).await.status, 431);
    drop(send);
    // An unknown frame of any size is skipped and not kept, and what follows is read.
    let (mut send, mut receive) = http3.connection.open_bi().await.unwrap();
    let unknown = item(0x21, &vec![7; 3 << 20]);
    within("3 MiB of nothing", send.write_all(&unknown)).await.unwrap();
    send.write_all(&headers(&request("GET", "/"))).await.unwrap();
    assert_eq!(answer(&mut receive).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_never_come_are_not_waited_for() {
    let edge = TestEdge::start_with(|settings| {
        // Far beyond the patience of this test.
        settings.edge.limits.hello_deadline = Duration::from_secs(600);
    })
    .await;
    let http3 = Http3::start(&edge).await;
    let mut half = http3.connection.open_uni().await.unwrap();
    half.write_all(&varint(0x54)).await.unwrap();
    let (mut send, mut receive) = http3.connection.open_bi().await.unwrap();
    send.write_all(&headers(&connect_request())[..20]).await.unwrap();
    assert_eq!(reset_code(&mut receive).await, REQUEST_CANCELLED);
    drop(send);
    assert_eq!(stop_code(&half).await, REQUEST_CANCELLED);
    WebTransportClient::on(http3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_unknown_types_are_stopped_and_bad_requests_reset() {
    let edge = TestEdge::start().await;
    let http3 = Http3::start(&edge).await;
    for _ in 0..20 {
        let mut unknown = within("a stream", http3.connection.open_uni()).await.unwrap();
        unknown.write_all(&varint(0x21)).await.unwrap();
        assert_eq!(stop_code(&unknown).await, STREAM_CREATION_ERROR);
    }
    let malformed = [request("GET", "/"), vec![("Upper", "case")]].concat();
    let (mut send, mut receive) = http3.connection.open_bi().await.unwrap();
    send.write_all(&headers(&malformed)).await.unwrap();
    assert_eq!(reset_code(&mut receive).await, MESSAGE_ERROR);
    drop(send);
    let (mut send, mut receive) = http3.connection.open_bi().await.unwrap();
    send.write_all(&item(0x21, b"no request")).await.unwrap();
    send.finish().unwrap();
    assert_eq!(reset_code(&mut receive).await, REQUEST_INCOMPLETE);
    drop(send);
    WebTransportClient::on(http3).await;
}

/// What the rules forbid ends the connection, with the code that they give it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_breaks_the_rules_of_http3_is_told_which() {
    let edge = TestEdge::start().await;
    let remote = edge.edge.local_address();
    let settings = item(SETTINGS, &[]);
    for (code, control) in [
        (0x10a, item(0x07, &[0])),
        (0x105, [settings.clone(), settings.clone()].concat()),
        (0x105, [settings.clone(), item(DATA, b"x")].concat()),
        (0x107, [varint(SETTINGS), varint(1 << 20)].concat()),
        (0x109, item(SETTINGS, &[0x33, 2])),
    ] {
        let mut http3 = Http3::silent(&edge, remote, TransportConfig::default()).await;
        http3.control.write_all(&[&[0][..], &control].concat()).await.unwrap();
        assert_eq!(http3.closed().await, code, "{control:02x?}");
    }
    for (code, stream) in [
        (0x103, &b"\x00"[..]),
        (0x103, b"\x01"),
        (0x201, b"\x02\x3f\xe1\x1f"),
        (0x108, b"\x40\x54\x01"),
    ] {
        let http3 = Http3::start(&edge).await;
        let mut uni = http3.connection.open_uni().await.unwrap();
        uni.write_all(stream).await.unwrap();
        assert_eq!(http3.closed().await, code, "{stream:02x?}");
    }
    for (code, frame) in [(0x105, item(DATA, b"x")), (0x200, item(HEADERS, &[0, 0, 0x80]))] {
        let http3 = Http3::start(&edge).await;
        let (mut send, _receive) = http3.connection.open_bi().await.unwrap();
        send.write_all(&frame).await.unwrap();
        assert_eq!(http3.closed().await, code, "{frame:02x?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_breaks_the_rules_in_a_session_loses_it() {
    let edge = TestEdge::start().await;
    let mut client = WebTransportClient::start(&edge, "alice").await;
    client.http3.control.finish().unwrap();
    assert_eq!(client.http3.closed().await, 0x104);
    let mut client = WebTransportClient::start(&edge, "alice").await;
    client.request.0.write_all(&item(HEADERS, &[0, 0])).await.unwrap();
    assert_eq!(client.http3.closed().await, 0x105, "no trailers");
    let client = WebTransportClient::start(&edge, "alice").await;
    client.http3.connection.send_datagram(bytes::Bytes::new()).unwrap();
    assert_eq!(client.http3.closed().await, 0x33, "a datagram of no stream");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_requests_ends_the_connection() {
    let edge = TestEdge::start().await;
    let http3 = Http3::start(&edge).await;
    for _ in 0..16 {
        assert_eq!(http3.ask(&request("GET", "/")).await.status, 200);
    }
    let (mut send, _receive) = http3.connection.open_bi().await.unwrap();
    send.write_all(&headers(&request("GET", "/"))).await.unwrap();
    assert_eq!(http3.closed().await, 0x107);
}

async fn reset_code(stream: &mut RecvStream) -> u64 {
    loop {
        match within("a reset", stream.read_chunk(1000, true)).await {
            Err(ReadError::Reset(code)) => return code.into_inner(),
            Ok(Some(_)) => {}
            other => panic!("no reset but {other:?}"),
        }
    }
}

async fn stop_code(stream: &SendStream) -> u64 {
    let stopped: Result<_, StoppedError> = within("STOP_SENDING", stream.stopped()).await;
    stopped.unwrap().expect("it was not finished").into_inner()
}

const STREAM_CREATION_ERROR: u64 = 0x103;
const REQUEST_REJECTED: u64 = 0x10b;
const REQUEST_CANCELLED: u64 = 0x10c;
const REQUEST_INCOMPLETE: u64 = 0x10d;
const MESSAGE_ERROR: u64 = 0x10e;
const BUFFERED_STREAM_REJECTED: u64 = 0x3994_bd84;
