//! The group that is being gathered: one batch, and what the writes in it have changed so far, so
//! that the later ones of a group see the earlier ones. Lives on the committer's thread.
//!
//! A write first reads and decides, which may fail, and then stages, which may not; so a failed
//! write leaves nothing in the batch.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;
use bytes::Bytes;
use rocksdb::WriteBatch;
use sterna_proto::{ChannelKey, Epoch, Offset, Position};
use sterna_storage::sequence::{self, Sequenced, sequence, sequence_epoch};
use sterna_storage::{
    Adoption, Append, AppendError, Duplicate, Head, NewRecord, Origin, Record, StorageError,
};

use crate::channels::NewMembers;
use crate::database::{Database, dedup_key, msg_key};
use crate::encoding::{
    Damaged, decode_dedup, decode_record, encode_dedup, encode_head, seal_into, seal_record,
};
use crate::heads::HeadCache;
use crate::intents::NewIntents;
use crate::options::{Family, unix_now_ms};

#[derive(Debug)]
pub(crate) struct Group {
    database: Arc<Database>,
    heads: HeadCache,
    birth: Epoch,
    batch: Batch,
    /// Contents that the batch puts (`None`: deletes), except records, which nothing looks up.
    changed: [HashMap<Vec<u8>, Option<Vec<u8>>, RandomState>; Family::ALL.len()],
    publications: usize,
    sync: Sync,
    /// One sealed value; its room is used again.
    value: Vec<u8>,
}

/// Whether the group has to be on stable storage before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sync {
    /// It may ride on a later one: cursors.
    #[default]
    Later,
    Now,
}

/// What a group comes to.
pub(crate) struct Gathered {
    pub(crate) batch: WriteBatch,
    pub(crate) publications: usize,
    pub(crate) sync: Sync,
}

impl Group {
    pub(crate) fn new(database: Arc<Database>, birth: Epoch, cached_heads: usize) -> Self {
        Self {
            database,
            heads: HeadCache::new(cached_heads),
            birth,
            batch: Batch::default(),
            changed: Default::default(),
            publications: 0,
            sync: Sync::Later,
            value: Vec::new(),
        }
    }

    /// Bytes staged so far.
    pub(crate) fn bytes(&self) -> usize {
        self.batch.0.size_in_bytes()
    }

    /// Ends the group; `None` if no write of it changes anything.
    pub(crate) fn take(&mut self) -> Option<Gathered> {
        self.changed.iter_mut().for_each(HashMap::clear);
        // The next one is likely to be as long: growing to that would copy all of it twice.
        let next = Batch(WriteBatch::with_capacity_bytes(self.bytes()));
        let batch = std::mem::replace(&mut self.batch, next).0;
        let publications = std::mem::take(&mut self.publications);
        let sync = std::mem::take(&mut self.sync);
        (!batch.is_empty()).then_some(Gathered { batch, publications, sync })
    }

    /// The content under a key, as the group leaves it so far.
    pub(crate) fn get_as<T>(
        &self,
        family: Family,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, Damaged>,
    ) -> Result<Option<T>, StorageError> {
        match self.changed[family as usize].get(key) {
            None => self.database.get_as(family, key, decode),
            Some(None) => Ok(None),
            Some(Some(content)) => decode(content)
                .map(Some)
                .map_err(|damaged| self.database.corrupt(family, key, damaged)),
        }
    }

    pub(crate) fn put(&mut self, sync: Sync, family: Family, key: Vec<u8>, content: Vec<u8>) {
        seal_into(&mut self.value, &key, |value| value.extend_from_slice(&content));
        self.database.stage_put(&mut self.batch.0, family, &key, &self.value);
        self.changed[family as usize].insert(key, Some(content));
        self.require(sync);
    }

    pub(crate) fn delete(&mut self, sync: Sync, family: Family, key: Vec<u8>) {
        self.database.stage_delete(&mut self.batch.0, family, &key);
        self.changed[family as usize].insert(key, None);
        self.require(sync);
    }

