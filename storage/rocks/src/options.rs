//! Column families and how RocksDB is told to keep them.

use std::time::{SystemTime, UNIX_EPOCH};

use rocksdb::compaction_filter::Decision;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, Options,
    SliceTransform,
};

use crate::encoding::dedup_received_at_ms;
use crate::{RocksConfig, relations};

/// Integers in keys are big-endian; "channel" is the 16 bytes of the channel's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// channel -> head
    Head,
    /// channel . offset -> record
    Msg,
    /// channel . client id . client seq -> where and when it was stored
    Dedup,
    /// channel . user -> membership; channel alone -> number of members
    Member,
    /// `k` channel -> channel; `n` name -> nothing: the index by name
    Channel,
    /// channel . user -> cursors
    Cursor,
    /// schema, birth, commit number, id bounds, trims under way
    Meta,
    /// user . 0 . channel -> state of the channel in the user's inbox;
    /// user . 1 . channel -> nothing: the user pulls the channel
    Inbox,
    /// user . 0 . pts -> channel; user alone -> newest pts
    Mark,
    /// user . 0 . kind . target -> relation, or the version of a removed one
    RelationOut,
    /// target . 0 . kind . user -> the same
    RelationIn,
    /// `i` slot . number -> payload; `c` slot -> how many there were and are completed
    Intent,
    /// shard . first time . segment -> state and entry of the manifest
    Archive,
    /// channel -> how far it is archived
    Archived,
    /// `c` channel -> what is kept of it; `r` channel . offset -> who redacted it;
    /// `d` channel . version -> what was ordered
    Kept,
}

impl Family {
    pub(crate) const ALL: [Self; 15] = [
        Self::Head,
        Self::Msg,
        Self::Dedup,
        Self::Member,
        Self::Channel,
        Self::Cursor,
        Self::Meta,
        Self::Inbox,
        Self::Mark,
        Self::RelationOut,
        Self::RelationIn,
        Self::Intent,
        Self::Archive,
        Self::Archived,
        Self::Kept,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Msg => "msg",
            Self::Dedup => "dedup",
            Self::Member => "member",
            Self::Channel => "channel",
            Self::Cursor => "cursor",
            Self::Meta => "meta",
            Self::Inbox => "uconv",
            Self::Mark => "upts",
            Self::RelationOut => "rel_out",
            Self::RelationIn => "rel_in",
            Self::Intent => "intent",
            Self::Archive => "arc",
            Self::Archived => "arc_upto",
            Self::Kept => "kept",
        }
    }
}

/// Options of the whole database.
pub(crate) fn database_options(config: &RocksConfig) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // The torn record of a crash ends the replay; the guard file tells it from a lost one.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(config.wal_bytes);
    options.set_paranoid_checks(true);
    options.set_bytes_per_sync(1 << 20);
    options.set_max_open_files(i32::try_from(config.open_files).unwrap_or(i32::MAX));
    options.set_max_background_jobs(2);
    // Compaction leaves the disk to the write-ahead log.
    options.set_ratelimiter(BACKGROUND_BYTES_PER_SEC, 100_000, 10);
    options.set_max_log_file_size(10 << 20);
    options.set_keep_log_file_num(4);
    options
}

/// All families with their options, sharing one cache.
pub(crate) fn families(config: &RocksConfig) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(config.cache_bytes);
    let describe =
        |family: Family| ColumnFamilyDescriptor::new(family.name(), family_options(family, &cache));
    Family::ALL.into_iter().map(describe).collect()
}

