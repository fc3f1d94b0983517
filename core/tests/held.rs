//! What an edge holds of the channels of others: the owner leaves it out of its answers, and what a
//! client gets is the same, by the same rights.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use metrics_util::debugging::{DebugValue, Snapshotter};
use sterna_core::Worker;
use sterna_proto::v1::{self, command::Verb, reply::Result as Reply};
use sterna_proto::{ChannelId, ErrorCode};
use sterna_storage::memory::MemoryStore;
use support::cluster::{Cluster, Role, core, edge, until};
use support::{TestClient, counted, error, publish, subscribe};

const ROLES: [Role; 3] = [core("c1"), core("c2"), edge("e1")];
const RELAYED: [Role; 3] = [
    core("c1"),
    Role { name: "c2", core: true, region: "far" },
    Role { name: "e1", core: false, region: "far" },
];

/// Of so many, some are each core's.
const ROOMS: usize = 20;

fn room(number: usize) -> String {
    format!("room:{number}")
}

fn with_cluster<F: Future<Output = ()>>(
    roles: &'static [Role],
    test: impl FnOnce(Cluster, MemoryStore) -> F,
) -> HashMap<String, u64> {
    let mut found = HashMap::new();
    counted(|snapshotter| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.start_paused(true).enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let store = MemoryStore::new();
            let cluster = Cluster::start(roles, &store).await;
            let settled = |room: String| cluster.owners(&room).len() == 1;
            until("each has an owner", || (0..ROOMS).map(room).all(settled)).await;
            let patience = Duration::from_secs(600);
            tokio::time::timeout(patience, test(cluster.clone(), store)).await.unwrap();
            cluster.shutdown().await;
        });
        found = totals(snapshotter);
    });
    found
}

/// Counters by their names and their labels' values.
fn totals(snapshotter: &Snapshotter) -> HashMap<String, u64> {
    let counter = |(key, _, _, value): (metrics_util::CompositeKey, _, _, DebugValue)| {
        let DebugValue::Counter(count) = value else { return None };
        let labels = key.key().labels().map(|label| label.value());
        let words: Vec<&str> = std::iter::once(key.key().name()).chain(labels).collect();
        Some((words.join(" "), count))
    };
    snapshotter.snapshot().into_vec().into_iter().filter_map(counter).collect()
}

fn of(totals: &HashMap<String, u64>, name: &str) -> u64 {
    totals.get(name).copied().unwrap_or(0)
}

const HITS: &str = "sterna_core_hot_lookups_total edge_ring hit";
const MISSES: &str = "sterna_core_hot_lookups_total edge_ring miss";
const RELIED: &str = "sterna_core_pages_total edge";
const LOG_READS: &str = "sterna_core_page_reads_total read";

fn offsets(page: &v1::Subscribed) -> Vec<u64> {
    page.publications.iter().map(|publication| publication.offset).collect()
}

/// A channel that a core owns.
fn owned_by(cluster: &Cluster, owner: &str) -> String {
    (0..ROOMS).map(room).find(|room| cluster.owners(room) == [owner]).unwrap()
}

/// A client at a node that follows the channel and has heard everything up to an offset.
async fn follower(worker: &Worker, user: &str, channel: &str, upto: u64) -> TestClient {
    let mut client = TestClient::connect(worker, user).await;
    let page = client.subscribe(channel, Some(v1::Position::default())).await;
    let mut heard = page.publications.last().map_or(0, |last| last.offset);
    while heard < upto {
        heard = client.publication().await.offset;
    }
    client
}

#[test]
fn i13_a_thousand_who_come_back_to_an_edge_get_everything_from_there() {
    const SESSIONS: usize = 1000;
    let totals = with_cluster(&ROLES, |cluster, _| async move {
        let channel = owned_by(&cluster, "c1");
        let mut alice = TestClient::connect(cluster.worker("c1"), "alice").await;
        let e1 = cluster.worker("e1");
        let mut stays = follower(e1, "stays", &channel, 0).await;
        let mut position = v1::Position::default();
        for seq in 1..=30 {
            alice.publish(&channel, seq, "x").await;
            let heard = stays.publication().await;
            if seq == 10 {
                position = v1::Position { epoch: heard.epoch, offset: heard.offset };
            }
        }
        let back = (0..SESSIONS).map(|n| {
            let channel = &channel;
            async move {
                let mut client = TestClient::connect(e1, &format!("user{n}")).await;
                let page = client.subscribe(channel, Some(position)).await;
                assert!(page.live && page.gap.is_none());
                assert_eq!(offsets(&page), (11..=30).collect::<Vec<_>>());
                client
            }
        });
        let mut back = join_all(back).await;
        alice.publish(&channel, 31, "x").await;
        for client in &mut back {
            assert_eq!(client.publication().await.offset, 31, "what follows has no seam");
        }
    });
    assert_eq!((of(&totals, HITS), of(&totals, RELIED)), (1000, 1000));
    assert_eq!((of(&totals, MISSES), of(&totals, LOG_READS)), (0, 0));
}

