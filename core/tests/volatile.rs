//! Several nodes that share what may be lost: what it saves them, and that they have it again after
//! everything in it was lost (I6).

#![allow(clippy::unwrap_used)]

mod support;

use std::future::Future;
use std::time::Duration;

use sterna_core::CoreConfig;
use sterna_core::config::Rate;
use sterna_proto::v1::{self, PresenceState, command::Verb, push::Event, reply::Result as Reply};
use sterna_proto::{ChannelId, ChannelKey, ErrorCode, NodeId, UserId};
use sterna_storage::memory::MemoryStore;
use sterna_storage::volatile::{
    Directory as _, IdFloor as _, MemoryVolatile, NodeRoute, Partitions, RouteTable as _,
};
use support::cluster::{Cluster, Role, core, edge};
use support::{TestClient, counted, counts, join, publish};

const ROOM: &str = "room:1";

const ROLES: [Role; 4] = [core("c1"), core("c2"), edge("e1"), edge("e2")];

/// Owners do not ask the log about each other: what is heard is heard through routes.
fn with_volatile<F: Future<Output = ()>>(
    roles: &[Role],
    test: impl FnOnce(Cluster, MemoryVolatile) -> F,
) {
    with_volatile_as(roles, |_| {}, test);
}

/// The same with something else in every node's configuration.
fn with_volatile_as<F: Future<Output = ()>>(
    roles: &[Role],
    set: impl Fn(&mut CoreConfig),
    test: impl FnOnce(Cluster, MemoryVolatile) -> F,
) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.start_paused(true).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        // Its time is the nodes' own.
        let (store, start) = (MemoryStore::new(), tokio::time::Instant::now());
        let volatile = MemoryVolatile::with_clock(Partitions::new(8), move || start.elapsed());
        let cluster = Cluster::start_with(roles, &store, |config, cluster| {
            config.head_watch = Some(Duration::from_secs(100_000));
            config.rates.user_publish = Rate { per_second: 16, burst: 64 };
            be_quick(config);
            set(config);
            cluster.volatile = Some(volatile.stores());
        })
        .await;
        let patience = Duration::from_secs(900);
        tokio::time::timeout(patience, test(cluster.clone(), volatile)).await.unwrap();
        cluster.shutdown().await;
    });
}

/// Absences are noticed soon, so that less time has to pass.
fn be_quick(config: &mut CoreConfig) {
    config.roaming_after = Duration::from_secs(1);
    config.presence_debounce = Duration::from_secs(4);
    config.resume_window = Duration::from_secs(70);
}

async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..10_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

fn key(channel: &str) -> ChannelKey {
    ChannelId::new(channel).unwrap().key()
}

async fn listeners(volatile: &MemoryVolatile) -> Vec<String> {
    let route = volatile.route(key(ROOM)).await.unwrap();
    route.nodes.iter().map(|node| node.node.to_string()).collect()
}

/// The owner that everybody knows of, and the core beside it.
async fn owner_and_other(cluster: &Cluster) -> (&'static str, &'static str) {
    until("one owner", || async { cluster.owners(ROOM).len() == 1 }).await;
    match cluster.owners(ROOM)[0] {
        "c1" => ("c1", "c2"),
        _ => ("c2", "c1"),
    }
}

#[test]
fn i6_who_stays_with_an_old_owner_hears_of_the_new_one_by_its_route() {
    counted(|snapshotter| {
        with_volatile(&ROLES, |cluster, volatile| async move {
            let (owner, other) = owner_and_other(&cluster).await;
            let mut bob = TestClient::connect(cluster.worker("e2"), "bob").await;
            bob.subscribe(ROOM, None).await;
            until("a route", || async { listeners(&volatile).await == ["e2"] }).await;
            // All but bob's edge lose the way to the owner, and give the channel to the other core.
            cluster.cut(owner, other);
            cluster.cut(owner, "e1");
            until("another owner", || async { cluster.owners(ROOM).contains(&other) }).await;
            let mut alice = TestClient::connect(cluster.worker("e1"), "alice").await;
            for seq in 1..=3 {
                alice.publish(ROOM, seq, "x").await;
                assert_eq!(bob.publication().await.offset, seq);
            }
        });
        let names = ["sterna_core_hints_total", "sterna_core_hints_refused_total"];
        assert_eq!(counts(snapshotter, &names), [1, 0]);
    });
}

