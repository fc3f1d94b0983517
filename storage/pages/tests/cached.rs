//! A log with caches in front keeps every promise of a log, and a cache that is lost, damaged, slow,
//! of another database or simply wrong costs nothing but reads.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, pending, ready};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use sterna_proto::{ChannelId, ChannelKey, Offset, PublicationId, UserId};
use sterna_storage::fault::FaultyLog;
use sterna_storage::page::{MemoryPages, PageCache, PageName};
use sterna_storage::{
    Append, Head, MemoryStore, NewRecord, PageLimit, PublicationLog, ReadError, Record,
    StorageError, StorageErrorKind, Stores, TierLookups,
};
use sterna_storage_pages::CachedLog;

mod conformance {
    sterna_storage::conformance_suite! {
        let store = sterna_storage::MemoryStore::new();
        let caches = super::caches();
        move || super::behind(caches.clone(), store.stores())
    }
}

/// The same with caches that have lost everything, or nothing good to say.
mod conformance_of_bad_caches {
    sterna_storage::conformance_suite! {
        let store = sterna_storage::MemoryStore::new();
        let cache = std::sync::Arc::new(super::BadCache::default());
        move || super::behind(vec![("bad", cache.clone() as super::Cache)], store.stores())
    }
}

type Cache = Arc<dyn PageCache>;

fn caches() -> Vec<(&'static str, Cache)> {
    vec![
        ("local", Arc::new(MemoryPages::new(1 << 20)) as Cache),
        ("shared", Arc::new(MemoryPages::new(1 << 22)) as Cache),
    ]
}

fn behind(caches: Vec<(&'static str, Cache)>, mut stores: Stores) -> Stores {
    stores.log = Arc::new(CachedLog::new(stores.log, caches));
    stores
}

/// Answers with what is no page, with too few answers, or with failures, in turn.
#[derive(Debug, Default)]
struct BadCache {
    calls: AtomicUsize,
}

impl PageCache for BadCache {
    fn pages(
        &self,
        names: Vec<PageName>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StorageError>> {
        let answer = match self.calls.fetch_add(1, Ordering::Relaxed) % 3 {
            0 => Ok(vec![Some(Bytes::from_static(b"no page")); names.len()]),
            1 => Ok(Vec::new()),
            _ => Ok(vec![None; names.len()]),
        };
        ready(answer).boxed()
    }

    fn keep(&self, _: Vec<(PageName, Bytes)>) -> BoxFuture<'_, Result<(), StorageError>> {
        ready(Ok(())).boxed()
    }

    fn drop_pages(&self, _: Vec<PageName>) -> BoxFuture<'_, Result<(), StorageError>> {
        ready(Ok(())).boxed()
    }
}

/// Fails or hangs as long as it is told to.
#[derive(Debug)]
struct Moody {
    hangs: AtomicBool,
    asked: AtomicUsize,
}

impl Moody {
    async fn answer<T>(&self) -> Result<T, StorageError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            pending::<()>().await;
        }
        Err(StorageError::new(StorageErrorKind::Unavailable, "moody", "not now"))
    }
}

impl PageCache for Moody {
    fn pages(&self, _: Vec<PageName>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StorageError>> {
        self.answer().boxed()
    }

    fn keep(&self, _: Vec<(PageName, Bytes)>) -> BoxFuture<'_, Result<(), StorageError>> {
        self.answer().boxed()
    }

    fn drop_pages(&self, _: Vec<PageName>) -> BoxFuture<'_, Result<(), StorageError>> {
        self.answer().boxed()
    }
}

fn key() -> ChannelKey {
    ChannelId::new("room:1").unwrap().key()
}

fn record(n: u64) -> NewRecord {
    NewRecord {
        id: PublicationId(n),
        sender: UserId::new("alice").unwrap(),
        origin: None,
        client_msg_id: Bytes::new(),
        server_ts_ms: 1,
        client_ts_ms: 0,
        kind: 0,
        target_offset: Offset::ZERO,
        payload: n.to_string().into(),
    }
}

/// Appends so many and returns the head.
async fn append(log: &dyn PublicationLog, count: u64) -> Head {
    let mut head = log.head(key()).await.unwrap();
    for _ in 0..count {
        let expected = head.as_ref().map(|head| head.position);
        let n = expected.map_or(0, |position| position.offset.0) + 1;
        let append = Append::new(key(), expected, vec![record(n)]);
        head = Some(log.append(vec![append]).await.remove(0).unwrap());
    }
    head.unwrap()
}

