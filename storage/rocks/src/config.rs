//! What the composition root says about the store.

use std::path::PathBuf;

/// What an answered write has survived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Synced: outlives a power cut.
    #[default]
    Fsync,
    /// With the operating system: outlives the process, not the machine.
    Os,
}

/// How a store is opened. Every limit has a default that serves a node of a few cores.
#[derive(Debug, Clone)]
pub struct RocksConfig {
    /// Belongs to this store alone; made if missing.
    pub directory: PathBuf,
    pub durability: Durability,
    /// Opens a store that has lost acknowledged publications, as its guard file shows. What is
    /// left is kept, and every channel gets a new epoch so that clients notice. Without effect on
    /// a store that is whole.
    pub accept_truncated: bool,
    /// Says that the directory holds an older copy of the store, from a backup or from before a
    /// power cut with [`Durability::Os`], whatever the guard file says: clients may have seen
    /// publications that are not in it. Every opening that says so gives every channel a new epoch,
    /// so that clients notice (I5), and goes on with ids and inbox places above all that may have
    /// been given; so say it once.
    pub restored: bool,
    /// Writes that may wait for the committer; more are refused as `Unavailable`.
    pub queue_writes: usize,
    /// Most writes in one group commit: a cap on what is waiting, never a wait for more.
    pub group_writes: usize,
    /// A group takes no further write once its batch holds this much.
    pub group_bytes: usize,
    /// Heads of recently written channels that are kept at hand.
    pub cached_heads: usize,
    /// Threads that read pages.
    pub reader_threads: usize,
    /// Page reads that may wait for them; more are refused as `Unavailable`.
    pub queue_reads: usize,
    /// Blocks of table files kept in memory, uncompressed.
    pub cache_bytes: usize,
    /// The write-ahead log is at most this long, and so is what a start has to read.
    pub wal_bytes: u64,
    /// Table files held open.
    pub open_files: u32,
}

impl RocksConfig {
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            durability: Durability::default(),
            accept_truncated: false,
            restored: false,
            queue_writes: QUEUE_WRITES,
            group_writes: 256,
            group_bytes: 4 << 20,
            cached_heads: 65_536,
            reader_threads: 2,
            queue_reads: QUEUE_READS,
            cache_bytes: 64 << 20,
            wal_bytes: 256 << 20,
            open_files: 512,
        }
    }
}

/// Writes that wait for the committer, unless configured otherwise.
const QUEUE_WRITES: usize = 4_096;

/// Page reads that wait for a reader thread, unless configured otherwise.
const QUEUE_READS: usize = 1_024;
