//! The publication log in memory: the records of each channel, and beside them an index of origins by
//! client. What grows with every publication is in trees, which grow by a node at a time: what doubles
//! its room and moves everything there keeps a whole process waiting. Duplicates are recognised for as
//! long as the store lives, so beyond the horizon.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use sterna_proto::{ChannelKey, ClientId, Epoch, Offset, Position};

use super::{Content, MemoryStore};
use crate::sequence::{self, Sequenced, sequence, sequence_epoch};
use crate::{
    Adoption, Append, AppendError, Duplicate, Head, NewRecord, Origin, PageLimit, PublicationLog,
    ReadError, Record, StorageError,
};

impl PublicationLog for MemoryStore {
    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Vec<Result<Head, AppendError>>> {
        let mut content = self.content();
        let verdicts = match self.check_open() {
            Ok(()) => appends.into_iter().map(|one| content.append(one, self.birth)).collect(),
            Err(error) => appends.iter().map(|_| Err(error.clone().into())).collect(),
        };
        ready(verdicts).boxed()
    }

    fn head(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        let head = self.content().logs.get(&channel).map(|log| log.head.clone());
        ready(Ok(head)).boxed()
    }

    fn slot_heads(
        &self,
        slot: u16,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(ChannelKey, Head)>, StorageError>> {
        let content = self.content();
        let behind = |channel: &ChannelKey| after.is_none_or(|after| *channel > after);
        let of_slot = content.logs.iter().filter(|(key, _)| key.slot() == slot && behind(key));
        let mut heads: Vec<_> = of_slot.map(|(key, log)| (*key, log.head.clone())).collect();
        heads.sort_unstable_by_key(|(channel, _)| *channel);
        heads.truncate(limit);
        ready(Ok(heads)).boxed()
    }

    fn read(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        let content = self.content();
        let log = content.logs.get(&channel);
        ready(log.map_or(Ok(Vec::new()), |log| log.page(after, limit))).boxed()
    }

    fn find(
        &self,
        channel: ChannelKey,
        origin: Origin,
    ) -> BoxFuture<'_, Result<Option<Duplicate>, StorageError>> {
        let content = self.content();
        let log = content.logs.get(&channel);
        ready(Ok(log.and_then(|log| log.find(&origin)))).boxed()
    }

    fn raise_epoch(
        &self,
        channel: ChannelKey,
        expected: Position,
        marker: NewRecord,
    ) -> BoxFuture<'_, Result<Head, AppendError>> {
        let mut content = self.content();
        let raised = self
            .check_open()
            .map_err(AppendError::from)
            .and_then(|()| content.raise_epoch(channel, expected, marker));
        ready(raised).boxed()
    }

    fn adopt(&self, adoption: Adoption) -> BoxFuture<'_, Result<Head, AppendError>> {
        let mut content = self.content();
        let adopted =
            self.check_open().map_err(AppendError::from).and_then(|()| content.adopt(adoption));
        ready(adopted).boxed()
    }

    fn trim(
        &self,
        channel: ChannelKey,
        first: Offset,
    ) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        let trimmed = self
            .check_open()
            .map(|()| self.content().logs.get_mut(&channel).map(|log| log.trim(first)));
        ready(trimmed).boxed()
    }

    fn redact(
        &self,
        channel: ChannelKey,
        offsets: Vec<Offset>,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        let redacted = self
            .check_open()
            .map(|()| self.content().logs.get_mut(&channel).map_or(0, |log| log.redact(&offsets)));
        ready(redacted).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        self.closed.store(true, Ordering::Release);
        ready(Ok(())).boxed()
    }
}

