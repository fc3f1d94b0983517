//! Segments in memory, with faults, and a log to archive.

// Not every test file uses everything.
#![allow(dead_code)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::ready;
use sterna_proto::{ChannelId, ChannelKey, Offset, PublicationId, UserId};
use sterna_storage::{
    Append, BoxFuture, Links, MemoryStore, NewRecord, PageLimit, PublicationLog as _, Record, Run,
    Sealed, SegmentKey, SegmentWriter, Segments, StorageError, StorageErrorKind,
};
use sterna_storage_archive::{ArchiveConfig, Archiver, TieredLog, Tiers, Unpressed, WriteTimes};

type Runs = BTreeMap<ChannelKey, (Links, Vec<Record>)>;

#[derive(Debug, Default)]
pub struct MemorySegments {
    objects: Arc<Mutex<BTreeMap<SegmentKey, Runs>>>,
    pub looks: AtomicU64,
    /// Calls until one fails; 0: none does.
    pub fail_in: AtomicU64,
}

impl MemorySegments {
    pub fn keys(&self) -> Vec<SegmentKey> {
        self.objects.lock().unwrap().keys().copied().collect()
    }

    /// Changes a stored record.
    pub fn damage(&self, channel: ChannelKey, offset: Offset) {
        for runs in self.objects.lock().unwrap().values_mut() {
            for record in
                runs.get_mut(&channel).iter_mut().flat_map(|(_, records)| records.iter_mut())
            {
                if record.position.offset == offset {
                    record.body.payload = Bytes::from_static(b"damaged");
                }
            }
        }
    }

    /// Where a channel's run begins in a segment.
    pub fn objects_first(&self, key: SegmentKey, channel: ChannelKey) -> Option<Offset> {
        let objects = self.objects.lock().unwrap();
        let (_, records) = objects.get(&key)?.get(&channel)?;
        records.first().map(|first| first.position.offset)
    }

    pub fn lose(&self, key: SegmentKey) {
        self.objects.lock().unwrap().remove(&key);
    }

    fn check(&self) -> Result<(), StorageError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let left = self.fail_in.load(Ordering::Relaxed);
        if left > 0 {
            self.fail_in.store(left - 1, Ordering::Relaxed);
            if left == 1 {
                return Err(StorageError::new(StorageErrorKind::Unavailable, "memory", "scripted"));
            }
        }
        Ok(())
    }

    fn with<T>(&self, key: SegmentKey, look: impl FnOnce(&Runs) -> T) -> Result<T, StorageError> {
        self.check()?;
        match self.objects.lock().unwrap().get(&key) {
            Some(runs) => Ok(look(runs)),
            None => {
                let message = format!("{key:?} is missing");
                Err(StorageError::new(StorageErrorKind::Corrupt, "memory", message))
            }
        }
    }
}

fn run(channel: ChannelKey, (links, records): &(Links, Vec<Record>)) -> Run {
    let offset = |record: Option<&Record>| record.unwrap().position.offset;
    Run { channel, first: offset(records.first()), last: offset(records.last()), links: *links }
}

fn seal(runs: &Runs) -> Sealed {
    let records = || runs.values().flat_map(|(_, records)| records);
    let mut sha256 = [0; 32];
    for record in records() {
        for (n, byte) in record.body.payload.iter().enumerate() {
            let factor = (record.position.offset.0 as u8).wrapping_add(1);
            sha256[n % 32] ^= byte.wrapping_mul(factor);
        }
    }
    Sealed {
        bytes: records().map(|record| record.body.payload.len() as u64).sum(),
        records: records().count() as u64,
        runs: runs.len() as u64,
        first_ts_ms: records().map(|record| record.body.server_ts_ms).min().unwrap_or(0),
        last_ts_ms: records().map(|record| record.body.server_ts_ms).max().unwrap_or(0),
        sha256,
    }
}

