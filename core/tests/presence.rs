//! Presence through lost connections: who hears what, and when. The clock is held, so that seconds
//! mean what they say.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use sterna_core::session::PRESENCE_SUBSCRIPTIONS;
use sterna_core::{Action, Permission, Worker};
use sterna_proto::v1::{self, PresenceState, command::Verb, push::Event, reply::Result as Reply};
use sterna_storage::memory::MemoryStore;
use support::stores::GatedChannels;
use support::{
    TestClient, config, counted, counts, error, identity, join, publish, with_held_clock,
    with_workers,
};
use tokio::time::Instant;

const ROOM: &str = "room:1";

/// A client that is in the room and has heard that it is.
async fn enter(worker: &Worker, user: &str) -> TestClient {
    let mut client = TestClient::connect(worker, user).await;
    client.ask(Verb::Subscribe(join(ROOM))).await;
    assert_eq!(client.presence().await.user, user);
    client
}

fn back(client: &TestClient, subscriptions: Vec<v1::Subscribe>) -> v1::Hello {
    let resume_ticket = client.welcome.resume_ticket.clone();
    v1::Hello {
        client_id: format!("{}-phone", client.welcome.user),
        resume_ticket,
        subscriptions,
        ..Default::default()
    }
}

async fn listed(client: &mut TestClient) -> Vec<(String, PresenceState)> {
    let query = Verb::Presence(v1::PresenceQuery { channel: ROOM.into() });
    let Reply::Presence(list) = client.ask(query).await else { panic!() };
    list.members.iter().map(|member| (member.user.clone(), member.state())).collect()
}

#[test]
fn who_loses_the_connection_roams_then_is_detached_then_offline() {
    let config = config();
    let (roaming_after, debounce, window) =
        (config.roaming_after, config.presence_debounce, config.resume_window);
    with_held_clock(config, MemoryStore::new().stores(), 1, |_, workers| async move {
        let mut watcher = enter(&workers[0], "watcher").await;
        let bob = enter(&workers[0], "bob").await;
        assert_eq!(watcher.presence().await.user, "bob");
        let lost = Instant::now();
        drop(bob);
        let steps = [
            (PresenceState::Roaming, roaming_after),
            (PresenceState::Detached, debounce),
            (PresenceState::Offline, window),
        ];
        for (state, after) in steps {
            let told = watcher.presence().await;
            assert_eq!((told.user.as_str(), told.state()), ("bob", state));
            let away = lost.elapsed();
            assert!(away >= after && away < after + Duration::from_secs(2), "{state:?}: {away:?}");
        }
        assert_eq!(listed(&mut watcher).await, [("watcher".to_owned(), PresenceState::Online)]);
    });
}

#[test]
fn who_comes_back_at_once_was_never_away() {
    let config = config();
    let short = config.roaming_after / 2;
    with_held_clock(config, MemoryStore::new().stores(), 2, |_, workers| async move {
        let mut watcher = enter(&workers[0], "watcher").await;
        let mut bob = enter(&workers[0], "bob").await;
        assert_eq!(watcher.presence().await.user, "bob");
        for n in 0..20 {
            let hello = back(&bob, vec![join(ROOM)]);
            drop(bob);
            tokio::time::sleep(short).await;
            bob = TestClient::hello(&workers[n % 2], "bob", hello).await.unwrap();
            assert!(bob.welcome.resumed);
        }
        tokio::time::sleep(Duration::from_secs(300)).await;
        bob.ask(publish(ROOM, 1, "still here")).await;
        let next = watcher.push().await;
        assert!(matches!(next, Event::Publication(_)), "nobody heard of it: {next:?}");
    });
}

#[test]
fn who_comes_back_after_roaming_is_online_again() {
    let config = config();
    let roaming_after = config.roaming_after;
    with_held_clock(config, MemoryStore::new().stores(), 2, |_, workers| async move {
        let mut watcher = enter(&workers[0], "watcher").await;
        let bob = enter(&workers[0], "bob").await;
        assert_eq!(watcher.presence().await.user, "bob");
        let hello = back(&bob, vec![join(ROOM)]);
        drop(bob);
        assert_eq!(watcher.presence().await.state(), PresenceState::Roaming);
        let roaming = ("bob".to_owned(), PresenceState::Roaming);
        assert!(listed(&mut watcher).await.contains(&roaming));
        tokio::time::sleep(roaming_after).await;
        let bob = TestClient::hello(&workers[1], "bob", hello).await.unwrap();
        assert_eq!(watcher.presence().await.state(), PresenceState::Online);
        drop(bob);
        assert_eq!(watcher.presence().await.state(), PresenceState::Roaming, "and once more");
    });
}

