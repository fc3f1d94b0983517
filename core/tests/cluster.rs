//! Several nodes, one log: whatever becomes of links and owners, publications are in one order, and
//! whoever is subscribed hears each of them or of the gap.

#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sterna_core::{Node, SystemClock};
use sterna_proto::ErrorCode;
use sterna_proto::v1::{self, PresenceState, command::Verb, push::Event, reply::Result as Reply};
use sterna_storage::memory::MemoryStore;
use sterna_storage::{
    BoxFuture, RosterEntry, RosterError, RosterStore, StorageError, StorageErrorKind, Stores,
};
use support::cluster::{Cluster, Role, core, edge, until};
use support::{TestClient, join, publish};

const ROLES: [Role; 5] = [core("c1"), core("c2"), core("c3"), edge("e1"), edge("e2")];

fn with_cluster<F: Future<Output = ()>>(
    roles: &'static [Role],
    test: impl FnOnce(Cluster, MemoryStore) -> F,
) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.start_paused(true).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let store = MemoryStore::new();
        let cluster = Cluster::start(roles, &store).await;
        // Of a clock that moves only while everybody waits for it.
        let patience = Duration::from_secs(600);
        tokio::time::timeout(patience, test(cluster.clone(), store)).await.unwrap();
        cluster.shutdown().await;
    });
}