const CLUB: &str = "club:1";

/// Its edge stays with the owner before, which cannot know who was removed at the next one: so a channel
/// of members is sent to nobody on a hint. Those who are members yet hear it all the same, as soon as the
/// owner before has looked at the log.
#[test]
fn i11_a_channel_of_members_is_sent_to_nobody_who_has_not_attached() {
    counted(|snapshotter| {
        let looks = |config: &mut CoreConfig| config.head_watch = Some(Duration::from_secs(5));
        with_volatile_as(&ROLES, looks, |cluster, volatile| async move {
            until("one owner", || async { cluster.owners(CLUB).len() == 1 }).await;
            let (owner, other) = match cluster.owners(CLUB)[0] {
                "c1" => ("c1", "c2"),
                _ => ("c2", "c1"),
            };
            let mut alice = TestClient::connect(cluster.worker("e1"), "alice").await;
            let member =
                |user: &str, role: v1::Role| v1::Member { user: user.into(), role: role.into() };
            let members = [
                ("alice", v1::Role::Owner),
                ("bob", v1::Role::Member),
                ("carol", v1::Role::Member),
            ];
            let create = v1::CreateChannel {
                channel: CLUB.into(),
                access: v1::ChannelAccess::Members.into(),
                members: members.map(|(user, role)| member(user, role)).into(),
                ..Default::default()
            };
            let created = alice.ask(Verb::CreateChannel(create)).await;
            assert!(matches!(created, Reply::Channel(_)), "{created:?}");
            let mut bob = TestClient::connect(cluster.worker("e2"), "bob").await;
            let mut carol = TestClient::connect(cluster.worker("e2"), "carol").await;
            bob.subscribe(CLUB, None).await;
            carol.subscribe(CLUB, None).await;
            let listens = || async {
                let route = volatile.route(key(CLUB)).await.unwrap();
                route.nodes.iter().any(|it| it.node.as_str() == "e2")
            };
            until("a route", listens).await;
            cluster.cut(owner, other);
            cluster.cut(owner, "e1");
            until("another owner", || async { cluster.owners(CLUB).contains(&other) }).await;
            let remove = v1::RemoveMember { channel: CLUB.into(), user: "bob".into() };
            let removed = alice.ask(Verb::RemoveMember(remove)).await;
            assert!(!matches!(removed, Reply::Error(_)), "{removed:?}");
            alice.publish(CLUB, 1, "not for bob").await;
            let heard = async {
                loop {
                    match carol.push().await {
                        Event::Head(_) | Event::Gap(_) => return,
                        Event::Publication(it) if it.payload == "not for bob" => return,
                        _ => {}
                    }
                }
            };
            heard.await;
            let page = carol.subscribe(CLUB, Some(v1::Position { epoch: 1, offset: 0 })).await;
            let is_it = |it: &v1::Publication| it.payload == "not for bob";
            assert!(page.publications.iter().any(is_it), "{page:?}");
            let ended = loop {
                match bob.push().await {
                    Event::Unsubscribed(it) => break it,
                    Event::Publication(it) => assert!(!is_it(&it), "{it:?}"),
                    _ => {}
                }
            };
            assert_eq!(ended.channel, CLUB);
        });
        assert_eq!(counts(snapshotter, &["sterna_core_hints_total"]), [0]);
    });
}

