//! Role: the manifest of the archive. Which segments there are, and how far each of them has got.

use std::fmt::Debug;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::StorageError;

/// What names a segment, in the order of listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey {
    pub shard: u16,
    /// Server time of its first publication.
    pub first_ts_ms: u64,
    pub segment: u64,
}

/// How far a segment has got. What may follow what is the archiver's to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentState {
    /// Being written; not to be read.
    Prepared,
    /// Verified, and the place to read from.
    Published,
    /// Others hold its publications now; the content says which.
    Replaced,
    /// Its bytes are gone.
    Removed,
}

/// A segment as the manifest has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestEntry {
    pub key: SegmentKey,
    pub state: SegmentState,
    /// What the archiver knows about it; opaque here.
    pub content: Bytes,
}

/// Puts an entry if its present state is the expected one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestChange {
    /// `None`: there is no such entry yet.
    pub expected: Option<SegmentState>,
    pub entry: ManifestEntry,
}

/// Why changes did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ManifestError {
    /// The change at this index expected another state. Look at what is there and decide anew.
    #[error("change {index} expected another state")]
    Conflict { index: usize, found: Option<ManifestEntry> },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Writes are durable when they return.
pub trait ManifestStore: Send + Sync + Debug + 'static {
    /// Makes all changes in one atomic step, or none; a change sees those before it.
    fn change_manifest(
        &self,
        changes: Vec<ManifestChange>,
    ) -> BoxFuture<'_, Result<(), ManifestError>>;

    fn segment(
        &self,
        key: SegmentKey,
    ) -> BoxFuture<'_, Result<Option<ManifestEntry>, StorageError>>;

    /// Entries of a shard in key order after `after`, at most `limit`.
    fn segments(
        &self,
        shard: u16,
        after: Option<SegmentKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ManifestEntry>, StorageError>>;
}
