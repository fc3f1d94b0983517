//! What there is of the archive, by the manifest.

use sterna_storage::{SegmentState, StorageError};

use crate::Tiers;
use crate::config::SHARDS;
use crate::entry::SegmentInfo;
use crate::verify::shard_segments;

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// Segments that are read from, with their records and bytes.
    pub segments: u64,
    pub records: u64,
    pub runs: u64,
    pub bytes: u64,
    /// The same by their size, see [`CLASSES`].
    pub classes: [SizeClass; CLASSES.len() + 1],
    /// Being written, or left behind by who wrote them.
    pub prepared: u64,
    /// Replaced segments whose objects wait for the grace to end, and their bytes.
    pub replaced: u64,
    pub replaced_bytes: u64,
    /// Segments, and bytes of objects, that there would be more without compaction.
    pub saved_segments: u64,
    pub saved_bytes: u64,
    /// Server times of the oldest and the newest archived publication.
    pub first_ts_ms: Option<u64>,
    pub last_ts_ms: Option<u64>,
}

/// Segments of about one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SizeClass {
    pub segments: u64,
    pub bytes: u64,
}

/// Where one class of sizes ends and the next begins; the last has no end. Bytes of an object.
pub const CLASSES: [u64; 4] = [64 << 10, 1 << 20, 16 << 20, 64 << 20];

/// Adds up the manifest.
///
/// # Errors
/// When the store does not answer, or an entry is damaged.
pub async fn status(tiers: &Tiers) -> Result<Status, StorageError> {
    let mut status = Status::default();
    for shard in 0..SHARDS {
        shard_segments(tiers, shard).await?.iter().for_each(|info| status.count(info));
    }
    Ok(status)
}

impl Status {
    /// Figures are as large as the manifest has them, and it may say anything.
    pub(crate) fn count(&mut self, info: &SegmentInfo) {
        match (info.state, info.sealed) {
            (SegmentState::Prepared, _) => self.prepared += 1,
            (SegmentState::Replaced, Some(sealed)) => {
                self.replaced += 1;
                add(&mut self.replaced_bytes, sealed.bytes);
            }
            (SegmentState::Published, Some(sealed)) => {
                self.segments += 1;
                add(&mut self.records, sealed.records);
                add(&mut self.runs, sealed.runs);
                add(&mut self.bytes, sealed.bytes);
                let class = CLASSES.partition_point(|ends| *ends <= sealed.bytes);
                self.classes[class].segments += 1;
                add(&mut self.classes[class].bytes, sealed.bytes);
                add(&mut self.saved_segments, info.made_of.segments.saturating_sub(1));
                add(&mut self.saved_bytes, info.made_of.bytes.saturating_sub(sealed.bytes));
                let first = self.first_ts_ms.unwrap_or(u64::MAX).min(sealed.first_ts_ms);
                let last = self.last_ts_ms.unwrap_or(0).max(sealed.last_ts_ms);
                (self.first_ts_ms, self.last_ts_ms) = (Some(first), Some(last));
            }
            _ => {}
        }
    }
}

fn add(figure: &mut u64, more: u64) {
    *figure = figure.saturating_add(more);
}