    /// Deletes from one key to before another. Later reads of this group do not see it, so only
    /// for rows that no write looks up.
    pub(crate) fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.database.stage_delete_range(&mut self.batch.0, family, from, to);
    }

    pub(crate) fn delete_record(&mut self, channel: ChannelKey, offset: Offset) {
        let key = msg_key(channel, offset);
        self.database.stage_delete(&mut self.batch.0, Family::Msg, &key);
    }

    /// Puts a record of an earlier group anew.
    pub(crate) fn replace_record(&mut self, channel: ChannelKey, record: &Record) {
        let key = msg_key(channel, record.position.offset);
        seal_record(&key, record, &mut self.value);
        self.database.stage_put(&mut self.batch.0, Family::Msg, &key, &self.value);
        self.require(Sync::Now);
    }

    /// A record as earlier groups have left it.
    pub(crate) fn stored_record(
        &self,
        channel: ChannelKey,
        offset: Offset,
    ) -> Result<Option<Record>, StorageError> {
        let decode = |content: &[u8]| decode_record(offset, Bytes::copy_from_slice(content));
        self.database.get_as(Family::Msg, &msg_key(channel, offset), decode)
    }

    pub(crate) fn append(&mut self, mut append: Append) -> Result<Head, AppendError> {
        let channel = append.channel;
        let intents = NewIntents::read(self, channel, std::mem::take(&mut append.intents))?;
        let members = NewMembers::read(self, channel, std::mem::take(&mut append.members))?;
        let head = self.head(channel)?;
        let stored = |origin: &Origin| self.stored(channel, origin);
        let sequenced = sequence(append, head.as_ref(), self.birth, stored)?;
        if let Some(intents) = intents {
            intents.stage(self);
        }
        if let Some(members) = members {
            members.stage(self);
        }
        Ok(self.store(channel, sequenced))
    }

    pub(crate) fn raise_epoch(
        &mut self,
        channel: ChannelKey,
        expected: Position,
        marker: NewRecord,
    ) -> Result<Head, AppendError> {
        let head = self.head(channel)?;
        let stored = |origin: &Origin| self.stored(channel, origin);
        let sequenced = sequence_epoch(expected, marker, head.as_ref(), stored)?;
        Ok(self.store(channel, sequenced))
    }

    pub(crate) fn adopt(&mut self, mut adoption: Adoption) -> Result<Head, AppendError> {
        let channel = adoption.channel;
        let members = NewMembers::read(self, channel, std::mem::take(&mut adoption.members))?;
        let head = self.head(channel)?;
        let sequenced = sequence::adopt(adoption, head.as_ref())?;
        if let Some(members) = members {
            members.stage(self);
        }
        Ok(self.store(channel, sequenced))
    }

    pub(crate) fn head(&mut self, channel: ChannelKey) -> Result<Option<Head>, StorageError> {
        if let Some(head) = self.heads.head(&channel) {
            return Ok(Some(head));
        }
        // The cache may have forgotten a head of this very group.
        let head = self.get_as(Family::Head, &channel.0, crate::encoding::decode_head)?;
        if let Some(head) = &head {
            self.heads.insert(channel, head.clone());
        }
        Ok(head)
    }

    fn stored(
        &self,
        channel: ChannelKey,
        origin: &Origin,
    ) -> Result<Option<Duplicate>, StorageError> {
        self.get_as(Family::Dedup, &dedup_key(channel, origin), decode_dedup)
    }

    fn store(&mut self, channel: ChannelKey, sequenced: Sequenced) -> Head {
        let Sequenced { head, records } = sequenced;
        let received_at_ms = unix_now_ms();
        for record in &records {
            self.store_record(channel, record, received_at_ms);
        }
        self.put_head(channel, head.clone());
        head
    }

    pub(crate) fn put_head(&mut self, channel: ChannelKey, head: Head) {
        self.put(Sync::Now, Family::Head, channel.0.to_vec(), encode_head(&head));
        self.heads.insert(channel, head);
    }

    fn store_record(&mut self, channel: ChannelKey, record: &Record, received_at_ms: u64) {
        let key = msg_key(channel, record.position.offset);
        seal_record(&key, record, &mut self.value);
        self.database.stage_put(&mut self.batch.0, Family::Msg, &key, &self.value);
        self.publications += 1;
        let Some(origin) = &record.body.origin else { return };
        let row = Duplicate {
            index: 0,
            position: record.position,
            id: record.body.id,
            server_ts_ms: record.body.server_ts_ms,
            fingerprint: record.body.fingerprint(),
        };
        let content = encode_dedup(&row, received_at_ms);
        self.put(Sync::Now, Family::Dedup, dedup_key(channel, origin), content);
    }

    fn require(&mut self, sync: Sync) {
        if sync == Sync::Now {
            self.sync = Sync::Now;
        }
    }
}

/// RocksDB's batch, which does not say what it holds.
#[derive(Default)]
struct Batch(WriteBatch);

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch({} rows, {} bytes)", self.0.len(), self.0.size_in_bytes())
    }
}
