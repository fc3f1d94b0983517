//! What can be set.

use std::time::Duration;

use sterna_proto::id::SLOTS;

/// Parts of the archive: a segment holds channels of one of them, so that names of objects, and
/// with them the load of requests, are spread.
pub const SHARDS: u16 = 64;

/// Slots of a shard: neighbouring ones.
pub(crate) const SLOTS_OF_SHARD: u16 = SLOTS / SHARDS;

/// When publications move, and how fast.
#[derive(Debug, Clone)]
pub struct ArchiveConfig {
    /// Publications older than this are archived.
    pub after: Duration,
    /// From the end of one pass over the channels of a slot to the beginning of the next.
    pub every: Duration,
    /// What is archived is not trimmed from the log, and what nobody refers to is not removed from
    /// the archive, before this time has passed.
    pub grace: Duration,
    /// The newest publications of a channel that stay in the log as well, so that opening it needs
    /// no look into the archive.
    pub keep_newest: u64,
    /// They go too when the channel has been silent for this long.
    pub keep_active: Duration,
    /// A segment ends before the record with which its payloads would pass this. Bytes.
    pub segment_bytes: u64,
    /// Records that a node moves in a second.
    pub records_per_second: u32,
    /// Small segments are put together, and those written again of which much is to be dropped.
    pub compact: bool,
    /// Differs between nodes, so that they go over shards in orders of their own.
    pub order: u64,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self {
            after: day,
            every: Duration::from_secs(3600),
            grace: Duration::from_secs(3600),
            keep_newest: 20,
            keep_active: 30 * day,
            segment_bytes: 64 << 20,
            records_per_second: 20_000,
            compact: true,
            order: 0,
        }
    }
}

/// The part of the archive that a slot belongs to.
pub(crate) fn shard_of(slot: u16) -> u16 {
    slot / SLOTS_OF_SHARD
}
