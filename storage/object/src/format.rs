//! How a segment lies in the store; the same bytes on every service. What encodes and decodes it is
//! beside this file and does no I/O. Numbers are big-endian.
//!
//! ```text
//! segment = header  (block | page)*  tail  footer
//! ```
//!
//! | part | content |
//! |---|---|
//! | header | magic `SternaSg`, version (2 bytes), key (18): shard (2), server time of the first record (8), number (8); attempt (16): made anew by each writer, so that no two write the same object; CRC32C of the header so far (4) |
//! | block | one zstd frame of items of one or more runs, some 64 KiB unpacked: a run's mark (a length of 2^32-1, channel key (16), first offset (8)) or a record (its length (4) and a protobuf message, see `record.rs`). A run begins with its mark and may go on in the blocks that follow; offsets of records follow from it |
//! | page | one zstd frame of entries of runs that have ended, in the order of their channels, some 64 KiB unpacked |
//! | entry of a run | channel key (16), first and last offset (8 each), first block (4), place of the mark in it once unpacked (4), number of further blocks (4), depth (4), which links there are (1: bit 0 back, bit 1 jump, bit 2 the jump is the back) and the links: key (18), first and last offset (8 each), depth (4) |
//! | tail | key (18), attempt (16); records, runs, bytes of payloads (8 each), earliest and latest server time (8 each, ms); number of blocks (4) and of pages (4); for each block: offset of its first record (8), position in the segment (8), length (4), length once unpacked (4), CRC32C of the packed bytes (4); for each page: channel key of its first run (16), position (8), length (4), length once unpacked (4), number of runs (4), CRC32C (4) |
//! | footer | size of the tail (4), CRC32C of the tail (4), size of the segment (8), SHA-256 of everything before the footer (32), version (2), magic `gSanretS` (8), CRC32C of the footer so far (4) |
//!
//! Two levels lead to a run, so that a segment of a million channels is not read whole for one: the
//! tail says which page, the page says where. Both are kept in memory. Pages lie between the blocks,
//! since a segment is written while its records come and nothing of it is held for longer than its
//! page. There is no filter for channels that a segment does not hold: who asks follows a link, and
//! finds the run.
//!
//! Any flipped bit is noticed by the checksum over its part before anything is made of it: of the
//! footer by its own, of the tail by the footer, of a block or page by the tail. Parts lie without a
//! gap. Only the header in front is covered by nothing that a read needs; its checksum, and the
//! SHA-256 of everything, are compared when a segment is verified.

use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{Run, SegmentKey};

/// Why bytes are not a segment, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub what: String,
    /// Position in the segment.
    pub at: u64,
}

impl Damage {
    pub(crate) fn new(what: impl Into<String>, at: u64) -> Self {
        Self { what: what.into(), at }
    }
}

/// What a segment says of itself in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub key: SegmentKey,
    /// Differs between two writers of one key.
    pub attempt: [u8; 16],
}

/// What is known only once all records were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub records: u64,
    pub runs: u64,
    pub payload_bytes: u64,
    /// Server times.
    pub first_ts_ms: u64,
    pub last_ts_ms: u64,
}

impl Summary {
    pub(crate) const EMPTY: Self =
        Self { records: 0, runs: 0, payload_bytes: 0, first_ts_ms: u64::MAX, last_ts_ms: 0 };

    pub(crate) fn add(&mut self, payload_bytes: usize, server_ts_ms: u64) {
        self.records += 1;
        self.payload_bytes += payload_bytes as u64;
        self.first_ts_ms = self.first_ts_ms.min(server_ts_ms);
        self.last_ts_ms = self.last_ts_ms.max(server_ts_ms);
    }
}

/// Where packed bytes lie, and what they must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In the segment.
    pub position: u64,
    /// As they lie there.
    pub length: u32,
    /// Once unpacked.
    pub unpacked: u32,
    /// Of the packed bytes.
    pub crc32c: u32,
}

impl Place {
    /// Position of what follows.
    pub fn end(&self) -> u64 {
        self.position.saturating_add(self.length.into())
    }
}

/// A block of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Of its first record, whichever run that belongs to.
    pub first: Offset,
    pub place: Place,
}

