//! Attacks on the real process over real sockets: senders that are slow on purpose, floods of first
//! packets and of garbage, frames that never end, readers that stop. Honest clients are served all
//! the while, memory stays bounded, whoever is closed is told why, and in the end nothing of it is
//! left open.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::time::Duration;

use quinn::{TransportConfig, VarInt};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sterna_client::{ChannelId, Client, Event, Subscribe, Subscription, Transport};
use sterna_proto::{CloseReason, limits};
use sterna_system_tests::flood::{self, CLIENT_HELLO_BEGINS, Sources};
use sterna_system_tests::node::{Node, PATIENCE};
use sterna_system_tests::raw::{self, QuicClient, WssClient, within};
use sterna_system_tests::sdk;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

const MIB: u64 = 1024 * 1024;
const POLL: Duration = Duration::from_millis(50);

/// Below the 256 connections of the HTTP port, so that others find room there.
const SLOW_REQUESTS: usize = 200;
const SLOW_HANDSHAKES: usize = 400;
const SLOW_UPGRADES: usize = 100;
const MEASURED_PEAK_OF_SLOW_SENDERS_BYTES: u64 = 100 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_that_are_slow_on_purpose_are_cut_off_while_others_are_served() {
    let attacked = Attacked::start().await;
    let node = &attacked.node;
    let mut bystanders = Bystanders::start(node).await;
    let mut senders = JoinSet::new();
    for _ in 0..SLOW_REQUESTS {
        let stream = TcpStream::connect(node.http_address()).await.unwrap();
        senders.spawn(send_slowly(stream, b"GET /healthz HTTP/1.1\r\nX-Slow: "));
    }
    for _ in 0..SLOW_HANDSHAKES {
        let stream = TcpStream::connect(node.client_address()).await.unwrap();
        senders.spawn(send_slowly(stream, CLIENT_HELLO_BEGINS));
    }
    for _ in 0..SLOW_UPGRADES {
        let stream = raw::tls(node).await.unwrap();
        senders.spawn(send_slowly(stream, b"GET /v1/connect HTTP/1.1\r\nX-Slow: "));
    }
    assert_eq!(node.http_get("/healthz").await.unwrap().0, 200);
    within("the end of all slow senders", async {
        while !senders.is_empty() {
            while let Some(ended) = senders.try_join_next() {
                ended.unwrap();
            }
            bystanders.converse().await;
            newcomer(node).await;
        }
    })
    .await;
    let timeouts = "sterna_edge_handshakes_total";
    let timed_out = node.metric_of(timeouts, "result=\"timeout\"").await.unwrap();
    assert_eq!(timed_out, SLOW_HANDSHAKES as f64);
    let closes = "sterna_edge_closes_total";
    let not_upgraded = node.metric_of(closes, "reason=\"upgrade timeout\"").await.unwrap();
    assert_eq!(not_upgraded, SLOW_UPGRADES as f64);
    bystanders.leave().await;
    attacked.assert_well(3 * MEASURED_PEAK_OF_SLOW_SENDERS_BYTES).await;
}

/// Sends `begin` and then a byte at a time, until it is cut off.
async fn send_slowly(mut stream: impl AsyncRead + tokio::io::AsyncWrite + Unpin, begin: &[u8]) {
    stream.write_all(begin).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = [0; 1024];
    loop {
        match timeout(Duration::from_secs(1), stream.read(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(_)) => {}
            // Whether that went, the next read tells.
            Err(_) => {
                let _ = stream.write_all(b"0").await;
            }
        }
    }
}

/// More than two workers answer without asking for a proof of address.
const FIRST_PACKETS: usize = 1500;
const GARBAGE_DATAGRAMS: usize = 20_000;
const MEASURED_PEAK_OF_FLOODS_BYTES: u64 = 120 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_first_packets_and_of_garbage_lock_nobody_out() {
    let attacked = Attacked::start().await;
    let node = &attacked.node;
    let mut bystanders = Bystanders::start(node).await;
    let mut forgers = Sources::bind(node);
    for (at, packet) in flood::first_packets(node, FIRST_PACKETS).iter().enumerate() {
        forgers.send(packet);
        if at % 300 == 0 {
            newcomer(node).await;
        }
    }
    newcomer(node).await;
    bystanders.converse().await;
    let proofs = node.metric(PROOFS_ASKED_FOR).await;
    assert!(proofs > Some(0.0), "more than the node takes on without a proof: {proofs:?}");
    let mut babblers = Sources::bind(node);
    let mut random = StdRng::seed_from_u64(31);
    for at in 0..GARBAGE_DATAGRAMS {
        babblers.send(&flood::garbage(&mut random));
        if at % 1000 == 0 {
            bystanders.converse().await;
        }
    }
    newcomer(node).await;
    within("the end of handshakes that nobody goes on with", without_proof(node)).await;
    let (sent, received) = forgers.traffic();
    assert!(received > 0 && received <= 3 * sent, "{received} bytes for {sent} without a proof");
    let (sent, received) = babblers.traffic();
    assert!(received <= sent, "{received} bytes for {sent} of garbage");
    bystanders.leave().await;
    attacked.assert_well(3 * MEASURED_PEAK_OF_FLOODS_BYTES).await;
}