#[test]
fn who_does_not_listen_says_so_and_its_route_goes() {
    counted(|snapshotter| {
        with_volatile(&ROLES, |cluster, volatile| async move {
            owner_and_other(&cluster).await;
            let incarnation = cluster.member("e2").node.config().incarnation.0;
            for (node, incarnation) in [("e2", incarnation), ("e1", 7), ("gone", 7)] {
                let route = NodeRoute { node: NodeId::new(node).unwrap(), incarnation };
                volatile.put_route(key(ROOM), route, Duration::from_secs(600)).await.unwrap();
            }
            let mut alice = TestClient::connect(cluster.worker("e1"), "alice").await;
            alice.publish(ROOM, 1, "x").await;
            until("no route", || async { !listeners(&volatile).await.contains(&"e2".into()) })
                .await;
        });
        let names = ["sterna_core_hints_total", "sterna_core_hints_refused_total"];
        assert_eq!(counts(snapshotter, &names), [1, 1], "a process of earlier is not sent to");
    });
}

#[test]
fn i6_everything_is_put_again_after_everything_was_lost() {
    counted(|snapshotter| {
        with_volatile(&ROLES, |cluster, volatile| async move {
            owner_and_other(&cluster).await;
            let bob = UserId::new("bob").unwrap();
            let mut client = TestClient::connect(cluster.worker("e2"), "bob").await;
            client.subscribe(ROOM, None).await;
            let is_whole = || async {
                let sessions = volatile.sessions_of(bob.clone(), 9).await.unwrap();
                listeners(&volatile).await == ["e2"]
                    && sessions.iter().map(|it| it.edge.as_str()).eq(["e2"])
            };
            until("everything is there", is_whole).await;
            for _ in 0..2 {
                volatile.forget();
                assert!(listeners(&volatile).await.is_empty());
                until("everything is there again", is_whole).await;
            }
            drop(client);
            until("nobody listens", || async { listeners(&volatile).await.is_empty() }).await;
        });
        let told = snapshotter.snapshot().into_vec();
        let names = [
            "sterna_core_routes_held",
            "sterna_core_directory_sessions",
            "sterna_core_volatile_active",
            "sterna_core_volatile_losses_total",
        ];
        for name in names {
            assert!(told.iter().any(|(key, ..)| key.key().name() == name), "{name}");
        }
    });
}

#[test]
fn one_user_publishes_no_faster_by_two_nodes() {
    with_volatile(&ROLES, |cluster, _| async move {
        owner_and_other(&cluster).await;
        let mut phones = Vec::new();
        for name in ["e1", "e2"] {
            phones.push(TestClient::connect(cluster.worker(name), "alice").await);
        }
        let mut stored = 0;
        for seq in 1..=200 {
            for (at, phone) in phones.iter_mut().enumerate() {
                match phone.ask(publish(&format!("room:{at}"), seq, "x")).await {
                    Reply::Published(_) => stored += 1,
                    Reply::Error(error) if error.code == ErrorCode::RateLimited.number() => {}
                    other => panic!("{other:?}"),
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // 64 and 16 in each of ten seconds, and what each node lets through before it knows; without
        // each other it would be all of 400.
        assert!((200..=270).contains(&stored), "{stored} stored");
    });
}

#[test]
fn i10_a_core_starts_above_what_is_remembered_of_its_number() {
    counted(|snapshotter| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.start_paused(true).enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (store, volatile) = (MemoryStore::new(), MemoryVolatile::new(Partitions::new(8)));
            let now_ms = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
            let ahead_ms = now_ms - sterna_core::id::ID_EPOCH_UNIX_MS + 3_600_000;
            volatile.raise_floor(0, ahead_ms).await.unwrap();
            let cluster = Cluster::start_with(&[core("c1")], &store, |_, cluster| {
                cluster.volatile = Some(volatile.stores());
            })
            .await;
            let mut alice = TestClient::connect(cluster.worker("c1"), "alice").await;
            let published = alice.publish(ROOM, 1, "x").await;
            assert_eq!(published.id >> 12 & 0x3ff, 0, "the number that was remembered");
            assert!(published.id >> 22 >= ahead_ms, "{} after {ahead_ms}", published.id >> 22);
            cluster.shutdown().await;
        });
        assert!(counts(snapshotter, &["sterna_core_id_floors_raised_total"])[0] > 0);
    });
}

