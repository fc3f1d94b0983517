//! Sessions that follow a channel less closely: what they are given together, what they are told
//! instead, and that nothing is missing when they look again.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

mod support;

use std::time::Duration;

use sterna_core::config::Rate;
use sterna_core::session::Outgoing;
use sterna_core::{CoreConfig, Worker};
use sterna_proto::v1::{self, Activity, command::Verb, push::Event, reply::Result as Reply};
use sterna_proto::{ChannelId, ErrorCode, Offset};
use sterna_storage::memory::MemoryStore;
use support::{TestClient, config, counted, counts, error, publish, with_held_clock};
use tokio::time::Instant;

const ROOM: &str = "room:1";

fn subscribe(since: Option<v1::Position>, activity: Activity) -> v1::Subscribe {
    let channel = ROOM.to_owned();
    v1::Subscribe { channel, since, activity: activity.into(), ..Default::default() }
}

async fn follow(
    client: &mut TestClient,
    since: Option<v1::Position>,
    activity: Activity,
) -> v1::Subscribed {
    match client.ask(Verb::Subscribe(subscribe(since, activity))).await {
        Reply::Subscribed(page) => page,
        other => panic!("{other:?}"),
    }
}

fn set(activity: Activity) -> Verb {
    Verb::SetActivity(v1::SetActivity { channel: ROOM.into(), activity: activity.into() })
}

async fn head(client: &mut TestClient) -> u64 {
    match client.push().await {
        Event::Head(head) => head.offset,
        other => panic!("expected a head, got {other:?}"),
    }
}

/// Everything after a position, as a client asks for it; returns where it stands.
async fn recover(client: &mut TestClient, mut since: v1::Position) -> v1::Position {
    loop {
        let page = follow(client, Some(since), Activity::Active).await;
        for publication in &page.publications {
            assert_eq!(publication.offset, since.offset + 1, "contiguous");
            since = v1::Position { epoch: publication.epoch, offset: publication.offset };
        }
        if page.live {
            return since;
        }
    }
}

/// A node that lets a test publish as it likes.
fn generous() -> CoreConfig {
    let mut config = config();
    let rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
    (config.rates.publish, config.rates.user_publish) = (rate, rate);
    config
}

async fn publish_many(alice: &mut TestClient, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        alice.publish(ROOM, seq, "x").await;
    }
}

#[test]
fn ten_thousand_publications_are_a_handful_of_heads_in_the_background() {
    counted(|snapshotter| {
        let stores = MemoryStore::new().stores();
        with_held_clock(generous(), stores, 1, |_, workers| async move {
            let mut alice = TestClient::connect(&workers[0], "alice").await;
            let mut bob = TestClient::connect(&workers[0], "bob").await;
            follow(&mut bob, None, Activity::Background).await;
            // For ten seconds, by a clock that only the test moves.
            for round in 0..100 {
                publish_many(&mut alice, round * 100 + 1..=round * 100 + 100).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            // What the frames say, whenever they are read.
            let mut newest = 0;
            while newest < 10_000 {
                let head = head(&mut bob).await;
                assert!(head > newest, "each says something new");
                newest = head;
            }
        });
        let names = ["sterna_core_withheld_total", "sterna_core_background_heads_total"];
        let [withheld, heads] = counts(snapshotter, &names)[..] else { panic!() };
        assert_eq!(withheld, 10_000);
        assert!((1..=5).contains(&heads), "{heads} heads in ten seconds");
    });
}

#[test]
fn i5_i13_who_comes_forward_gets_what_was_held_back_once_and_in_order() {
    let mut config = generous();
    // The ring no longer has it.
    config.queues.ring_publications = 8;
    with_held_clock(config, MemoryStore::new().stores(), 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        alice.publish(ROOM, 1, "x").await;
        let page = follow(&mut bob, None, Activity::Active).await;
        let mut position = page.position.unwrap();
        for (round, activity) in [(1, Activity::Active), (2, Activity::Foreground)] {
            assert_eq!(bob.ask(set(Activity::Background)).await, Reply::Done(v1::Done {}));
            let first = position.offset + 1;
            publish_many(&mut alice, first..=first + 1199).await;
            // While pages are on their way, more is published.
            bob.send(set(activity));
            for seq in first + 1200..first + 1210 {
                alice.send(publish(ROOM, seq, "x"));
            }
            let gap = loop {
                match bob.push().await {
                    Event::Gap(gap) => break gap,
                    Event::Head(head) => assert!(head.offset < first + 1210),
                    other => panic!("{other:?} in round {round}"),
                }
            };
            assert_eq!(gap.after_offset, position.offset);
            position = recover(&mut bob, position).await;
            while position.offset < first + 1209 {
                match bob.push().await {
                    Event::Publication(publication) => {
                        assert_eq!(publication.offset, position.offset + 1, "once and in order");
                        position.offset = publication.offset;
                    }
                    Event::Head(head) => assert!(head.offset <= first + 1209),
                    other => panic!("{other:?} in round {round}"),
                }
            }
        }
        // Without news, coming forward costs nothing.
        bob.ask(set(Activity::Background)).await;
        bob.ask(set(Activity::Active)).await;
        alice.publish(ROOM, position.offset + 1, "live").await;
        assert_eq!(bob.publication().await.offset, position.offset + 1);
    });
}

