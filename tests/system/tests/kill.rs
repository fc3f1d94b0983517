//! I1 under load: publishers and node are killed in the middle of everything, again and again, and
//! what had been acknowledged by then is there afterwards, once, in order. STERNA_LONG=1 makes it
//! 50 rounds.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sterna_system_tests::checker::{Checker, Seen};
use sterna_system_tests::node::Node;
use sterna_system_tests::process::{self, JsonProcess};
use sterna_system_tests::text::Writer;

const CHANNELS: [&str; 2] = ["room:kill-a", "room:kill-b"];
const PUBLISHERS: [&str; 4] = ["ana", "ben", "cho", "dia"];
const SEED: u64 = 7;
/// More than can be published before the kill.
const LINES: usize = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_under_load() {
    let rounds = if std::env::var_os("STERNA_LONG").is_some() { 50 } else { 5 };
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut node = Node::start().await;
    let mut writers = PUBLISHERS.map(|name| Writer::new(name, rng.random()));
    let mut checkers = CHANNELS.map(|_| Checker::new());
    let mut promised = 0;
    for round in 0..rounds {
        let wanted = rng.random_range(1..80);
        promised += publish_until_killed(&mut node, &mut writers, &mut checkers, wanted).await;
        node.restart().await;
        for (channel, checker) in CHANNELS.iter().zip(&mut checkers) {
            // What is stored once stays; so only the newest view has to hold all promises.
            let log = history(&node, channel).await;
            checker.replace_views(&format!("{channel} after round {round}"), log);
            checker.assert_clean();
        }
    }
    assert!(promised >= rounds, "{promised} acknowledged");
    assert!(node.terminate().await.success(), "SIGTERM ends a node well");
}

/// Returns how many publications were acknowledged.
async fn publish_until_killed(
    node: &mut Node,
    writers: &mut [Writer; 4],
    checkers: &mut [Checker; 2],
    wanted: usize,
) -> usize {
    let mut running = Vec::new();
    for (at, writer) in writers.iter_mut().enumerate() {
        let lines: Vec<String> = (0..LINES).map(|_| writer.next_line()).collect();
        let verb = ["pub", CHANNELS[at % 2], "--stdin", "--json", "--timeout", "60s"];
        let command = node.verb(&verb, node.client_address(), PUBLISHERS[at]);
        running.push((at, JsonProcess::start(PUBLISHERS[at], command, lines.clone()), lines));
    }
    for (_, process, _) in &mut running {
        process.wait_for_count(wanted).await;
    }
    node.kill().await;
    let mut promised = 0;
    for (at, mut process, lines) in running {
        let objects = process.kill().await;
        // A line that failed prints no object, and those behind it would be taken for others.
        assert!(!process.errors().contains("failed"), "{}", process.errors());
        let checker = &mut checkers[at % 2];
        lines.iter().for_each(|line| checker.attempt(PUBLISHERS[at], line));
        for (line, object) in lines.iter().zip(&objects) {
            if let Some(acked) = process::acked(object, PUBLISHERS[at], line) {
                checker.ack(acked);
                promised += 1;
            }
        }
    }
    promised
}

async fn history(node: &Node, channel: &str) -> Vec<Seen> {
    let verb = ["history", channel, "--from", "earliest", "--json"];
    let command = node.verb(&verb, node.client_address(), "historian");
    let mut process = JsonProcess::start("history", command, Vec::new());
    let status = process.finish().await;
    assert!(status.success(), "{}", process.errors());
    process.objects().iter().map(process::seen).collect()
}
