//! Changes of presence that do not arrive, for whatever reason: whoever has asked for the list is told
//! to ask again, and nobody else is (I5). Time passes only while everybody waits for it.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use sterna_core::{CoreConfig, Worker};
use sterna_proto::v1::{self, Activity, command::Verb, push::Event};
use sterna_proto::v1::{frame::Body, reply::Result as Reply};
use sterna_storage::memory::MemoryStore;
use support::cluster::{Cluster, core, edge, until};
use support::{TestClient, config, counted, counts, join, publish, with_held_clock};

const ROOM: &str = "room:1";
const GAPS: &str = "sterna_core_presence_gaps_total";
const BEACONS: &str = "sterna_core_presence_beacons_total";

async fn enter(worker: &Worker, user: &str) -> TestClient {
    let mut client = TestClient::connect(worker, user).await;
    client.ask(Verb::Subscribe(join(ROOM))).await;
    client
}

async fn list(client: &mut TestClient) -> Vec<String> {
    match client.ask(Verb::Presence(v1::PresenceQuery { channel: ROOM.into() })).await {
        Reply::Presence(list) => list.members.into_iter().map(|member| member.user).collect(),
        other => panic!("{other:?}"),
    }
}

/// Reads on until the client is told of a gap.
async fn until_gap(client: &mut TestClient) {
    loop {
        match client.push().await {
            Event::PresenceGap(gap) => return assert_eq!(gap.channel, ROOM),
            Event::Presence(_) | Event::Subscribed(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What was pushed until the client has the answer to a ping.
async fn pushed(client: &mut TestClient) -> Vec<Event> {
    client.ask(Verb::Ping(v1::Ping::default())).await;
    let mut pushed = Vec::new();
    for frame in client.take_received() {
        if let Some(Body::Push(v1::Push { event: Some(event) })) = frame.body {
            pushed.push(event);
        }
    }
    pushed
}

#[test]
fn i5_who_missed_a_change_is_told_once_presence_is_quiet() {
    counted(|snapshotter| {
        let mut config = config();
        config.queues.link_pushes = 1;
        let period = config.beacon_period;
        with_held_clock(config, MemoryStore::new().stores(), 1, |node, workers| async move {
            // Nobody empties the link of this worker yet.
            let silent = Worker::new(&node, 1);
            let mut bob = enter(&silent, "bob").await;
            let mut dave = enter(&silent, "dave").await;
            assert_eq!(list(&mut bob).await, ["bob", "dave"]);
            let mut carol = enter(&workers[0], "carol").await;
            assert_eq!(list(&mut carol).await, ["bob", "carol", "dave"]);
            let runs = silent.clone();
            drop(tokio::task::spawn_local(async move { runs.run().await }));
            let start = tokio::time::Instant::now();
            until_gap(&mut bob).await;
            assert!(start.elapsed() <= 3 * period);
            assert_eq!(list(&mut bob).await, ["bob", "carol", "dave"]);
            tokio::time::sleep(20 * period).await;
            assert_eq!(pushed(&mut bob).await, [], "told once");
            // Dave has never asked, and Carol has missed nothing.
            let is_gap = |event: &Event| matches!(event, Event::PresenceGap(_));
            assert!(!pushed(&mut dave).await.iter().any(is_gap));
            assert!(!pushed(&mut carol).await.iter().any(is_gap));
            assert_eq!(counts(snapshotter, &[GAPS]), [1]);
        });
    });
}

#[test]
fn who_has_heard_everything_is_told_of_no_gap() {
    counted(|snapshotter| {
        let (mut config, stores) = (config(), MemoryStore::new().stores());
        (config.roaming_after, config.resume_window) = Default::default();
        config.presence_debounce = Duration::ZERO;
        let period = config.beacon_period;
        with_held_clock(config, stores, 2, |_, workers| async move {
            let mut bob = enter(&workers[0], "bob").await;
            list(&mut bob).await;
            // Presence is never quiet, and there are beacons all the same.
            let mut heard = 0;
            for round in 0..20 {
                let carol = enter(&workers[1], "carol").await;
                tokio::time::sleep(period / 2).await;
                let mut events = pushed(&mut bob).await;
                drop(carol);
                tokio::time::sleep(period / 2).await;
                events.extend(pushed(&mut bob).await);
                assert!(events.iter().all(|it| matches!(it, Event::Presence(_))), "{round}");
                heard += events.len();
            }
            assert!(heard >= 40, "Carol came and went: {heard}");
            let [gaps, beacons] = counts(snapshotter, &[GAPS, BEACONS])[..] else { panic!() };
            assert!(gaps == 0 && (4..20).contains(&beacons), "{gaps} gaps, {beacons} beacons");
            tokio::time::sleep(4 * period).await;
            assert_eq!(counts(snapshotter, &[GAPS]), [0]);
            tokio::time::sleep(20 * period).await;
            assert_eq!(counts(snapshotter, &[BEACONS]), [0], "nothing changes any more");
        });
    });
}

/// What waits for a slow reader is dropped for publications.
#[test]
fn i5_what_a_slow_reader_had_no_room_for_is_told() {
    let mut config = config();
    config.queues.outbox_frames = 8;
    with_held_clock(config, MemoryStore::new().stores(), 2, |_, workers| async move {
        let mut bob = enter(&workers[0], "bob").await;
        list(&mut bob).await;
        let mut carol = enter(&workers[1], "carol").await;
        for seq in 1..=10 {
            carol.ask(publish(ROOM, seq, "x")).await;
        }
        loop {
            match bob.push().await {
                Event::PresenceGap(_) => break,
                Event::Presence(change) => {
                    assert_ne!(change.member.unwrap().user, "carol", "that was dropped");
                }
                _ => {}
            }
        }
        assert_eq!(list(&mut bob).await, ["bob", "carol"]);
    });
}

#[test]
fn who_comes_back_is_told_to_ask_again() {
    with_held_clock(config(), MemoryStore::new().stores(), 2, |_, workers| async move {
        let mut bob = enter(&workers[0], "bob").await;
        let never_asked = enter(&workers[0], "dave").await;
        list(&mut bob).await;
        let back = |client: &TestClient| v1::Hello {
            client_id: "phone".into(),
            resume_ticket: client.welcome.resume_ticket.clone(),
            subscriptions: vec![join(ROOM)],
            ..Default::default()
        };
        let (bob_again, dave_again) = (back(&bob), back(&never_asked));
        drop((bob, never_asked));
        let _carol = enter(&workers[1], "carol").await;
        let mut dave = TestClient::hello(&workers[1], "dave", dave_again).await.unwrap();
        let mut bob = TestClient::hello(&workers[1], "bob", bob_again).await.unwrap();
        assert!(bob.welcome.resumed && dave.welcome.resumed);
        until_gap(&mut bob).await;
        assert_eq!(list(&mut bob).await, ["bob", "carol", "dave"]);
        // In the background nobody is told who comes and goes.
        let set = |activity: Activity| {
            let (channel, activity) = (ROOM.into(), activity.into());
            Verb::SetActivity(v1::SetActivity { channel, activity })
        };
        bob.ask(set(Activity::Background)).await;
        let _eve = enter(&workers[1], "eve").await;
        bob.ask(set(Activity::Active)).await;
        until_gap(&mut bob).await;
        bob.ask(set(Activity::Background)).await;
        bob.ask(set(Activity::Active)).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let is_gap = |event: &Event| matches!(event, Event::PresenceGap(_));
        assert!(!pushed(&mut bob).await.iter().any(is_gap), "he was told, and has not asked");
        assert!(!pushed(&mut dave).await.iter().any(is_gap));
    });
}

/// What was said on a connection that nobody has read is said again on the next one.
#[test]
fn i5_a_gap_that_did_not_reach_its_client_is_told_on_the_next_connection() {
    with_held_clock(config(), MemoryStore::new().stores(), 2, |_, workers| async move {
        let mut bob = enter(&workers[0], "bob").await;
        list(&mut bob).await;
        let back = |client: &TestClient| v1::Hello {
            client_id: "phone".into(),
            resume_ticket: client.welcome.resume_ticket.clone(),
            subscriptions: vec![join(ROOM)],
            ..Default::default()
        };
        let again = back(&bob);
        drop(bob);
        let _carol = enter(&workers[1], "carol").await;
        let mut again = again;
        for worker in [1, 0, 1] {
            let unread = TestClient::hello(&workers[worker], "bob", again).await.unwrap();
            assert!(unread.welcome.resumed);
            again = back(&unread);
        }
        let mut bob = TestClient::hello(&workers[0], "bob", again).await.unwrap();
        until_gap(&mut bob).await;
        assert_eq!(list(&mut bob).await, ["bob", "carol"]);
    });
}

/// Carol comes while the way to the owner is cut: nobody tells that to who has attached elsewhere.
#[test]
fn i5_who_came_while_a_link_was_lost_is_found_by_who_watches() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.start_paused(true).enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let roles = [core("c1"), core("c2"), edge("e1"), edge("e2")];
        let quick = |config: &mut CoreConfig| config.beacon_period = Duration::from_secs(1);
        let store = MemoryStore::new();
        let cluster = Cluster::start_with(&roles, &store, |config, _| quick(config)).await;
        until("one owner", || cluster.owners(ROOM).len() == 1).await;
        let owner = cluster.owners(ROOM)[0];
        let mut watcher = enter(cluster.worker("e1"), "watcher").await;
        assert_eq!(list(&mut watcher).await, ["watcher"]);
        cluster.cut(owner, "e1");
        tokio::time::sleep(Duration::from_secs(3)).await;
        let _carol = enter(cluster.worker("e2"), "carol").await;
        cluster.heal(owner, "e1");
        let told = tokio::time::timeout(Duration::from_secs(60), until_gap(&mut watcher)).await;
        told.unwrap();
        assert_eq!(list(&mut watcher).await, ["carol", "watcher"]);
        cluster.shutdown().await;
    });
}