/// What the watcher has heard of presence until it hears of a publication that is made now.
async fn heard(
    watcher: &mut TestClient,
    publisher: &mut TestClient,
    seq: u64,
) -> Vec<(String, PresenceState)> {
    let mark = loop {
        match publisher.ask(publish(ROOM, seq, "mark")).await {
            Reply::Published(published) => break published.offset,
            Reply::Error(error) if error.retryable => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => panic!("{other:?}"),
        }
    };
    let mut heard = Vec::new();
    loop {
        let told = match watcher.push().await {
            Event::Presence(change) => {
                let member = change.member.unwrap();
                heard.push((member.user.clone(), member.state()));
                0
            }
            Event::Publication(publication) => publication.offset,
            Event::Gap(gap) => gap.upto_offset,
            Event::Head(head) => head.offset,
            other => panic!("{other:?}"),
        };
        if told >= mark {
            return heard;
        }
    }
}

async fn listed(client: &mut TestClient) -> Vec<(String, PresenceState)> {
    let query = Verb::Presence(v1::PresenceQuery { channel: ROOM.into() });
    match client.ask(query).await {
        Reply::Presence(list) => {
            list.members.iter().map(|member| (member.user.clone(), member.state())).collect()
        }
        other => panic!("{other:?}"),
    }
}

const EDGES: [Role; 5] = [core("c1"), core("c2"), edge("e1"), edge("e2"), edge("e3")];

#[test]
fn i6_presence_does_not_blink_when_its_owner_and_an_edge_die_together() {
    counted(|snapshotter| {
        with_volatile(&EDGES, |cluster, _| async move {
            let (owner, other) = owner_and_other(&cluster).await;
            let mut watcher = TestClient::connect(cluster.worker("e1"), "watcher").await;
            watcher.ask(Verb::Subscribe(join(ROOM))).await;
            let mut clients = Vec::new();
            for (user, edge) in [("bob", "e2"), ("carol", "e2"), ("dave", "e3")] {
                let mut client = TestClient::connect(cluster.worker(edge), user).await;
                client.ask(Verb::Subscribe(join(ROOM))).await;
                clients.push(client);
            }
            // Carol has lost her connection, and everybody has heard of it.
            drop(clients.remove(1));
            tokio::time::sleep(Duration::from_secs(6)).await;
            let came = heard(&mut watcher, &mut clients[0], 1).await;
            assert_eq!(came.last().unwrap(), &("carol".to_owned(), PresenceState::Detached));
            cluster.kill(owner);
            cluster.kill("e3");
            until("another owner", || async { cluster.owners(ROOM) == [other] }).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(heard(&mut watcher, &mut clients[0], 2).await, [], "nobody came or went");
            let all = ["bob", "carol", "dave", "watcher"].map(str::to_owned);
            let names: Vec<String> =
                listed(&mut watcher).await.into_iter().map(|it| it.0).collect();
            assert_eq!(names, all, "those without a connection, and of a dead edge, among them");
            tokio::time::sleep(Duration::from_secs(32)).await;
            let gone = heard(&mut watcher, &mut clients[0], 3).await;
            assert_eq!(gone, [("dave".to_owned(), PresenceState::Offline)]);
        });
        assert!(counts(snapshotter, &["sterna_core_presence_recalls_total"])[0] > 0);
    });
}

