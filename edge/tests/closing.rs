//! Connections that the edge ends: whatever state they are in, and also when nobody reads.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::quic::{QuicClient, close_reason, connect};
use common::wss::{self, WssClient};
use common::{TestEdge, hello, publish, subscribe, within};
use quinn::TransportConfig;
use sterna_core::config::{Rate, Rates};
use sterna_core::revocations::{Revocation, Revocations};
use sterna_core::{Clock, SystemClock};
use sterna_proto::{CloseReason, UserId, codec, v1, version};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_connections_that_are_still_on_their_way_in() {
    let edge = TestEdge::start_with(|settings| {
        settings.edge.limits.handshake_deadline = Duration::from_secs(600);
        settings.edge.limits.hello_deadline = Duration::from_secs(600);
    })
    .await;
    let mut no_tls = TcpStream::connect(edge.edge.local_address()).await.unwrap();
    let mut no_upgrade = wss::tls(&edge).await.unwrap();
    let mut no_hello = wss::connect(&edge, version::SUBPROTOCOL_PROTOBUF).await;
    let (_endpoint, no_stream) = connect(&edge).await.unwrap();
    let (endpoint, connection) = connect(&edge).await.unwrap();
    let mut half_a_hello = QuicClient::on(endpoint, connection).await;
    half_a_hello.commands.write_all(&codec::encode_to_bytes(&hello("alice"))[..9]).await.unwrap();
    within("all five", async {
        while edge.edge.connection_count() < 5 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let ended = within("a drain", async {
        let drain = edge.edge.drain(Duration::from_millis(50), String::new());
        let told = wss::close_reason(&mut no_hello);
        let (ended, told) = tokio::join!(drain, told);
        assert_eq!(told, CloseReason::Drained);
        ended
    });
    assert!(ended.await, "no worker was left with a connection");
    assert!(!matches!(within("no TLS", no_tls.read(&mut [0; 10])).await, Ok(1..)));
    assert!(!matches!(within("no upgrade", no_upgrade.read(&mut [0; 10])).await, Ok(1..)));
    assert_eq!(close_reason(&no_stream).await, CloseReason::Drained);
    assert_eq!(half_a_hello.closed().await, CloseReason::Drained);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_a_revocation_reaches_a_client_that_does_not_read() {
    let edge = TestEdge::start().await;
    // Room for the Welcome and little more; nothing is ever read of a lane.
    let mut narrow = TransportConfig::default();
    narrow.stream_receive_window(2_000u32.into()).keep_alive_interval(Some(KEEP_ALIVE));
    let mut stalled = QuicClient::start_with(&edge, "stalled", narrow).await;
    stalled.send(&subscribe(2, "room:1")).await;
    stalled.reply(2).await;
    let mut writer = WssClient::start(&edge, "writer").await;
    // More than is taken from the outbox ahead of writing and than quinn takes in advance.
    for id in 2..52 {
        writer.send(&[publish(id, "room:1", vec![7; 50_000])]).await;
        writer.reply(id).await;
    }
    let user = UserId::new("stalled").unwrap();
    edge.node.revoke(&user, SystemClock.unix_ms()).await.unwrap();
    assert_eq!(stalled.closed().await, CloseReason::Revoked);
    writer.send(&[common::ping(100)]).await;
    writer.reply(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_a_revocation_while_the_session_opens_is_not_missed() {
    let clock = Arc::new(RevokingClock::default());
    let edge = TestEdge::start_with(|settings| {
        settings.workers = 1;
        // A shard looks at the clock as well.
        settings.shards_on_workers = false;
        settings.clock = clock.clone();
    })
    .await;
    clock.revocations.set(edge.node.revocations().clone()).unwrap();
    let (endpoint, connection) = connect(&edge).await.unwrap();
    let mut client = QuicClient::on(endpoint, connection).await;
    clock.arm().await;
    client.send(&hello("alice")).await;
    assert_eq!(client.closed().await, CloseReason::Unauthorized);
}

/// Revokes alice when the worker looks at it for the second time: after her token was checked,
/// while her session opens.
#[derive(Debug, Default)]
struct RevokingClock {
    revocations: OnceLock<Arc<Revocations>>,
    looks: AtomicU32,
    armed: OnceLock<u32>,
}

impl RevokingClock {
    /// Right after the worker's regular look, so that the next ones are those at the Hello.
    async fn arm(&self) {
        let before = self.looks.load(Ordering::SeqCst);
        within("a regular look", async {
            while self.looks.load(Ordering::SeqCst) == before {
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.armed.set(self.looks.load(Ordering::SeqCst)).unwrap();
    }
}

impl Clock for RevokingClock {
    fn unix_ms(&self) -> u64 {
        let on_a_worker =
            std::thread::current().name().is_some_and(|name| name.starts_with("worker"));
        if on_a_worker {
            let look = self.looks.fetch_add(1, Ordering::SeqCst) + 1;
            if self.armed.get().is_some_and(|armed| look == armed + 2) {
                let user = Some(UserId::new("alice").unwrap());
                let revocation = Revocation { user, before_ms: SystemClock.unix_ms() };
                self.revocations.get().unwrap().add(revocation);
            }
        }
        SystemClock.unix_ms()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_leaves_no_reply_behind() {
    let edge = TestEdge::start().await;
    let mut client = WssClient::start(&edge, "alice").await;
    let goodbye = v1::Frame::command(3, v1::command::Verb::Goodbye(v1::Goodbye::default()));
    client.send(&[common::ping(2), goodbye]).await;
    client.reply(2).await;
    assert_eq!(wss::close_reason(&mut client.socket).await, CloseReason::Normal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_all_the_time_is_not_slow_although_more_always_waits() {
    const SLOW_AFTER: Duration = Duration::from_secs(1);
    let edge = TestEdge::start_with(|settings| {
        settings.core.slow_after = SLOW_AFTER;
        let rate = Rate { per_second: 100_000, burst: 100_000 };
        settings.core.rates =
            Rates { publish: rate, user_publish: rate, command: rate, ephemeral: rate, sync: rate };
    })
    .await;
    let mut narrow = TransportConfig::default();
    narrow.stream_receive_window(2_000u32.into());
    let mut reader = QuicClient::start_with(&edge, "reader", narrow).await;
    reader.send(&subscribe(2, "room:1")).await;
    reader.reply(2).await;
    let mut writer = WssClient::start(&edge, "writer").await;
    let mut backlog = Vec::new();
    for id in 2..32 {
        backlog = vec![id as u8; 10_000];
        writer.send(&[publish(id, "room:1", backlog.clone())]).await;
        writer.reply(id).await;
    }
    let mut lane = within("a lane", reader.connection.accept_uni()).await.unwrap();
    let started = Instant::now();
    let mut id = 100;
    while started.elapsed() < SLOW_AFTER * 3 {
        id += 1;
        // As much comes as goes, and the client says something each time, which has no reply.
        writer.send(&[publish(id, "room:1", backlog.clone())]).await;
        writer.reply(id).await;
        within("what was published", lane.read_exact(&mut backlog)).await.unwrap();
        reader.send(&common::ping(0)).await;
    }
}

const KEEP_ALIVE: Duration = Duration::from_secs(1);