struct Place {
    log: CachedLog,
    /// Counts what reaches the log behind the caches.
    behind: Arc<FaultyLog>,
    local: Arc<MemoryPages>,
    shared: Arc<MemoryPages>,
}

impl Place {
    async fn with(records: u64) -> Self {
        let behind = Arc::new(FaultyLog::new(MemoryStore::new().stores().log));
        append(&*behind, records).await;
        let (local, shared) =
            (Arc::new(MemoryPages::new(1 << 20)), Arc::new(MemoryPages::new(1 << 20)));
        let caches = vec![("local", local.clone() as Cache), ("shared", shared.clone() as Cache)];
        Self { log: CachedLog::new(behind.clone(), caches), behind, local, shared }
    }

    async fn read(&self, after: u64, records: usize) -> Result<Vec<Record>, ReadError> {
        let limit = PageLimit { records, payload_bytes: usize::MAX };
        self.log.read(key(), Offset(after), limit).await
    }

    /// Reads, and returns how many reads that took behind the caches.
    async fn reads(&self, after: u64, records: usize, upto: u64) -> usize {
        let before = self.behind.read_calls();
        let found: Vec<u64> = self
            .read(after, records)
            .await
            .unwrap()
            .iter()
            .map(|record| {
                assert_eq!(record.body.payload, record.position.offset.0.to_string());
                record.position.offset.0
            })
            .collect();
        assert_eq!(found, (after + 1..=upto).collect::<Vec<_>>());
        self.behind.read_calls() - before
    }
}

#[tokio::test]
async fn an_old_page_is_read_once_wherever_in_it_readers_begin() {
    let place = Place::with(300).await;
    assert_eq!(place.reads(70, 32, 102).await, 1);
    for (after, records, upto) in [(64, 64, 128), (90, 10, 100), (127, 1, 128)] {
        assert_eq!(place.reads(after, records, upto).await, 0, "after {after}");
    }
    // The rest of the log in one read, the newest of it each time.
    assert_eq!(place.reads(64, 500, 300).await, 1);
    assert_eq!(place.reads(64, 500, 300).await, 1, "the last page is not full");
    assert_eq!(place.reads(64, 192, 256).await, 0);
    assert_eq!(place.reads(280, 10, 290).await, 1);
    assert_eq!(place.reads(300, 10, 300).await, 1, "nothing follows");
}

#[tokio::test]
async fn pages_of_all_caches_join_and_what_is_lost_is_filled_again() {
    let place = Place::with(256).await;
    assert_eq!(place.reads(0, 256, 256).await, 1);
    assert_eq!((place.local.len(), place.shared.len()), (4, 4));
    place.local.forget();
    assert_eq!(place.reads(0, 256, 256).await, 0);
    assert_eq!(place.local.len(), 4, "from the other one");
    place.local.forget();
    place.shared.forget();
    assert_eq!(place.reads(100, 10, 110).await, 1);
    assert_eq!(place.reads(0, 256, 256).await, 1, "one is missing in front");
}

#[tokio::test]
async fn i5_what_was_trimmed_is_not_served_from_a_cache() {
    let place = Place::with(256).await;
    place.reads(0, 256, 256).await;
    place.behind.trim(key(), Offset(100)).await.unwrap();
    for after in [0, 50, 98] {
        let told = place.read(after, 10).await.unwrap_err();
        assert!(matches!(told, ReadError::Trimmed { first: Offset(100) }), "{told}");
    }
    assert_eq!(place.reads(99, 10, 109).await, 1, "a part of its page is gone");
    assert_eq!(place.reads(128, 10, 138).await, 0);
}

#[tokio::test]
async fn i5_a_page_of_two_epochs_is_read_from_the_log() {
    let place = Place::with(100).await;
    let head = place.log.head(key()).await.unwrap().unwrap();
    let marker = NewRecord { kind: 5, payload: "101".into(), ..record(101) };
    place.log.raise_epoch(key(), head.position, marker).await.unwrap();
    append(&*place.behind, 155).await;
    for _ in 0..2 {
        assert_eq!(place.reads(64, 64, 128).await, 1);
    }
    assert_eq!(place.reads(0, 64, 64).await, 1);
    assert_eq!(place.reads(0, 64, 64).await, 0);
    assert_eq!(place.reads(128, 64, 192).await, 1);
    let page = place.read(128, 64).await.unwrap();
    assert!(page.iter().all(|record| record.position.epoch.0 == head.position.epoch.0 + 1));
}

