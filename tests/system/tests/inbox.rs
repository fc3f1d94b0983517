//! Inboxes of users who were away, with real processes: what was acknowledged is found in them
//! whichever node was killed meanwhile.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::node::Node;
use sterna_system_tests::process::JsonProcess;
use sterna_test_engines::MariaDb;

const INBOX: [&str; 2] = ["inbox", "--json"];

/// A verb that ends by itself.
async fn run(name: &str, command: tokio::process::Command) -> JsonProcess {
    let mut process = JsonProcess::start(name, command, Vec::new());
    let status = process.finish().await;
    assert!(status.success(), "{}", process.errors());
    process
}

/// Unread publications by channel.
fn unread(process: &JsonProcess) -> BTreeMap<String, u64> {
    let entry = |object: &serde_json::Value| {
        (object["channel"].as_str().unwrap().to_owned(), object["unread"].as_u64().unwrap())
    };
    process.objects().iter().map(entry).collect()
}

/// Waits until the conversation of alice and bob has `count` unread in the inbox of `user`.
async fn unread_becomes(node: &Node, user: &str, count: u64) {
    let mut found = BTreeMap::new();
    for _ in 0..300 {
        found = unread(&run("inbox", node.verb(&INBOX, node.client_address(), user)).await);
        if found.get("dm:alice:bob") == Some(&count) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{count} unread for {user}, but there is {found:?}");
}

/// The publication is acknowledged, and its mark waits for others: a kill now comes between the two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_kill_between_commit_and_mark_takes_nothing_out_of_the_inbox() {
    let mut node = Node::start().await;
    for text in ["one", "two"] {
        let verb = ["pub", "dm:alice:bob", text, "--json"];
        run("pub", node.verb(&verb, node.client_address(), "alice")).await;
    }
    node.kill().await;
    node.restart().await;
    // Each inbox is written by itself, so one may be ahead of the other.
    unread_becomes(&node, "bob", 2).await;
    // Sending implies reading.
    unread_becomes(&node, "alice", 0).await;
    assert!(node.terminate().await.success());
}

/// Cores that share a database, and edges: whoever looks is told on another edge, and a core that is
/// killed behind an acknowledgement leaves its intents to the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_the_core_that_is_left_writes_the_marks_of_a_killed_one() {
    let database = MariaDb::start();
    let mut cluster = Cluster::new().await;
    let urls = format!("store.urls={}", database.fresh_url());
    for core in ["c1", "c2"] {
        cluster.add(core, "core", &["store.engine=sql", &urls]).await;
    }
    for edge in ["e1", "e2"] {
        cluster.add(edge, "edge", &[]).await;
    }
    cluster.ready().await;
    let live = cluster.verb("e2", "zoe", &["inbox", "--live", "--json"]).await;
    let mut live = JsonProcess::start("live", live, Vec::new());
    // Some of them are owned by the core that is killed.
    let senders: Vec<String> = (0..8).map(|n| format!("user{n}")).collect();
    for sender in &senders {
        let channel = format!("dm:{sender}:zoe");
        run("pub", cluster.verb("e1", sender, &["pub", &channel, "hello", "--json"]).await).await;
    }
    cluster.node_mut("c1").kill().await;
    let mut found = BTreeMap::new();
    for _ in 0..300 {
        let mut inbox =
            JsonProcess::start("inbox", cluster.verb("e2", "zoe", &INBOX).await, vec![]);
        // While the slots change hands there is nobody to answer.
        if inbox.finish().await.success() {
            found = unread(&inbox);
            if found.len() == senders.len() {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(found.len(), senders.len(), "{found:?}");
    assert!(found.values().all(|unread| *unread == 1), "{found:?}");
    let channel = format!("dm:{}:zoe", senders[0]);
    run("pub", cluster.verb("e1", &senders[0], &["pub", &channel, "again", "--json"]).await).await;
    let told = |live: &JsonProcess| {
        live.objects().iter().any(|entry| entry["channel"] == *channel && entry["unread"] == 2)
    };
    loop {
        let before = live.count();
        if told(&live) {
            break;
        }
        live.wait_for_count(before + 1).await;
    }
    live.kill().await;
    cluster.stop().await;
}
