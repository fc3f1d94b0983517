//! What a real edge counts when it refuses, asks for proof, drops or gives up.

#![allow(clippy::unwrap_used)]

mod common;
#[allow(dead_code, reason = "the unit tests use more of it")]
#[path = "../src/testing.rs"]
mod testing;

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::http::{HttpClient, Requests};
use common::quic::{QuicClient, client_config, connect_with};
use common::webtransport::{WebTransportClient, request};
use common::wss::{self, WssClient};
use common::{TestEdge, ping, publish, subscribe, within};
use metrics_util::debugging::{DebuggingRecorder, Snapshotter};
use quinn::{ConnectionError, TransportConfig};
use quinn_proto::{DatagramEvent, EndpointConfig};
use sterna_proto::{limits, v1, version};
use tokio::sync::{Mutex, MutexGuard};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proofs_of_address_and_refusals_are_counted() {
    let mut counts = Counts::begin().await;
    let edge = TestEdge::start_with(|settings| {
        settings.edge.limits.address_connections_per_second = 0;
        settings.edge.limits.address_connection_burst = 1;
    })
    .await;
    let _unproved = connect_with(&edge, patient()).await.unwrap();
    assert_eq!(counts.of("sterna_edge_retries_total"), 0.0);
    let _proved_by_retry = connect_with(&edge, patient()).await.unwrap();
    assert_eq!(counts.of("sterna_edge_retries_total"), 1.0);
    let error = connect_with(&edge, patient()).await.unwrap_err();
    assert!(matches!(error, ConnectionError::ConnectionClosed(_)), "{error}");
    assert_eq!(counts.of("sterna_edge_retries_total"), 2.0);
    assert_eq!(counts.of("sterna_edge_refused_total transport=quic reason=address_rate"), 1.0);
    assert!(wss::tls(&edge).await.is_err());
    assert_eq!(counts.of("sterna_edge_refused_total transport=wss reason=address_rate"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn far_too_many_handshakes_are_met_with_silence() {
    let mut counts = Counts::begin().await;
    let edge = TestEdge::start_with(|settings| {
        settings.workers = 1;
        settings.edge.limits.handshakes_before_retry = 5;
        settings.edge.limits.handshake_deadline = Duration::from_secs(600);
    })
    .await;
    let mut unfinished: Vec<HalfClient> =
        (0..5).map(|_| HalfClient::start(&edge).answered()).collect();
    assert_eq!(counts.of("sterna_edge_retries_total"), 0.0);
    unfinished.extend((5..20).map(|_| HalfClient::start(&edge).proved().answered()));
    assert_eq!(counts.of("sterna_edge_retries_total"), 15.0);
    let ignored = HalfClient::start(&edge);
    counts.until("sterna_edge_refused_total transport=quic reason=handshakes").await;
    unfinished.pop().unwrap().give_up();
    let mut client = QuicClient::start(&edge, "alice").await;
    client.ping(2).await;
    assert!(ignored.has_heard_nothing());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_handshake_passes_the_turnstile_once() {
    let mut counts = Counts::begin().await;
    let edge = TestEdge::start().await;
    let _on_quic = QuicClient::start(&edge, "alice").await;
    assert_eq!(counts.of("sterna_edge_turnstile_seconds"), 1.0);
    let _on_wss = WssClient::start(&edge, "bob").await;
    assert_eq!(counts.of("sterna_edge_turnstile_seconds"), 2.0);
    let _in_a_browser = WebTransportClient::start(&edge, "carol").await;
    assert_eq!(counts.of("sterna_edge_turnstile_seconds"), 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_datagram_that_is_no_frame_is_counted() {
    let mut counts = Counts::begin().await;
    let edge = TestEdge::start().await;
    let client = QuicClient::start(&edge, "alice").await;
    client.connection.send_datagram(Bytes::from_static(b"GET / HTTP/1.1")).unwrap();
    let dropped = counts.until("sterna_edge_datagrams_dropped_total").await;
    assert_eq!(dropped, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_over_webtransport_are_counted_as_such() {
    let mut counts = Counts::begin().await;
    let edge = TestEdge::start().await;
    let mut client = WebTransportClient::start(&edge, "alice").await;
    client.ping(2).await;
    assert_eq!(counts.of("sterna_edge_handshakes_total transport=webtransport result=ok"), 1.0);
    assert_eq!(counts.of("sterna_edge_connections_active transport=webtransport"), 1.0);
    assert_eq!(counts.of("sterna_edge_http3_requests_total result=session"), 1.0);
    assert_eq!(client.http3.ask(&request("GET", "/chat")).await.status, 404);
    assert_eq!(counts.of("sterna_edge_http3_requests_total result=404"), 1.0);
    let mut foreign = client.http3.connection.open_uni().await.unwrap();
    foreign.write_all(&[0x40, 0x54, 0x40, 0x80]).await.unwrap();
    assert_eq!(counts.until("sterna_edge_http3_streams_rejected_total").await, 1.0);
    client.http3.control.finish().unwrap();
    client.http3.closed().await;
    let violations = "sterna_edge_http3_violations_total reason=closed_critical_stream";
    assert_eq!(counts.until(violations).await, 1.0);
    counts.until("sterna_edge_closes_total transport=webtransport reason=protocol error").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_over_http_and_what_became_of_their_requests_are_counted() {
    let mut counts = Counts::begin().await;
    let edge = TestEdge::start().await;
    let mut client = HttpClient::start(&edge, "alice").await;
    let mut requests = Requests::connect(&edge).await;
    client.send(&mut requests, &[ping(2)]).await;
    client.reply(2).await;
    assert_eq!(counts.of("sterna_edge_connections_active transport=http"), 1.0);
    assert_eq!(counts.of("sterna_edge_frames_received_total transport=http"), 1.0);
    let number = client.number.to_string();
    assert_eq!(requests.told("POST", &client.fields(&number), "").await.0, 204);
    assert_eq!(requests.told("POST", &client.fields("9"), "").await.0, 409);
    for result in ["opened", "taken", "repeated", "skipped"] {
        let name = format!("sterna_edge_http_exchanges_total result={result}");
        assert_eq!(counts.of(&name), 1.0, "{result}");
    }
    assert_eq!(counts.of("sterna_edge_http_posts_active"), 0.0);
    drop(client);
    counts.until("sterna_edge_closes_total transport=http reason=lost").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wss_reader_that_stops_is_closed_as_slow_while_another_is_served() {
    let mut counts = Counts::begin().await;
    let edge = TestEdge::start_with(|settings| {
        settings.core.slow_after = Duration::from_millis(400);
        settings.workers = 1;
    })
    .await;
    let mut slow = WssClient::start(&edge, "slow").await;
    slow.send(&[subscribe(2, "room:1")]).await;
    slow.reply(2).await;
    let mut fast = QuicClient::start(&edge, "fast").await;
    let publishing = async {
        for id in 2.. {
            fast.send(&publish(id, "room:1", vec![0; 60_000])).await;
            let published = fast.reply(id).await;
            assert!(matches!(published, v1::reply::Result::Published(_)), "{published:?}");
        }
    };
    // Who does not read hears nothing, so the edge's own word is taken.
    tokio::select! {
        _ = counts.until("sterna_edge_closes_total transport=wss reason=slow") => {}
        () = publishing => unreachable!("it does not end"),
    }
    let mut third = QuicClient::start(&edge, "third").await;
    third.ping(2).await;
    within("the end of the slow connection", async {
        while edge.edge.connection_count() > 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// What has been counted in this process since the test began. One test at a time.
struct Counts {
    counted: BTreeMap<String, f64>,
    snapshotter: &'static Snapshotter,
    _turn: MutexGuard<'static, ()>,
}

impl Counts {
    async fn begin() -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        static SNAPSHOTTER: OnceLock<Snapshotter> = OnceLock::new();
        let turn = TURN.lock().await;
        let snapshotter = SNAPSHOTTER.get_or_init(|| {
            let recorder = DebuggingRecorder::new();
            let snapshotter = recorder.snapshotter();
            recorder.install().unwrap();
            snapshotter
        });
        testing::moved_since(snapshotter);
        Self { counted: BTreeMap::new(), snapshotter, _turn: turn }
    }

    fn of(&mut self, counter: &str) -> f64 {
        for (name, count) in testing::moved_since(self.snapshotter) {
            *self.counted.entry(name).or_default() += count;
        }
        self.counted.get(counter).copied().unwrap_or(0.0)
    }

    /// Waits until the counter has moved.
    async fn until(&mut self, counter: &str) -> f64 {
        within(counter, async {
            while self.of(counter) == 0.0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        self.of(counter)
    }
}

/// Sends nothing twice while a test runs, so that what it causes can be counted.
fn patient() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport.initial_rtt(Duration::from_secs(60));
    transport
}

/// A client that begins a handshake and lets it lie.
struct HalfClient {
    socket: UdpSocket,
    endpoint: quinn_proto::Endpoint,
    connection: quinn_proto::Connection,
}

impl HalfClient {
    /// Sends the first packet.
    fn start(edge: &TestEdge) -> Self {
        let address = edge.edge.local_address();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let config = Arc::new(EndpointConfig::default());
        let mut endpoint = quinn_proto::Endpoint::new(config, None, true, None);
        let config = client_config(edge, version::ALPN, patient());
        let (_, connection) =
            endpoint.connect(Instant::now(), config, address, "localhost").unwrap();
        let mut client = Self { socket, endpoint, connection };
        client.transmit();
        client
    }

    /// Answers the Retry that has to come.
    fn proved(mut self) -> Self {
        let packet = self.receive();
        let (now, remote) = (Instant::now(), self.socket.peer_addr().unwrap());
        let packet = bytes::BytesMut::from(&packet[..]);
        let event = self.endpoint.handle(now, remote, None, None, packet, &mut Vec::new());
        let Some(DatagramEvent::ConnectionEvent(_, event)) = event else { panic!("no Retry") };
        self.connection.handle_event(event);
        self.transmit();
        self
    }

    /// The edge has begun its part of the handshake.
    fn answered(self) -> Self {
        self.receive();
        self
    }

    fn give_up(mut self) {
        self.connection.close(Instant::now(), 0u32.into(), Bytes::new());
        self.transmit();
    }

    fn has_heard_nothing(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        self.socket.recv(&mut [0; limits::DATAGRAM_BYTES]).is_err()
    }

    fn receive(&self) -> Vec<u8> {
        let mut packet = [0; 2048];
        let length = self.socket.recv(&mut packet).unwrap();
        packet[..length].to_vec()
    }

    fn transmit(&mut self) {
        let mut packet = Vec::new();
        while self.connection.poll_transmit(Instant::now(), 1, &mut packet).is_some() {
            self.socket.send(&packet).unwrap();
            packet.clear();
        }
    }
}
