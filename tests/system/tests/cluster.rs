//! Edges and a core as processes of their own: what a client is promised holds whichever node it is
//! connected to, and whatever becomes of the others.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use sterna_system_tests::checker::Checker;
use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::process::{self, JsonProcess};
use sterna_system_tests::text::Writer;

const CHANNEL: &str = "room:cluster";
const LINES: usize = 400;

/// A core that is killed in the middle of everything takes nothing with it: the edges keep what was
/// on its way and give it to the core that starts in its place; clients stay connected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_killed_core_is_not_noticed_by_clients_of_its_edges() {
    let mut cluster = Cluster::new().await;
    cluster.add("c1", "core", &[]).await;
    cluster.add("e1", "edge", &[]).await;
    cluster.add("e2", "edge", &[]).await;
    cluster.ready().await;
    let mut checker = Checker::new();
    let mut subscribers = Vec::new();
    for (edge, transport) in [("e1", "wss"), ("e2", "quic")] {
        let verb = ["sub", CHANNEL, "--from", "earliest", "--json", "--transport", transport];
        let command = cluster.verb(edge, edge, &verb).await;
        subscribers.push((edge, JsonProcess::start(edge, command, Vec::new())));
    }
    let mut publishers = Vec::new();
    for (at, (user, edge)) in [("ana", "e1"), ("ben", "e2")].into_iter().enumerate() {
        let mut writer = Writer::new(user, at as u64);
        let lines: Vec<String> = (0..LINES).map(|_| writer.next_line()).collect();
        lines.iter().for_each(|line| checker.attempt(user, line));
        let verb = ["pub", CHANNEL, "--stdin", "--json", "--timeout", "60s"];
        let command = cluster.verb(edge, user, &verb).await;
        publishers.push((user, JsonProcess::start(user, command, lines.clone()), lines));
    }
    for (_, publisher, _) in &mut publishers {
        publisher.wait_for_count(LINES / 10).await;
    }
    cluster.node_mut("c1").kill().await;
    cluster.start("c1").await;
    for (user, mut publisher, lines) in publishers {
        assert!(publisher.finish().await.success(), "{}", publisher.errors());
        for (line, object) in lines.iter().zip(&publisher.objects()) {
            checker.ack(process::acked(object, user, line).expect("every line was acknowledged"));
        }
    }
    for (edge, mut subscriber) in subscribers {
        subscriber.wait_for_count(2 * LINES).await;
        let seen: Vec<_> = subscriber.kill().await.iter().map(process::seen).collect();
        checker.view(edge, seen);
    }
    checker.assert_clean();
    cluster.stop().await;
}