/// The same without anything shared: edges alone tell the new owner.
#[test]
fn presence_does_not_blink_when_its_owner_dies() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.start_paused(true).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let cluster =
            Cluster::start_with(&EDGES, &MemoryStore::new(), |config, _| be_quick(config)).await;
        let (owner, other) = owner_and_other(&cluster).await;
        let mut watcher = TestClient::connect(cluster.worker("e1"), "watcher").await;
        watcher.ask(Verb::Subscribe(join(ROOM))).await;
        let mut bob = TestClient::connect(cluster.worker("e2"), "bob").await;
        bob.ask(Verb::Subscribe(join(ROOM))).await;
        let mut carol = TestClient::connect(cluster.worker("e2"), "carol").await;
        carol.ask(Verb::Subscribe(join(ROOM))).await;
        drop(carol);
        tokio::time::sleep(Duration::from_secs(6)).await;
        heard(&mut watcher, &mut bob, 1).await;
        cluster.kill(owner);
        until("another owner", || async { cluster.owners(ROOM) == [other] }).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(heard(&mut watcher, &mut bob, 2).await, []);
        let online = |user: &str| (user.to_owned(), PresenceState::Online);
        let detached = ("carol".to_owned(), PresenceState::Detached);
        assert_eq!(listed(&mut watcher).await, [online("bob"), detached, online("watcher")]);
        tokio::time::sleep(Duration::from_secs(70)).await;
        let gone = heard(&mut watcher, &mut bob, 3).await;
        assert_eq!(gone, [("carol".to_owned(), PresenceState::Offline)], "her window is over");
        cluster.shutdown().await;
    });
}

const SESSIONS: usize = 1000;

/// So that those who come are not told to all others.
const ROOMS: usize = 25;

async fn come(cluster: &Cluster, edge: &str) -> Vec<TestClient> {
    let open = (0..SESSIONS).map(|n| async move {
        let subscriptions = vec![join(&format!("hall:{}", n % ROOMS))];
        let client_id = "phone".to_owned();
        let hello = v1::Hello { client_id, subscriptions, ..Default::default() };
        let worker = cluster.worker(edge);
        let mut client = TestClient::hello(worker, &format!("user{n}"), hello).await.unwrap();
        loop {
            match client.push().await {
                Event::Subscribed(page) if page.error.is_none() => return client,
                Event::Presence(_) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    futures_util::future::join_all(open).await
}

/// An edge is killed with a thousand sessions, and all of them come to another one: nobody hears a
/// word of it.
#[test]
fn a_thousand_sessions_that_change_their_edge_are_no_news() {
    let roles = [core("c1"), edge("e1"), edge("e2"), edge("e3")];
    with_volatile(&roles, |cluster, _| async move {
        let connected = |edge| cluster.member(edge).node.router().unwrap().is_connected();
        until("ways", || async { ["e1", "e2", "e3"].into_iter().all(connected) }).await;
        let mut watcher = TestClient::connect(cluster.worker("e1"), "watcher").await;
        for n in 0..ROOMS {
            watcher.ask(Verb::Subscribe(join(&format!("hall:{n}")))).await;
        }
        let sessions = come(&cluster, "e2").await;
        for _ in 0..SESSIONS + ROOMS {
            assert_eq!(watcher.presence().await.state(), PresenceState::Online);
        }
        cluster.kill("e2");
        drop(sessions);
        let _back = come(&cluster, "e3").await;
        // The dead edge's sessions are out by then.
        tokio::time::sleep(Duration::from_secs(12)).await;
        let mut newcomer = TestClient::connect(cluster.worker("e1"), "newcomer").await;
        newcomer.ask(Verb::Subscribe(join("hall:0"))).await;
        let next = watcher.presence().await;
        assert_eq!((next.user.as_str(), next.state()), ("newcomer", PresenceState::Online));
        let query = Verb::Presence(v1::PresenceQuery { channel: "hall:0".into() });
        let Reply::Presence(list) = watcher.ask(query).await else { panic!() };
        assert_eq!(list.total as usize, 2 + SESSIONS / ROOMS);
        assert!(list.members.iter().all(|member| member.sessions == 1), "the dead are out");
    });
}
