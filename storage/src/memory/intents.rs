//! Intents in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::MemoryStore;
use crate::{Intent, IntentStore, PageLimit, StorageError};

impl IntentStore for MemoryStore {
    fn slots_with_intents(&self) -> BoxFuture<'_, Result<Vec<u16>, StorageError>> {
        let content = self.content();
        let waiting = content.intents.iter().filter(|(_, slot)| !slot.waiting.is_empty());
        ready(Ok(waiting.map(|(slot, _)| *slot).collect())).boxed()
    }

    fn intents(
        &self,
        slot: u16,
        after: u64,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Intent>, StorageError>> {
        let content = self.content();
        let found = content.intents.get(&slot).map(|found| found.page(slot, after, limit));
        ready(Ok(found.unwrap_or_default())).boxed()
    }

    fn complete_intents(&self, slot: u16, upto: u64) -> BoxFuture<'_, Result<(), StorageError>> {
        if let Some(found) = self.content().intents.get_mut(&slot) {
            found.waiting.retain(|number, _| *number > upto);
        }
        ready(Ok(())).boxed()
    }
}

pub(super) type Intents = BTreeMap<u16, SlotIntents>;

#[derive(Debug, Default)]
pub(super) struct SlotIntents {
    last: u64,
    waiting: BTreeMap<u64, Bytes>,
}

impl SlotIntents {
    pub(super) fn add(&mut self, payload: Bytes) {
        self.last += 1;
        self.waiting.insert(self.last, payload);
    }

    fn page(&self, slot: u16, after: u64, limit: PageLimit) -> Vec<Intent> {
        let mut room = limit.start();
        let following = self.waiting.range((Bound::Excluded(after), Bound::Unbounded));
        following
            .take_while(|(_, payload)| room.take(payload.len()))
            .map(|(number, payload)| Intent { slot, number: *number, payload: payload.clone() })
            .collect()
    }
}