#[test]
fn i5_what_was_trimmed_meanwhile_is_named() {
    let stores = MemoryStore::new().stores();
    let other = stores.clone();
    with_held_clock(generous(), stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        publish_many(&mut alice, 1..=100).await;
        let key = ChannelId::new(ROOM).unwrap().key();
        other.log.trim(key, Offset(41)).await.unwrap();
        // A node that loads the channel now.
        let mut second = config();
        second.id_worker = 1;
        let second = support::node(second, other).await;
        let mut bob = TestClient::connect(&Worker::new(&second, 0), "bob").await;
        let since = Some(v1::Position::default());
        let page = follow(&mut bob, since, Activity::Background).await;
        assert_eq!((page.position, page.head_offset, page.live), (since, 100, true));
        assert!(page.publications.is_empty() && page.gap.is_none(), "nothing is wanted yet");
        let page = follow(&mut bob, since, Activity::Active).await;
        let gap = page.gap.unwrap();
        assert_eq!((gap.after_offset, gap.upto_offset), (0, 40));
        assert_eq!(page.publications.len(), 60);
        drop(bob);
        assert!(second.shutdown(Duration::from_secs(5)).await);
    });
}

#[test]
fn i2_i12_foreground_publications_wait_for_each_other_within_bounds() {
    counted(|snapshotter| {
        let stores = MemoryStore::new().stores();
        with_held_clock(generous(), stores, 1, |node, workers| async move {
            let linger = node.config().activities.foreground_linger;
            let mut alice = TestClient::connect(&workers[0], "alice").await;
            let mut bob = TestClient::connect(&workers[0], "bob").await;
            follow(&mut bob, None, Activity::Foreground).await;
            // The second time there is more than may wait.
            let enough = sterna_core::session::MERGED_FRAMES as u64 + 10;
            let mut last = 0;
            for (count, waited) in [(10, linger), (enough, Duration::ZERO)] {
                let start = Instant::now();
                let mut batch: Vec<Outgoing> = Vec::new();
                let publishing = publish_many(&mut alice, last + 1..=last + count);
                let writing = async {
                    bob.attachment.next_batch(&mut batch).await.unwrap();
                    start.elapsed()
                };
                let (after, ()) = tokio::join!(writing, publishing);
                assert_eq!(after.min(linger), waited, "by a clock that is held");
                let together = batch.len() as u64;
                let least = count.min(sterna_core::session::MERGED_FRAMES as u64);
                assert!(together >= least, "{together} of {count}");
                // The rest, however it is cut.
                while (batch.len() as u64) < count {
                    let mut more = Vec::new();
                    bob.attachment.next_batch(&mut more).await.unwrap();
                    batch.append(&mut more);
                }
                let offsets = batch.iter().map(offset).collect::<Vec<_>>();
                assert_eq!(offsets, (last + 1..=last + count).collect::<Vec<_>>());
                last += count;
                tokio::time::sleep(linger).await;
            }
        });
        let merged = counts(snapshotter, &["sterna_core_merged_total"])[0];
        assert!(merged >= 9, "{merged} publications waited for others");
    });
}

fn offset(outgoing: &Outgoing) -> u64 {
    let sterna_core::session::OutgoingBody::Shared(push) = &outgoing.body else { panic!() };
    match &push.frame().body {
        Some(v1::frame::Body::Push(v1::Push { event: Some(Event::Publication(it)) })) => it.offset,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_background_hears_nothing_without_a_position_and_counts_as_unread() {
    with_held_clock(generous(), MemoryStore::new().stores(), 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        let channel = "dm:alice:bob".to_owned();
        let activity = Activity::Background.into();
        let subscribe = v1::Subscribe { channel: channel.clone(), activity, ..Default::default() };
        alice.publish(&channel, 1, "x").await;
        let reply = bob.ask(Verb::Subscribe(subscribe)).await;
        assert!(matches!(reply, Reply::Subscribed(_)), "{reply:?}");
        let ephemeral = v1::Ephemeral { channel: channel.clone(), ..Default::default() };
        let reply = alice.ask(Verb::Ephemeral(ephemeral)).await;
        assert_eq!(reply, Reply::Done(v1::Done {}), "it is no error that nobody looks");
        alice.publish(&channel, 2, "x").await;
        assert_eq!(head(&mut bob).await, 2);
        let Reply::Inbox(inbox) = bob.ask(Verb::Sync(v1::Sync::default())).await else { panic!() };
        assert_eq!(inbox.entries[0].unread, 2);
    });
}

#[test]
fn a_resumed_session_is_in_the_class_that_its_hello_names() {
    with_held_clock(generous(), MemoryStore::new().stores(), 2, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        alice.publish(ROOM, 1, "x").await;
        let position = follow(&mut bob, None, Activity::Background).await.position;
        let hello = v1::Hello {
            client_id: "bob-phone".into(),
            resume_ticket: bob.welcome.resume_ticket.clone(),
            subscriptions: vec![subscribe(position, Activity::Background)],
            ..Default::default()
        };
        let mut bob = TestClient::hello(&workers[1], "bob", hello).await.unwrap();
        assert!(bob.welcome.resumed);
        let Event::Subscribed(page) = bob.push().await else { panic!() };
        assert_eq!((page.position, page.live), (position, true));
        alice.publish(ROOM, 2, "x").await;
        assert_eq!(head(&mut bob).await, 2);
        bob.ask(set(Activity::Active)).await;
        let Event::Gap(gap) = bob.push().await else { panic!() };
        assert_eq!((gap.after_offset, gap.upto_offset), (1, 2));
    });
}

#[test]
fn the_class_of_a_channel_that_is_not_subscribed_is_refused() {
    with_held_clock(generous(), MemoryStore::new().stores(), 1, |_, workers| async move {
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        let refused = error(bob.ask(set(Activity::Background)).await);
        assert_eq!(refused.code, ErrorCode::NotSubscribed.number());
    });
}
