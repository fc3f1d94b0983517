//! The keeping in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use sterna_proto::{ChannelKey, Offset};

use super::MemoryStore;
use crate::StorageError;
use crate::keeping::{Author, Deed, KeepingError, KeepingStore, Kept, Order, Redaction, decide};

#[derive(Debug, Default)]
pub(super) struct Keeping {
    kept: BTreeMap<ChannelKey, Kept>,
    redactions: BTreeMap<(ChannelKey, Offset), Author>,
    deeds: BTreeMap<(ChannelKey, u64), Deed>,
    clock_ms: u64,
}

impl KeepingStore for MemoryStore {
    fn kept(&self, channels: Vec<ChannelKey>) -> BoxFuture<'_, Result<Vec<Kept>, StorageError>> {
        let content = self.content();
        let of = |channel| content.keeping.kept.get(channel).cloned().unwrap_or_default();
        ready(Ok(channels.iter().map(of).collect())).boxed()
    }

    fn keep(
        &self,
        channel: ChannelKey,
        order: Order,
        author: Author,
    ) -> BoxFuture<'_, Result<Kept, KeepingError>> {
        ready(self.content().keeping.keep(channel, order, &author)).boxed()
    }

    fn redactions(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Redaction>, StorageError>> {
        let content = self.content();
        let range =
            (Bound::Excluded((channel, after)), Bound::Included((channel, Offset(u64::MAX))));
        let found = content.keeping.redactions.range(range).take(limit);
        let redaction = |((_, offset), author): (&(_, Offset), &Author)| Redaction {
            offset: *offset,
            author: author.clone(),
        };
        ready(Ok(found.map(redaction).collect())).boxed()
    }

    fn deeds(
        &self,
        channel: ChannelKey,
        before: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Deed>, StorageError>> {
        let content = self.content();
        let found = content.keeping.deeds.range((channel, 0)..(channel, before)).rev().take(limit);
        ready(Ok(found.map(|(_, deed)| deed.clone()).collect())).boxed()
    }

    fn raise_retention_clock(&self, to_ms: u64) -> BoxFuture<'_, Result<u64, StorageError>> {
        let clock_ms = &mut self.content().keeping.clock_ms;
        *clock_ms = to_ms.max(*clock_ms);
        ready(Ok(*clock_ms)).boxed()
    }
}

impl Keeping {
    fn keep(
        &mut self,
        channel: ChannelKey,
        order: Order,
        author: &Author,
    ) -> Result<Kept, KeepingError> {
        let kept = self.kept.get(&channel).cloned().unwrap_or_default();
        let Some(decided) = decide(&kept, order, author)? else { return Ok(kept) };
        for Redaction { offset, author } in decided.redactions {
            self.redactions.entry((channel, offset)).or_insert(author);
        }
        if let Some(deed) = decided.deed {
            self.deeds.insert((channel, deed.version), deed);
        }
        self.kept.insert(channel, decided.kept.clone());
        Ok(decided.kept)
    }
}
