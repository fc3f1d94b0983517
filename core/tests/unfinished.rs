//! Channels that change hands while their owner cannot finish what it has begun: what it holds is not
//! overtaken by what takes another way (I13). Time passes only while everybody waits for it.

#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sterna_proto::v1::{self, command::Verb, reply::Result as Reply};
use sterna_storage::Stores;
use sterna_storage::memory::MemoryStore;
use support::cluster::{Cluster, Role, core, until};
use support::stores::{GatedChannels, GatedLog};
use support::{TestClient, error};

const ROLES: [Role; 2] = [core("c1"), core("c2")];

/// As the clients of this project publish: in order. `settled_below` 0: it says nothing of it.
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

/// Two cores, and a room of the first, whose stores can be held.
struct Scene {
    cluster: Cluster,
    log: Arc<GatedLog>,
    channels: Arc<GatedChannels>,
    room: String,
    alice: TestClient,
}

impl Scene {
    /// `test`: once alice has published there.
    fn play<F: Future<Output = ()>>(test: impl FnOnce(Self) -> F) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.start_paused(true).enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let scene = Self::set().await;
            let cluster = scene.cluster.clone();
            let patience = Duration::from_secs(600);
            tokio::time::timeout(patience, test(scene)).await.unwrap();
            cluster.shutdown().await;
        });
    }

    async fn set() -> Self {
        let store = MemoryStore::new();
        let log = Arc::new(GatedLog::new(store.stores().log));
        let channels = Arc::new(GatedChannels::new(store.stores().channels));
        let stores = |role: &Role| match role.name {
            "c1" => Stores { log: log.clone(), channels: channels.clone(), ..store.stores() },
            _ => store.stores(),
        };
        let cluster = Cluster::start_on(&ROLES, stores, |_, _| {}).await;
        let rooms: Vec<String> = (0..64).map(|n| format!("room:{n}")).collect();
        let is_settled = || {
            let owners: Vec<_> = rooms.iter().map(|room| cluster.owners(room)).collect();
            owners.iter().all(|owners| owners.len() == 1) && owners.contains(&vec!["c1"])
        };
        until("every room has one owner", is_settled).await;
        let room = rooms.iter().find(|room| cluster.owners(room) == ["c1"]).unwrap().clone();
        let mut alice = TestClient::connect(cluster.worker("c1"), "alice").await;
        assert_eq!(stored(alice.ask(in_order(&room, 1, 1)).await), 1);
        Self { cluster, log, channels, room, alice }
    }

    /// The second core owns the room, though the first has not finished.
    async fn give_away(&self) {
        self.cluster.member("c1").node.router().unwrap().start_leaving();
        until("c2 owns it", || self.cluster.owners(&self.room) == ["c2"]).await;
    }
}

#[test]
fn i13_what_an_owner_cannot_finish_is_not_overtaken_at_the_next_one() {
    Scene::play(async |mut scene| {
        let (room, alice) = (scene.room.clone(), &mut scene.alice);
        scene.log.appends.hold();
        let unfinished = alice.send(in_order(&room, 2, 2));
        scene.log.appends.wait_for_waiting(1).await;
        let behind = alice.send(in_order(&room, 3, 2));
        scene.give_away().await;
        let alice = &mut scene.alice;
        assert!(error(alice.reply(behind).await).retryable, "it has not begun");
        assert!(error(alice.ask(in_order(&room, 3, 2)).await).retryable, "2 may be stored");
        // Another one's publications go on meanwhile.
        let mut bob = TestClient::connect(scene.cluster.worker("c1"), "bob").await;
        assert_eq!(stored(bob.ask(in_order(&room, 1, 1)).await), 2);
        scene.log.appends.release();
        // Appended again it could come behind what alice has sent by another way.
        let given_up = error(alice.reply(unfinished).await);
        assert!(given_up.retryable, "{given_up:?}");
        assert!(error(alice.ask(in_order(&room, 3, 2)).await).retryable, "2 comes first");
        assert_eq!(stored(alice.ask(in_order(&room, 2, 2)).await), 3);
        assert_eq!(stored(alice.ask(in_order(&room, 3, 2)).await), 4);
    });
}

#[test]
fn i13_what_is_stored_late_lets_the_rest_through_at_once() {
    Scene::play(async |mut scene| {
        let (room, alice) = (scene.room.clone(), &mut scene.alice);
        scene.log.appends.hold();
        let unfinished = alice.send(in_order(&room, 2, 0));
        scene.log.appends.wait_for_waiting(1).await;
        scene.give_away().await;
        let alice = &mut scene.alice;
        assert!(error(alice.ask(in_order(&room, 3, 0)).await).retryable);
        scene.log.appends.release();
        assert_eq!(stored(alice.reply(unfinished).await), 2);
        let next = tokio::time::timeout(Duration::from_secs(1), alice.ask(in_order(&room, 3, 0)));
        assert_eq!(stored(next.await.unwrap()), 3);
    });
}

#[test]
fn i13_what_waits_for_a_look_up_comes_again_at_the_next_owner() {
    Scene::play(async |mut scene| {
        // A channel with members has roles, which are looked up.
        let mut rooms = (0..64).map(|n| format!("room:with-members-{n}"));
        let room = rooms.find(|room| scene.cluster.owners(room) == ["c1"]).unwrap();
        let create = v1::CreateChannel {
            channel: room.clone(),
            kind: v1::ChannelKind::Group.into(),
            ..Default::default()
        };
        let created = scene.alice.ask(Verb::CreateChannel(create)).await;
        assert!(!matches!(created, Reply::Error(_)), "{created:?}");
        let mut bob = TestClient::connect(scene.cluster.worker("c1"), "bob").await;
        scene.channels.roles.hold();
        let waiting = bob.send(in_order(&room, 1, 1));
        scene.channels.roles.wait_for_waiting(1).await;
        let scene = Scene { room: room.clone(), ..scene };
        scene.give_away().await;
        assert!(error(bob.reply(waiting).await).retryable);
        let behind = error(bob.ask(in_order(&room, 2, 1)).await);
        assert!(behind.retryable, "1 comes first: {behind:?}");
        scene.channels.roles.release();
    });
}
