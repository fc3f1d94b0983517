//! Peers that take too little or ask for too much, while honest users talk on.

use std::future::IntoFuture as _;
use std::time::Duration;

use quinn::{TransportConfig, VarInt};
use rand::Rng as _;
use rand::rngs::StdRng;
use sterna_client::{ChannelId, Client, Event, Subscribe, Subscription, Transport};
use sterna_system_tests::flood::{self, Sources};
use sterna_system_tests::node::Node;
use sterna_system_tests::raw::{self, QuicClient, WssClient};
use sterna_system_tests::sdk;
use tokio::net::TcpSocket;

use super::{SOME, conclude, talk};
use crate::campaign::Outcome;
use crate::place::Place;
use crate::workload::{Plan, Workload, within};

pub(super) const LOUD: &str = "room:loud";
/// Publications that await their answers together.
const AT_ONCE: usize = 16;
/// A reader that stops is given half a minute; all the while it is fed.
const BETWEEN_BURSTS: Duration = Duration::from_millis(50);
/// Far more than outbox and sockets hold for one who does not read.
const BUFFERED_BYTES: usize = 256 * 1024 * 1024;

/// Readers that stop are closed as slow; one that only dawdles gets everything, and nobody else
/// notices.
pub async fn slow_consumer(rng: &mut StdRng) -> Outcome {
    let (node, workload) = talk(rng).await;
    let stopped = rng.random_range(1..5);
    let bytes = rng.random_range(8_000..16_000);
    let (mut quic, mut wss) = (Vec::new(), Vec::new());
    for at in 0..stopped {
        quic.push(stop_on_quic(&node, &format!("quic-{at}")).await);
        wss.push(stop_on_wss(&node, &format!("wss-{at}")).await);
    }
    let room = ChannelId::new(LOUD).unwrap();
    let place = Place::of(&node);
    let dawdler = place.builder("dawdler").transports([Transport::WebSocket]).build().unwrap();
    let heard = dawdler.subscribe(&room, Subscribe::earliest()).unwrap();
    dawdler.connect();
    let said = shout(&node, &room, bytes, 2 * stopped).await;
    within("the dawdler hears everything", hear_slowly(heard, &said)).await;
    dawdler.close().await;
    drop((quic, wss));
    let note = format!("{} publications of {bytes} bytes", said.len());
    let outcome = conclude(node, workload, rng, 2 * stopped as u64).await;
    Outcome { note, acked: outcome.acked + said.len() as u64, ..outcome }
}

pub(super) async fn stop_on_quic(node: &Node, user: &str) -> QuicClient {
    let mut narrow = TransportConfig::default();
    // Room for the replies and little more; nothing is ever read of a lane.
    narrow.stream_receive_window(VarInt::from_u32(4_000));
    narrow.keep_alive_interval(Some(Duration::from_secs(1)));
    let mut client = QuicClient::start(node, user, narrow).await;
    client.send(&raw::subscribe(2, LOUD)).await;
    client.reply(2).await;
    client
}

pub(super) async fn stop_on_wss(node: &Node, user: &str) -> WssClient {
    let tcp = TcpSocket::new_v4().unwrap();
    tcp.set_recv_buffer_size(4_000).unwrap();
    let tcp = tcp.connect(node.client_address()).await.unwrap();
    let stream = raw::tls_on(tcp, node).await.unwrap();
    let mut client = WssClient::start_on(stream, raw::hello(node, user)).await;
    client.send(&raw::subscribe(2, LOUD)).await;
    client.reply(2).await;
    client
}

/// Publishes until so many readers have been closed as slow.
async fn shout(node: &Node, room: &ChannelId, bytes: usize, slow: usize) -> Vec<String> {
    let client = sdk::connect(node, "loud", Transport::Quic).await;
    let mut said = Vec::new();
    while closed_as_slow(node).await < slow as f64 {
        assert!(said.len() * bytes < BUFFERED_BYTES, "{} of {bytes} bytes are kept", said.len());
        let texts: Vec<String> =
            (0..AT_ONCE).map(|at| format!("{:>bytes$}", said.len() + at)).collect();
        let sends = texts.iter().map(|text| client.publish(room, text.clone()).start());
        let sends: Vec<_> = sends.collect();
        for send in sends {
            within("an answer", send.into_future()).await.unwrap();
        }
        said.extend(texts);
        tokio::time::sleep(BETWEEN_BURSTS).await;
    }
    client.close().await;
    said
}

async fn closed_as_slow(node: &Node) -> f64 {
    node.metric_of("sterna_edge_closes_total", "reason=\"slow\"").await.unwrap_or(0.0)
}

