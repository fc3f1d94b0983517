//! Presence deltas in memory.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::MemoryVolatile;
use crate::StorageError;
use crate::volatile::{DELTAS_KEPT, Delta, DeltaId, DeltaPage, Partition, PresenceDeltas};

impl PresenceDeltas for MemoryVolatile {
    fn append_delta(
        &self,
        partition: Partition,
        payload: Bytes,
    ) -> BoxFuture<'_, Result<DeltaId, StorageError>> {
        let mut content = self.content();
        // Numbers outlive a loss, and so a position from before it is found to be gone.
        let id = DeltaId { ms: 0, nth: content.number() };
        let deltas = content.deltas.entry(partition).or_default();
        deltas.kept.push_back(Delta { id, payload });
        if deltas.kept.len() > DELTAS_KEPT {
            deltas.kept.pop_front();
            deltas.is_trimmed = true;
        }
        ready(Ok(id)).boxed()
    }

    fn deltas(
        &self,
        partition: Partition,
        after: DeltaId,
        limit: usize,
    ) -> BoxFuture<'_, Result<DeltaPage, StorageError>> {
        let content = self.content();
        let nothing = Deltas::default();
        let deltas = content.deltas.get(&partition).unwrap_or(&nothing);
        ready(Ok(deltas.page(after, limit))).boxed()
    }
}

#[derive(Debug, Default)]
pub(super) struct Deltas {
    kept: VecDeque<Delta>,
    is_trimmed: bool,
}

impl Deltas {
    fn page(&self, after: DeltaId, limit: usize) -> DeltaPage {
        let from = match self.kept.binary_search_by_key(&after, |delta| delta.id) {
            Ok(at) => at + 1,
            Err(_) if after == DeltaId::START && !self.is_trimmed => 0,
            Err(_) => {
                let tail = self.kept.back().map_or(DeltaId::START, |delta| delta.id);
                return DeltaPage::Trimmed { tail };
            }
        };
        DeltaPage::Deltas(self.kept.iter().skip(from).take(limit).cloned().collect())
    }
}