impl Content {
    fn append(&mut self, mut append: Append, birth: Epoch) -> Result<Head, AppendError> {
        let channel = append.channel;
        let intents = std::mem::take(&mut append.intents);
        let members = std::mem::take(&mut append.members);
        let log = self.logs.get(&channel);
        let stored = |origin: &Origin| Ok(log.and_then(|log| log.find(origin)));
        let sequenced = sequence(append, log.map(|log| &log.head), birth, stored)?;
        if !intents.is_empty() {
            let slot = self.intents.entry(channel.slot()).or_default();
            intents.into_iter().for_each(|payload| slot.add(payload));
        }
        if !members.is_empty() {
            self.change_members(channel, members);
        }
        Ok(self.store(channel, sequenced))
    }

    fn raise_epoch(
        &mut self,
        channel: ChannelKey,
        expected: Position,
        marker: NewRecord,
    ) -> Result<Head, AppendError> {
        let log = self.logs.get(&channel);
        let stored = |origin: &Origin| Ok(log.and_then(|log| log.find(origin)));
        let sequenced = sequence_epoch(expected, marker, log.map(|log| &log.head), stored)?;
        Ok(self.store(channel, sequenced))
    }

    fn adopt(&mut self, mut adoption: Adoption) -> Result<Head, AppendError> {
        let channel = adoption.channel;
        let members = std::mem::take(&mut adoption.members);
        let sequenced = sequence::adopt(adoption, self.logs.get(&channel).map(|log| &log.head))?;
        if !members.is_empty() {
            self.change_members(channel, members);
        }
        Ok(self.store(channel, sequenced))
    }

    fn store(&mut self, channel: ChannelKey, sequenced: Sequenced) -> Head {
        let Sequenced { head, records } = sequenced;
        let log = self.logs.entry(channel).or_insert_with(|| ChannelLog::new(head.clone()));
        log.head = head.clone();
        records.into_iter().for_each(|record| log.push(record));
        head
    }
}

/// One channel.
#[derive(Debug)]
pub(super) struct ChannelLog {
    head: Head,
    records: BTreeMap<Offset, Record>,
    /// They outlive what is trimmed.
    origins: HashMap<ClientId, BTreeMap<u64, Duplicate>, ahash::RandomState>,
}

impl ChannelLog {
    fn new(head: Head) -> Self {
        Self { head, records: BTreeMap::new(), origins: HashMap::default() }
    }

    fn push(&mut self, record: Record) {
        if let Some(origin) = &record.body.origin {
            let stored = Duplicate {
                index: 0,
                position: record.position,
                id: record.body.id,
                server_ts_ms: record.body.server_ts_ms,
                fingerprint: record.body.fingerprint(),
            };
            match self.origins.get_mut(&origin.client_id) {
                Some(of_client) => drop(of_client.insert(origin.client_seq, stored)),
                None => {
                    let of_client = BTreeMap::from([(origin.client_seq, stored)]);
                    self.origins.insert(origin.client_id.clone(), of_client);
                }
            }
        }
        if crate::planted!(StaleOwnerAccepted) {
            self.records.split_off(&record.position.offset);
        }
        self.records.insert(record.position.offset, record);
    }

    fn find(&self, origin: &Origin) -> Option<Duplicate> {
        self.origins.get(&origin.client_id)?.get(&origin.client_seq).cloned()
    }

    fn page(&self, after: Offset, limit: PageLimit) -> Result<Vec<Record>, ReadError> {
        let first = self.head.first;
        if after.next() < first {
            return Err(ReadError::Trimmed { first });
        }
        let mut room = limit.start();
        let following = self.records.range(after.next()..).map(|(_, record)| record);
        Ok(following.take_while(|record| room.take(record.body.payload.len())).cloned().collect())
    }

    fn redact(&mut self, offsets: &[Offset]) -> u64 {
        let mut found = 0;
        for offset in offsets.iter().collect::<BTreeSet<_>>() {
            if let Some(record) = self.records.get_mut(offset) {
                record.body.payload = bytes::Bytes::new();
                found += 1;
            }
        }
        found
    }

    fn trim(&mut self, first: Offset) -> Head {
        if let Some(head) = sequence::trim(&self.head, first) {
            self.head = head;
            self.records = self.records.split_off(&self.head.first);
        }
        self.head.clone()
    }
}
