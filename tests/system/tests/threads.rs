//! What of a node runs where: one thread for each worker, by default one for each processor, and on
//! them the sessions and the channels. On one processor that is one thread, which serves all of it.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::collections::BTreeMap;

use sterna_client::{ChannelId, Event, Subscribe, Transport};
use sterna_system_tests::node::{Node, PATIENCE, wait_for};
use sterna_system_tests::sdk;
use tokio::time::timeout;

/// Of a thread, so many that there is no doubt.
const WAKES: u64 = 50;

#[tokio::test]
async fn there_is_a_thread_for_each_worker() {
    let mut node = Node::start_with(&["--workers", "3"]).await;
    let (mut workers, mut others) = (wakes(&node, "worker-"), wakes(&node, "sterna-core"));
    assert_eq!(workers.keys().collect::<Vec<_>>(), ["worker-0", "worker-1", "worker-2"]);

    // Each has some of the shards, which look after what they owe many times in a second. Of all else
    // that goes on in a node at rest, little does.
    wait_for("a stretch in which the workers work and all else rests", || {
        let now = wakes(&node, "worker-");
        if now.iter().any(|(name, count)| count - workers[name] < WAKES) {
            return None;
        }
        workers = now;
        let before = std::mem::replace(&mut others, wakes(&node, "sterna-core"));
        // One that has ended since takes its count with it.
        (sum(&others).saturating_sub(sum(&before)) < WAKES).then_some(())
    })
    .await;
    assert!(node.terminate().await.success(), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_one_processor_one_thread_serves_sessions_and_channels() {
    let mut node = Node::start().await;
    assert!(node.terminate().await.success(), "{}", node.log());
    node.launch_through(&["taskset", "-c", &a_processor()]);
    node.restart().await;
    assert_eq!(wakes(&node, "worker-").keys().collect::<Vec<_>>(), ["worker-0"]);

    let channel = ChannelId::new("room:one").unwrap();
    let mut clients = Vec::new();
    for transport in [Transport::Quic, Transport::WebSocket] {
        clients.push(sdk::connect(&node, "ana", transport).await);
    }
    let mut subscriptions: Vec<_> = clients
        .iter()
        .map(|client| client.subscribe(&channel, Subscribe::earliest()).unwrap())
        .collect();
    let texts: Vec<String> = (0..20).map(|n| format!("line {n}")).collect();
    for (n, text) in texts.iter().enumerate() {
        sdk::publish(&clients[n % clients.len()], &channel, text).await;
    }
    for subscription in &mut subscriptions {
        let mut seen = Vec::new();
        while seen.len() < texts.len() {
            let event = timeout(PATIENCE, subscription.next()).await.expect("an event");
            if let Event::Publication(publication) = event.unwrap() {
                seen.push(String::from_utf8_lossy(&publication.payload).into_owned());
            }
        }
        assert_eq!(seen, texts);
    }
    // The order to leave, clients that say goodbye and the last commit are all on that thread.
    assert!(node.terminate().await.success(), "{}", node.log());
}

/// How often the threads of these names have gone to sleep, by name.
fn wakes(node: &Node, prefix: &str) -> BTreeMap<String, u64> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", node.id())).unwrap();
    let mut wakes = BTreeMap::new();
    for task in tasks {
        // A thread may end between the two looks.
        let Ok(status) = std::fs::read_to_string(task.unwrap().path().join("status")) else {
            continue;
        };
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap()
        };
        let name = field("Name:");
        if name.starts_with(prefix) {
            let count: u64 = field("voluntary_ctxt_switches:").parse().unwrap();
            *wakes.entry(name.to_owned()).or_default() += count;
        }
    }
    wakes
}

fn sum(wakes: &BTreeMap<String, u64>) -> u64 {
    wakes.values().sum()
}

/// One that this process may use.
fn a_processor() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    allowed.trim().split([',', '-']).next().unwrap().to_owned()
}
