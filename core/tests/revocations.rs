//! What is revoked at one node of a cluster is revoked at all of them (I11).

#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::time::Duration;

use sterna_core::revocations::{REVOCATIONS, Revocation};
use sterna_proto::{CloseReason, UserId};
use sterna_storage::memory::MemoryStore;
use support::TestClient;
use support::cluster::{Cluster, Role, core, edge, until};

const ROLES: [Role; 4] = [core("c1"), core("c2"), edge("e1"), edge("e2")];

/// Of a clock that moves only while everybody waits for it.
const PATIENCE: Duration = Duration::from_secs(600);

fn with_cluster<F: Future<Output = ()>>(test: impl FnOnce(Cluster) -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.start_paused(true).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let cluster = Cluster::start(&ROLES, &MemoryStore::new()).await;
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
        cluster.member("e1").node.revoke(&user("alice"), 1000).await;
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
