//! What goes wrong is counted: every metric of the core that stands for trouble is moved here.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use sterna_core::Tasks;
use sterna_proto::v1::{self, command::Verb, reply::Result as Reply};
use sterna_storage::fault::{FaultPoint, FaultyLog};
use sterna_storage::memory::MemoryStore;
use sterna_storage::{StorageErrorKind, Stores};
use support::{TestClient, config, counted, counts, error, publish, with_workers};

#[test]
fn refusals_duplicates_and_failures_of_the_store() {
    counted(|snapshotter| {
        let mut stores = MemoryStore::new().stores();
        let log = Arc::new(FaultyLog::new(stores.log.clone()));
        stores.log = log.clone();
        let mut config = config();
        config.rates.publish = sterna_core::config::Rate { per_second: 1, burst: 4 };
        with_workers(config, stores, 1, |_, workers| async move {
            let mut alice = TestClient::connect(&workers[0], "alice").await;
            alice.publish("room:1", 1, "x").await;
            assert!(alice.publish("room:1", 1, "x").await.duplicate);
            log.fail_appends(1, FaultPoint::BeforeAppend, StorageErrorKind::Unavailable);
            error(alice.ask(publish("room:1", 2, "x")).await);
            log.fail_appends(1, FaultPoint::AfterAppend, StorageErrorKind::Unknown);
            alice.publish("room:1", 2, "x").await;
            error(alice.ask(publish("room:1", 3, "x")).await);
        });
        let names = [
            "sterna_core_duplicates_total",
            "sterna_core_storage_errors_total",
            "sterna_core_append_conflicts_total",
            "sterna_core_rate_limited_total",
            "sterna_core_publications_total",
        ];
        assert_eq!(counts(snapshotter, &names), [1, 2, 1, 1, 2]);
    });
}

#[test]
fn what_an_outbox_and_a_link_drop() {
    counted(|snapshotter| {
        let mut config = config();
        config.queues.outbox_frames = 4;
        config.queues.link_pushes = 1;
        with_workers(config, MemoryStore::new().stores(), 1, |node, workers| async move {
            let mut alice = TestClient::connect(&workers[0], "alice").await;
            let mut bob = TestClient::connect(&workers[0], "bob").await;
            bob.subscribe("room:1", None).await;
            for n in 0..8 {
                let key = format!("{n}");
                let ephemeral =
                    v1::Ephemeral { channel: "room:1".into(), key, ..Default::default() };
                alice.ask(Verb::Ephemeral(ephemeral)).await;
            }
            for seq in 1..=20 {
                alice.publish("room:1", seq, "x").await;
            }
            // A link for one push, and nobody who takes any from it.
            let silent = sterna_core::Worker::new(&node, 1);
            let mut carol = TestClient::connect(&silent, "carol").await;
            carol.subscribe("room:1", None).await;
            for seq in 21..=30 {
                alice.publish("room:1", seq, "x").await;
            }
            // What was dropped can be had: by asking from one's own position.
            let mut position = v1::Position::default();
            while position.offset < 30 {
                let page = bob.subscribe("room:1", Some(position)).await;
                for publication in page.publications {
                    assert_eq!(publication.offset, position.offset + 1);
                    position =
                        v1::Position { epoch: publication.epoch, offset: publication.offset };
                }
            }
        });
        let names = [
            "sterna_core_outbox_dropped_total",
            "sterna_core_lagged_total",
            "sterna_core_link_dropped_total",
        ];
        let counts = counts(snapshotter, &names);
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    });
}

#[test]
fn a_task_that_panics_is_counted_and_ends_alone() {
    counted(|snapshotter| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let tasks = Tasks::new();
            tasks.spawn("good", async {});
            tasks.spawn("bad", async { panic!("on purpose") });
            let local = tokio::task::LocalSet::new();
            let good = std::rc::Rc::new(std::cell::Cell::new(false));
            local
                .run_until(async {
                    tasks.spawn_local("bad", async { panic!("number {}", 2) });
                    let ran = good.clone();
                    tasks.spawn_local("good", async move { ran.set(true) });
                    assert!(tasks.shutdown(std::time::Duration::from_secs(10)).await);
                })
                .await;
            assert!(good.get(), "a panic ends its own task alone");
        });
        assert_eq!(counts(snapshotter, &["sterna_core_task_panics_total"]), [2]);
    });
}

#[test]
fn a_full_mailbox_answers_busy_in_the_end() {
    use sterna_core::channel::shard::ShardCommand;
    use sterna_core::link::memory::MemoryLink;
    use sterna_core::link::{Link as _, LinkCommand};

    counted(|snapshotter| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mailbox, unread) = tokio::sync::mpsc::channel::<ShardCommand>(1);
            let patience = std::time::Duration::from_millis(1);
            let link = MemoryLink::new(Arc::new([mailbox]), None, patience);
            let channel = sterna_proto::ChannelId::new("room:1").unwrap();
            let command = LinkCommand {
                caller: Arc::new(sterna_core::link::Caller::new(
                    Arc::new(support::identity("alice")),
                    sterna_proto::ClientId::new("phone").unwrap(),
                    sterna_proto::SessionId(1),
                    Default::default(),
                )),
                key: channel.key(),
                channel,
                hops: 0,
                verb: sterna_core::link::Verb::Info,
            };
            let first = link.call(command.clone());
            let busy = link.call(command).answer().await.unwrap_err();
            assert_eq!(busy.code, sterna_proto::ErrorCode::Busy.number());
            drop(unread);
            assert!(first.answer().await.is_err(), "the owner is gone");
        });
        assert_eq!(counts(snapshotter, &["sterna_core_mailbox_busy_total"]), [1]);
    });
}

#[test]
fn the_stores_are_asked_for_pages_that_memory_does_not_reach() {
    counted(|snapshotter| {
        let stores: Stores = MemoryStore::new().stores();
        let mut config = config();
        config.queues.ring_publications = 2;
        with_workers(config, stores, 1, |_, workers| async move {
            let mut alice = TestClient::connect(&workers[0], "alice").await;
            for seq in 1..=5 {
                alice.publish("room:1", seq, "x").await;
            }
            for offset in [0, 4] {
                let position = v1::Position { epoch: 0, offset };
                alice.subscribe("room:1", Some(position)).await;
            }
            let history = v1::History { channel: "room:1".into(), ..Default::default() };
            assert!(matches!(alice.ask(Verb::History(history)).await, Reply::History(_)));
        });
        let names = ["sterna_core_pages_total", "sterna_core_hot_lookups_total"];
        assert_eq!(counts(snapshotter, &names), [3, 2]);
    });
}
