//! Takes away what was begun and never came to be.

use sterna_storage::{ManifestChange, ManifestError, SegmentKey, SegmentState, StorageError};

use crate::Archiver;
use crate::archiver::unix_now_ms;
use crate::config::SHARDS;
use crate::entry::SegmentInfo;

/// What a collection came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Segments that were announced and not published within the grace; their objects are gone.
    pub removed: u64,
    /// Objects that appeared after their segment had been removed.
    pub late: u64,
}

impl Archiver {
    /// Removes segments that were announced longer ago than the grace and never published: whoever
    /// wrote them is gone, or will find that it came too late.
    ///
    /// # Errors
    /// When the store or the archive does not answer; it goes on from there the next time.
    pub async fn collect(&self) -> Result<Collected, StorageError> {
        let mut collected = Collected::default();
        for shard in 0..SHARDS {
            let mut after = None;
            loop {
                let entries = self.tiers.manifest.segments(shard, after, ENTRIES).await?;
                let Some(last) = entries.last() else { break };
                after = Some(last.key);
                for entry in entries.iter().filter(|entry| entry.state == SegmentState::Prepared) {
                    let info = SegmentInfo::of_entry(entry)?;
                    let age_ms = unix_now_ms().saturating_sub(info.created_ms);
                    if u128::from(age_ms) >= self.config.grace.as_millis()
                        && self.remove(info).await?
                    {
                        collected.removed += 1;
                    }
                }
            }
            collected.late += self.remove_late(shard).await?;
        }
        Ok(collected)
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

    /// First in the manifest, so that nobody publishes it any more, then the object. False: it was
    /// published meanwhile.
    async fn remove(&self, info: SegmentInfo) -> Result<bool, StorageError> {
        let key: SegmentKey = info.key;
        let removed = SegmentInfo { state: SegmentState::Removed, ..info };
        let change =
            ManifestChange { expected: Some(SegmentState::Prepared), entry: removed.to_entry() };
        match self.tiers.manifest.change_manifest(vec![change]).await {
            Ok(()) => {}
            Err(ManifestError::Conflict { .. }) => return Ok(false),
            Err(ManifestError::Storage(error)) => return Err(error),
        }
        self.tiers.segments.remove(key).await?;
        metrics::counter!("sterna_archive_collected_total").increment(1);
        tracing::info!(?key, "a segment that was never published was removed");
        Ok(true)
    }
}

const ENTRIES: usize = 200;
