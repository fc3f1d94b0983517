//! Floods by clients whom a node has let in: they ask, or are told, and take nothing of it. Each sends a
//! stated amount and returns what it still holds open.

use std::any::Any;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use quinn::TransportConfig;
use sterna_client::{ChannelId, Transport};
use sterna_proto::v1::{self, command::Verb};
use sterna_proto::{codec, version};
use sterna_system_tests::node::Node;
use sterna_system_tests::raw::{self, QuicClient, WssClient};
use sterna_system_tests::sdk;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::borders::{FULL, Held, pour};
use super::pressure::{LOUD, stop_on_quic, stop_on_wss};
use crate::workload::within;

/// Whole pages of what was said, over and over.
pub async fn pages(node: &Node) -> Held {
    say_much(node, 100).await;
    let history =
        |_| Verb::History(v1::History { channel: LOUD.into(), limit: 100, ..Default::default() });
    pour(node, "reader", 8, 2_000, &history).await
}

pub async fn pings(node: &Node) -> Held {
    let ping =
        |at: u32| Verb::Ping(v1::Ping { client_time_ms: u64::from(at), ..Default::default() });
    pour(node, "pinger", 4, 100_000, &ping).await
}

/// Pings of WebSocket itself, of the largest size, which RFC 6455 wants answered.
pub async fn control_frames(node: &Node) -> Held {
    let one = async |at: usize| {
        let mut client = WssClient::start(node, &format!("controller-{at}")).await;
        for _ in 0..10_000 {
            let ping = Message::Ping(Bytes::from_static(&[7; 125]));
            if !matches!(timeout(FULL, client.socket.send(ping)).await, Ok(Ok(()))) {
                break;
            }
        }
        client
    };
    Box::new(join_all((0..16).map(one)).await)
}

/// To readers who have stopped: each of 1 KB and with a key of its own, so that none replaces another.
pub async fn datagrams(node: &Node) -> Held {
    let (mut quic, mut wss) = (Vec::new(), Vec::new());
    for at in 0..8 {
        quic.push(stop_on_quic(node, &format!("unheard-quic-{at}")).await);
        wss.push(stop_on_wss(node, &format!("unheard-wss-{at}")).await);
    }
    let one = async |at: usize| {
        let user = format!("typist-{at}");
        let client = QuicClient::start(node, &user, TransportConfig::default()).await;
        for number in 0..10_000 {
            let ephemeral = v1::Ephemeral {
                channel: LOUD.into(),
                key: format!("{at}-{number}"),
                payload: vec![7; 1_000].into(),
                ..Default::default()
            };
            let frame = v1::Frame::command(0, Verb::Ephemeral(ephemeral));
            let sent = client.connection.send_datagram_wait(codec::encode_datagram(&frame));
            if !matches!(timeout(FULL, sent).await, Ok(Ok(()))) {
                break;
            }
        }
        client
    };
    let typists = join_all((0..4).map(one)).await;
    Box::new((quic, wss, typists))
}

/// Connections over plain HTTP whose answers, which never end, nobody reads.
pub async fn streams(node: &Node) -> Held {
    let streams = join_all((0..32).map(|at| open_stream(node, at))).await;
    say_much(node, 640).await;
    Box::new(streams)
}

async fn open_stream(node: &Node, at: usize) -> impl Any + Send {
    let tcp = TcpSocket::new_v4().unwrap();
    tcp.set_recv_buffer_size(4_000).unwrap();
    let tcp = tcp.connect(node.client_address()).await.unwrap();
    let mut stream = raw::tls_on(tcp, node).await.unwrap();
    let frames = [raw::hello(node, &format!("streamer-{at}")), raw::subscribe(2, LOUD)];
    let body: String = frames.iter().map(codec::encode_json).collect();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        version::HTTP_PATH,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut heard = String::new();
    while !heard.contains("subscribed") {
        let mut some = [0; 1024];
        let count = within("an event", stream.read(&mut some)).await.unwrap();
        assert_ne!(count, 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&some[..count]));
    }
    stream
}

/// Publications of 16 KB in the channel that the others follow.
pub async fn say_much(node: &Node, publications: usize) {
    let loud = ChannelId::new(LOUD).unwrap();
    let publisher = sdk::connect(node, "loud", Transport::Quic).await;
    let publications = stream::iter(0..publications).map(|_| {
        let (publisher, loud) = (publisher.clone(), loud.clone());
        async move { sdk::publish(&publisher, &loud, &"x".repeat(16_000)).await }
    });
    let all = publications.buffer_unordered(16).for_each(async |_| ());
    timeout(Duration::from_secs(120), all).await.unwrap();
    publisher.close().await;
}