const PROOFS_ASKED_FOR: &str = "sterna_edge_retries_total";

/// Waits until newcomers are let in without a proof of their address.
async fn without_proof(node: &Node) {
    loop {
        let asked = node.metric(PROOFS_ASKED_FOR).await;
        newcomer(node).await;
        if node.metric(PROOFS_ASKED_FOR).await == asked {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

const ENDLESS_OF_A_KIND: usize = 150;
const MEASURED_PEAK_OF_ENDLESS_FRAMES_BYTES: u64 = 200 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_do_not_end_cost_their_limit_and_no_more() {
    let attacked = Attacked::start().await;
    let node = &attacked.node;
    let mut bystanders = Bystanders::start(node).await;
    let mut frame = vec![0xff; limits::FRAME_BYTES + FRAME_LENGTH.len()];
    frame[..FRAME_LENGTH.len()].copy_from_slice(FRAME_LENGTH);
    let (most, last) = frame.split_at(frame.len() - 1);
    let (mut quic, mut wss) = (Vec::new(), Vec::new());
    for at in 0..ENDLESS_OF_A_KIND {
        let user = format!("mallory-{at}");
        let mut client = QuicClient::start(node, &user, TransportConfig::default()).await;
        within("most of a frame", client.commands.write_all(most)).await.unwrap();
        quic.push(client);
        let mut client = WssClient::start(node, &user).await;
        let stream = client.socket.get_mut();
        stream.write_all(&message_header(frame.len())).await.unwrap();
        within("most of a message", stream.write_all(most)).await.unwrap();
        stream.flush().await.unwrap();
        wss.push(client);
        bystanders.converse().await;
    }
    newcomer(node).await;
    // Their last bytes show that the node has had all the others, and what it made of them.
    for client in &mut quic {
        client.commands.write_all(last).await.unwrap();
        assert_eq!(client.closed().await, CloseReason::ProtocolError);
    }
    for client in &mut wss {
        let stream = client.socket.get_mut();
        stream.write_all(last).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(client.closed().await, CloseReason::ProtocolError);
    }
    drop((quic, wss));
    bystanders.leave().await;
    attacked.assert_well(3 * MEASURED_PEAK_OF_ENDLESS_FRAMES_BYTES).await;
}

/// [`limits::FRAME_BYTES`] as a varint.
const FRAME_LENGTH: &[u8] = &[0x80, 0x80, 0x10];

/// A binary message in one frame, masked with zeros.
fn message_header(length: usize) -> Vec<u8> {
    let mut header = vec![0x82, 0xff];
    header.extend((length as u64).to_be_bytes());
    header.extend([0; 4]);
    header
}

const STOPPED_OF_A_KIND: usize = 10;
const FAST_PAYLOAD_BYTES: usize = 16 * 1024;
const FAST_PAUSE: Duration = Duration::from_millis(20);
const MEASURED_PEAK_OF_STOPPED_READERS_BYTES: u64 = 110 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_stop_are_closed_as_slow_while_others_hear_everything() {
    let attacked = Attacked::start().await;
    let node = &attacked.node;
    let mut bystanders = Bystanders::start(node).await;
    let (mut quic, mut wss) = (Vec::new(), Vec::new());
    for at in 0..STOPPED_OF_A_KIND {
        let user = format!("stopped-{at}");
        // Room for the replies and little more; nothing is ever read of a lane.
        let mut narrow = TransportConfig::default();
        narrow.stream_receive_window(VarInt::from_u32(4_000));
        narrow.keep_alive_interval(Some(Duration::from_secs(1)));
        let mut client = QuicClient::start(node, &user, narrow).await;
        client.send(&raw::subscribe(2, ROOM)).await;
        client.reply(2).await;
        quic.push(client);
        let tcp = TcpSocket::new_v4().unwrap();
        tcp.set_recv_buffer_size(4_000).unwrap();
        let tcp = tcp.connect(node.client_address()).await.unwrap();
        let stream = raw::tls_on(tcp, node).await.unwrap();
        let mut client = WssClient::start_on(stream, raw::hello(node, &user)).await;
        client.send(&raw::subscribe(2, ROOM)).await;
        client.reply(2).await;
        wss.push(client);
    }
    let all_closed = async {
        let slow = "sterna_edge_closes_total";
        while node.metric_of(slow, "reason=\"slow\"").await != Some(2.0 * quic.len() as f64) {
            tokio::time::sleep(POLL).await;
        }
    };
    let publishing = async {
        loop {
            bystanders.converse_at_length(FAST_PAYLOAD_BYTES).await;
            tokio::time::sleep(FAST_PAUSE).await;
        }
    };
    tokio::select! {
        () = within("the end of those who do not read", all_closed) => {}
        () = publishing => unreachable!("it does not end"),
    }
    for client in &quic {
        assert_eq!(client.closed().await, CloseReason::Slow);
    }
    newcomer(node).await;
    drop((quic, wss));
    bystanders.leave().await;
    attacked.assert_well(3 * MEASURED_PEAK_OF_STOPPED_READERS_BYTES).await;
}

/// A node that has a bad day.
struct Attacked {
    node: Node,
    sockets_before: usize,
}

impl Attacked {
    async fn start() -> Self {
        let node = Node::start().await;
        let mut sockets_before = node.open_sockets();
        // The question whether it was ready may still be on its way out.
        loop {
            tokio::time::sleep(POLL).await;
            let now = node.open_sockets();
            if now >= sockets_before {
                return Self { node, sockets_before };
            }
            sockets_before = now;
        }
    }

    /// Nothing is left open, memory was never above `bytes`, and the node ends well.
    async fn assert_well(mut self, bytes: u64) {
        let resident = self.node.resident_bytes();
        assert!(resident.peak <= bytes, "{resident:?} of {bytes}");
        within("the end of all connections", async {
            while self.node.metric("sterna_edge_connections_active").await != Some(0.0) {
                tokio::time::sleep(POLL).await;
            }
            while self.node.open_sockets() > self.sockets_before {
                tokio::time::sleep(POLL).await;
            }
        })
        .await;
        assert!(self.node.terminate().await.success(), "{}", self.node.log());
    }
}

const ROOM: &str = "room:hostile";

/// One honest client on each transport, who talk to each other.
struct Bystanders {
    clients: [Client; 2],
    heard: [Subscription; 2],
    said: u64,
}

impl Bystanders {
    async fn start(node: &Node) -> Self {
        let room = ChannelId::new(ROOM).unwrap();
        let clients = [
            sdk::connect(node, "ana", Transport::Quic).await,
            sdk::connect(node, "ben", Transport::WebSocket).await,
        ];
        let subscribe = |client: &Client| client.subscribe(&room, Subscribe::earliest()).unwrap();
        let heard = [subscribe(&clients[0]), subscribe(&clients[1])];
        Self { clients, heard, said: 0 }
    }

    /// Each says something, and both hear it in its place.
    async fn converse(&mut self) {
        self.converse_at_length(1).await;
    }

    async fn converse_at_length(&mut self, bytes: usize) {
        let room = ChannelId::new(ROOM).unwrap();
        for client in &self.clients {
            let text = format!("{:>bytes$}", self.said);
            let ack = sdk::publish(client, &room, &text).await;
            self.said += 1;
            assert_eq!(ack.position.offset.0, self.said);
            for subscription in &mut self.heard {
                assert_eq!(next_publication(subscription).await, text);
            }
        }
    }

    /// Nobody has disturbed them.
    async fn leave(self) {
        for client in self.clients {
            assert_eq!(client.statistics().connects, 1);
            client.close().await;
        }
    }
}

async fn next_publication(subscription: &mut Subscription) -> String {
    loop {
        match timeout(PATIENCE, subscription.next()).await.expect("an event").unwrap() {
            Event::Publication(it) => return String::from_utf8(it.payload.to_vec()).unwrap(),
            Event::State(_) | Event::Recovered { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Somebody honest comes for the first time, on each transport.
async fn newcomer(node: &Node) {
    let lobby = ChannelId::new("room:lobby").unwrap();
    for transport in [Transport::Quic, Transport::WebSocket] {
        let client = sdk::connect(node, "newcomer", transport).await;
        sdk::publish(&client, &lobby, "good evening").await;
        client.close().await;
    }
}
