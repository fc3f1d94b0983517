//! Links that have no room: what was dropped is owed, what cannot be owed is told by a beacon (I5,
//! I11, I12). Time passes only while everybody waits for it.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use sterna_core::{Node, Worker};
use sterna_proto::ErrorCode;
use sterna_proto::v1::{self, command::Verb, push::Event, reply::Result as Reply};
use sterna_storage::memory::MemoryStore;
use support::{TestClient, config, counted, counts, error, publish, with_held_clock};

const OWED_DROPPED: &str = "sterna_core_owed_dropped_total";
const BEACONS: &str = "sterna_core_beacons_total";

/// A worker whose link nobody empties, until it [`runs`].
fn silent(node: &Node) -> Worker {
    Worker::new(node, 1)
}

fn runs(worker: &Worker) {
    let worker = worker.clone();
    drop(tokio::task::spawn_local(async move { worker.run().await }));
}

/// Everything after a position, as an SDK would ask for it.
async fn recover(client: &mut TestClient, gap: &v1::Gap) -> Vec<u64> {
    let since = v1::Position { epoch: gap.epoch, offset: gap.after_offset };
    let page = client.subscribe(&gap.channel, Some(since)).await;
    assert!(page.live);
    page.publications.iter().map(|publication| publication.offset).collect()
}

#[test]
fn i5_the_last_publication_of_a_channel_is_lost_and_nothing_follows_it() {
    counted(|snapshotter| {
        let mut config = config();
        config.queues.link_pushes = 1;
        // Not even the head of the channel can be owed.
        config.queues.owed_heads = 0;
        let period = config.beacon_period;
        with_held_clock(config, MemoryStore::new().stores(), 1, |node, workers| async move {
            let mut alice = TestClient::connect(&workers[0], "alice").await;
            let silent = silent(&node);
            let mut bob = TestClient::connect(&silent, "bob").await;
            bob.subscribe("room:1", None).await;
            alice.publish("room:1", 1, "fills the link").await;
            alice.publish("room:1", 2, "is lost").await;
            assert_eq!(counts(snapshotter, &[OWED_DROPPED, BEACONS]), [1, 0]);
            let quiet_since = tokio::time::Instant::now();
            runs(&silent);
            assert_eq!(bob.publication().await.offset, 1);
            let Event::Gap(gap) = bob.push().await else { panic!() };
            assert!(quiet_since.elapsed() <= 3 * period);
            assert_eq!((gap.after_offset, gap.upto_offset), (1, 2));
            assert_eq!(recover(&mut bob, &gap).await, [2]);
            // Told once, and no more while the channel stays quiet.
            tokio::time::sleep(20 * period).await;
            assert_eq!(counts(snapshotter, &[BEACONS]), [1]);
            alice.publish("room:1", 3, "live").await;
            assert_eq!(bob.publication().await.offset, 3);
        });
    });
}

/// The clock does not move while anybody has something to do: a push that waits for a timer shows.
#[test]
fn a_push_wakes_its_session_and_does_not_wait_for_a_timer() {
    with_held_clock(config(), MemoryStore::new().stores(), 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        bob.subscribe("room:1", None).await;
        for seq in 1..=10 {
            let sent = tokio::time::Instant::now();
            alice.send(publish("room:1", seq, "x"));
            assert_eq!(bob.publication().await.offset, seq);
            assert_eq!(sent.elapsed(), Duration::ZERO);
        }
    });
}

#[test]
fn a_lively_channel_needs_no_beacon_and_whoever_has_all_hears_none() {
    counted(|snapshotter| {
        let config = config();
        let period = config.beacon_period;
        with_held_clock(config, MemoryStore::new().stores(), 1, |_, workers| async move {
            let mut alice = TestClient::connect(&workers[0], "alice").await;
            let mut bob = TestClient::connect(&workers[0], "bob").await;
            bob.subscribe("room:1", None).await;
            for seq in 1..=20 {
                alice.publish("room:1", seq, "x").await;
                tokio::time::sleep(period / 2).await;
            }
            assert_eq!(counts(snapshotter, &[BEACONS]), [0]);
            tokio::time::sleep(4 * period).await;
            assert_eq!(counts(snapshotter, &[BEACONS]), [1]);
            alice.publish("room:1", 21, "x").await;
            for offset in 1..=21 {
                assert_eq!(bob.publication().await.offset, offset);
            }
        });
    });
}

