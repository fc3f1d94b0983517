//! Channels that change hands while their owner cannot finish what it has begun: what it holds is not
//! overtaken by what takes another way (I13). Time passes only while everybody waits for it.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use sterna_proto::v1::{self, command::Verb, reply::Result as Reply};
use sterna_storage::memory::MemoryStore;
use support::cluster::{Cluster, Role, core, until};
use support::stores::GatedLog;
use support::{TestClient, error};

const ROLES: [Role; 2] = [core("c1"), core("c2")];

/// As the clients of this project publish: in order, and with what is settled.
fn in_order(channel: &str, client_seq: u64, settled_below: u64) -> Verb {
    Verb::Publish(v1::Publish {
        channel: channel.into(),
        payload: client_seq.to_string().into(),
        client_seq,
        settled_below,
        ordered: true,
        ..Default::default()
    })
}

fn stored(reply: Reply) -> u64 {
    match reply {
        Reply::Published(published) => published.offset,
        other => panic!("{other:?}"),
    }
}

#[test]
fn i13_what_an_owner_cannot_finish_is_not_overtaken_at_the_next_one() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.start_paused(true).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let store = MemoryStore::new();
        let log = Arc::new(GatedLog::new(store.stores().log));
        let stores = |role: &Role| match role.name {
            "c1" => sterna_storage::Stores { log: log.clone(), ..store.stores() },
            _ => store.stores(),
        };
        let cluster = Cluster::start_on(&ROLES, stores, |_, _| {}).await;
        until("both know of both", || {
            ROLES.iter().all(|role| cluster.member(role.name).node.router().unwrap().is_connected())
        })
        .await;
        let rooms: Vec<String> = (0..64).map(|n| format!("room:{n}")).collect();
        until("c1 owns some", || rooms.iter().any(|room| cluster.owners(room) == ["c1"])).await;
        let room = rooms.iter().find(|room| cluster.owners(room) == ["c1"]).unwrap();

        let mut alice = TestClient::connect(cluster.worker("c1"), "alice").await;
        assert_eq!(stored(alice.ask(in_order(room, 1, 1)).await), 1);
        log.appends.hold();
        let unfinished = alice.send(in_order(room, 2, 2));
        log.appends.wait_for_waiting(1).await;
        cluster.member("c1").node.router().unwrap().start_leaving();
        until("c2 owns it", || cluster.owners(room) == ["c2"]).await;
        let refused = error(alice.ask(in_order(room, 3, 2)).await);
        assert!(refused.retryable, "{refused:?}");
        // Another one's publications go on meanwhile.
        let mut bob = TestClient::connect(cluster.worker("c1"), "bob").await;
        assert_eq!(stored(bob.ask(in_order(room, 1, 1)).await), 2);
        log.appends.release();
        assert_eq!(stored(alice.reply(unfinished).await), 3);
        let again = tokio::time::timeout(Duration::from_secs(1), alice.ask(in_order(room, 3, 3)));
        assert_eq!(stored(again.await.unwrap()), 4);
        drop((alice, bob));
        cluster.shutdown().await;
    });
}