impl Segments for MemorySegments {
    fn create(
        &self,
        key: SegmentKey,
    ) -> BoxFuture<'_, Result<Box<dyn SegmentWriter>, StorageError>> {
        let begun = self.check().map(|()| {
            // A fault that is due next strikes at the finish.
            let fails_at_finish = self.fail_in.load(Ordering::Relaxed) == 1;
            if fails_at_finish {
                self.fail_in.store(0, Ordering::Relaxed);
            }
            let writer = Writer {
                key,
                runs: Runs::new(),
                at: None,
                objects: self.objects.clone(),
                fails_at_finish,
            };
            Box::new(writer) as Box<dyn SegmentWriter>
        });
        ready(begun).boxed()
    }

    fn run(
        &self,
        key: SegmentKey,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<Run>, StorageError>> {
        let found = self.with(key, |runs| runs.get(&channel).map(|found| run(channel, found)));
        ready(found).boxed()
    }

    fn read(
        &self,
        key: SegmentKey,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, StorageError>> {
        let page = self.with(key, |runs| {
            let mut room = limit.start();
            let records = runs.get(&channel).map(|(_, records)| &records[..]).unwrap_or_default();
            let behind = records.iter().filter(|record| record.position.offset > after);
            behind.take_while(|record| room.take(record.body.payload.len())).cloned().collect()
        });
        ready(page).boxed()
    }

    fn runs(
        &self,
        key: SegmentKey,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Run>, StorageError>> {
        let runs = self.with(key, |runs| {
            let behind = runs.iter().filter(|(channel, _)| after.is_none_or(|at| **channel > at));
            behind.take(limit).map(|(channel, found)| run(*channel, found)).collect()
        });
        ready(runs).boxed()
    }

    fn verify(&self, key: SegmentKey) -> BoxFuture<'_, Result<Sealed, StorageError>> {
        ready(self.with(key, seal)).boxed()
    }

    fn remove(&self, key: SegmentKey) -> BoxFuture<'_, Result<(), StorageError>> {
        let removed = self.check().map(|()| self.lose(key));
        ready(removed).boxed()
    }

    fn list(
        &self,
        shard: u16,
        after: Option<SegmentKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SegmentKey>, StorageError>> {
        let keys = self.keys().into_iter();
        let keys = keys.filter(|key| key.shard == shard && after.is_none_or(|at| *key > at));
        ready(Ok(keys.take(limit).collect())).boxed()
    }
}

struct Writer {
    key: SegmentKey,
    runs: Runs,
    at: Option<ChannelKey>,
    objects: Arc<Mutex<BTreeMap<SegmentKey, Runs>>>,
    fails_at_finish: bool,
}

impl SegmentWriter for Writer {
    fn begin_run(&mut self, channel: ChannelKey, links: Links) -> Result<(), StorageError> {
        assert!(self.at.is_none_or(|at| channel > at), "runs come in the order of their channels");
        self.at = Some(channel);
        self.runs.insert(channel, (links, Vec::new()));
        Ok(())
    }

    fn push(&mut self, record: Record) -> BoxFuture<'_, Result<(), StorageError>> {
        let (_, records) = self.runs.get_mut(&self.at.unwrap()).unwrap();
        let last = records.last().map(|last| last.position.offset.next());
        assert!(last.is_none_or(|next| next == record.position.offset), "without a hole");
        records.push(record);
        ready(Ok(())).boxed()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Sealed, StorageError>> {
        if self.fails_at_finish {
            let error = StorageError::new(StorageErrorKind::Unavailable, "memory", "cut upload");
            return ready(Err(error)).boxed();
        }
        let sealed = seal(&self.runs);
        assert!(self.objects.lock().unwrap().insert(self.key, self.runs).is_none());
        ready(Ok(sealed)).boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

pub struct Bed {
    pub store: MemoryStore,
    pub segments: Arc<MemorySegments>,
    pub tiers: Tiers,
}

impl Bed {
    pub fn new() -> Self {
        let store = MemoryStore::new();
        let stores = store.stores();
        let segments = Arc::new(MemorySegments::default());
        let tiers = Tiers {
            log: stores.log,
            archived: stores.archived,
            manifest: stores.manifest,
            segments: segments.clone(),
        };
        Self { store, segments, tiers }
    }

    pub fn archiver(&self, config: ArchiveConfig) -> Archiver {
        Archiver::new(self.tiers.clone(), config, Arc::new(Unpressed))
    }

    pub fn log(&self) -> TieredLog {
        TieredLog::new(self.tiers.clone(), Arc::new(WriteTimes::new(OLD)))
    }

    /// Publishes with server times that long ago.
    pub async fn publish(&self, name: &str, count: usize, age: Duration) {
        let channel = key(name);
        for _ in 0..count {
            let head = self.store.head(channel).await.unwrap();
            let next = head.as_ref().map_or(1, |head| head.position.offset.0 + 1);
            let record = NewRecord {
                id: PublicationId(next),
                sender: UserId::new("alice").unwrap(),
                origin: None,
                client_msg_id: Bytes::new(),
                server_ts_ms: now_ms() - age.as_millis() as u64,
                client_ts_ms: 1,
                kind: 0,
                target_offset: Offset::ZERO,
                payload: Bytes::from(format!("{name} {next}")),
            };
            let append = Append::new(channel, head.map(|head| head.position), vec![record]);
            self.store.append(vec![append]).await.remove(0).unwrap();
        }
    }
}

/// Archives what is a minute old, and trims at once.
pub fn eager() -> ArchiveConfig {
    ArchiveConfig {
        after: Duration::from_secs(60),
        grace: Duration::ZERO,
        keep_newest: 0,
        records_per_second: u32::MAX,
        ..ArchiveConfig::default()
    }
}

pub const OLD: Duration = Duration::from_secs(3600);

pub const WIDE: PageLimit = PageLimit { records: 1_000_000, payload_bytes: usize::MAX };

pub fn key(name: &str) -> ChannelKey {
    ChannelId::new(name).unwrap().key()
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}
