//! Cursors: explicit ones, and those that move because sending implies reading (I8).

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use sterna_core::{Action, Permission};
use sterna_proto::v1::{self, command::Verb, push::Event, reply::Result as Reply};
use sterna_proto::{ErrorCode, Offset};
use sterna_storage::fault::{FaultPoint, FaultyLog};
use sterna_storage::memory::MemoryStore;
use sterna_storage::{StorageErrorKind, Stores};
use support::stores::GatedCursors;
use support::{
    TestClient, config, counted, counts, error, identity, publish, with_held_clock, with_receipts,
};

const ROOM: &str = "room:1";

fn stores() -> (Arc<GatedCursors>, Stores) {
    let mut stores = MemoryStore::new().stores();
    let cursors = Arc::new(GatedCursors::new(stores.cursors.clone()));
    stores.cursors = cursors.clone();
    (cursors, stores)
}

fn mark(offset: u64) -> Verb {
    Verb::MarkRead(v1::MarkRead { channel: ROOM.into(), offset })
}

fn at(offset: u64) -> Option<(Offset, Offset)> {
    Some((Offset(offset), Offset(offset)))
}

/// Long enough for every cursor that waits to be written and told.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[test]
fn sending_implies_reading_and_a_burst_makes_one_receipt() {
    let (cursors, stores) = stores();
    with_held_clock(config(), stores, 1, |_, workers| async move {
        let mut watcher = TestClient::connect(&workers[0], "watcher").await;
        watcher.ask(with_receipts(ROOM)).await;
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let ids: Vec<u32> = (1..=20).map(|seq| alice.send(publish(ROOM, seq, "x"))).collect();
        for id in ids {
            assert!(matches!(alice.reply(id).await, Reply::Published(_)));
        }
        let receipt = watcher.receipt().await;
        let told = (receipt.user.as_str(), receipt.delivered_offset, receipt.read_offset);
        assert_eq!(told, ("alice", 20, 20));
        assert_eq!(cursors.offsets(ROOM, "alice").await, at(20));

        // A retransmission moves nothing and tells nobody.
        assert!(alice.publish(ROOM, 7, "x").await.duplicate);
        settle().await;
        alice.publish(ROOM, 21, "x").await;
        assert_eq!(watcher.receipt().await.read_offset, 21);
        assert_eq!(cursors.offsets(ROOM, "watcher").await, None, "receiving is not reading");
    });
}

#[test]
fn i8_a_cursor_that_is_further_already_stays() {
    let (cursors, stores) = stores();
    let same = stores.clone();
    with_held_clock(config(), stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        alice.publish(ROOM, 1, "one").await;
        bob.publish(ROOM, 1, "two").await;
        alice.ask(mark(2)).await;
        settle().await;
        assert_eq!(cursors.offsets(ROOM, "alice").await, at(2));
        assert_eq!(cursors.offsets(ROOM, "bob").await, at(2));
        // Another node knows no cursor: the retransmission of an old publication asks the store,
        // which keeps what is further.
        let mut second = config();
        second.id_worker = 1;
        let second = support::node(second, same).await;
        let worker = sterna_core::Worker::new(&second, 0);
        let running = worker.clone();
        let running = tokio::task::spawn_local(async move { running.run().await });
        let mut alice = TestClient::connect(&worker, "alice").await;
        alice.ask(with_receipts(ROOM)).await;
        assert!(alice.publish(ROOM, 1, "one").await.duplicate);
        assert_eq!(alice.receipt().await.read_offset, 2);
        assert_eq!(cursors.offsets(ROOM, "alice").await, at(2));
        drop(alice);
        assert!(second.shutdown(Duration::from_secs(5)).await);
        running.await.unwrap();
    });
}

#[test]
fn a_refused_publication_moves_no_cursor() {
    let (cursors, mut stores) = stores();
    let log = Arc::new(FaultyLog::new(stores.log.clone()));
    stores.log = log.clone();
    with_held_clock(config(), stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        bob.publish(ROOM, 1, "x").await;
        log.fail_appends(1, FaultPoint::BeforeAppend, StorageErrorKind::Unavailable);
        error(alice.ask(publish(ROOM, 1, "x")).await);
        settle().await;
        assert_eq!(cursors.offsets(ROOM, "alice").await, None);
        // Stored although the answer was lost: accepted.
        log.fail_appends(1, FaultPoint::AfterAppend, StorageErrorKind::Unknown);
        assert_eq!(alice.publish(ROOM, 1, "x").await.offset, 2);
        settle().await;
        assert_eq!(cursors.offsets(ROOM, "alice").await, at(2));
    });
}

