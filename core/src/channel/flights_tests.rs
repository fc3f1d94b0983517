//! Many readers, one read: whoever gives up, fails or asks for more.

use super::*;
use futures_util::future::join_all;
use futures_util::poll;
use std::pin::pin;
use sterna_proto::{ChannelId, PublicationId, UserId};
use sterna_storage::fault::FaultyLog;
use sterna_storage::{Append, MemoryStore, NewRecord};

const LIMIT: PageLimit = PageLimit { records: 50, payload_bytes: 1 << 20 };

fn key() -> ChannelKey {
    ChannelId::new("room:1").unwrap().key()
}

fn record(n: u64) -> NewRecord {
    NewRecord {
        id: PublicationId(n),
        sender: UserId::new("alice").unwrap(),
        origin: None,
        client_msg_id: Default::default(),
        server_ts_ms: 1,
        client_ts_ms: 1,
        kind: 0,
        target_offset: Offset::ZERO,
        payload: vec![7; 10].into(),
    }
}

/// A log of 100 publications.
async fn log() -> (Arc<FaultyLog>, Flights) {
    let log = Arc::new(FaultyLog::new(Arc::new(MemoryStore::new())));
    let append = Append::new(key(), None, (1..=100).map(record).collect());
    assert!(log.append(vec![append]).await.remove(0).is_ok());
    (log.clone(), Flights::new(log, Arc::default()))
}

fn offsets(page: &Page) -> Vec<u64> {
    page.iter().map(|record| record.position.offset.0).collect()
}

#[tokio::test]
async fn a_thousand_readers_of_a_page_are_one_read() {
    let (log, flights) = log().await;
    log.hold_reads();
    let readers = join_all((0..1000).map(|_| flights.read(key(), Offset(10), LIMIT)));
    let release = async {
        log.wait_for_reads_waiting(1).await;
        log.release_reads();
    };
    let (pages, ()) = tokio::join!(readers, release);
    for page in pages {
        assert_eq!(offsets(&page.unwrap()), (11..=60).collect::<Vec<_>>());
    }
    assert_eq!(log.read_calls(), 1);
    assert_eq!(offsets(&flights.read(key(), Offset(10), LIMIT).await.unwrap()).len(), 50);
    assert_eq!(log.read_calls(), 2, "what is over is not kept");
    assert!(lock(&flights.open).channels.is_empty());
}

#[tokio::test]
async fn a_reader_who_gives_up_strands_nobody_and_the_last_one_ends_the_read() {
    let (log, flights) = log().await;
    log.hold_reads();
    let mut first = Box::pin(flights.read(key(), Offset(0), LIMIT));
    let mut second = pin!(flights.read(key(), Offset(0), LIMIT));
    assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
    drop(first);
    let release = async {
        log.wait_for_reads_waiting(1).await;
        log.release_reads();
    };
    let (page, ()) = tokio::join!(second, release);
    assert_eq!((page.unwrap().len(), log.read_calls()), (50, 1));
    log.hold_reads();
    let mut last = Box::pin(flights.read(key(), Offset(0), LIMIT));
    assert!(poll!(last.as_mut()).is_pending());
    assert_eq!(log.reads_waiting(), 1);
    drop(last);
    assert_eq!(log.reads_waiting(), 0, "nobody waits for it");
    let open = lock(&flights.open);
    assert!(open.channels.is_empty() && open.readers == 0);
}

#[tokio::test]
async fn an_error_is_told_to_all_who_wait_and_to_nobody_after_them() {
    let (log, flights) = log().await;
    log.hold_reads();
    log.fail_reads(1, StorageErrorKind::Unavailable);
    let readers = join_all((0..10).map(|_| flights.read(key(), Offset(0), LIMIT)));
    let release = async {
        log.wait_for_reads_waiting(1).await;
        log.release_reads();
    };
    let (pages, ()) = tokio::join!(readers, release);
    let failed = |page: &Result<Page, ReadError>| matches!(page, Err(ReadError::Storage(error)) if error.kind == StorageErrorKind::Unavailable);
    assert!(pages.iter().all(failed));
    assert_eq!(log.read_calls(), 1);
    assert!(flights.read(key(), Offset(0), LIMIT).await.is_ok());
}

#[tokio::test]
async fn i5_who_asks_for_more_than_is_being_read_reads_it() {
    let (log, flights) = log().await;
    log.hold_reads();
    let read = |after, records| flights.read(key(), Offset(after), PageLimit { records, ..LIMIT });
    let pages = async { tokio::join!(read(0, 50), read(0, 20), read(0, 51), read(1, 50)) };
    let release = async {
        log.wait_for_reads_waiting(3).await;
        log.release_reads();
    };
    let ((first, fewer, more, later), ()) = tokio::join!(pages, release);
    for (page, expected) in [(first, 1..=50), (fewer, 1..=20), (more, 1..=51), (later, 2..=51)] {
        assert_eq!(offsets(&page.unwrap()), expected.collect::<Vec<_>>());
    }
    assert_eq!(log.read_calls(), 3, "the shorter one is part of the first");
}

#[tokio::test]
async fn what_is_forgotten_is_read_again() {
    let (log, flights) = log().await;
    log.hold_reads();
    let mut before = pin!(flights.read(key(), Offset(0), LIMIT));
    assert!(poll!(before.as_mut()).is_pending());
    flights.forget(key());
    let mut behind = pin!(flights.read(key(), Offset(0), LIMIT));
    assert!(poll!(behind.as_mut()).is_pending());
    log.release_reads();
    let (before, behind) = tokio::join!(before, behind);
    assert!(before.is_ok() && behind.is_ok());
    assert_eq!(log.read_calls(), 2);
    assert_eq!(lock(&flights.open).readers, 0);
}

#[tokio::test(start_paused = true)]
async fn i12_readers_are_bounded_and_each_has_its_own_patience() {
    let (log, mut flights) = log().await;
    flights.max_readers = 2;
    log.hold_reads();
    let mut first = pin!(flights.read(key(), Offset(0), LIMIT));
    assert!(poll!(first.as_mut()).is_pending());
    tokio::time::advance(PAGE_PATIENCE / 2).await;
    let mut second = pin!(flights.read(key(), Offset(0), LIMIT));
    assert!(poll!(second.as_mut()).is_pending());
    assert!(flights.read(key(), Offset(0), LIMIT).await.is_err(), "there is no room for a third");
    assert!(first.await.is_err(), "it has waited long enough");
    let release = async { log.release_reads() };
    let (page, ()) = tokio::join!(second, release);
    assert!(page.is_ok(), "the other one goes on waiting, and gets it");
}
