//! Payloads in the archive under a key of their channel, so that destroying the key erases them from
//! objects that are never changed.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ahash::RandomState;
use aws_lc_rs::aead::LessSafeKey;
use bytes::Bytes;
use futures_util::FutureExt as _;
use rand::RngCore as _;
use sterna_proto::{ChannelKey, Offset, UserId};
use sterna_storage::keeping::{Author, Kept, Order, WrappedKey};
use sterna_storage::{
    Behind, BoxFuture, KeepingError, KeepingStore as _, Links, PageLimit, Piece, Record, Run,
    Sealed, SegmentKey, SegmentWriter, Segments, StorageError, StorageErrorKind, TierLookups,
};

use crate::ENGINE;
use crate::keeper::Keeper;
use crate::root::{KEY_BYTES, RootKeys, cipher, open, seal};

/// Data keys in memory; above, all are forgotten and unwrapped again.
const KEYS_HELD: usize = 4096;

/// Whose payloads are sealed in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encrypt {
    #[default]
    None,
    /// Of channels that an administrator has marked.
    Marked,
    All,
}

/// The data keys of channels: made, wrapped, and given to nobody once they are destroyed.
pub struct DataKeys {
    keeper: Arc<Keeper>,
    /// `None`: nothing can be sealed, and nothing that is can be read.
    roots: Option<RootKeys>,
    encrypt: Encrypt,
    held: Mutex<HashMap<(ChannelKey, u32), Arc<LessSafeKey>, RandomState>>,
}

impl fmt::Debug for DataKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKeys")
            .field("roots", &self.roots)
            .field("encrypt", &self.encrypt)
            .finish_non_exhaustive()
    }
}

/// A data key with its number.
type Numbered = (u32, Arc<LessSafeKey>);

impl DataKeys {
    pub fn new(keeper: Arc<Keeper>, roots: Option<RootKeys>, encrypt: Encrypt) -> Self {
        Self { keeper, roots, encrypt, held: Mutex::default() }
    }

    /// What a channel's payloads are to be sealed with, if they are to be.
    async fn for_sealing(&self, channel: ChannelKey) -> Result<Option<Numbered>, StorageError> {
        if self.encrypt == Encrypt::None {
            return Ok(None);
        }
        loop {
            let kept = self.keeper.kept(vec![channel]).await?.pop().unwrap_or_default();
            if self.encrypt == Encrypt::Marked && !kept.sealed {
                return Ok(None);
            }
            if let Some(wrapped) = &kept.key {
                return Ok(Some((wrapped.id, self.unwrap(channel, wrapped)?)));
            }
            match self.make(channel, &kept).await {
                // Somebody else has made one: it is that one.
                Ok(()) | Err(KeepingError::OtherKey) => {}
                Err(KeepingError::Storage(error)) => return Err(error),
                Err(error @ KeepingError::OnHold(_)) => return Err(unavailable(error.to_string())),
            }
        }
    }

    async fn make(&self, channel: ChannelKey, kept: &Kept) -> Result<(), KeepingError> {
        let roots = self.roots()?;
        let mut data_key = [0; KEY_BYTES];
        rand::rng().fill_bytes(&mut data_key);
        let wrapped = roots.wrap(channel, kept.keys_made + 1, &data_key);
        let wrapped = wrapped.ok_or_else(|| unavailable("the cipher refuses a key"))?;
        self.keeper.keep(channel, Order::PutKey(wrapped), own_author()?).await?;
        metrics::counter!("sterna_storage_keeping_keys_total").increment(1);
        Ok(())
    }

    /// What a payload was sealed with; `None`: that key is destroyed.
    async fn for_opening(
        &self,
        channel: ChannelKey,
        id: u32,
    ) -> Result<Option<Arc<LessSafeKey>>, StorageError> {
        if self.keeper.look(channel).await?.key != Some(id) {
            self.held().remove(&(channel, id));
            // What was made a moment ago may not be known here yet.
            let kept = self.keeper.kept(vec![channel]).await?.pop().unwrap_or_default();
            let Some(wrapped) = kept.key.filter(|wrapped| wrapped.id == id) else {
                return Ok(None);
            };
            return self.unwrap(channel, &wrapped).map(Some);
        }
        let held = self.held().get(&(channel, id)).cloned();
        if let Some(key) = held {
            return Ok(Some(key));
        }
        let kept = self.keeper.kept(vec![channel]).await?.pop().unwrap_or_default();
        match kept.key.filter(|wrapped| wrapped.id == id) {
            Some(wrapped) => self.unwrap(channel, &wrapped).map(Some),
            None => Ok(None),
        }
    }