#[test]
fn i12_heads_that_are_owed_are_bounded_and_the_beacon_tells_the_rest() {
    counted(|snapshotter| {
        let mut config = config();
        config.shards = 1;
        config.queues.link_pushes = 1;
        config.queues.owed_heads = 1;
        let period = config.beacon_period;
        with_held_clock(config, MemoryStore::new().stores(), 1, |node, workers| async move {
            let mut alice = TestClient::connect(&workers[0], "alice").await;
            let silent = silent(&node);
            let mut bob = TestClient::connect(&silent, "bob").await;
            bob.subscribe("room:1", None).await;
            bob.subscribe("room:2", None).await;
            alice.publish("room:1", 1, "fills the link").await;
            alice.publish("room:1", 2, "is owed").await;
            alice.publish("room:2", 3, "cannot be owed").await;
            assert_eq!(counts(snapshotter, &[OWED_DROPPED]), [1]);
            let start = tokio::time::Instant::now();
            runs(&silent);
            assert_eq!(bob.publication().await.offset, 1);
            let Event::Gap(owed) = bob.push().await else { panic!() };
            assert_eq!(owed.channel, "room:1");
            assert!(start.elapsed() < period, "paid with the next beat");
            assert_eq!(recover(&mut bob, &owed).await, [2]);
            let Event::Gap(told) = bob.push().await else { panic!() };
            assert_eq!(told.channel, "room:2");
            assert_eq!(recover(&mut bob, &told).await, [1]);
        });
    });
}

#[test]
fn i11_i12_evictions_without_room_become_a_word_to_everybody() {
    counted(|snapshotter| {
        let mut config = config();
        config.shards = 1;
        config.queues.link_pushes = 1;
        config.queues.owed_evicts = 1;
        with_held_clock(config, MemoryStore::new().stores(), 1, |node, workers| async move {
            let member =
                |user: &str| v1::Member { user: user.into(), role: v1::Role::Member.into() };
            let remove = |user: &str| {
                Verb::RemoveMember(v1::RemoveMember { channel: "team".into(), user: user.into() })
            };
            let create = Verb::CreateChannel(v1::CreateChannel {
                channel: "team".into(),
                access: v1::ChannelAccess::Members.into(),
                members: ["bob", "carol", "dave"].map(member).into(),
                ..Default::default()
            });
            let mut alice = TestClient::connect(&workers[0], "alice").await;
            alice.ask(create).await;
            let silent = silent(&node);
            let mut bob = TestClient::connect(&silent, "bob").await;
            let mut carol = TestClient::connect(&silent, "carol").await;
            let mut dave = TestClient::connect(&silent, "dave").await;
            for client in [&mut bob, &mut carol, &mut dave] {
                client.subscribe("team", None).await;
            }
            alice.publish("team", 1, "fills the link").await;
            for user in ["bob", "carol"] {
                assert!(matches!(alice.ask(remove(user)).await, Reply::Done(_)));
            }
            assert_eq!(counts(snapshotter, &["sterna_core_evicts_replaced_total"]), [1]);

            runs(&silent);
            for client in [&mut bob, &mut carol] {
                assert_eq!(client.publication().await.offset, 1);
                while !matches!(client.push().await, Event::Unsubscribed(_)) {}
            }
            let denied = error(carol.ask(publish("team", 1, "x")).await);
            assert_eq!(denied.code, ErrorCode::PermissionDenied.number());
            assert_eq!(dave.publication().await.offset, 1);
            let Event::Gap(missed) = dave.push().await else { panic!() };
            assert_eq!((missed.after_offset, missed.upto_offset), (1, 3), "two changes of members");
        });
    });
}

#[test]
fn who_is_a_member_again_is_not_evicted_by_what_was_owed() {
    let mut config = config();
    config.queues.link_pushes = 1;
    with_held_clock(config, MemoryStore::new().stores(), 1, |node, workers| async move {
        let member = v1::Member { user: "bob".into(), role: v1::Role::Member.into() };
        let set = v1::SetMember { channel: "team".into(), member: Some(member.clone()) };
        let create = Verb::CreateChannel(v1::CreateChannel {
            channel: "team".into(),
            access: v1::ChannelAccess::Members.into(),
            members: vec![member],
            ..Default::default()
        });
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        alice.ask(create).await;
        let silent = silent(&node);
        let mut bob = TestClient::connect(&silent, "bob").await;
        bob.subscribe("team", None).await;
        alice.publish("team", 1, "fills the link").await;
        let remove = v1::RemoveMember { channel: "team".into(), user: "bob".into() };
        alice.ask(Verb::RemoveMember(remove)).await;
        alice.ask(Verb::SetMember(set)).await;
        runs(&silent);
        assert_eq!(bob.publication().await.offset, 1);
        let Event::Gap(missed) = bob.push().await else { panic!() };
        assert_eq!((missed.after_offset, missed.upto_offset), (1, 3), "out and in again");
        assert_eq!(recover(&mut bob, &missed).await, [2, 3]);
        alice.publish("team", 2, "welcome back").await;
        assert_eq!(bob.publication().await.offset, 4);
    });
}
