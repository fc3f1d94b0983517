//! Inboxes in a cluster: who looks is told wherever it is connected, and says so again when the owner
//! of its inbox changes.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use sterna_proto::UserId;
use sterna_proto::v1::{self, command::Verb, push::Event, reply::Result as Reply};
use sterna_storage::memory::MemoryStore;
use support::cluster::{Cluster, Role, core, edge, until};
use support::{TestClient, publish};

const ROLES: [Role; 5] = [core("c1"), core("c2"), core("c3"), edge("e1"), edge("e2")];
const CORES: [&str; 3] = ["c1", "c2", "c3"];

/// The cores that own a user's inbox by their own views, those that are left.
fn owners(cluster: &Cluster, user: &str, dead: &str) -> Vec<&'static str> {
    let slot = UserId::new(user).unwrap().inbox_key().slot();
    let owns =
        |name: &&str| *name != dead && cluster.member(name).node.router().unwrap().owns(slot);
    CORES.into_iter().filter(owns).collect()
}

async fn send(client: &mut TestClient, channel: &str, seq: u64) {
    for _ in 0..500 {
        match client.ask(publish(channel, seq, "x")).await {
            Reply::Published(_) => return,
            Reply::Error(error) if error.retryable => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("never published");
}

async fn sync(client: &mut TestClient, live: bool) -> v1::Inbox {
    for _ in 0..500 {
        match client.ask(Verb::Sync(v1::Sync { live, ..Default::default() })).await {
            Reply::Inbox(inbox) => return inbox,
            Reply::Error(error) if error.retryable => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("never synced");
}

/// Takes touches until one names the channel.
async fn touched(client: &mut TestClient, channel: &str) {
    loop {
        if let Event::InboxTouched(touched) = client.push().await
            && touched.channel == channel
        {
            return;
        }
    }
}

fn with_cluster<F: Future<Output = ()>>(test: impl FnOnce(Cluster) -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.start_paused(true).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let store = MemoryStore::new();
        let cluster = Cluster::start(&ROLES, &store).await;
        let patience = Duration::from_secs(600);
        tokio::time::timeout(patience, test(cluster.clone())).await.unwrap();
        cluster.shutdown().await;
    });
}

#[test]
fn who_looks_is_told_on_any_edge_and_after_any_owner() {
    with_cluster(async |cluster| {
        until("one owner", || owners(&cluster, "bob", "").len() == 1).await;
        let mut alice = TestClient::connect(cluster.worker("e1"), "alice").await;
        let mut bob = TestClient::connect(cluster.worker("e2"), "bob").await;
        sync(&mut bob, true).await;
        send(&mut alice, "dm:alice:bob", 1).await;
        touched(&mut bob, "dm:alice:bob").await;
        assert_eq!(sync(&mut bob, false).await.entries[0].unread, 1);
        let owner = owners(&cluster, "bob", "")[0];
        cluster.kill(owner);
        until("another owner", || {
            let now = owners(&cluster, "bob", owner);
            now.len() == 1 && now[0] != owner
        })
        .await;
        // What was touched meanwhile is not known: it is told to look.
        touched(&mut bob, "").await;
        let mut carol = TestClient::connect(cluster.worker("e1"), "carol").await;
        send(&mut carol, "dm:bob:carol", 1).await;
        touched(&mut bob, "dm:bob:carol").await;
        let inbox = sync(&mut bob, false).await;
        assert!(inbox.entries.iter().any(|entry| entry.channel == "dm:bob:carol"), "{inbox:?}");
    });
}

/// The owner of the channel is cut off between commit and mark: the slot's next owner finds the
/// intent in the store.
#[test]
fn i1_the_next_owner_of_a_slot_carries_its_intents_out() {
    with_cluster(async |cluster| {
        until("one owner", || cluster.owners("dm:alice:bob").len() == 1).await;
        let mut alice = TestClient::connect(cluster.worker("e1"), "alice").await;
        send(&mut alice, "dm:alice:bob", 1).await;
        let owner = cluster.owners("dm:alice:bob")[0];
        cluster.kill(owner);
        let mut bob = TestClient::connect(cluster.worker("e2"), "bob").await;
        for _ in 0..300 {
            let inbox = sync(&mut bob, false).await;
            if inbox.entries.iter().any(|entry| entry.unread == 1) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        panic!("the inbox never showed it");
    });
}
