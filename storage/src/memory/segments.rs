//! Segments in this process's memory: the reference of the role, for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use sterna_proto::{ChannelKey, Offset};

use super::ENGINE;
use crate::{
    Links, Missing, PageLimit, Record, Run, Sealed, SegmentKey, SegmentWriter, Segments,
    StorageError, StorageErrorKind,
};

/// Objects that are forgotten with the last handle; clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemorySegments {
    objects: Arc<Mutex<BTreeMap<SegmentKey, Object>>>,
}

#[derive(Debug, Clone)]
struct Object {
    runs: Runs,
    sealed: Sealed,
}

type Runs = BTreeMap<ChannelKey, (Links, Vec<Record>)>;

impl MemorySegments {
    pub fn new() -> Self {
        Self::default()
    }

    /// All objects.
    pub fn keys(&self) -> Vec<SegmentKey> {
        self.objects().keys().copied().collect()
    }

    /// Takes an object away, as a service that loses it.
    pub fn lose(&self, key: SegmentKey) {
        self.objects().remove(&key);
    }

    /// Changes the payload of a stored record, as no service should, in all objects that have it.
    /// It reads as changed; that it is damage shows when it is verified, by the digest.
    pub fn damage(&self, channel: ChannelKey, offset: Offset) {
        for object in self.objects().values_mut() {
            let Some((_, records)) = object.runs.get_mut(&channel) else { continue };
            for record in records.iter_mut().filter(|record| record.position.offset == offset) {
                record.body.payload = b"damaged".as_slice().into();
            }
        }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<SegmentKey, Object>> {
        // Nothing here panics half-way through a change.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<T>(&self, key: SegmentKey, at: impl FnOnce(&Object) -> T) -> Result<T, StorageError> {
        match self.objects().get(&key) {
            Some(object) => Ok(at(object)),
            None => Err(corrupt(key, "is missing").with_source(Missing)),
        }
    }
}

impl Segments for MemorySegments {
    fn create(
        &self,
        key: SegmentKey,
    ) -> BoxFuture<'_, Result<Box<dyn SegmentWriter>, StorageError>> {
        let segments = self.clone();
        let writer = Writer { key, segments, runs: Runs::new(), last: None, is_broken: false };
        ready(Ok(Box::new(writer) as Box<dyn SegmentWriter>)).boxed()
    }

    fn run(
        &self,
        key: SegmentKey,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<Run>, StorageError>> {
        let found = self.look(key, |object| {
            let (links, records) = object.runs.get(&channel)?;
            run_of(channel, links, records)
        });
        ready(found).boxed()
    }

    fn read(
        &self,
        key: SegmentKey,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, StorageError>> {
        let page = self.look(key, |object| {
            let mut room = limit.start();
            let records = object.runs.get(&channel).map(|(_, all)| &all[..]).unwrap_or_default();
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
        let runs = self.look(key, |object| {
            let behind = object.runs.iter().filter(|(it, _)| after.is_none_or(|at| **it > at));
            let runs =
                behind.filter_map(|(channel, (links, records))| run_of(*channel, links, records));
            runs.take(limit).collect()
        });
        ready(runs).boxed()
    }

    fn verify(&self, key: SegmentKey) -> BoxFuture<'_, Result<Sealed, StorageError>> {
        let verdict = self.look(key, |object| (seal(&object.runs), object.sealed));
        let verdict = verdict.and_then(|(found, written)| {
            if found == written { Ok(found) } else { Err(corrupt(key, "is not what was written")) }
        });
        ready(verdict).boxed()
    }

    fn remove(&self, key: SegmentKey) -> BoxFuture<'_, Result<(), StorageError>> {
        self.lose(key);
        ready(Ok(())).boxed()
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

/// A segment in the making.
struct Writer {
    key: SegmentKey,
    segments: MemorySegments,
    runs: Runs,
    /// The channel of the run that records go to.
    last: Option<ChannelKey>,
    /// Something was refused: it makes no object.
    is_broken: bool,
}

impl Writer {
    fn refuse(&mut self, why: &str) -> Result<(), StorageError> {
        self.is_broken = true;
        Err(corrupt(self.key, why))
    }

    fn last_run_is_empty(&self) -> bool {
        self.runs.last_key_value().is_some_and(|(_, (_, records))| records.is_empty())
    }

    fn take(&mut self, record: Record) -> Result<(), StorageError> {
        if self.is_broken {
            return self.refuse("has refused something before");
        }
        let found = self.last.and_then(|channel| self.runs.get_mut(&channel));
        let Some((_, records)) = found else { return self.refuse("has a record before a run") };
        let offset = record.position.offset;
        let follows = match records.last() {
            Some(last) => offset == last.position.offset.next(),
            None => offset > Offset::ZERO,
        };
        if !follows {
            return self.refuse("has a hole in a run");
        }
        records.push(record);
        Ok(())
    }

    fn seal(mut self) -> Result<Sealed, StorageError> {
        if self.is_broken || self.runs.is_empty() || self.last_run_is_empty() {
            self.refuse("holds nothing, or has refused something")?;
        }
        let mut objects = self.segments.objects();
        if objects.contains_key(&self.key) {
            let message = format!("{:?} is there already; nothing was replaced", self.key);
            return Err(StorageError::new(StorageErrorKind::Unavailable, ENGINE, message));
        }
        let sealed = seal(&self.runs);
        objects.insert(self.key, Object { runs: self.runs, sealed });
        Ok(sealed)
    }
}

impl SegmentWriter for Writer {
    fn begin_run(&mut self, channel: ChannelKey, links: Links) -> Result<(), StorageError> {
        if self.is_broken || self.last_run_is_empty() {
            return self.refuse("has a run without a record");
        }
        if self.last.is_some_and(|last| last >= channel) {
            return self.refuse("has channels out of order");
        }
        self.last = Some(channel);
        self.runs.insert(channel, (links, Vec::new()));
        Ok(())
    }

    fn push(&mut self, record: Record) -> BoxFuture<'_, Result<(), StorageError>> {
        ready(self.take(record)).boxed()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Sealed, StorageError>> {
        ready((*self).seal()).boxed()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }
}

fn run_of(channel: ChannelKey, links: &Links, records: &[Record]) -> Option<Run> {
    let first = records.first()?.position.offset;
    let last = records.last()?.position.offset;
    Some(Run { channel, first, last, links: *links })
}

/// The digest is one of numbers and payloads: as good as a real one against a test's damage.
fn seal(runs: &Runs) -> Sealed {
    use std::hash::Hasher as _;
    let records = || runs.values().flat_map(|(_, records)| records);
    let mut hash = twox_hash::XxHash3_64::with_seed(0);
    let mut bytes = 0;
    for Record { position, body, .. } in records() {
        hash.write(&position.offset.0.to_be_bytes());
        hash.write(&body.fingerprint().to_be_bytes());
        bytes += body.payload.len() as u64;
    }
    let mut sha256 = [0; 32];
    sha256[..8].copy_from_slice(&hash.finish().to_be_bytes());
    Sealed {
        bytes,
        records: records().count() as u64,
        runs: runs.len() as u64,
        first_ts_ms: records().map(|record| record.body.server_ts_ms).min().unwrap_or(0),
        last_ts_ms: records().map(|record| record.body.server_ts_ms).max().unwrap_or(0),
        sha256,
    }
}

fn corrupt(key: SegmentKey, what: &str) -> StorageError {
    StorageError::new(StorageErrorKind::Corrupt, ENGINE, format!("{key:?} {what}"))
}
