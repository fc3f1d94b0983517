//! Two people talk for a long time while everything breaks: the node is killed and restarted, and
//! one reader's network changes every few seconds. In the end all views are the same, complete and
//! in order (I1, I2, I3, I5, I13). STERNA_LONG=1 makes it 100,000 lines and 10 kills.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::net::SocketAddr;
use std::time::Duration;

use sterna_relay::{Impairment, Relay, RelayConfig};
use sterna_system_tests::checker::{Checker, Seen};
use sterna_system_tests::node::Node;
use sterna_system_tests::process::{self, JsonProcess};
use sterna_system_tests::text::Writer;
use tokio::time::MissedTickBehavior;

const CHANNEL: &str = "room:conversation";
const SEED: u64 = 20_261_123;
/// How often the reader on QUIC changes its network.
const MOVE_EVERY: Duration = Duration::from_secs(2);

struct Plan {
    lines: usize,
    kills: usize,
}

impl Plan {
    fn from_environment() -> Self {
        match std::env::var_os("STERNA_LONG") {
            Some(_) => Self { lines: 100_000, kills: 10 },
            None => Self { lines: 2_000, kills: 3 },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_survives_kills_and_changes_of_network() {
    let plan = Plan::from_environment();
    let mut node = Node::start().await;
    let direct = node.client_address();
    let path = Impairment {
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(3),
        loss: 0.05,
        ..Impairment::default()
    };
    let config = RelayConfig::new(direct).with_seed(SEED).with_impairment(path);
    let relay = Relay::start(config).await.unwrap();

    let mut on_wss = follower(&node, "wss", direct);
    let mut on_quic = follower(&node, "quic", relay.address());
    let mut speakers = [
        Speaker::start(&node, "ana", SEED, plan.lines / 2),
        Speaker::start(&node, "ben", SEED + 1, plan.lines / 2),
    ];

    tokio::select! {
        () = kill_now_and_then(&mut node, &mut on_wss, &plan) => {}
        () = keep_moving(&relay) => unreachable!("moving does not end by itself"),
    }

    let mut checker = Checker::new();
    let wait = async {
        for speaker in &mut speakers {
            speaker.report(&mut checker).await;
        }
        let truth = history(&node).await;
        on_wss.wait_for_count(truth.len()).await;
        on_quic.wait_for_count(truth.len()).await;
        truth
    };
    let truth = tokio::select! {
        truth = wait => truth,
        () = keep_moving(&relay) => unreachable!("moving does not end by itself"),
    };
    assert_eq!(truth.len(), plan.lines, "every line is in the log once");
    checker.view("history", truth);
    checker.view("wss", views(on_wss.kill().await));
    checker.view("quic", views(on_quic.kill().await));
    checker.assert_clean();
    let stats = relay.stats();
    assert!(
        stats.rebinds > 0 && stats.up.lost + stats.down.lost > 0,
        "the network was as bad as planned: {stats:?}"
    );
    relay.shutdown().await;
    assert!(node.terminate().await.success(), "SIGTERM ends a node well");
}

/// Kills the node each time another share of the conversation has been read.
async fn kill_now_and_then(node: &mut Node, reader: &mut JsonProcess, plan: &Plan) {
    for kill in 1..=plan.kills {
        reader.wait_for_count(plan.lines * kill / (plan.kills + 1)).await;
        node.kill().await;
        node.restart().await;
    }
}

/// Another port, then another address behind a short darkness, and so on.
async fn keep_moving(relay: &Relay) {
    let mut ticks = tokio::time::interval(MOVE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0u64.. {
        ticks.tick().await;
        if round % 2 == 0 {
            relay.rebind().await.unwrap();
        } else {
            relay.blackout(Duration::from_millis(300)).await;
            relay.change_address().await.unwrap();
        }
    }
}

/// A `pub --stdin` with all the lines that it is to publish.
struct Speaker {
    name: &'static str,
    lines: Vec<String>,
    process: JsonProcess,
}

impl Speaker {
    fn start(node: &Node, name: &'static str, seed: u64, count: usize) -> Self {
        let mut writer = Writer::new(name, seed);
        let lines: Vec<String> = (0..count).map(|_| writer.next_line()).collect();
        let command = node.verb(
            &["pub", CHANNEL, "--stdin", "--json", "--timeout", "60s"],
            node.client_address(),
            name,
        );
        let process = JsonProcess::start(name, command, lines.clone());
        Self { name, lines, process }
    }

    /// Waits for the end and tells the checker what was tried and what was promised.
    async fn report(&mut self, checker: &mut Checker) {
        let status = self.process.finish().await;
        let objects = self.process.objects();
        assert!(status.success(), "{} ended with {status}\n{}", self.name, self.process.errors());
        assert_eq!(objects.len(), self.lines.len(), "{} answers for every line", self.name);
        for (line, object) in self.lines.iter().zip(&objects) {
            checker.attempt(self.name, line);
            match process::acked(object, self.name, line) {
                Some(acked) => checker.ack(acked),
                None => panic!("{} was not stored: {object}", self.name),
            }
        }
    }
}

fn follower(node: &Node, transport: &str, server: SocketAddr) -> JsonProcess {
    let mut command = node.verb(
        &["sub", CHANNEL, "--from", "earliest", "--json", "--timeout", "60s"],
        server,
        &format!("reader-{transport}"),
    );
    command.args(["--transport", transport]);
    JsonProcess::start(transport, command, Vec::new())
}

async fn history(node: &Node) -> Vec<Seen> {
    let command = node.verb(
        &["history", CHANNEL, "--from", "earliest", "--json"],
        node.client_address(),
        "historian",
    );
    let mut process = JsonProcess::start("history", command, Vec::new());
    let status = process.finish().await;
    assert!(status.success(), "{}", process.errors());
    views(process.objects())
}

fn views(objects: Vec<serde_json::Value>) -> Vec<Seen> {
    objects.iter().map(process::seen).collect()
}