fn family_options(family: Family, cache: &Cache) -> Options {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(cache);
    tables.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    tables.set_whole_key_filtering(true);
    tables.set_cache_index_and_filter_blocks(true);
    tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&tables);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(8 << 20);
    match family {
        Family::Msg => {
            by_channel(&mut options);
            options.set_write_buffer_size(64 << 20);
            options.set_enable_blob_files(true);
            options.set_min_blob_size(BLOB_FROM_BYTES);
            // Each value is compressed by itself while publications wait for the same processor:
            // Zstd's tables for a payload of 1 KB took a tenth of what a node spends on it.
            options.set_blob_compression_type(DBCompressionType::Lz4);
            options.set_enable_blob_gc(true);
            // What a trim leaves behind lies in the oldest files, which nothing else compacts.
            options.set_blob_gc_force_threshold(0.5);
        }
        Family::Dedup => {
            by_channel(&mut options);
            // Every publication asks for its own row, which is almost never there, among those of
            // its channel, which always are.
            options.set_memtable_whole_key_filtering(true);
            options.set_write_buffer_size(32 << 20);
            options.set_compaction_filter("sterna.dedup.age", |_, key, value| {
                expire(key, value, unix_now_ms())
            });
            options.set_periodic_compaction_seconds(EXPIRE_WITHIN_SECS);
        }
        Family::RelationOut | Family::RelationIn => {
            options.set_compaction_filter("sterna.relation.age", |_, key, value| {
                relations::expire(key, value, unix_now_ms())
            });
            options.set_periodic_compaction_seconds(EXPIRE_WITHIN_SECS);
        }
        Family::Member | Family::Cursor => by_channel(&mut options),
        Family::Head
        | Family::Channel
        | Family::Meta
        | Family::Inbox
        | Family::Mark
        | Family::Intent
        | Family::Archive
        | Family::Archived
        | Family::Kept => {}
    }
    options
}

fn by_channel(options: &mut Options) {
    options.set_prefix_extractor(SliceTransform::create_fixed_prefix(CHANNEL_PREFIX_BYTES));
    options.set_memtable_prefix_bloom_ratio(0.1);
}

/// Rows beyond the horizon go at the next compaction. One that does not verify stays, so that the
/// reader who meets it says so.
fn expire(key: &[u8], value: &[u8], now_ms: u64) -> Decision {
    match dedup_received_at_ms(key, value) {
        Ok(at) if at.saturating_add(DEDUP_HORIZON_MS) < now_ms => Decision::Remove,
        _ => Decision::Keep,
    }
}

/// The wall clock.
pub(crate) fn unix_now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) const CHANNEL_PREFIX_BYTES: usize = 16;

/// Rows that nothing overwrites are looked at by the filters this long after their file was
/// written, at the latest.
const EXPIRE_WITHIN_SECS: u64 = 24 * 3600;

/// 7 days (I3).
const DEDUP_HORIZON_MS: u64 = 7 * 24 * 3600 * 1000;

/// About 1 % of false positives.
const BLOOM_BITS_PER_KEY: f64 = 10.0;

/// Larger values are kept out of the tables, so that compaction does not copy them.
const BLOB_FROM_BYTES: u64 = 1024;

const BACKGROUND_BYTES_PER_SEC: i64 = 128 << 20;

#[cfg(test)]
mod tests {
    use sterna_proto::{Position, PublicationId};
    use sterna_storage::Duplicate;

    use super::*;
    use crate::encoding::{encode_dedup, seal};

    #[test]
    fn dedup_rows_live_for_seven_days() {
        let found = Duplicate {
            index: 0,
            position: Position::new(1, 2),
            id: PublicationId(3),
            server_ts_ms: 4,
            fingerprint: 5,
        };
        let row = seal(b"key", &encode_dedup(&found, 1_000_000));
        let keeps = |now_ms| matches!(expire(b"key", &row, now_ms), Decision::Keep);
        assert!(keeps(1_000_000));
        assert!(keeps(0), "a clock that was set back");
        assert!(keeps(1_000_000 + DEDUP_HORIZON_MS));
        assert!(!keeps(1_000_001 + DEDUP_HORIZON_MS));
        assert!(matches!(expire(b"other key", &row, u64::MAX), Decision::Keep), "does not verify");
    }
}
