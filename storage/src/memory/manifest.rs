//! The archive's manifest in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::MemoryStore;
use crate::{
    ManifestChange, ManifestEntry, ManifestError, ManifestStore, SegmentKey, StorageError,
};

impl ManifestStore for MemoryStore {
    fn change_manifest(
        &self,
        changes: Vec<ManifestChange>,
    ) -> BoxFuture<'_, Result<(), ManifestError>> {
        let mut content = self.content();
        let mut changed: Segments = BTreeMap::new();
        for (index, ManifestChange { expected, entry }) in changes.into_iter().enumerate() {
            let found = changed.get(&entry.key).or_else(|| content.segments.get(&entry.key));
            if found.map(|found| found.state) != expected {
                let found = found.cloned();
                return ready(Err(ManifestError::Conflict { index, found })).boxed();
            }
            changed.insert(entry.key, entry);
        }
        content.segments.append(&mut changed);
        ready(Ok(())).boxed()
    }

    fn segment(
        &self,
        key: SegmentKey,
    ) -> BoxFuture<'_, Result<Option<ManifestEntry>, StorageError>> {
        ready(Ok(self.content().segments.get(&key).cloned())).boxed()
    }

    fn segments(
        &self,
        shard: u16,
        after: Option<SegmentKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ManifestEntry>, StorageError>> {
        let first = Bound::Included(SegmentKey { shard, first_ts_ms: 0, segment: 0 });
        let from = after.filter(|after| after.shard == shard).map_or(first, Bound::Excluded);
        let content = self.content();
        let following = content.segments.range((from, Bound::Unbounded));
        let of_shard = following.take_while(|(key, _)| key.shard == shard).take(limit);
        ready(Ok(of_shard.map(|(_, entry)| entry.clone()).collect())).boxed()
    }
}

pub(super) type Segments = BTreeMap<SegmentKey, ManifestEntry>;