#[test]
fn i12_presence_has_an_end_in_a_channel_and_in_a_session() {
    counted(|snapshotter| {
        let mut config = config();
        config.queues.present_users = 2;
        with_workers(config, MemoryStore::new().stores(), 1, |_, workers| async move {
            let _alice = enter(&workers[0], "alice").await;
            let mut bob = enter(&workers[0], "bob").await;
            let mut carol = TestClient::connect(&workers[0], "carol").await;
            let refused = error(carol.ask(Verb::Subscribe(join(ROOM))).await);
            assert_eq!(refused.name, "LIMIT_EXCEEDED");
            carol.subscribe(ROOM, None).await;
            let mut laptop = TestClient::connect(&workers[0], "bob").await;
            assert!(matches!(laptop.ask(Verb::Subscribe(join(ROOM))).await, Reply::Subscribed(_)));
            bob.ask(Verb::Subscribe(join(ROOM))).await;
            for n in 0..PRESENCE_SUBSCRIPTIONS {
                let joined = carol.ask(Verb::Subscribe(join(&format!("hall:{n}")))).await;
                assert!(matches!(joined, Reply::Subscribed(_)), "{n}: {joined:?}");
            }
            let refused = error(carol.ask(Verb::Subscribe(join("hall:one-more"))).await);
            assert_eq!(refused.name, "LIMIT_EXCEEDED");
            let again = carol.ask(Verb::Subscribe(join("hall:0"))).await;
            assert!(matches!(again, Reply::Subscribed(_)), "it is there already");
        });
        assert_eq!(counts(snapshotter, &["sterna_core_presence_refused_total"]), [1]);
    });
}

#[test]
fn i11_a_session_that_may_not_be_present_any_more_leaves_no_ghost() {
    with_held_clock(config(), MemoryStore::new().stores(), 1, |_, workers| async move {
        let mut watcher = enter(&workers[0], "watcher").await;
        let bob = enter(&workers[0], "bob").await;
        assert_eq!(watcher.presence().await.user, "bob");
        let hello = back(&bob, vec![join(ROOM)]);
        drop(bob);
        let mut narrower = identity("bob");
        let actions = vec![Action::Subscribe, Action::Publish];
        narrower.permissions = vec![Permission { pattern: "*".into(), actions }];
        let mut bob = TestClient::hello_as(&workers[0], narrower, hello).await;
        assert!(bob.welcome.resumed);
        let Event::Subscribed(refused) = bob.push().await else { panic!() };
        assert!(refused.error.is_some());
        let told = watcher.presence().await;
        assert_eq!((told.user.as_str(), told.state()), ("bob", PresenceState::Offline));
    });
}

#[test]
fn i11_a_leave_that_was_not_sent_yet_outlives_its_connection() {
    let mut config = config();
    config.shards = 1;
    config.queues.shard_mailbox = 1;
    with_workers(config, MemoryStore::new().stores(), 1, |_, workers| async move {
        let mut watcher = enter(&workers[0], "watcher").await;
        let mut bob = enter(&workers[0], "bob").await;
        assert_eq!(watcher.presence().await.user, "bob");
        // The first fills the mailbox, the second waits for room, and the leave behind it; then
        // the connection is gone before anybody else has had a turn.
        bob.send(publish(ROOM, 1, "x"));
        bob.send(publish(ROOM, 2, "x"));
        bob.send(Verb::Unsubscribe(v1::Unsubscribe { channel: ROOM.into() }));
        bob.attachment.forget();
        drop(bob);
        loop {
            match watcher.push().await {
                Event::Presence(change) => {
                    assert_eq!(change.member.unwrap().state(), PresenceState::Offline);
                    break;
                }
                Event::Publication(_) => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn a_leave_that_was_refused_for_the_moment_comes_again() {
    counted(|snapshotter| {
        let mut stores = MemoryStore::new().stores();
        let channels = Arc::new(GatedChannels::new(stores.channels.clone()));
        stores.channels = channels.clone();
        let mut config = config();
        config.queues.channel_pending = 1;
        with_held_clock(config, stores, 1, |_, workers| async move {
            let mut watcher = enter(&workers[0], "watcher").await;
            let mut bob = enter(&workers[0], "bob").await;
            assert_eq!(watcher.presence().await.user, "bob");
            // Carol's role is looked up for long; behind her command nothing else fits.
            channels.roles.hold();
            let mut carol = TestClient::connect(&workers[0], "carol").await;
            let asked = carol.send(publish(ROOM, 1, "x"));
            channels.roles.wait_for_waiting(1).await;
            let leave = Verb::Unsubscribe(v1::Unsubscribe { channel: ROOM.into() });
            assert!(matches!(bob.ask(leave).await, Reply::Done(_)));
            while counts(snapshotter, &["sterna_core_background_refused_total"]) == [0] {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            channels.roles.release();
            assert!(matches!(carol.reply(asked).await, Reply::Published(_)));
            assert!(matches!(watcher.push().await, Event::Publication(_)));
            let told = watcher.presence().await;
            assert_eq!((told.user.as_str(), told.state()), ("bob", PresenceState::Offline));
        });
    });
}
