//! What is revoked at one node of a cluster is revoked at all of them (I11).

#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use sterna_core::revocations::{REVOCATIONS, Revocation};
use sterna_core::{Node, SystemClock};
use sterna_proto::{CloseReason, UserId};
use sterna_storage::Stores;
use sterna_storage::memory::MemoryStore;
use support::TestClient;
use support::cluster::{Cluster, Role, cluster_of, config_of, core, edge, until};
use support::stores::GatedRevocations;

const ROLES: [Role; 4] = [core("c1"), core("c2"), edge("e1"), edge("e2")];

/// Of a clock that moves only while everybody waits for it.
const PATIENCE: Duration = Duration::from_secs(600);

fn with_cluster<F: Future<Output = ()>>(test: impl FnOnce(Cluster) -> F) {
    with_cluster_on(&MemoryStore::new(), test);
}

fn with_cluster_on<F: Future<Output = ()>>(store: &MemoryStore, test: impl FnOnce(Cluster) -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.start_paused(true).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let cluster = Cluster::start(&ROLES, store).await;
        tokio::time::timeout(PATIENCE, test(cluster.clone())).await.unwrap();
        cluster.shutdown().await;
    });
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn knows(cluster: &Cluster, node: &str, name: &str) -> bool {
    cluster.member(node).node.revocations().covers(&user(name), Some(999))
}

/// Two steps away: edges have no link with each other.
#[test]
fn i11_a_revocation_at_one_edge_ends_sessions_at_the_other() {
    with_cluster(|cluster| async move {
        let mut alice = TestClient::connect(cluster.worker("e2"), "alice").await;
        let mut bob = TestClient::connect(cluster.worker("e2"), "bob").await;
        cluster.member("e1").node.revoke(&user("alice"), 1000).await.unwrap();
        assert_eq!(alice.receive().await, Err(CloseReason::Revoked));
        for node in ["c1", "c2", "e1", "e2"] {
            until("it is known everywhere", || knows(&cluster, node, "alice")).await;
            assert!(!cluster.member(node).node.revocations().covers(&user("alice"), Some(1000)));
        }
        assert!(bob.attachment.closing().is_none());
        bob.subscribe("room:1", None).await;
    });
}

/// More than fits into one frame, told to a node that could not be reached meanwhile.
#[test]
fn i11_who_was_cut_off_hears_of_all_revocations_afterwards() {
    with_cluster(|cluster| async move {
        for core in ["c1", "c2"] {
            cluster.cut("e2", core);
        }
        let mut alice = TestClient::connect(cluster.worker("e2"), "user-1199").await;
        for n in 0..1200 {
            let user = Some(user(&format!("user-{n}")));
            let revocation = Revocation { user, before_ms: 1000 };
            cluster.member("e1").node.revocations().add(revocation);
        }
        until("cores know it", || knows(&cluster, "c1", "user-1199")).await;
        assert!(!knows(&cluster, "e2", "user-0"));
        cluster.heal("e2", "c1");
        assert_eq!(alice.receive().await, Err(CloseReason::Revoked));
        assert!((0..1200).all(|n| knows(&cluster, "e2", &format!("user-{n}"))));
    });
}

/// I12: the list is bounded, and its floor is told like the rest.
#[test]
fn i12_a_full_list_refuses_more_at_every_node() {
    with_cluster(|cluster| async move {
        let list = cluster.member("c1").node.revocations().clone();
        for n in 0..=REVOCATIONS as u64 {
            list.add(Revocation { user: Some(user(&format!("user-{n}"))), before_ms: 100 + n });
        }
        let covers = |node: &str, issued_ms| {
            let node = &cluster.member(node).node;
            node.revocations().covers(&user("somebody"), Some(issued_ms))
        };
        until("the floor is known", || covers("e2", 99)).await;
        assert!(!covers("e2", 100));
    });
}

fn kept(stores: &Stores) -> Vec<Revocation> {
    stores.revocations.revocations(usize::MAX).now_or_never().unwrap().unwrap()
}

#[test]
fn i11_what_was_revoked_is_known_after_all_nodes_have_ended() {
    let store = &MemoryStore::new();
    with_cluster_on(store, |cluster| async move {
        cluster.member("e1").node.revoke(&user("alice"), 1000).await.unwrap();
        until("a core has kept it", || !kept(&store.stores()).is_empty()).await;
    });
    with_cluster_on(store, |cluster| async move {
        assert!(knows(&cluster, "c1", "alice"), "before anybody is let in");
        until("edges know it, too", || knows(&cluster, "e2", "alice")).await;
        assert!(!cluster.member("e2").node.revocations().covers(&user("alice"), Some(1000)));
    });
}

/// A node whose store does not keep revocations now and then.
async fn with_a_gate(store: &MemoryStore) -> (Node, Arc<GatedRevocations>) {
    let gate = Arc::new(GatedRevocations::new(store.stores().revocations));
    let stores = Stores { revocations: gate.clone(), ..store.stores() };
    let config = config_of(core("c1"), 0);
    let cluster = cluster_of(core("c1"), &config);
    let node = Node::join(config, Some(stores), Arc::new(SystemClock), cluster).await.unwrap();
    (node, gate)
}

#[tokio::test(start_paused = true)]
async fn i11_what_a_store_does_not_keep_holds_and_is_said() {
    let store = MemoryStore::new();
    let (node, gate) = with_a_gate(&store).await;
    gate.writes.fail(usize::MAX);
    node.revoke(&user("alice"), 1000).await.unwrap_err();
    assert!(node.revocations().covers(&user("alice"), Some(999)));
    // Heard of from another node, so nobody would ask again.
    node.revocations().add(Revocation { user: Some(user("bob")), before_ms: 1000 });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(kept(&store.stores()), []);
    gate.writes.fail(0);
    until("both are kept", || kept(&store.stores()).len() == 2).await;
    assert!(node.shutdown(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn i11_of_more_than_fit_into_the_list_the_oldest_are_behind_its_floor() {
    let stores = MemoryStore::new().stores();
    for n in 0..REVOCATIONS as u64 + 50 {
        let revocation = Revocation { user: Some(user(&format!("user-{n}"))), before_ms: 100 + n };
        stores.revocations.keep_revocation(revocation).await.unwrap();
    }
    let node = support::node(support::config(), stores).await;
    let covers = |name: &str, issued_ms| node.revocations().covers(&user(name), Some(issued_ms));
    for n in [0, 49, 50, 51, REVOCATIONS as u64 + 49] {
        assert!(covers(&format!("user-{n}"), 99 + n), "{n}");
    }
    assert!(!covers("user-9000", 100 + 9000) && !covers("somebody", 149));
    assert!(node.shutdown(Duration::from_secs(10)).await);
}