async fn hear_slowly(mut heard: Subscription, said: &[String]) {
    let mut at = 0;
    while at < said.len() {
        match heard.next().await.expect("it goes on") {
            Event::Publication(it) => {
                assert_eq!(it.payload, said[at], "publication {at}");
                at += 1;
                if at % 16 == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            Event::State(_) | Event::Recovered { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

const FIRST_PACKETS: usize = 1_200;
const GARBAGE_DATAGRAMS: usize = 5_000;
const PROOFS_ASKED_FOR: &str = "sterna_edge_retries_total";

/// First packets that nobody means, hellos that never end, and bytes at random.
pub async fn handshake_flood(rng: &mut StdRng) -> Outcome {
    let (node, workload) = talk(rng).await;
    let reconnects = workload.reconnects();
    let mut half_open = Vec::new();
    for at in 0..rng.random_range(50..200) {
        half_open.push(flood::half_open(at, &node).await);
    }
    let mut forgers = Sources::bind(&node);
    for packet in flood::first_packets(&node, FIRST_PACKETS) {
        forgers.send(&packet);
    }
    newcomers(&node).await;
    let mut babblers = Sources::bind(&node);
    for _ in 0..GARBAGE_DATAGRAMS {
        babblers.send(&flood::garbage(rng));
    }
    workload.go_on_for(2 * SOME).await;
    newcomers(&node).await;
    let proofs = node.metric(PROOFS_ASKED_FOR).await.unwrap_or(0.0);
    let (sent, received) = forgers.traffic();
    let (babbled, answered) = babblers.traffic();
    let disturbed = workload.reconnects() - reconnects;
    drop(half_open);
    // A flood that the node could take on without asking for proofs was none.
    let mut outcome = conclude(node, workload, rng, (proofs > 0.0).into()).await;
    outcome.note = format!("{proofs} proofs asked for");
    for (wrong, what) in [
        (received > 3 * sent, format!("{received} bytes for {sent} without a proof of address")),
        (answered > babbled, format!("{answered} bytes for {babbled} of garbage")),
        (disturbed > 0, format!("{disturbed} honest connections were lost")),
    ] {
        outcome.violations.extend(wrong.then_some(what));
    }
    outcome
}

pub(super) async fn newcomers(node: &Node) {
    for transport in [Transport::Quic, Transport::WebSocket] {
        let client: Client = sdk::connect(node, "newcomer", transport).await;
        sdk::publish(&client, &ChannelId::new("room:lobby").unwrap(), "good evening").await;
        client.close().await;
    }
}

/// Descriptors that the node may have, and connections that are made at a time against it.
const DESCRIPTORS: usize = 400;
const GREEDY: usize = 300;
const REFUSED: &str = "sterna_edge_refused_total";
/// Far more than the store keeps in memory.
const WRITTEN_BYTES: usize = 512 * 1024 * 1024;

/// Somebody takes all descriptors that the process has, again and again. The store must not lack
/// them when it begins a new file: it goes on, as do those who are connected, and newcomers get in
/// when there are some again.
pub async fn descriptors(rng: &mut StdRng) -> Outcome {
    let mut node = Node::start().await;
    assert!(node.terminate().await.success());
    node.launch_through(&["prlimit", &format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}")]);
    node.restart().await;
    let workload = Workload::start(&Place::of(&node), &Plan::default(), rng);
    workload.go_on_for(SOME).await;
    let reconnects = workload.reconnects();
    let loud = sdk::connect(&node, "loud", Transport::Quic).await;
    let written = tokio::select! {
        written = fill_a_file(&node, &loud) => written,
        () = take_all_descriptors(&node) => unreachable!("it does not end"),
    };
    loud.close().await;
    workload.go_on_for(SOME).await;
    let disturbed = workload.reconnects() - reconnects;
    newcomers(&node).await;
    let refused = node.metric_of(REFUSED, "reason=\"connections\"").await.unwrap_or(0.0);
    let outcome = conclude(node, workload, rng, refused as u64).await;
    let mut violations = outcome.violations;
    if disturbed > 0 {
        violations.push(format!("{disturbed} honest connections were lost"));
    }
    Outcome { note: format!("{} MiB written", written >> 20), violations, ..outcome }
}

/// Until the store has begun a log, and how many bytes that took.
async fn fill_a_file(node: &Node, loud: &Client) -> usize {
    let logs = || {
        let files = std::fs::read_dir(node.data_dir().join("store")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".log")).max()
    };
    let room = ChannelId::new(LOUD).unwrap();
    let (first, text, mut written) = (logs(), "x".repeat(60_000), 0);
    while logs() == first {
        assert!(written < WRITTEN_BYTES, "{written} bytes and no new log");
        let sends: Vec<_> =
            (0..AT_ONCE).map(|_| loud.publish(&room, text.clone()).start()).collect();
        for send in sends {
            within("an answer", send.into_future()).await.unwrap();
            written += text.len();
        }
    }
    written
}

/// Connections that say nothing, anew as soon as they are cut off.
async fn take_all_descriptors(node: &Node) {
    loop {
        let mut held = Vec::new();
        for at in 0..GREEDY {
            held.push(flood::half_open(at, node).await);
            held.push(flood::connect_from(at, node.http_address()).await);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}
