//! The floods themselves: each sends a stated amount to one border of a node and returns what it
//! still holds open. Bounded in number and in time, and only ever to a node of the campaign.

use std::any::Any;
use std::time::Duration;

use futures_util::SinkExt as _;
use futures_util::future::join_all;
use quinn::TransportConfig;
use rand::rngs::StdRng;
use sterna_proto::v1::{self, command::Verb};
use sterna_proto::{codec, version};
use sterna_system_tests::flood::{self, Sources};
use sterna_system_tests::node::Node;
use sterna_system_tests::raw::{self, QuicClient, WssClient};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::pressure::{stop_on_quic, stop_on_wss};
use super::unread;
use crate::workload::within;

/// What has to stay open until memory was looked at.
pub type Held = Box<dyn Any + Send>;

/// A peer that takes nothing for this long does not want more.
pub(super) const FULL: Duration = Duration::from_secs(2);
/// Datagrams sent before others get a turn.
const BATCH: usize = 250;

pub async fn garbage(node: &Node, rng: &mut StdRng) -> Held {
    let mut sources = Sources::bind(node);
    for at in 0..20_000 {
        sources.send(&flood::garbage(rng));
        if at % BATCH == 0 {
            tokio::task::yield_now().await;
        }
    }
    Box::new(sources)
}

pub async fn first_packets(node: &Node) -> Held {
    let mut sources = Sources::bind(node);
    for packets in flood::first_packets(node, 2_000).chunks(BATCH) {
        packets.iter().for_each(|packet| sources.send(packet));
        tokio::task::yield_now().await;
    }
    Box::new(sources)
}

/// More than two workers take on at a time.
pub async fn half_open_tls(node: &Node) -> Held {
    let mut streams = Vec::new();
    for at in 0..2_200 {
        streams.push(flood::half_open(at, node).await);
    }
    Box::new(streams)
}

pub async fn before_hello(node: &Node) -> Held {
    let begun = vec![0; 200 * 1024];
    let one = async |_: usize| {
        let stream = raw::tls(node).await.unwrap();
        let url = format!("wss://localhost{}", version::WEBSOCKET_PATH);
        let mut request = url.into_client_request().unwrap();
        let subprotocol = version::SUBPROTOCOL_PROTOBUF.parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", subprotocol);
        let upgrade = tokio_tungstenite::client_async(request, stream);
        let (mut socket, _) = within("an upgrade", upgrade).await.unwrap();
        let stream = socket.get_mut();
        // A binary message of 256 KiB in one frame, masked with zeros. Nobody has to take it.
        let header = [&[0x82, 0xff][..], &(256 * 1024_u64).to_be_bytes(), &[0; 4]].concat();
        let _ = stream.write_all(&header).await;
        let _ = timeout(FULL, stream.write_all(&begun)).await;
        let _ = stream.flush().await;
        socket
    };
    Box::new(join_all((0..100).map(one)).await)
}

/// 40 MB of publications each, as fast as they are taken.
pub async fn publications(node: &Node) -> Held {
    let publish = |at: u32| {
        Verb::Publish(v1::Publish {
            channel: "room:flooded".into(),
            payload: vec![7; 4_000].into(),
            client_seq: u64::from(at),
            ..Default::default()
        })
    };
    pour(node, "publisher", 4, 10_000, &publish).await
}

pub async fn subscriptions(node: &Node) -> Held {
    let subscribe = |at: u32| {
        Verb::Subscribe(v1::Subscribe { channel: format!("room:of-{at}"), ..Default::default() })
    };
    pour(node, "subscriber", 8, 4_000, &subscribe).await
}

/// Clients with a session, half of them on each transport, who send and never read.
pub(super) async fn pour(
    node: &Node,
    name: &str,
    clients: usize,
    commands: u32,
    verb: &impl Fn(u32) -> Verb,
) -> Held {
    let frames: Vec<bytes::Bytes> = (2..commands + 2)
        .map(|id| codec::encode_to_bytes(&v1::Frame::command(id, verb(id))))
        .collect();
    let users: Vec<String> = (0..clients).map(|at| format!("{name}-{at}")).collect();
    let (quic, wss) = users.split_at(clients / 2);
    let quic = join_all(quic.iter().map(|user| pour_on_quic(node, user, &frames)));
    let wss = join_all(wss.iter().map(|user| pour_on_wss(node, user, &frames)));
    Box::new(tokio::join!(quic, wss))
}

async fn pour_on_quic(node: &Node, user: &str, frames: &[bytes::Bytes]) -> QuicClient {
    let mut client = QuicClient::start(node, user, TransportConfig::default()).await;
    for frame in frames {
        if !matches!(timeout(FULL, client.commands.write_all(frame)).await, Ok(Ok(()))) {
            break;
        }
    }
    client
}

async fn pour_on_wss(node: &Node, user: &str, frames: &[bytes::Bytes]) -> WssClient {
    let mut client = WssClient::start(node, user).await;
    for frame in frames {
        let sent = timeout(FULL, client.socket.send(Message::Binary(frame.clone()))).await;
        if !matches!(sent, Ok(Ok(()))) {
            break;
        }
    }
    client
}

/// Bodies that are no JSON, that are without a key, and that are far too deep. Each is answered.
pub async fn http_requests(node: &Node) -> Held {
    let bodies = [b"[".repeat(200 * 1024), vec![0xff; 200 * 1024], b"{\"channel\":\"".to_vec()];
    let bodies = &bodies;
    let caller = async |at: usize| {
        for turn in 0..30 {
            let body = &bodies[(at + turn) % bodies.len()];
            let mut stream = flood::connect_from(at, node.http_address()).await;
            let head = format!(
                "POST /api/v1/publish HTTP/1.1\r\nHost: flood\r\nConnection: close\r\n\
                 Authorization: Bearer no-such-key\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            );
            // Refused before all of it is read: then writing fails.
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = timeout(FULL, stream.write_all(body)).await;
            let mut answer = Vec::new();
            let _ = within("an answer", stream.read_to_end(&mut answer)).await;
            let status = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
            assert!(answer.is_empty() || status.starts_with("HTTP/1.1 4"), "{status}");
        }
    };
    join_all((0..64).map(caller)).await;
    Box::new(())
}

/// More than the HTTP port takes at a time.
pub async fn slow_requests(node: &Node) -> Held {
    let mut streams = Vec::new();
    for at in 0..400 {
        let mut stream = flood::connect_from(at, node.http_address()).await;
        let _ = stream.write_all(b"GET /readyz HTTP/1.1\r\nX-Slow: ").await;
        streams.push(stream);
    }
    Box::new(streams)
}

/// 10 MB are published to subscribers who have stopped to read.
pub async fn slow_readers(node: &Node) -> Held {
    let (mut quic, mut wss) = (Vec::new(), Vec::new());
    for at in 0..8 {
        quic.push(stop_on_quic(node, &format!("stopped-quic-{at}")).await);
        wss.push(stop_on_wss(node, &format!("stopped-wss-{at}")).await);
    }
    unread::say_much(node, 640).await;
    Box::new((quic, wss))
}