#[test]
fn i11_who_may_not_read_has_no_cursor() {
    let (cursors, stores) = stores();
    with_held_clock(config(), stores, 1, |_, workers| async move {
        let mut sensor = identity("sensor");
        let actions = vec![Action::Publish];
        sensor.permissions = vec![Permission { pattern: "*".into(), actions }];
        let mut sensor = TestClient::hello_as(&workers[0], sensor, v1::Hello::default()).await;
        sensor.publish(ROOM, 1, "21 degrees").await;
        settle().await;
        assert_eq!(cursors.offsets(ROOM, "sensor").await, None);
    });
}

#[test]
fn i12_cursors_that_wait_for_a_slow_store_are_bounded() {
    counted(|snapshotter| {
        let (cursors, stores) = stores();
        let mut config = config();
        config.queues.cursor_moves = 1;
        with_held_clock(config, stores, 1, |_, workers| async move {
            let mut clients = Vec::new();
            for user in ["alice", "bob", "carol"] {
                clients.push(TestClient::connect(&workers[0], user).await);
            }
            let mut operator = identity("operator");
            operator.operator = true;
            let mut operator =
                TestClient::hello_as(&workers[0], operator, v1::Hello::default()).await;
            operator.publish(ROOM, 1, "x").await;
            cursors.writes.hold();
            assert!(matches!(clients[0].ask(mark(1)).await, Reply::Done(_)));
            cursors.writes.wait_for_waiting(1).await;
            assert!(matches!(clients[1].ask(mark(1)).await, Reply::Done(_)));
            let busy = error(clients[2].ask(mark(1)).await);
            assert_eq!((busy.code, busy.retryable), (ErrorCode::Busy.number(), true));
            // Publishing goes on; its cursor is let go.
            clients[2].publish(ROOM, 1, "x").await;
            assert!(matches!(clients[1].ask(mark(2)).await, Reply::Done(_)), "merged");
            // The write of Alice's fails, and what was merged meanwhile takes its place.
            cursors.writes.fail(1);
            cursors.writes.release();
            settle().await;
            assert_eq!(cursors.offsets(ROOM, "bob").await, at(2));
            assert!(matches!(clients[2].ask(mark(2)).await, Reply::Done(_)));
            settle().await;
            assert_eq!(cursors.offsets(ROOM, "carol").await, at(2));
        });
        // Carol's command, her publication, and Alice's failed write, for which Bob's left no room.
        assert_eq!(counts(snapshotter, &["sterna_core_cursor_moves_dropped_total"]), [3]);
    });
}

#[test]
fn i8_a_cursor_whose_write_fails_is_written_again_with_what_came_meanwhile() {
    let (cursors, stores) = stores();
    with_held_clock(config(), stores, 1, |_, workers| async move {
        let mut watcher = TestClient::connect(&workers[0], "watcher").await;
        watcher.ask(with_receipts(ROOM)).await;
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        cursors.writes.hold();
        cursors.writes.fail(1);
        alice.publish(ROOM, 1, "x").await;
        alice.publish(ROOM, 2, "x").await;
        cursors.writes.wait_for_waiting(1).await;
        alice.ask(mark(1)).await;
        cursors.writes.release();
        assert_eq!(watcher.receipt().await.read_offset, 2);
        assert_eq!(cursors.offsets(ROOM, "alice").await, at(2));
    });
}

#[test]
fn receipts_go_only_to_those_who_asked_for_them() {
    let (_, stores) = stores();
    with_held_clock(config(), stores, 1, |_, workers| async move {
        let mut alice = TestClient::connect(&workers[0], "alice").await;
        let mut bob = TestClient::connect(&workers[0], "bob").await;
        bob.subscribe(ROOM, None).await;
        alice.publish(ROOM, 1, "x").await;
        settle().await;
        alice.publish(ROOM, 2, "x").await;
        assert!(matches!(bob.push().await, Event::Publication(p) if p.offset == 1));
        assert!(matches!(bob.push().await, Event::Publication(p) if p.offset == 2));
    });
}