    fn unwrap(
        &self,
        channel: ChannelKey,
        wrapped: &WrappedKey,
    ) -> Result<Arc<LessSafeKey>, StorageError> {
        if let Some(key) = self.held().get(&(channel, wrapped.id)) {
            return Ok(key.clone());
        }
        let data_key = self.roots()?.unwrap(channel, wrapped).ok_or_else(|| {
            unavailable(format!(
                "the key of {channel:?} does not open: its root key {:016x} is not in \
                 `archive.master_key_file`, or the row is damaged",
                wrapped.root
            ))
        })?;
        let key = cipher(&data_key).ok_or_else(|| unavailable("the cipher refuses a key"))?;
        let key = Arc::new(key);
        let mut held = self.held();
        if held.len() >= KEYS_HELD {
            held.clear();
        }
        held.insert((channel, wrapped.id), key.clone());
        Ok(key)
    }

    /// What is destroyed in the store is not kept in memory either.
    pub(crate) fn forget_destroyed(&self, channel: ChannelKey, kept: &Kept) {
        if kept.erased.is_none() {
            return;
        }
        let present = kept.key.as_ref().map(|key| key.id);
        let mut held = self.held();
        for id in kept.keys_made.saturating_sub(1)..=kept.keys_made {
            if Some(id) != present {
                held.remove(&(channel, id));
            }
        }
    }

    /// Wraps a channel's key by the present root key, if it is by another one. True: it was.
    pub(crate) async fn rewrap(
        &self,
        channel: ChannelKey,
        kept: &Kept,
    ) -> Result<bool, StorageError> {
        let (Some(roots), Some(wrapped)) = (&self.roots, &kept.key) else { return Ok(false) };
        if wrapped.root == roots.present() {
            return Ok(false);
        }
        let anew = roots
            .unwrap(channel, wrapped)
            .and_then(|data_key| roots.wrap(channel, wrapped.id, &data_key));
        let Some(key) = anew else {
            return Err(unavailable(format!("the key of {channel:?} does not open")));
        };
        let order = Order::Rewrap { from_root: wrapped.root, key };
        match self.keeper.keep(channel, order, own_author()?).await {
            Ok(_) => {
                metrics::counter!("sterna_storage_keeping_rewrapped_total").increment(1);
                Ok(true)
            }
            Err(KeepingError::Storage(error)) => Err(error),
            // Erased or wrapped anew meanwhile.
            Err(_) => Ok(false),
        }
    }

