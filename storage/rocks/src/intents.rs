//! Intents. They come in with the appends of a group; a row for each slot counts them and says how
//! far they are completed, so that a reader never wades through what was deleted.

use bytes::{Buf as _, Bytes};
use sterna_proto::ChannelKey;
use sterna_storage::{BoxFuture, Intent, IntentStore, PageLimit, StorageError};

use crate::RocksStore;
use crate::database::Database;
use crate::encoding::{Damaged, check_len, decode_number};
use crate::group::{Group, Sync};
use crate::options::Family;

impl IntentStore for RocksStore {
    fn slots_with_intents(&self) -> BoxFuture<'_, Result<Vec<u16>, StorageError>> {
        self.engine.read(|database| {
            let mut slots = Vec::new();
            database.scan(Family::Intent, COUNT_PREFIX, None, |key, content| {
                let damage = |damaged| database.corrupt(Family::Intent, key, damaged);
                let slot = decode_slot(&key[COUNT_PREFIX.len()..]).map_err(damage)?;
                let count = Count::decode(content).map_err(damage)?;
                if count.completed < count.last {
                    slots.push(slot);
                }
                Ok(std::ops::ControlFlow::Continue(()))
            })?;
            Ok(slots)
        })
    }

    fn intents(
        &self,
        slot: u16,
        after: u64,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Intent>, StorageError>> {
        self.engine.read(move |database| page(database, slot, after, limit))
    }

    /// Not synced by itself: an intent that comes back is carried out once more.
    fn complete_intents(&self, slot: u16, upto: u64) -> BoxFuture<'_, Result<(), StorageError>> {
        self.engine.write(move |group| {
            let Count { last, completed } = Count::of(group, slot)?;
            let upto = upto.min(last);
            if upto > completed {
                let (from, to) = (key(slot, completed), key(slot, upto + 1));
                group.delete_range(Family::Intent, &from, &to);
                Count { last, completed: upto }.put(group, slot, Sync::Later);
            }
            Ok(())
        })
    }
}

/// What comes with one append. Read before anything of the append is staged.
pub(crate) struct NewIntents {
    slot: u16,
    count: Count,
    payloads: Vec<Bytes>,
}

impl NewIntents {
    /// `None` if there are none.
    pub(crate) fn read(
        group: &Group,
        channel: ChannelKey,
        payloads: Vec<Bytes>,
    ) -> Result<Option<Self>, StorageError> {
        if payloads.is_empty() {
            return Ok(None);
        }
        let slot = channel.slot();
        Ok(Some(Self { slot, count: Count::of(group, slot)?, payloads }))
    }

    pub(crate) fn stage(self, group: &mut Group) {
        let Self { slot, mut count, payloads } = self;
        for payload in payloads {
            count.last += 1;
            group.put(Sync::Now, Family::Intent, key(slot, count.last), payload.into());
        }
        count.put(group, slot, Sync::Now);
    }
}

/// How many a slot has had, and how many of them are completed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    last: u64,
    completed: u64,
}

impl Count {
    fn of(group: &Group, slot: u16) -> Result<Self, StorageError> {
        Ok(group.get_as(Family::Intent, &count_key(slot), Self::decode)?.unwrap_or_default())
    }

    fn put(self, group: &mut Group, slot: u16, sync: Sync) {
        let content = [self.last.to_be_bytes(), self.completed.to_be_bytes()].concat();
        group.put(sync, Family::Intent, count_key(slot), content);
    }

    pub(crate) fn decode(mut content: &[u8]) -> Result<Self, Damaged> {
        check_len(content, 16)?;
        Ok(Self { last: content.get_u64(), completed: content.get_u64() })
    }
}

fn page(
    database: &Database,
    slot: u16,
    after: u64,
    limit: PageLimit,
) -> Result<Vec<Intent>, StorageError> {
    let count = database.get_as(Family::Intent, &count_key(slot), Count::decode)?;
    let completed = count.unwrap_or_default().completed;
    let mut room = limit.start();
    let mut found = Vec::new();
    let prefix = slot_prefix(slot);
    let after = after.max(completed).to_be_bytes();
    database.scan(Family::Intent, &prefix, Some(&after), |key, content| {
        let number = decode_number(&key[prefix.len()..])
            .map_err(|damaged| database.corrupt(Family::Intent, key, damaged))?;
        if !room.take(content.len()) {
            return Ok(std::ops::ControlFlow::Break(()));
        }
        found.push(Intent { slot, number, payload: Bytes::copy_from_slice(content) });
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    Ok(found)
}

fn key(slot: u16, number: u64) -> Vec<u8> {
    [&slot_prefix(slot)[..], &number.to_be_bytes()].concat()
}

fn slot_prefix(slot: u16) -> Vec<u8> {
    [INTENT_PREFIX, &slot.to_be_bytes()].concat()
}

fn count_key(slot: u16) -> Vec<u8> {
    [COUNT_PREFIX, &slot.to_be_bytes()].concat()
}

pub(crate) fn decode_slot(mut bytes: &[u8]) -> Result<u16, Damaged> {
    check_len(bytes, 2)?;
    Ok(bytes.get_u16())
}

const COUNT_PREFIX: &[u8] = b"c";
const INTENT_PREFIX: &[u8] = b"i";
