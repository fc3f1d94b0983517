//! What operators see of a node and its cluster: rates, sessions, what waits, and how it leaves.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use sterna_core::cluster::NodeState;
use sterna_proto::v1::push::Event;
use sterna_storage::memory::MemoryStore;
use support::cluster::{Cluster, core, edge};
use support::{TestClient, config, counted, counts, publish, with_held_clock};

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..2000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

#[test]
fn a_node_that_is_alone_tells_of_itself_and_of_who_is_busy() {
    counted(|snapshotter| {
        with_held_clock(config(), MemoryStore::new().stores(), 1, |node, workers| async move {
            let mut alice = TestClient::connect(&workers[0], "alice").await;
            let mut bob = TestClient::connect(&workers[0], "bob").await;
            let _idle = TestClient::connect(&workers[0], "zoe").await;
            bob.subscribe("room:1", None).await;
            for seq in 1..=80 {
                alice.publish("room:1", seq, "hello").await;
                bob.publication().await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let seen = node.observed().remove(0);
            assert_eq!((seen.info.name.as_str(), seen.alive), ("test", true));
            assert!((5.0..15.0).contains(&seen.vitals.publications_per_second), "{seen:?}");
            assert!((5.0..15.0).contains(&seen.vitals.deliveries_per_second), "{seen:?}");
            assert_eq!((seen.vitals.sessions.quic, seen.vitals.channels), (3, 1), "{seen:?}");
            assert_eq!(seen.vitals.slots, 2048);
            let inspection = node.inspect(10).await;
            let users: Vec<&str> = inspection.sessions.iter().map(|s| s.user.as_str()).collect();
            assert!(users.contains(&"alice") && users.contains(&"bob"), "{users:?}");
            assert!(!users.contains(&"zoe"), "she says and hears nothing");
            assert_eq!(inspection.channels[0].channel, "room:1");
            assert_eq!((inspection.channels[0].offset, inspection.channels[0].links), (80, 1));
            assert_eq!(node.inspect(1).await.sessions.len(), 1);
            let queue = |name: &str| node.queue_depths().into_iter().find(|q| q.name == name);
            assert_eq!(queue("shard_mailbox").unwrap().bound, 1024);
        });
        let names = ["sterna_core_publications_total", "sterna_core_deliveries_total"];
        assert_eq!(counts(snapshotter, &names), [80, 80]);
    });
}

#[test]
fn who_does_not_keep_up_is_named_first() {
    let mut config = config();
    config.queues.outbox_frames = 8;
    with_held_clock(config, MemoryStore::new().stores(), 1, |node, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        bob.subscribe("room:1", None).await;
        for seq in 1..=40 {
            alice.publish("room:1", seq, "hello").await;
        }
        until("bob is behind", async || node.observed()[0].vitals.sessions.behind == 1).await;
        let sessions = node.inspect(1).await.sessions;
        assert_eq!((sessions[0].user.as_str(), sessions[0].behind), ("bob", true));
        let queue = node.queue_depths().into_iter().find(|q| q.name == "outbox_frames").unwrap();
        assert!(queue.depth > 0, "{queue:?}");
    });
}

#[test]
fn every_session_is_told_once_that_the_node_leaves_and_not_all_at_once() {
    const SESSIONS: usize = 1500;
    with_held_clock(config(), MemoryStore::new().stores(), 1, |node, workers| async move {
        let mut clients = Vec::new();
        for n in 0..SESSIONS {
            clients.push(TestClient::connect(&workers[0], &format!("user{n}")).await);
        }
        assert!(node.drain_progress().is_none());
        let deadline = Duration::from_secs(10);
        let began = tokio::time::Instant::now();
        // Asked twice, as by a signal after an order.
        for _ in 0..2 {
            node.start_drain(deadline, "other:4443".into()).await;
        }
        let mut told_at = Vec::new();
        for client in &mut clients {
            let Event::GoAway(go_away) = client.push().await else { panic!("not told to go") };
            assert_eq!(go_away.successor, "other:4443");
            told_at.push(began.elapsed());
            assert!(go_away.deadline_ms as u128 + began.elapsed().as_millis() <= 10_100);
        }
        let last = told_at.last().unwrap();
        assert!(*last > Duration::from_secs(1) && *last <= deadline / 4, "{last:?}");
        let progress = node.drain_progress().unwrap();
        assert_eq!((progress.successor.as_str(), progress.sessions), ("other:4443", 1500));
        assert!(progress.left <= deadline - *last);
        for client in &mut clients {
            let more = tokio::time::timeout(Duration::from_millis(1), client.push()).await;
            assert!(more.is_err(), "told again: {more:?}");
        }
        clients.truncate(100);
        until("the others have gone", async || node.drain_progress().unwrap().sessions == 100)
            .await;
    });
}

#[test]
fn any_node_of_a_cluster_knows_how_the_others_fare() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.start_paused(true).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let store = MemoryStore::new();
        let roles = [core("c1"), core("c2"), edge("e1")];
        let cluster = Cluster::start(&roles, &store).await;
        let mut alice = TestClient::connect(cluster.worker("e1"), "alice").await;
        let asked = cluster.member("c2").node.clone();
        let publishing = async {
            for seq in 1.. {
                let reply = alice.ask(publish("room:1", seq, "hello")).await;
                drop(reply);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let seen = Arc::new(asked);
        let looking = until("c2 has heard of everything", async || {
            let all = seen.observed();
            let of = |name: &str| all.iter().find(|node| node.info.name.as_str() == name);
            let [Some(c1), Some(c2), Some(e1)] = [of("c1"), of("c2"), of("e1")] else {
                return false;
            };
            let published = c1.vitals.publications_per_second + c2.vitals.publications_per_second;
            published > 5.0
                && c1.vitals.slots + c2.vitals.slots == 2048
                && e1.vitals.sessions.quic == 1
                && c1.vitals.database.is_some_and(|database| database.healthy)
                && e1.vitals.database.is_none()
                && !e1.vitals.release.is_empty()
        });
        tokio::select! {
            () = publishing => unreachable!("goes on for ever"),
            () = looking => {}
        }
        cluster.member("e1").node.start_drain(Duration::from_secs(1), String::new()).await;
        until("c2 sees that e1 leaves", async || {
            let all = seen.observed();
            all.iter().any(|node| node.info.state == NodeState::Leaving)
        })
        .await;
        cluster.kill("e1");
        until("c2 sees that e1 is silent", async || {
            let all = seen.observed();
            all.iter().any(|node| node.info.name.as_str() == "e1" && !node.alive)
        })
        .await;
        drop(alice);
        cluster.shutdown().await;
    });
}
