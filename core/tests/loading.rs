//! Channels whose state cannot be read: commands are refused with advice, and the next one tries
//! again.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use sterna_core::vitals::inspect::Examined;
use sterna_proto::v1::{self, command::Verb, reply::Result as Reply};
use sterna_proto::{ErrorCode, Offset};
use sterna_storage::fault::FaultyLog;
use sterna_storage::memory::MemoryStore;
use sterna_storage::{PageLimit, Stores};
use support::stores::GatedChannels;
use support::{TestClient, config, error, publish, subscribe, with_workers};

fn stores() -> (Arc<GatedChannels>, Stores) {
    let mut stores = MemoryStore::new().stores();
    let channels = Arc::new(GatedChannels::new(stores.channels.clone()));
    stores.channels = channels.clone();
    (channels, stores)
}

#[test]
fn a_channel_that_could_not_be_loaded_is_loaded_by_the_next_command() {
    let (channels, stores) = stores();
    with_workers(config(), stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        for _ in 0..3 {
            channels.loads.fail(1);
            let refused = error(alice.ask(publish("room:1", 1, "x")).await);
            assert_eq!(refused.code, ErrorCode::Unavailable.number());
            assert!(refused.retryable && refused.retry_after_ms > 0);
        }
        assert_eq!(alice.publish("room:1", 1, "x").await.offset, 1);
    });
}

#[test]
fn i2_i3_what_waits_for_a_load_that_fails_is_refused_and_nothing_of_it_is_stored() {
    let (channels, stores) = stores();
    let log = stores.log.clone();
    with_workers(config(), stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        channels.loads.hold();
        channels.loads.fail(1);
        let subscribed = bob.send(subscribe("room:1", None));
        let ordered = |seq: u64| {
            let Verb::Publish(publish) = publish("room:1", seq, "x") else { unreachable!() };
            Verb::Publish(v1::Publish { ordered: true, ..publish })
        };
        let ids: Vec<u32> = (1..=5).map(|seq| alice.send(ordered(seq))).collect();
        channels.loads.wait_for_waiting(1).await;
        channels.loads.release();
        for id in ids {
            assert!(error(alice.reply(id).await).retryable);
        }
        assert!(error(bob.reply(subscribed).await).retryable);
        // The first refused one comes first, whatever is sent before it.
        assert!(error(alice.ask(ordered(2)).await).retryable);
        for seq in 1..=5 {
            let Reply::Published(published) = alice.ask(ordered(seq)).await else { panic!() };
            assert_eq!((published.offset, published.duplicate), (seq, false));
        }
        let page = bob.subscribe("room:1", Some(v1::Position::default())).await;
        assert_eq!(page.publications.len(), 5);
        let key = sterna_proto::ChannelId::new("room:1").unwrap().key();
        let limit = PageLimit { records: 100, payload_bytes: usize::MAX };
        assert_eq!(log.read(key, Offset::ZERO, limit).await.unwrap().len(), 5);
    });
}

/// Who leaves while the channel is loaded is not sent what comes later.
#[test]
fn i9_an_attach_that_waits_for_a_load_does_not_outlive_its_detach() {
    let (channels, stores) = stores();
    with_workers(config(), stores, 1, |node, workers| async move {
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        channels.loads.hold();
        let subscribed = bob.send(subscribe("room:1", None));
        channels.loads.wait_for_waiting(1).await;
        let left = Verb::Unsubscribe(v1::Unsubscribe { channel: "room:1".into() });
        assert_eq!(bob.ask(left).await, Reply::Done(v1::Done {}));
        channels.loads.release();
        assert!(!error(bob.reply(subscribed).await).retryable);
        let channel = sterna_proto::ChannelId::new("room:1").unwrap();
        let Examined::Channel(detail) = node.examine_channel(&channel).await else { panic!() };
        assert_eq!(detail.live.unwrap().ways, [], "nobody wants it");
    });
}