/// Sends one publication until it is stored, as a client's SDK does.
async fn send(client: &mut TestClient, channel: &str, seq: u64) -> v1::Published {
    loop {
        match client.ask(publish(channel, seq, &format!("{seq}"))).await {
            Reply::Published(published) => return published,
            Reply::Error(error) if error.retryable => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Reads pushes until the client has everything up to an offset, asking for what a gap names.
async fn hear(client: &mut TestClient, channel: &str, after: &mut v1::Position, upto: u64) {
    while after.offset < upto {
        let gap = match client.push().await {
            Event::Publication(publication) => {
                if publication.offset == after.offset + 1 {
                    after.offset += 1;
                }
                publication.offset > after.offset
            }
            Event::Gap(_) | Event::Head(_) => true,
            Event::Presence(_) => false,
            other => panic!("{other:?}"),
        };
        while gap && after.offset < upto {
            let page = client.subscribe(channel, Some(*after)).await;
            for publication in &page.publications {
                assert_eq!(publication.offset, after.offset + 1);
                after.offset += 1;
            }
            if page.live {
                break;
            }
        }
    }
}

#[test]
fn a_conversation_over_two_edges_goes_through_the_owner() {
    support::counted(|snapshotter| {
        with_cluster(&ROLES, |cluster, _| async move {
            let mut alice = TestClient::connect(cluster.worker("e1"), "alice").await;
            let mut bob = TestClient::connect(cluster.worker("e2"), "bob").await;
            for n in 0..20 {
                let room = format!("room:{n}");
                until("one owner", || cluster.owners(&room).len() == 1).await;
                bob.subscribe(&room, None).await;
                let stored = send(&mut alice, &room, 1).await;
                assert_eq!(stored.offset, 1);
                assert_eq!(bob.publication().await.payload, "1");
            }
        });
        let told = snapshotter.snapshot().into_vec();
        for gauge in ["sterna_core_slots_held", "sterna_link_interests_held"] {
            assert!(told.iter().any(|(key, ..)| key.key().name() == gauge), "{gauge}");
        }
    });
}

#[test]
fn i3_what_was_on_its_way_to_a_core_that_dies_is_stored_once() {
    support::counted(|snapshotter| {
        with_cluster(&ROLES, |cluster, _| async move {
            let mut alice = TestClient::connect(cluster.worker("e1"), "alice").await;
            let mut bob = TestClient::connect(cluster.worker("e2"), "bob").await;
            until("one owner", || cluster.owners("room:1").len() == 1).await;
            let mut heard = bob.subscribe("room:1", None).await.position.unwrap();
            let owner = cluster.owners("room:1")[0];
            let asked: Vec<u32> =
                (1..=50).map(|seq| alice.send(publish("room:1", seq, "x"))).collect();
            cluster.kill(owner);
            let mut offsets = Vec::new();
            for id in asked {
                match alice.reply(id).await {
                    Reply::Published(published) => offsets.push(published.offset),
                    other => panic!("the edge sends it again by itself: {other:?}"),
                }
            }
            assert_eq!(offsets, (1..=50).collect::<Vec<u64>>());
            hear(&mut bob, "room:1", &mut heard, 50).await;
            assert_ne!(cluster.owners("room:1"), [owner]);
        });
        let moved = ["sterna_link_calls_resent_total", "sterna_link_interests_moved_total"];
        let moved = support::counts(snapshotter, &moved);
        assert!(moved.iter().all(|count| *count > 0), "{moved:?}");
    });
}

#[test]
fn i2_two_cores_that_both_believe_to_own_a_channel_conflict_and_go_on() {
    support::counted(|snapshotter| {
        with_cluster(&ROLES, |cluster, store| async move {
            let mut alice = TestClient::connect(cluster.worker("e1"), "alice").await;
            let mut bob = TestClient::connect(cluster.worker("e2"), "bob").await;
            let room = "room:1";
            until("one owner", || cluster.owners(room).len() == 1).await;
            let mut at_alice = alice.subscribe(room, None).await.position.unwrap();
            let mut at_bob = bob.subscribe(room, None).await.position.unwrap();
            let owner = cluster.owners(room)[0];
            // e2 and the other cores do not reach the owner any more; e1 does.
            for other in ["c1", "c2", "c3", "e2"].into_iter().filter(|name| *name != owner) {
                cluster.cut(owner, other);
            }
            until("a second owner", || cluster.owners(room).len() == 2).await;
            for seq in 1..=30 {
                send(&mut alice, room, seq).await;
                send(&mut bob, room, seq).await;
            }
            // Both hear everything: the log is asked by whoever owns the channel.
            hear(&mut alice, room, &mut at_alice, 60).await;
            hear(&mut bob, room, &mut at_bob, 60).await;
            for other in ["c1", "c2", "c3", "e2"].into_iter().filter(|name| *name != owner) {
                cluster.heal(owner, other);
            }
            until("one owner again", || cluster.owners(room) == [owner]).await;
            send(&mut bob, room, 31).await;
            hear(&mut alice, room, &mut at_alice, 61).await;
            let key = sterna_proto::ChannelId::new(room).unwrap().key();
            let head = store.stores().log.head(key).await.unwrap().unwrap();
            assert_eq!(head.position.offset.0, 61, "nothing twice, nothing lost");
        });
        let behind = support::counts(snapshotter, &["sterna_core_heads_behind_total"]);
        assert!(behind[0] > 0, "each owner has found the other's publications");
    });
}

/// Each owner hears in the log of members that the other one removed.
#[test]
fn i11_who_is_removed_through_one_owner_is_out_at_the_other_too() {
    with_cluster(&ROLES, |cluster, _| async move {
        let mut alice = TestClient::connect(cluster.worker("e1"), "alice").await;
        let mut bob = TestClient::connect(cluster.worker("e2"), "bob").await;
        let team = "team";
        until("one owner", || cluster.owners(team).len() == 1).await;
        let create = Verb::CreateChannel(v1::CreateChannel {
            channel: team.into(),
            access: v1::ChannelAccess::Members.into(),
            members: vec![v1::Member { user: "bob".into(), role: v1::Role::Member.into() }],
            ..Default::default()
        });
        assert!(matches!(alice.ask(create).await, Reply::Channel(_)));
        let owner = cluster.owners(team)[0];
        for other in ["c1", "c2", "c3", "e2"].into_iter().filter(|name| *name != owner) {
            cluster.cut(owner, other);
        }
        until("a second owner", || cluster.owners(team).len() == 2).await;
        bob.subscribe(team, None).await;
        send(&mut bob, team, 1).await;
        let remove = v1::RemoveMember { channel: team.into(), user: "bob".into() };
        assert!(matches!(alice.ask(Verb::RemoveMember(remove)).await, Reply::Done(_)));
        let secret = send(&mut alice, team, 1).await;
        assert_eq!(secret.offset, 3, "behind the removal");
        loop {
            match bob.push().await {
                Event::Publication(publication) => assert_eq!(publication.offset, 1),
                Event::Head(_) | Event::Gap(_) => {}
                Event::Unsubscribed(ended) => {
                    assert_eq!(ended.error.unwrap().code, ErrorCode::PermissionDenied.number());
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        let refused = support::error(bob.ask(publish(team, 2, "still here?")).await);
        assert_eq!(refused.code, ErrorCode::PermissionDenied.number());
        let since = v1::Position { epoch: secret.epoch, offset: 0 };
        let page = alice.subscribe(team, Some(since)).await;
        let told = page.publications[1].member.clone().unwrap();
        assert_eq!((told.user.as_str(), told.role()), ("bob", v1::Role::Unspecified));
        assert_eq!(page.publications[1].kind(), v1::PublicationKind::Membership);
        assert!(page.publications[1].payload.is_empty());
    });
}

#[test]
fn presence_survives_its_owner_and_ends_with_its_edge() {
    with_cluster(&ROLES, |cluster, _| async move {
        let mut alice = TestClient::connect(cluster.worker("e1"), "alice").await;
        let mut bob = TestClient::connect(cluster.worker("e2"), "bob").await;
        until("one owner", || cluster.owners("room:1").len() == 1).await;
        alice.ask(Verb::Subscribe(join("room:1"))).await;
        bob.ask(Verb::Subscribe(join("room:1"))).await;
        let bob = tokio::task::spawn_local(async move { while bob.receive().await.is_ok() {} });
        cluster.kill(cluster.owners("room:1")[0]);
        loop {
            let query = Verb::Presence(v1::PresenceQuery { channel: "room:1".into() });
            match alice.ask(query).await {
                Reply::Presence(list) if list.members.len() == 2 => break,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        cluster.kill("e2");
        loop {
            if let Event::Presence(change) = alice.push().await {
                let member = change.member.unwrap();
                if (member.user.as_str(), member.state()) == ("bob", PresenceState::Offline) {
                    break;
                }
            }
        }
        bob.abort();
    });
}

const REGIONS: [Role; 7] = [
    core("c1"),
    core("c2"),
    edge("e1"),
    Role { name: "x1", core: false, region: "far" },
    Role { name: "x2", core: false, region: "far" },
    Role { name: "x3", core: false, region: "far" },
    Role { name: "x4", core: false, region: "far" },
];

#[test]
fn i9_one_copy_of_a_publication_goes_to_another_region() {
    support::counted(|snapshotter| {
        with_cluster(&REGIONS, |cluster, _| async move {
            until("one owner", || cluster.owners("room:1").len() == 1).await;
            let mut listeners = Vec::new();
            for name in ["x1", "x2", "x3", "x4"] {
                let mut listener = TestClient::connect(cluster.worker(name), name).await;
                listener.subscribe("room:1", None).await;
                listeners.push(listener);
            }
            let mut alice = TestClient::connect(cluster.worker("e1"), "alice").await;
            // Ways settle first: what is said while they change may go twice.
            until("connected", || cluster.member("x4").node.router().unwrap().is_connected()).await;
            let before = copies(snapshotter, "wide");
            assert_eq!(before, 0);
            for seq in 1..=20 {
                send(&mut alice, "room:1", seq).await;
                for listener in &mut listeners {
                    assert_eq!(listener.publication().await.offset, seq);
                }
            }
            assert_eq!(copies(snapshotter, "wide"), 20);
        });
    });
}

/// Copies of publications that have left for other nodes since this was last asked.
fn copies(snapshotter: &metrics_util::debugging::Snapshotter, scope: &str) -> u64 {
    let of_scope = |labels: &metrics_util::CompositeKey| {
        labels.key().name() == "sterna_link_copies_total"
            && labels.key().labels().any(|label| label.value() == scope)
    };
    let snapshot = snapshotter.snapshot().into_vec();
    let of_scope = snapshot.into_iter().filter(|(key, ..)| of_scope(key));
    of_scope
        .map(|(.., value)| match value {
            metrics_util::debugging::DebugValue::Counter(count) => count,
            other => panic!("{other:?}"),
        })
        .sum()
}

/// A store that answers nothing about who is alive.
#[derive(Debug)]
struct NoRoster;

impl RosterStore for NoRoster {
    fn beat(
        &self,
        _entry: RosterEntry,
        _lease: Duration,
    ) -> BoxFuture<'_, Result<Vec<RosterEntry>, RosterError>> {
        let error = StorageError::new(StorageErrorKind::Unavailable, "test", "no answer");
        Box::pin(std::future::ready(Err(error.into())))
    }

    fn leave<'a>(
        &'a self,
        _name: &'a str,
        _incarnation: u64,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn cores_find_each_other_in_the_store_and_need_it_no_more() {
    support::counted(|snapshotter| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.start_paused(true).enable_all().build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::new();
            let silent = Stores { roster: Arc::new(NoRoster), ..store.stores() };
            let mut nodes = Vec::new();
            for (index, (name, stores)) in
                [("c1", store.stores()), ("c2", store.stores()), ("c3", silent)]
                    .into_iter()
                    .enumerate()
            {
                let role = core(name);
                let config = support::cluster::config_of(role, index as u16);
                let cluster = support::cluster::cluster_of(role, &config);
                let clock = Arc::new(SystemClock);
                nodes.push(Node::join(config, Some(stores), clock, cluster).await.unwrap());
            }
            let known = |node: &Node| node.router().unwrap().live().len();
            until("two know each other", || known(&nodes[0]) == 2 && known(&nodes[1]) == 2).await;
            assert_eq!(known(&nodes[2]), 1, "a store that does not answer names nobody");
            assert!(nodes[2].router().unwrap().owns(0), "and takes nothing away");
            for node in &nodes {
                assert!(node.shutdown(Duration::from_secs(10)).await);
            }
        });
        let failures = support::counts(snapshotter, &["sterna_core_roster_failures_total"]);
        assert!(failures[0] > 0);
    });
}

/// What the edge's roster entry says is read where sessions are balanced: a session that only waits to
/// be resumed takes nobody's place.
#[test]
fn others_hear_of_sessions_that_have_a_connection() {
    with_cluster(&ROLES, |cluster, _| async move {
        let sessions_of_e1 = || {
            let live = cluster.member("c1").node.router().unwrap().live();
            live.into_iter().find(|node| node.name.as_str() == "e1").unwrap().sessions
        };
        let ana = TestClient::connect(cluster.worker("e1"), "ana").await;
        let ben = TestClient::connect(cluster.worker("e1"), "ben").await;
        until("both are counted", || sessions_of_e1() == 2).await;
        drop(ben);
        until("one is left", || sessions_of_e1() == 1).await;
        assert_eq!(cluster.member("e1").node.session_count(), 2, "the other can still be resumed");
        drop(ana);
        until("nobody is left", || sessions_of_e1() == 0).await;
    });
}
