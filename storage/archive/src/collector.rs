//! Takes away what was begun and never came to be, and what was replaced.

use sterna_storage::{ManifestChange, ManifestError, SegmentState, StorageError};

use crate::Archiver;
use crate::archiver::unix_now_ms;
use crate::config::SHARDS;
use crate::entry::SegmentInfo;

/// What a collection came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Segments that were announced and not published within the grace; their objects are gone.
    pub removed: u64,
    /// Segments that were replaced longer ago than the grace; their objects are gone.
    pub replaced: u64,
    /// Objects that appeared after their segment had been removed.
    pub late: u64,
}

impl Archiver {
    /// Removes segments that were announced longer ago than the grace and never published: whoever
    /// wrote them is gone, or will find that it came too late. And those that were replaced longer ago
    /// than that: whoever began to read them has ended.
    ///
    /// # Errors
    /// When the store or the archive does not answer; it goes on from there the next time.
    pub async fn collect(&self) -> Result<Collected, StorageError> {
        let mut collected = Collected::default();
        for shard in 0..SHARDS {
            self.collect_shard(shard, &mut collected).await?;
        }
        Ok(collected)
    }

    pub(crate) async fn collect_shard(
        &self,
        shard: u16,
        collected: &mut Collected,
    ) -> Result<(), StorageError> {
        let (now_ms, grace_ms) = (unix_now_ms(), self.config.grace.as_millis());
        let is_old = |since_ms: u64| u128::from(now_ms.saturating_sub(since_ms)) >= grace_ms;
        let mut old = Vec::new();
        self.each_segment(shard, |info| {
            let is_over = match (info.state, info.replaced) {
                (SegmentState::Prepared, _) => is_old(info.created_ms),
                (SegmentState::Replaced, Some(replaced)) => is_old(replaced.at_ms),
                _ => false,
            };
            old.extend(is_over.then_some(info));
        })
        .await?;
        for info in old {
            let was_replaced = info.state == SegmentState::Replaced;
            let removed = u64::from(self.remove(info).await?);
            let count = if was_replaced { &mut collected.replaced } else { &mut collected.removed };
            *count += removed;
        }
        collected.late += self.remove_late(shard).await?;
        Ok(())
    }

    /// What the manifest has of a shard, in the order of keys.
    pub(crate) async fn each_segment(
        &self,
        shard: u16,
        mut hear: impl FnMut(SegmentInfo),
    ) -> Result<(), StorageError> {
        let mut after = None;
        loop {
            let entries = self.tiers.manifest.segments(shard, after, ENTRIES).await?;
            let Some(last) = entries.last() else { return Ok(()) };
            after = Some(last.key);
            for entry in &entries {
                hear(SegmentInfo::of_entry(entry)?);
            }
        }
    }

    /// Whoever was slower than the grace has finished its object when nobody waited for it any more.
    /// An object that the manifest does not know is left alone: the store may have been put back to
    /// an earlier time.
    async fn remove_late(&self, shard: u16) -> Result<u64, StorageError> {
        let (mut late, mut after) = (0, None);
        loop {
            let objects = self.tiers.segments.list(shard, after, ENTRIES).await?;
            let Some(last) = objects.last() else { return Ok(late) };
            after = Some(*last);
            for key in objects {
                let entry = self.tiers.manifest.segment(key).await?;
                if entry.is_some_and(|entry| entry.state == SegmentState::Removed) {
                    self.tiers.segments.remove(key).await?;
                    late += 1;
                }
            }
        }
    }

    /// First in the manifest, so that nobody publishes it any more, then the object. False: it is not
    /// any more what it was.
    pub(crate) async fn remove(&self, info: SegmentInfo) -> Result<bool, StorageError> {
        let (key, was) = (info.key, info.state);
        let removed = SegmentInfo { state: SegmentState::Removed, ..info };
        let change = ManifestChange { expected: Some(was), entry: removed.to_entry() };
        match self.tiers.manifest.change_manifest(vec![change]).await {
            Ok(()) => {}
            Err(ManifestError::Conflict { .. }) => return Ok(false),
            Err(ManifestError::Storage(error)) => return Err(error),
        }
        self.tiers.segments.remove(key).await?;
        metrics::counter!("sterna_archive_collected_total").increment(1);
        tracing::info!(?key, ?was, "a segment was removed");
        Ok(true)
    }
}

const ENTRIES: usize = 200;