#[test]
fn i5_what_was_trimmed_is_named_as_a_gap() {
    let stores = MemoryStore::new().stores();
    let other = stores.clone();
    with_workers(config(), stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        for seq in 1..=100 {
            alice.publish("room:1", seq, "x").await;
        }
        let key = sterna_proto::ChannelId::new("room:1").unwrap().key();
        other.log.trim(key, Offset(41)).await.unwrap();
        // A node that loads the channel now.
        let mut second = config();
        second.id_worker = 1;
        let second = support::node(second, other).await;
        let worker = sterna_core::Worker::new(&second, 0);
        let mut bob = TestClient::connect(&worker, "bob").await;
        let page = bob.subscribe("room:1", Some(v1::Position::default())).await;
        let gap = page.gap.unwrap();
        assert_eq!((gap.after_offset, gap.upto_offset), (0, 40));
        let offsets = |publications: &[v1::Publication]| -> Vec<u64> {
            publications.iter().map(|publication| publication.offset).collect()
        };
        assert_eq!(offsets(&page.publications), (41..=100).collect::<Vec<_>>());
        assert!(page.live);
        let since = page.position.map(|position| v1::Position { offset: 50, ..position });
        assert_eq!(bob.subscribe("room:1", since).await.gap, None);
        for (backwards, since, expected) in [(false, 0, 41..=70), (true, 60, 41..=59)] {
            let history = v1::History {
                channel: "room:1".into(),
                since: page.position.map(|p| v1::Position { offset: since, ..p }),
                limit: 30,
                backwards,
            };
            let Reply::History(page) = bob.ask(Verb::History(history)).await else { panic!() };
            assert_eq!(offsets(&page.publications), expected.collect::<Vec<_>>());
            assert_eq!(page.more, !backwards);
        }
        drop(bob);
        assert!(second.shutdown(std::time::Duration::from_secs(5)).await);
    });
}

/// The owner knows the head as it was before.
#[test]
fn i5_what_is_trimmed_behind_the_owner_is_named_as_a_gap() {
    let stores = MemoryStore::new().stores();
    let other = stores.clone();
    let mut config = config();
    config.queues.ring_publications = 8;
    with_workers(config, stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        for seq in 1..=100 {
            alice.publish("room:1", seq, "x").await;
        }
        let key = sterna_proto::ChannelId::new("room:1").unwrap().key();
        let offsets = |publications: &[v1::Publication]| -> Vec<u64> {
            publications.iter().map(|publication| publication.offset).collect()
        };
        for first in [41, 98, 101] {
            other.log.trim(key, Offset(first)).await.unwrap();
            let mut bob = TestClient::connect(&workers[0], "bob").await;
            let page = bob.subscribe("room:1", Some(v1::Position::default())).await;
            let gap = page.gap.unwrap();
            assert_eq!((gap.after_offset, gap.upto_offset), (0, first - 1));
            assert_eq!(offsets(&page.publications), (first..=100).collect::<Vec<_>>());
            assert!(page.live);
            let position = page.position.unwrap();
            let newest = v1::Subscribe {
                channel: "room:1".into(),
                since: Some(v1::Position { offset: 0, ..position }),
                order: v1::RecoveryOrder::NewestFirst.into(),
                page_publications: 50,
                ..Default::default()
            };
            let Reply::Subscribed(page) = bob.ask(Verb::Subscribe(newest)).await else { panic!() };
            let gap = page.gap.unwrap();
            assert_eq!((gap.after_offset, gap.upto_offset), (0, 50.max(first - 1)));
            assert_eq!(page.publications.last().map_or(100, |last| last.offset), 100);
            for backwards in [false, true] {
                let history = v1::History {
                    channel: "room:1".into(),
                    since: Some(v1::Position { offset: 0, ..position }),
                    limit: 100,
                    backwards,
                };
                let Reply::History(page) = bob.ask(Verb::History(history)).await else { panic!() };
                assert_eq!(offsets(&page.publications), (first..=100).collect::<Vec<_>>());
            }
        }
    });
}

/// As after a restart, when nothing is in memory.
#[test]
fn a_page_that_many_ask_for_at_once_is_read_once() {
    let mut stores = MemoryStore::new().stores();
    let log = Arc::new(FaultyLog::new(stores.log.clone()));
    stores.log = log.clone();
    let mut config = config();
    config.queues.ring_publications = 8;
    with_workers(config, stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        for seq in 1..=100 {
            alice.publish("room:1", seq, "x").await;
        }
        let mut readers = Vec::new();
        for n in 0..100 {
            readers.push(TestClient::connect(&workers[0], &format!("reader{n}")).await);
        }
        log.hold_reads();
        let before = log.read_calls();
        let mut asked = Vec::new();
        for (n, reader) in readers.iter_mut().enumerate() {
            asked.push(match n % 2 {
                0 => reader.send(subscribe("room:1", Some(v1::Position::default()))),
                _ => reader.send(Verb::History(v1::History {
                    channel: "room:1".into(),
                    limit: 100,
                    ..Default::default()
                })),
            });
        }
        // All others were asked before the last one: a channel has one order.
        let position = alice.publish("room:1", 101, "x").await;
        assert_eq!(position.offset, 101);
        log.wait_for_reads_waiting(1).await;
        log.release_reads();
        for (reader, id) in readers.iter_mut().zip(asked) {
            let publications = match reader.reply(id).await {
                Reply::Subscribed(page) => page.publications,
                Reply::History(page) => page.publications,
                other => panic!("{other:?}"),
            };
            let offsets: Vec<u64> = publications.iter().map(|it| it.offset).collect();
            assert_eq!(offsets, (1..=100).collect::<Vec<_>>());
        }
        assert_eq!(log.read_calls() - before, 1);
    });
}