#[tokio::test]
async fn i6_pages_of_another_database_are_not_taken_for_this_ones() {
    let other = Place::with(128).await;
    other.reads(0, 128, 128).await;
    // A store that was wiped has another epoch.
    let place = Place::with(64).await;
    let head = place.log.head(key()).await.unwrap().unwrap();
    let marker = NewRecord { kind: 5, payload: "65".into(), ..record(65) };
    place.behind.raise_epoch(key(), head.position, marker).await.unwrap();
    append(&*place.behind, 127).await;
    let caches = vec![("local", other.local.clone() as Cache)];
    let log = CachedLog::new(place.behind.clone(), caches);
    let limit = PageLimit { records: 64, payload_bytes: usize::MAX };
    let page = log.read(key(), Offset(64), limit).await.unwrap();
    assert!(page.iter().all(|record| record.position.epoch.0 == head.position.epoch.0 + 1));
}

#[tokio::test]
async fn i6_damage_is_noticed_and_read_from_the_log() {
    let place = Place::with(128).await;
    place.reads(0, 128, 128).await;
    place.shared.forget();
    type Spoil = fn(&PageName, &Bytes) -> Bytes;
    let spoils: [Spoil; 3] = [
        |_, page| {
            let mut page = page.to_vec();
            let middle = page.len() / 2;
            page[middle] ^= 1;
            page.into()
        },
        |_, page| page.slice(..page.len() / 2),
        |_, _| Bytes::new(),
    ];
    for spoil in spoils {
        place.local.spoil(spoil);
        assert_eq!(place.reads(0, 128, 128).await, 1);
        assert_eq!(place.reads(0, 128, 128).await, 0, "it has been put right");
        place.shared.forget();
    }
}

#[tokio::test(start_paused = true)]
async fn i6_a_cache_that_fails_or_hangs_costs_misses_and_is_left_alone() {
    for hangs in [false, true] {
        let behind = Arc::new(FaultyLog::new(MemoryStore::new().stores().log));
        append(&*behind, 128).await;
        let moody = Arc::new(Moody { hangs: hangs.into(), asked: AtomicUsize::new(0) });
        let good = Arc::new(MemoryPages::new(1 << 20));
        let caches = vec![("moody", moody.clone() as Cache), ("good", good as Cache)];
        let log = CachedLog::new(behind.clone(), caches);
        for _ in 0..10 {
            let limit = PageLimit { records: 128, payload_bytes: usize::MAX };
            assert_eq!(log.read(key(), Offset::ZERO, limit).await.unwrap().len(), 128);
        }
        assert_eq!(behind.read_calls(), 1, "the other one has it");
        assert_eq!(moody.asked.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn what_is_forgotten_is_read_again() {
    let place = Place::with(256).await;
    place.reads(0, 256, 256).await;
    place.log.forget(key(), &[Offset(70), Offset(71)]).await.unwrap();
    assert_eq!((place.local.len(), place.shared.len()), (3, 3));
    assert_eq!(place.reads(0, 64, 64).await, 0);
    assert_eq!(place.reads(64, 64, 128).await, 1);
}

#[test]
fn lookups_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = Place::with(128).await;
            place.reads(0, 128, 128).await;
            place.reads(0, 128, 128).await;
            let told = |tier: &str, hits, misses| TierLookups { tier: tier.into(), hits, misses };
            let wanted = [told("local_pages", 2, 2), told("shared_pages", 0, 2)];
            assert_eq!(place.log.lookups(), wanted, "as an operator is told");
        });
    });
    let counted = |tier: &str, result: &str| {
        let snapshot = snapshotter.snapshot().into_vec();
        let of = |(key, ..): &&(metrics_util::CompositeKey, _, _, DebugValue)| {
            let labels: Vec<&str> = key.key().labels().map(|label| label.value()).collect();
            key.key().name() == "sterna_storage_page_lookups_total" && labels == [tier, result]
        };
        snapshot.iter().find(of).map(|(.., value)| format!("{value:?}"))
    };
    assert_eq!(counted("local", "hit"), Some("Counter(2)".into()));
}
