//! A thousand clients whose edge dies come back at another one: nobody who looks at their rooms hears
//! of it, each is there once, has all its subscriptions by its Hello, and everything that was said
//! meanwhile (I13).

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::collections::BTreeMap;
use std::future::IntoFuture as _;
use std::time::SystemTime;

use sterna_client::{ChannelId, Client, Event, Position, Subscribe, Subscription, Transport, v1};
use sterna_relay::{Relay, RelayConfig};
use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::crowd::{Crowd, Member};
use sterna_system_tests::node::PATIENCE;
use sterna_system_tests::raw::within;
use sterna_system_tests::sdk::{TOKEN_LIFE, signed_token};
use sterna_system_tests::served::TOKEN_SECRET;
use sterna_test_engines::MariaDb;

const CLIENTS: usize = 1000;
const ROOMS: usize = 20;
const IN_A_ROOM: usize = CLIENTS / ROOMS;

/// Longer than a thousand clients take to come back on a machine that has other work to do.
const DEBOUNCE: &str = "sessions.presence_debounce=40s";

fn room(number: usize) -> ChannelId {
    ChannelId::new(&format!("room:resume-{number}")).unwrap()
}

/// What makes a user's client for an address.
fn builder(cluster: &Cluster, user: &str) -> sterna_client::ClientBuilder {
    let token = signed_token(TOKEN_SECRET, user, SystemTime::now(), TOKEN_LIFE);
    let ca = cluster.clients_ca("e2");
    Client::builder("localhost").root_certificates_file(ca).token(token).client_id(user)
}

async fn publish(client: &Client, channel: &ChannelId, text: &str) -> Position {
    within("an answer", client.publish(channel, text.to_owned()).into_future())
        .await
        .unwrap()
        .position
}

/// Somebody at the edge that lives, who is told who comes and goes in every room.
struct Watcher {
    client: Client,
    rooms: Vec<(ChannelId, Subscription)>,
}

impl Watcher {
    async fn start(cluster: &Cluster) -> Self {
        let builder = builder(cluster, "watcher").connect_to(cluster.node("e2").client_address());
        let client = builder.transports([Transport::WebSocket]).build().unwrap();
        client.connect();
        client.ready(PATIENCE).await.unwrap();
        let look = |room: ChannelId| {
            let options = Subscribe::latest().with_presence();
            let subscription = client.subscribe(&room, options).unwrap();
            (room, subscription)
        };
        let rooms = (0..ROOMS).map(room).map(look).collect();
        Self { client, rooms }
    }

    /// Publishes in every room, and returns what was heard of others before that came.
    async fn news(&mut self) -> Vec<(String, v1::PresenceState)> {
        let mut news = Vec::new();
        for (room, subscription) in &mut self.rooms {
            let mark = publish(&self.client, room, "a mark").await;
            loop {
                match within("a mark", subscription.next()).await.unwrap() {
                    Event::Publication(it) if it.position >= mark => break,
                    Event::Presence(change) => {
                        let member = change.member.unwrap();
                        news.push((member.user.clone(), member.state()));
                    }
                    Event::PresenceGap => panic!("what was told of {room} has a gap"),
                    _ => {}
                }
            }
        }
        news.retain(|(user, _)| user != "watcher");
        news
    }

    /// Users of all rooms but its own, with their sessions and since when they are there.
    async fn present(&self) -> BTreeMap<String, (u32, u64)> {
        let mut present = BTreeMap::new();
        for (room, _) in &self.rooms {
            let list = within("a list", self.client.presence(room)).await.unwrap();
            for it in list.members {
                assert_eq!(it.state(), v1::PresenceState::Online, "{it:?}");
                present.insert(it.user, (it.sessions, it.since_ms));
            }
        }
        present.remove("watcher");
        present
    }
}

async fn cluster(database: &MariaDb) -> Cluster {
    let mut cluster = Cluster::new().await;
    let urls = format!("store.urls={}", database.fresh_url());
    for core in ["c1", "c2"] {
        cluster.add(core, "core", &["store.engine=sql", &urls, DEBOUNCE]).await;
    }
    for edge in ["e1", "e2"] {
        cluster.add(edge, "edge", &[DEBOUNCE]).await;
    }
    cluster.ready().await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i13_nobody_hears_of_a_thousand_clients_that_change_their_edge() {
    let database = MariaDb::shared();
    let mut cluster = cluster(database).await;
    let relay = Relay::start(RelayConfig::new(cluster.node("e1").client_address())).await.unwrap();
    let mut watcher = Watcher::start(&cluster).await;
    let everything = Subscribe::earliest().with_presence();
    let rooms: Vec<_> = (0..ROOMS).map(|number| (room(number), everything)).collect();
    let client_of = |user: &str| builder(&cluster, user).connect_to(relay.address());
    let crowd = Crowd::gather_as(client_of, CLIENTS, &rooms).await;
    // One who does not come back. Once others hear that he has left, the edge is dead for everybody.
    let gone = client_of("gone").build().unwrap();
    gone.connect();
    let mut his = gone.subscribe(&room(0), everything).unwrap();
    let is_in = |event: Event| matches!(event, Event::Publication(it) if it.payload == "hello");
    publish(&gone, &room(0), "hello").await;
    while !is_in(within("his own words", his.next()).await.unwrap()) {}
    watcher.news().await;
    let before = watcher.present().await;
    assert_eq!(before.len(), CLIENTS + 1);

    cluster.node_mut("e1").kill().await;
    relay.block();
    drop((gone, his));
    let said = publish(&watcher.client, &room(0), "nobody is connected").await;
    relay.set_target(cluster.node("e2").client_address());
    relay.unblock();
    relay.cut_tcp();
    crowd.wake();
    let is_back = |it: &Member| it.is_live() && it.statistics().connects > 1;
    crowd.wait("all are back", is_back).await;

    let left = loop {
        let news = watcher.news().await;
        if !news.is_empty() {
            break news;
        }
    };
    assert_eq!(left, [("gone".to_owned(), v1::PresenceState::Offline)], "and nobody else");
    let mut wanted = before;
    wanted.remove("gone");
    assert_eq!(watcher.present().await, wanted, "once, and since they came");
    assert_eq!(wanted.values().filter(|(sessions, _)| *sessions != 1).count(), 0);

    let last = publish(&watcher.client, &room(0), "welcome back").await;
    assert!(last > said);
    for member in crowd.members() {
        assert_eq!(member.statistics().resumed, 0, "its session had died");
    }
    let has_all = |it: &Member| {
        it.room != room(0) || it.notes().seen.last().is_some_and(|it| it.offset == last.offset.0)
    };
    crowd.wait("room 0 has heard everything", has_all).await;
    for member in crowd.members().iter().filter(|it| it.room == room(0)) {
        let notes = member.notes();
        assert_eq!(notes.trouble, Vec::<String>::new(), "{}", member.name);
        let offsets: Vec<u64> = notes.seen.iter().map(|it| it.offset).collect();
        assert_eq!(offsets, (1..=last.offset.0).collect::<Vec<_>>(), "{}", member.name);
    }
    assert_eq!(crowd.members().iter().filter(|it| it.room == room(0)).count(), IN_A_ROOM);
    let replaced = cluster.metric_of("sterna_core_presence_replaced_total", "").await;
    assert!(replaced >= CLIENTS as f64, "{replaced}");
    crowd.disperse().await;
    watcher.client.close().await;
    relay.shutdown().await;
    cluster.stop().await;
}
