//! I2, I10 on the real process with the machine's clock wrong by an hour, back and forth, while it
//! runs and over a kill -9: offsets have no holes, ids grow, server times do not go back, nobody
//! is disconnected, and tokens are judged by the clock as it is.
//!
//! The node sees the time that libfaketime tells it: wall clock only, read anew at every look.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::time::{Duration, SystemTime};

use sterna_client::{Ack, ChannelId, Client, ClientState, Error, Event, Subscribe, Transport};
use sterna_system_tests::fake_clock::FakeClock;
use sterna_system_tests::node::{Node, PATIENCE};
use sterna_system_tests::sdk;
use tokio::time::timeout;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Far beyond what a test takes and a token's leeway allows.
const NEARLY_AN_HOUR_MS: u64 = 50 * 60 * 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i10_a_clock_that_jumps_repeats_nothing_and_disconnects_nobody() {
    let (clock, mut node) = start().await;
    let quic = lasting(&node, "ana", Transport::Quic).await;
    let wss = lasting(&node, "ben", Transport::WebSocket).await;
    let mut talk = Talk::new([quic, wss]);
    talk.go_on().await;

    clock.set("-3600");
    refused_until_an_hour_has_passed(&node).await;
    talk.go_on().await;
    talk.assert_connects(1);

    node.kill().await;
    node.restart().await;
    talk.go_on().await;
    talk.assert_connects(2);

    let brief = connected(&node, "brief", SystemTime::now() - 2 * HOUR, 2 * HOUR + HOUR / 2).await;
    let before = talk.go_on().await;
    clock.set("+3600");
    expired(&brief).await;
    let after = talk.go_on().await;
    assert!(after.server_ts_ms >= before.server_ts_ms + NEARLY_AN_HOUR_MS, "the clock is ahead");
    talk.assert_connects(2);

    clock.set("+0");
    sdk::connect(&node, "late", Transport::Quic).await.close().await;
    talk.go_on().await;
    talk.assert_connects(2);

    node.kill().await;
    node.restart().await;
    talk.go_on().await;
    talk.assert_connects(3);
    talk.check(&node).await;
    assert!(node.terminate().await.success(), "{}", node.log());
}

/// A node that is a minute old in the real time and lives by the fake one.
async fn start() -> (FakeClock, Node) {
    let clock = FakeClock::new();
    let mut node = Node::start().await;
    assert!(node.terminate().await.success());
    let launcher = clock.launcher();
    node.launch_through(&launcher.iter().map(String::as_str).collect::<Vec<_>>());
    node.restart().await;
    (clock, node)
}

/// A client whose token is valid whatever hour the node believes it is.
async fn lasting(node: &Node, user: &str, transport: Transport) -> Client {
    let token = sdk::token_issued_at(node, user, SystemTime::now() - 2 * HOUR, DAY);
    let builder = sdk::builder(node, user).transports([transport]).token(token);
    let client = builder.build().unwrap();
    client.connect();
    client.ready(PATIENCE).await.unwrap();
    client
}

async fn connected(node: &Node, user: &str, issued: SystemTime, life: Duration) -> Client {
    let token = sdk::token_issued_at(node, user, issued, life);
    let client = sdk::builder(node, user).token(token).build().unwrap();
    client.connect();
    client.ready(PATIENCE).await.unwrap();
    client
}

/// A token of the real present comes from the future of a clock that is behind.
async fn refused_until_an_hour_has_passed(node: &Node) {
    let client = sdk::builder(node, "early").build().unwrap();
    client.connect();
    let refused = client.ready(PATIENCE).await;
    assert!(matches!(refused, Err(Error::Unauthorized(_))), "{refused:?}");
    client.close().await;
}

/// Waits until the node has ended a session because its token is no longer valid.
async fn expired(client: &Client) {
    let mut states = client.states();
    let refused = async {
        while let Some(state) = states.next().await {
            if let ClientState::Disconnected { error: Some(error) } = state {
                return error;
            }
        }
        panic!("the client was closed by nobody")
    };
    let error = timeout(PATIENCE, refused).await.expect("an end");
    assert!(matches!(error, Error::Unauthorized(_)), "{error:?}");
    client.close().await;
}

/// Two clients who take turns in one channel, and what they were promised.
struct Talk {
    clients: [Client; 2],
    channel: ChannelId,
    acks: Vec<Ack>,
}

impl Talk {
    fn new(clients: [Client; 2]) -> Self {
        Self { clients, channel: ChannelId::new("room:clock").unwrap(), acks: Vec::new() }
    }

    /// A few more publications; the last promise.
    async fn go_on(&mut self) -> Ack {
        for turn in 0..10 {
            let text = format!("line {}", self.acks.len());
            self.acks.push(sdk::publish(&self.clients[turn % 2], &self.channel, &text).await);
        }
        self.acks[self.acks.len() - 1]
    }

    fn assert_connects(&self, wanted: u64) {
        for client in &self.clients {
            assert_eq!(client.statistics().connects, wanted, "{:?}", client.state());
        }
    }

    /// What a newcomer reads is what was promised, in the order in which it was.
    async fn check(self, node: &Node) {
        let reader = sdk::connect(node, "reader", Transport::Quic).await;
        let mut subscription = reader.subscribe(&self.channel, Subscribe::earliest()).unwrap();
        let mut read = Vec::new();
        while read.len() < self.acks.len() {
            match timeout(PATIENCE, subscription.next()).await.expect("an event").unwrap() {
                Event::Publication(it) => read.push(it),
                Event::State(_) | Event::Recovered { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        for (at, (ack, publication)) in self.acks.iter().zip(&read).enumerate() {
            assert_eq!(publication.payload, format!("line {at}"));
            assert_eq!(publication.position.offset.0, at as u64 + 1, "no hole, no double");
            assert_eq!((publication.id, publication.position), (ack.id, ack.position));
            assert_eq!(publication.position.epoch, read[0].position.epoch);
        }
        for pair in read.windows(2) {
            let [one, two] = pair else { unreachable!("windows of two") };
            assert!(two.id > one.id, "ids grow: {one:?} {two:?}");
            assert!(two.server_ts_ms >= one.server_ts_ms, "{one:?} {two:?}");
        }
        for client in self.clients.iter().chain([&reader]) {
            client.close().await;
        }
    }
}
