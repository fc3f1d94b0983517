//! What one connection may take of an edge: streams, windows, frames, heads, silence. Each test
//! fails when its limit is gone.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::UdpSocket;
use std::time::Duration;

use common::quic::{QuicClient, connect};
use common::wss::{self, WssClient};
use common::{TestEdge, hello, ping, within};
use futures_util::{FutureExt as _, SinkExt as _};
use quinn::{ConnectionError, SendStream, TransportConfig};
use serde_json::json;
use sterna_core::config::{Rate, Rates};
use sterna_proto::{CloseReason, codec, limits, version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

const KIB: usize = 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_has_few_streams_and_little_room_on_them() {
    let edge = TestEdge::start().await;
    let (_endpoint, connection) = connect(&edge).await.unwrap();
    let mut streams = Vec::new();
    // Two and three: what HTTP/3 has to have before anybody knows whether it is spoken.
    for _ in 0..2 {
        streams.push(connection.open_bi().now_or_never().unwrap().unwrap().0);
    }
    for _ in 0..3 {
        streams.push(connection.open_uni().now_or_never().unwrap().unwrap());
    }
    assert!(connection.open_bi().now_or_never().is_none(), "control streams are few");
    assert!(connection.open_uni().now_or_never().is_none(), "lanes come with the session");
    // All but the first, which is read, share the window of one stream.
    let unread = streams.iter_mut().skip(1);
    let writing = unread.map(|stream| write_until_blocked(stream, &[0; 4096]));
    let written: usize = futures_util::future::join_all(writing).await.into_iter().sum();
    assert!(written <= STREAM_WINDOW, "{written} bytes of a stranger");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_has_few_streams() {
    let edge = TestEdge::start().await;
    let (endpoint, connection) = connect(&edge).await.unwrap();
    let mut client = QuicClient::on(endpoint, connection.clone()).await;
    client.send(&hello("alice")).await;
    client.reply(1).await;
    let mut streams = Vec::new();
    for _ in 0..limits::LANES {
        streams.push(within("a lane", connection.open_uni()).await.unwrap());
    }
    for _ in 1..BIDI_STREAMS {
        streams.push(within("a bulk stream", connection.open_bi()).await.unwrap().0);
    }
    client.ping(2).await;
    assert!(connection.open_uni().now_or_never().is_none(), "more lanes than there are");
    assert!(connection.open_bi().now_or_never().is_none(), "more bulk streams than are granted");
}

/// The control stream and 7 bulk commands.
const BIDI_STREAMS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_no_replies_can_send_its_windows_and_no_more() {
    let edge = TestEdge::start_with(|settings| {
        let rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
        settings.core.rates =
            Rates { publish: rate, user_publish: rate, command: rate, ephemeral: rate, sync: rate };
        settings.core.slow_after = Duration::from_secs(600);
    })
    .await;
    let mut narrow = TransportConfig::default();
    narrow.stream_receive_window(2_000u32.into());
    let mut client = QuicClient::start_with(&edge, "alice", narrow).await;
    let mut others = Vec::new();
    for _ in 0..limits::LANES {
        others.push(within("a lane", client.connection.open_uni()).await.unwrap());
    }
    for _ in 1..BIDI_STREAMS {
        others.push(within("a bulk stream", client.connection.open_bi()).await.unwrap().0);
    }
    let pings: Vec<u8> = (2..2_000).flat_map(|id| codec::encode_to_bytes(&ping(id))).collect();
    let on_one = write_until_blocked(&mut client.commands, &pings).await;
    assert!(on_one >= STREAM_WINDOW / 2, "{on_one} bytes on one stream");
    assert!(on_one <= STREAM_WINDOW + READ_BEFORE, "{on_one} bytes on one stream");
    // The edge does not look at these, so what is written to them does not matter.
    let writing = others.iter_mut().map(|stream| write_until_blocked(stream, &pings));
    let on_others: usize = futures_util::future::join_all(writing).await.into_iter().sum();
    let in_all = on_one + on_others;
    assert!(in_all >= CONNECTION_WINDOW / 2, "{in_all} bytes in all");
    assert!(in_all <= CONNECTION_WINDOW + READ_BEFORE, "{in_all} bytes in all");
}

const STREAM_WINDOW: usize = 256 * KIB;
const CONNECTION_WINDOW: usize = 1024 * KIB;
/// What the edge reads until it holds as many replies as it may.
const READ_BEFORE: usize = 192 * KIB;

/// Bytes that were taken until none was for a while.
async fn write_until_blocked(stream: &mut SendStream, bytes: &[u8]) -> usize {
    let mut written = 0;
    let mut left = bytes;
    while let Ok(taken) = timeout(Duration::from_secs(2), stream.write(left)).await {
        let taken = taken.unwrap();
        written += taken;
        left = if taken == left.len() { bytes } else { &left[taken..] };
    }
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quic_connection_that_says_nothing_is_forgotten() {
    let edge = TestEdge::start_with(|settings| {
        settings.edge.limits.idle_timeout = Duration::from_millis(300);
    })
    .await;
    let mut patient = TransportConfig::default();
    patient.max_idle_timeout(None).keep_alive_interval(None);
    let client = QuicClient::start_with(&edge, "alice", patient).await;
    let end = within("the end of a silent connection", client.connection.closed()).await;
    assert_eq!(end, ConnectionError::TimedOut);
    nobody_is_left(&edge).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_many_small_pieces_is_too_large_all_the_same() {
    let edge = TestEdge::start().await;
    let mut client = WssClient::start(&edge, "alice").await;
    let stream = client.socket.get_mut();
    let half = vec![0; limits::FRAME_BYTES / 2];
    for piece in [fragment(BEGINS, &half), fragment(GOES_ON, &half), fragment(GOES_ON, &[0; 100])] {
        stream.write_all(&piece).await.unwrap();
    }
    stream.flush().await.unwrap();
    assert_eq!(wss::close_reason(&mut client.socket).await, CloseReason::WebSocketTooBig);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_of_a_message_is_too_large_as_soon_as_it_says_so() {
    let edge = TestEdge::start().await;
    let mut client = WssClient::start(&edge, "alice").await;
    let stream = client.socket.get_mut();
    let announced = fragment(BEGINS, &vec![0; 4 * limits::FRAME_BYTES]);
    stream.write_all(&announced[..FRAGMENT_HEADER_BYTES]).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(wss::close_reason(&mut client.socket).await, CloseReason::WebSocketTooBig);
}

/// Two octets, the length and the mask.
const FRAGMENT_HEADER_BYTES: usize = 2 + 8 + 4;

/// First octets of the frames of a binary message that does not end with them.
const BEGINS: u8 = 0x02;
const GOES_ON: u8 = 0x00;

/// A frame of a message, masked with zeros.
fn fragment(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_be_bytes();
    [&[first, 0xff], &length[..], &[0; 4], payload].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_json_hello_that_is_too_large_is_refused() {
    let edge = TestEdge::start().await;
    let mut socket = wss::connect(&edge, version::SUBPROTOCOL_JSON).await;
    let hello = json!({ "command": { "id": 1, "hello": {
        "accessToken": common::token("alice"),
        "clientId": "terminal",
        "userAgent": "x".repeat(limits::HELLO_FRAME_BYTES),
    } } });
    socket.send(Message::Text(hello.to_string().into())).await.unwrap();
    assert_eq!(wss::close_reason(&mut socket).await, CloseReason::FrameTooLarge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_head_that_is_too_large_is_told_so() {
    let edge = TestEdge::start().await;
    let mut stream = wss::tls(&edge).await.unwrap();
    let mut head = b"GET /v1/connect HTTP/1.1\r\nX-Long: ".to_vec();
    head.resize(8 * KIB, b'x');
    stream.write_all(&head).await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

/// As many as one worker takes on at a time.
const HANDSHAKES: usize = 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_stop_half_way_keep_newcomers_out_for_a_moment_only() {
    let edge = TestEdge::start_with(|settings| {
        settings.workers = 1;
        settings.edge.limits.address_connection_burst = 10_000;
        // Far beyond the patience of this test.
        settings.edge.limits.handshake_deadline = Duration::from_secs(600);
    })
    .await;
    let mut half_open = Vec::new();
    for _ in 0..HANDSHAKES {
        half_open.push(TcpStream::connect(edge.edge.local_address()).await.unwrap());
    }
    within("all places are taken", async {
        while edge.edge.connection_count() < HANDSHAKES {
            tokio::task::yield_now().await;
        }
    })
    .await;
    WssClient::start(&edge, "alice").await;
    let first = half_open.first_mut().unwrap();
    assert_eq!(within("its place is given up", first.read(&mut [0; 10])).await.unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_has_so_many_connections_and_no_more() {
    let edge = TestEdge::start_with(|settings| settings.edge.limits.connections = 2).await;
    let first = QuicClient::start(&edge, "alice").await;
    let _second = WssClient::start(&edge, "bob").await;
    let refused = connect(&edge).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused}");
    let mut tcp = TcpStream::connect(edge.edge.local_address()).await.unwrap();
    assert_eq!(within("a refusal", tcp.read(&mut [0; 10])).await.unwrap_or(0), 0);
    first.connection.close(0u32.into(), b"");
    within("room", async { while connect(&edge).await.is_err() {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebinding_on_ipv6_with_4_workers_never_breaks_a_connection() {
    let edge = TestEdge::start_with(|settings| {
        settings.workers = 4;
        settings.edge.client_address = "[::1]:0".parse().unwrap();
    })
    .await;
    let mut clients = Vec::new();
    for at in 0..8 {
        let endpoint = quinn::Endpoint::client("[::1]:0".parse().unwrap()).unwrap();
        let transport = TransportConfig::default();
        let config = common::quic::client_config(&edge, version::ALPN, transport);
        let connecting =
            endpoint.connect_with(config, edge.edge.local_address(), "localhost").unwrap();
        let connection = within("a QUIC handshake", connecting).await.unwrap();
        let mut client = QuicClient::on(endpoint, connection).await;
        client.send(&hello(&format!("client-{at}"))).await;
        client.reply(1).await;
        clients.push(client);
    }
    for id in 2..12 {
        for client in &mut clients {
            client.endpoint.rebind(UdpSocket::bind("[::1]:0").unwrap()).unwrap();
            client.ping(id).await;
        }
    }
    assert_eq!(edge.edge.connection_count(), clients.len());
}

async fn nobody_is_left(edge: &TestEdge) {
    within("the end of all connections", async {
        while edge.edge.connection_count() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