/// A page of the index of runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Of its first run.
    pub first: ChannelKey,
    pub runs: u32,
    pub place: Place,
}

/// A run and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunEntry {
    pub run: Run,
    /// The block it begins in.
    pub block: u32,
    /// Of its mark, in the unpacked block.
    pub at: u32,
    /// Blocks behind the first that hold more of it.
    pub further: u32,
}

/// The tail of a segment, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    pub header: Header,
    pub summary: Summary,
    pub blocks: Vec<Block>,
    pub pages: Vec<Page>,
    pub footer: Footer,
}

/// The last bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Without the footer.
    pub tail_bytes: u32,
    pub tail_crc32c: u32,
    /// Of the whole segment.
    pub bytes: u64,
    pub sha256: [u8; 32],
}

pub(crate) const MAGIC: &[u8; 8] = b"SternaSg";
pub(crate) const END_MAGIC: &[u8; 8] = b"gSanretS";
pub(crate) const VERSION: u16 = 1;

pub(crate) const KEY_BYTES: usize = 2 + 8 + 8;
pub(crate) const HEADER_BYTES: usize = 8 + 2 + KEY_BYTES + 16 + 4;
pub(crate) const BLOCK_ENTRY_BYTES: usize = 8 + 8 + 4 + 4 + 4;
pub(crate) const PAGE_ENTRY_BYTES: usize = 16 + 8 + 4 + 4 + 4 + 4;
/// Size of a footer.
pub const FOOTER_BYTES: usize = 4 + 4 + 8 + 32 + 2 + 8 + 4;
/// Of a tail without blocks and pages.
pub(crate) const LEAST_TAIL_BYTES: usize = KEY_BYTES + 16 + 5 * 8 + 2 * 4;

/// Stands where a record's length would: here a run begins.
pub(crate) const MARK: u32 = u32::MAX;
/// Of a run's mark.
pub(crate) const MARK_BYTES: usize = 4 + 16 + 8;

/// The smallest entry of a run.
pub(crate) const LEAST_RUN_BYTES: usize = 16 + 8 + 8 + 4 + 4 + 4 + 4 + 1;
/// The largest.
pub(crate) const MOST_RUN_BYTES: usize = LEAST_RUN_BYTES + 2 * (KEY_BYTES + 8 + 8 + 4);
pub(crate) const HAS_BACK: u8 = 1;
pub(crate) const HAS_JUMP: u8 = 2;
pub(crate) const JUMP_IS_BACK: u8 = 4;

/// A block is closed once its items are this long together, unless configured otherwise: one ranged
/// read and some 200 µs of unpacking for a page, and long enough to pack well.
pub const BLOCK_BYTES: usize = 64 * 1024;

/// The smallest that may be configured.
pub const LEAST_BLOCK_BYTES: usize = 4 * 1024;

/// The largest that may be configured.
pub const MOST_BLOCK_BYTES: usize = 1024 * 1024;

/// A page of the index is closed once its entries are this long together, unless configured
/// otherwise.
pub const PAGE_BYTES: usize = 64 * 1024;

/// The longest record: a payload of the wire's limit, several times over.
pub const RECORD_BYTES: usize = 1024 * 1024;

/// What a block or a page may unpack to; a longer one is not unpacked.
pub const UNPACKED_BYTES: usize = 2 * 1024 * 1024 + 64;

/// What a block or a page may be packed, since what does not pack grows a little.
pub const PACKED_BYTES: usize = 2 * 1024 * 1024 + 64 * 1024;

/// Blocks of one segment, so that its tail has a bound.
pub const SEGMENT_BLOCKS: usize = 65_536;

/// Pages of one segment: of at least 500 runs each.
pub const SEGMENT_PAGES: usize = 65_536;

/// The longest tail there is: 4.5 MB.
pub const TAIL_BYTES: usize =
    LEAST_TAIL_BYTES + SEGMENT_BLOCKS * BLOCK_ENTRY_BYTES + SEGMENT_PAGES * PAGE_ENTRY_BYTES;

const _: () = assert!(MOST_BLOCK_BYTES + RECORD_BYTES + 4 + MARK_BYTES <= UNPACKED_BYTES);
const _: () = assert!(PAGE_BYTES + MOST_RUN_BYTES <= UNPACKED_BYTES);
