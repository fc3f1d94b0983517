//! WebSocket connections against a real edge: both subprotocols, who may connect, bad input.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::wss::{WssClient, close_reason, connect, tls, upgrade};
use common::{TestEdge, ping, reply_to, token, within};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sterna_proto::{CloseReason, codec, v1, version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_messages_hold_one_or_more_frames() {
    let edge = TestEdge::start().await;
    let mut client = WssClient::start(&edge, "alice").await;
    let pings: Vec<v1::Frame> = (2..40).map(ping).collect();
    client.send(&pings).await;
    for id in 2..40 {
        assert!(reply_to(&client.receive().await, id).is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_can_speak_json() {
    let edge = TestEdge::start().await;
    let mut socket = connect(&edge, version::SUBPROTOCOL_JSON).await;
    let hello = json!({ "command": { "id": 1, "hello": {
        "accessToken": token("alice"), "clientId": "terminal"
    } } });
    socket.send(Message::Text(hello.to_string().into())).await.unwrap();
    let welcome = next_json(&mut socket).await;
    assert_eq!(welcome["reply"]["welcome"]["user"], "alice", "{welcome}");
    for id in 2..10 {
        let ping = json!({ "command": { "id": id, "ping": {} } });
        socket.send(Message::Text(ping.to_string().into())).await.unwrap();
        let pong = next_json(&mut socket).await;
        assert_eq!(pong["reply"]["id"], id);
        assert!(pong["reply"]["pong"].is_object(), "{pong}");
    }
    socket.send(Message::Text("{\"command\":".into())).await.unwrap();
    assert_eq!(close_reason(&mut socket).await, CloseReason::ProtocolError);
}

async fn next_json(socket: &mut common::wss::Socket) -> Value {
    match within("a message", socket.next()).await {
        Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
        other => panic!("no text but {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_the_wrong_type_or_cut_short_are_protocol_errors() {
    let edge = TestEdge::start().await;
    let cut = codec::encode_to_bytes(&ping(1)).slice(..3);
    for (subprotocol, message) in [
        (version::SUBPROTOCOL_PROTOBUF, Message::Text("{}".into())),
        (version::SUBPROTOCOL_JSON, Message::Binary(codec::encode_to_bytes(&ping(1)))),
        (version::SUBPROTOCOL_PROTOBUF, Message::Binary(cut)),
        (version::SUBPROTOCOL_PROTOBUF, Message::Binary(vec![0xff; 50].into())),
    ] {
        let mut socket = connect(&edge, subprotocol).await;
        socket.send(message).await.unwrap();
        assert_eq!(close_reason(&mut socket).await, CloseReason::ProtocolError);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversize_messages_are_refused() {
    let edge = TestEdge::start().await;
    let mut socket = connect(&edge, version::SUBPROTOCOL_PROTOBUF).await;
    // A frame of 2^17 bytes: too much for a Hello.
    socket.send(Message::Binary(vec![0x80, 0x80, 0x08].into())).await.unwrap();
    assert_eq!(close_reason(&mut socket).await, CloseReason::FrameTooLarge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_is_a_protocol_error() {
    let edge = TestEdge::start().await;
    let mut client = WssClient::start(&edge, "alice").await;
    for _ in 0..1000 {
        if client.socket.feed(Message::Ping(Vec::new().into())).await.is_err() {
            break;
        }
    }
    let _ = client.socket.flush().await;
    assert_eq!(close_reason(&mut client.socket).await, CloseReason::ProtocolError);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_origins_are_refused() {
    let edge = TestEdge::start().await;
    let protocol = ("sec-websocket-protocol", version::SUBPROTOCOL_JSON);
    let good = [protocol, ("origin", "https://app.example.com")];
    upgrade(&edge, version::WEBSOCKET_PATH, &good).await.unwrap();
    let evil = [protocol, ("origin", "https://evil.example")];
    assert_eq!(status(upgrade(&edge, version::WEBSOCKET_PATH, &evil).await), 403);
    assert_eq!(status(upgrade(&edge, "/elsewhere", &good).await), 404);
    assert_eq!(status(upgrade(&edge, version::WEBSOCKET_PATH, &[]).await), 400);
}

fn status(result: Result<common::wss::Socket, Error>) -> u16 {
    match result.map(drop) {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_on_the_port_gets_one_line() {
    let edge = TestEdge::start().await;
    let mut stream = tls(&edge).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(version::WEBSOCKET_PATH), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_request_is_cut_off() {
    let edge = TestEdge::start().await;
    let mut stream = tls(&edge).await.unwrap();
    let flood = async {
        stream.write_all(b"GET /v1/connect HTTP/1.1\r\n").await?;
        while stream.write_all(b"X-Padding: ................................\r\n").await.is_ok() {}
        std::io::Result::Ok(())
    };
    within("the end of the connection", flood).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshake_and_hello_have_deadlines() {
    let edge = TestEdge::start_with(|settings| {
        settings.edge.limits.handshake_deadline = Duration::from_millis(200);
        settings.edge.limits.hello_deadline = Duration::from_millis(100);
    })
    .await;
    let mut silent = TcpStream::connect(edge.edge.local_address()).await.unwrap();
    assert_eq!(within("no TLS", silent.read(&mut [0; 10])).await.unwrap(), 0);
    let mut no_upgrade = tls(&edge).await.unwrap();
    assert!(!matches!(within("no upgrade", no_upgrade.read(&mut [0; 10])).await, Ok(1..)));
    let mut no_hello = connect(&edge, version::SUBPROTOCOL_JSON).await;
    assert_eq!(close_reason(&mut no_hello).await, CloseReason::HelloTimeout);
    within("nobody left", async {
        while edge.edge.connection_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_says_nothing_is_dead() {
    let edge = TestEdge::start_with(|settings| {
        settings.edge.limits.idle_timeout = Duration::from_millis(300);
    })
    .await;
    let mut client = WssClient::start(&edge, "alice").await;
    assert_eq!(close_reason(&mut client.socket).await, CloseReason::IdleTimeout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_1_2_is_refused() {
    let edge = TestEdge::start().await;
    let mut stream = TcpStream::connect(edge.edge.local_address()).await.unwrap();
    stream.write_all(&client_hello_1_2()).await.unwrap();
    let mut alert = [0; 7];
    within("an alert", stream.read_exact(&mut alert)).await.unwrap();
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    const PROTOCOL_VERSION: u8 = 70;
    assert_eq!((alert[0], alert[5], alert[6]), (ALERT, FATAL, PROTOCOL_VERSION));
}

/// A ClientHello of TLS 1.2 with one cipher suite, one group and one signature scheme.
fn client_hello_1_2() -> Vec<u8> {
    let extensions = [
        &[0x00, 0x0a, 0, 4, 0, 2, 0x00, 0x1d][..],
        &[0x00, 0x0b, 0, 2, 1, 0][..],
        &[0x00, 0x0d, 0, 4, 0, 2, 0x04, 0x03][..],
    ]
    .concat();
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0, 0]);
    body.push(u8::try_from(extensions.len()).unwrap());
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}