#[test]
fn i5_the_owner_adds_what_the_edge_has_not_heard_yet() {
    let totals = with_cluster(&ROLES, |cluster, _| async move {
        let channel = owned_by(&cluster, "c1");
        let mut alice = TestClient::connect(cluster.worker("c1"), "alice").await;
        let stays = follower(cluster.worker("e1"), "stays", &channel, 0).await;
        for seq in 1..=5 {
            alice.publish(&channel, seq, "x").await;
        }
        let mut stays = stays;
        while stays.publication().await.offset < 5 {}
        // Nobody follows it there from now on.
        let gone = v1::Unsubscribe { channel: channel.clone() };
        stays.ask(Verb::Unsubscribe(gone)).await;
        let nobody = || {
            let router = cluster.member("c1").node.router().unwrap();
            router.passed_on(&ChannelId::new(&channel).unwrap().key()).is_empty()
        };
        until("the owner sends no more", nobody).await;
        for seq in 6..=9 {
            alice.publish(&channel, seq, "x").await;
        }
        let page = stays.subscribe(&channel, Some(v1::Position::default())).await;
        assert_eq!(offsets(&page), (1..=9).collect::<Vec<_>>());
        assert!(page.live);
        // The ring has begun anew behind what was not heard, or not at all: nobody gets a hole.
        alice.publish(&channel, 10, "x").await;
        assert_eq!(stays.publication().await.offset, 10);
        let mut bob = TestClient::connect(cluster.worker("e1"), "bob").await;
        for since in 0..10 {
            let position = page.position.map(|it| v1::Position { offset: since, ..it });
            let page = bob.subscribe(&channel, position).await;
            assert_eq!(offsets(&page), (since + 1..=10).collect::<Vec<_>>());
        }
    });
    assert_eq!(of(&totals, HITS), 1 + 1, "what was held before, and what came after it");
    assert_eq!(of(&totals, MISSES), 9);
}

#[test]
fn i5_who_takes_a_channel_over_reads_nothing_that_edges_hold() {
    let totals = with_cluster(&ROLES, |cluster, _| async move {
        let channel = owned_by(&cluster, "c1");
        let mut alice = TestClient::connect(cluster.worker("e1"), "alice").await;
        let stays = follower(cluster.worker("e1"), "stays", &channel, 0).await;
        for seq in 1..=20 {
            alice.publish(&channel, seq, "x").await;
        }
        let mut stays = stays;
        while stays.publication().await.offset < 20 {}
        cluster.kill("c1");
        until("the other core owns it", || cluster.owners(&channel) == ["c2"]).await;
        for n in 0..50 {
            let mut client = TestClient::connect(cluster.worker("e1"), &format!("user{n}")).await;
            let page = loop {
                match client.ask(subscribe(&channel, Some(v1::Position::default()))).await {
                    Reply::Subscribed(page) => break page,
                    // Its way leads to the dead one.
                    other => assert!(error(other).retryable),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            assert_eq!(offsets(&page), (1..=20).collect::<Vec<_>>());
        }
    });
    assert_eq!((of(&totals, HITS), of(&totals, LOG_READS)), (50, 0));
}

#[test]
fn i11_whoever_has_no_right_gets_nothing_of_what_an_edge_holds() {
    let totals = with_cluster(&ROLES, |cluster, _| async move {
        let channel = owned_by(&cluster, "c1");
        let mut owner = TestClient::connect(cluster.worker("c1"), "owner").await;
        let member =
            |user: &str| Some(v1::Member { user: user.into(), role: v1::Role::Member.into() });
        let members = ["stays", "leaves"].into_iter().filter_map(member).collect();
        let create = v1::CreateChannel {
            channel: channel.clone(),
            kind: v1::ChannelKind::Group.into(),
            access: v1::ChannelAccess::Members.into(),
            members,
        };
        assert!(matches!(owner.ask(Verb::CreateChannel(create)).await, Reply::Channel(_)));
        let _stays = follower(cluster.worker("e1"), "stays", &channel, 0).await;
        let mut leaves = follower(cluster.worker("e1"), "leaves", &channel, 0).await;
        owner.publish(&channel, 1, "for all").await;
        let heard = leaves.publication().await;
        let position = v1::Position { epoch: heard.epoch, offset: heard.offset };
        let removed = v1::RemoveMember { channel: channel.clone(), user: "leaves".into() };
        assert!(matches!(owner.ask(Verb::RemoveMember(removed)).await, Reply::Done(_)));
        owner.publish(&channel, 2, "secret").await;
        for (user, since) in
            [("leaves", Some(position)), ("stranger", Some(v1::Position::default()))]
        {
            let mut client = TestClient::connect(cluster.worker("e1"), user).await;
            let refused = error(client.ask(subscribe(&channel, since)).await);
            assert_eq!(refused.code, ErrorCode::PermissionDenied.number());
        }
        let mut stays = TestClient::connect(cluster.worker("e1"), "stays").await;
        let page = stays.subscribe(&channel, Some(position)).await;
        assert_eq!(offsets(&page), [2, 3], "a removal and what follows it");
    });
    assert_eq!(of(&totals, HITS), 1);
}

#[test]
fn i9_what_an_edge_holds_passes_the_relay_by() {
    let totals = with_cluster(&RELAYED, |cluster, _| async move {
        let channel = owned_by(&cluster, "c1");
        let mut alice = TestClient::connect(cluster.worker("c1"), "alice").await;
        let mut stays = follower(cluster.worker("e1"), "stays", &channel, 0).await;
        for seq in 1..=9 {
            assert!(matches!(alice.ask(publish(&channel, seq, "x")).await, Reply::Published(_)));
        }
        while stays.publication().await.offset < 9 {}
        let mut bob = TestClient::connect(cluster.worker("e1"), "bob").await;
        let page = bob.subscribe(&channel, Some(v1::Position::default())).await;
        assert_eq!(offsets(&page), (1..=9).collect::<Vec<_>>());
        // A node of the region that has heard nothing: the relay holds it.
        let mut at_relay = TestClient::connect(cluster.worker("c2"), "carol").await;
        let page = at_relay.subscribe(&channel, Some(v1::Position::default())).await;
        assert_eq!(offsets(&page), (1..=9).collect::<Vec<_>>());
    });
    assert_eq!((of(&totals, HITS), of(&totals, RELIED), of(&totals, MISSES)), (2, 2, 0));
}