    fn roots(&self) -> Result<&RootKeys, StorageError> {
        self.roots.as_ref().ok_or_else(|| {
            unavailable("payloads are sealed, and `archive.master_key_file` names no key")
        })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<(ChannelKey, u32), Arc<LessSafeKey>, RandomState>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands before segments: what goes in is sealed where it is to be, what comes out is opened. What
/// was sealed with a key that is destroyed by now comes without its payload.
#[derive(Debug)]
pub struct SealedSegments {
    segments: Arc<dyn Segments>,
    keys: Arc<DataKeys>,
}

impl SealedSegments {
    pub fn new(segments: Arc<dyn Segments>, keys: Arc<DataKeys>) -> Self {
        Self { segments, keys }
    }

    /// `found` is the key of the record before, mostly the same.
    async fn open_record(
        &self,
        channel: ChannelKey,
        record: &mut Record,
        found: &mut Option<(u32, Option<Arc<LessSafeKey>>)>,
    ) -> Result<(), StorageError> {
        let id = std::mem::take(&mut record.key);
        if id == 0 {
            return Ok(());
        }
        let key = match found {
            Some((known, key)) if *known == id => key.clone(),
            _ => found.insert((id, self.keys.for_opening(channel, id).await?)).1.clone(),
        };
        let Some(key) = key else {
            (record.body.payload, record.redacted) = (Bytes::new(), true);
            return Ok(());
        };
        let offset = record.position.offset;
        let plain = open(&key, &aad(channel, offset, id), &record.body.payload);
        let plain = plain.ok_or_else(|| {
            metrics::counter!("sterna_storage_corrupt_total", "engine" => ENGINE).increment(1);
            let message = format!("{channel:?}: the payload at offset {} does not open", offset.0);
            StorageError::new(StorageErrorKind::Corrupt, ENGINE, message)
        })?;
        record.body.payload = plain.into();
        Ok(())
    }
}

/// What a sealed payload cannot be moved from.
fn aad(channel: ChannelKey, offset: Offset, id: u32) -> Vec<u8> {
    let place = [&channel.0[..], &offset.0.to_be_bytes(), &id.to_be_bytes()].concat();
    [b"sterna payload 1", &place[..]].concat()
}

impl Segments for SealedSegments {
    fn create(
        &self,
        key: SegmentKey,
    ) -> BoxFuture<'_, Result<Box<dyn SegmentWriter>, StorageError>> {
        async move {
            let writer = self.segments.create(key).await?;
            let keys = self.keys.clone();
            Ok(Box::new(SealingWriter { writer, keys, run: None }) as Box<dyn SegmentWriter>)
        }
        .boxed()
    }

    fn run(
        &self,
        key: SegmentKey,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<Run>, StorageError>> {
        self.segments.run(key, channel)
    }

    fn read(
        &self,
        key: SegmentKey,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, StorageError>> {
        async move {
            let mut page = self.segments.read(key, channel, after, limit).await?;
            let mut found = None;
            for record in &mut page {
                self.open_record(channel, record, &mut found).await?;
            }
            Ok(page)
        }
        .boxed()
    }

    fn runs(
        &self,
        key: SegmentKey,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Run>, StorageError>> {
        self.segments.runs(key, after, limit)
    }

    fn scan(
        &self,
        key: SegmentKey,
        behind: Option<Behind>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Piece>, StorageError>> {
        async move {
            let mut pieces = self.segments.scan(key, behind, limit).await?;
            for piece in &mut pieces {
                let mut found = None;
                for record in &mut piece.records {
                    self.open_record(piece.run.channel, record, &mut found).await?;
                }
            }
            Ok(pieces)
        }
        .boxed()
    }

    fn verify(&self, key: SegmentKey) -> BoxFuture<'_, Result<Sealed, StorageError>> {
        self.segments.verify(key)
    }

    fn remove(&self, key: SegmentKey) -> BoxFuture<'_, Result<(), StorageError>> {
        self.segments.remove(key)
    }

    fn lookups(&self) -> Vec<TierLookups> {
        self.segments.lookups()
    }

    fn list(
        &self,
        shard: u16,
        after: Option<SegmentKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SegmentKey>, StorageError>> {
        self.segments.list(shard, after, limit)
    }
}

struct SealingWriter {
    writer: Box<dyn SegmentWriter>,
    keys: Arc<DataKeys>,
    run: Option<SealedRun>,
}

struct SealedRun {
    channel: ChannelKey,
    /// Looked up with the first record that has something to seal.
    key: Option<Option<Numbered>>,
}

impl SealingWriter {
    async fn sealed(&mut self, record: Record) -> Result<Record, StorageError> {
        // Nothing to seal, or sealed already: as it lies in another segment.
        let Some(run) = self.run.as_mut().filter(|_| is_open(&record)) else { return Ok(record) };
        let key = match &run.key {
            Some(key) => key.clone(),
            None => run.key.insert(self.keys.for_sealing(run.channel).await?).clone(),
        };
        let Some((id, key)) = key else { return Ok(record) };
        let place = aad(run.channel, record.position.offset, id);
        let payload = seal(&key, &place, &record.body.payload)
            .ok_or_else(|| unavailable("the cipher refuses a payload"))?;
        let mut record = Record { key: id, ..record };
        record.body.payload = payload.into();
        Ok(record)
    }
}

fn is_open(record: &Record) -> bool {
    record.key == 0 && !record.body.payload.is_empty()
}

impl SegmentWriter for SealingWriter {
    fn begin_run(&mut self, channel: ChannelKey, links: Links) -> Result<(), StorageError> {
        self.run = Some(SealedRun { channel, key: None });
        self.writer.begin_run(channel, links)
    }

    fn push(&mut self, record: Record) -> BoxFuture<'_, Result<(), StorageError>> {
        async move {
            let record = self.sealed(record).await?;
            self.writer.push(record).await
        }
        .boxed()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Sealed, StorageError>> {
        self.writer.finish()
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.writer.abort()
    }
}

/// What nodes do of their own is nobody's deed.
fn own_author() -> Result<Author, StorageError> {
    let by = UserId::new("node.keys").map_err(|error| unavailable(error.to_string()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    Ok(Author { by, at_ms, reason: String::new() })
}

fn unavailable(message: impl Into<String>) -> StorageError {
    StorageError::new(StorageErrorKind::Unavailable, ENGINE, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_storage::memory::MemoryStore;

    #[tokio::test]
    async fn a_destroyed_key_is_not_kept_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        std::fs::write(&path, RootKeys::generate()).unwrap();
        let keeper = Arc::new(Keeper::new(MemoryStore::new().stores().keeping, false));
        let roots = Some(RootKeys::read(&path).unwrap());
        let keys = DataKeys::new(keeper.clone(), roots, Encrypt::All);
        let (erased, other) = (ChannelKey([1; 16]), ChannelKey([2; 16]));
        keys.for_sealing(erased).await.unwrap().unwrap();
        keys.for_sealing(other).await.unwrap().unwrap();
        let erase = Order::Erase { upto: Offset(9) };
        let kept = keeper.keep(erased, erase, own_author().unwrap()).await.unwrap();
        keys.forget_destroyed(erased, &kept);
        assert_eq!(keys.held().keys().copied().collect::<Vec<_>>(), [(other, 1)]);
        // The one after it stays.
        keys.for_sealing(erased).await.unwrap().unwrap();
        let kept = keeper.kept(vec![erased]).await.unwrap().remove(0);
        keys.forget_destroyed(erased, &kept);
        assert!(keys.held().contains_key(&(erased, 2)));
    }
}
