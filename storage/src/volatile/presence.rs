//! Role: presence deltas of edges, kept for a while so that readers can catch up.

use std::fmt::Debug;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::Partition;
use crate::StorageError;

/// A place in a partition's deltas; in their order. Not given twice, also not after a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeltaId {
    /// Milliseconds of the engine's clock.
    pub ms: u64,
    /// Counts within one.
    pub nth: u64,
}

impl DeltaId {
    /// Before all deltas.
    pub const START: Self = Self { ms: 0, nth: 0 };
}

/// One delta as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    pub id: DeltaId,
    /// Opaque here.
    pub payload: Bytes,
}

/// What lies behind a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeltaPage {
    /// The deltas that follow, without a hole; none if there are none yet.
    Deltas(Vec<Delta>),
    /// What followed is gone, or was lost with everything. Ask for snapshots, then go on behind
    /// `tail`.
    Trimmed { tail: DeltaId },
}

/// Append-only, per partition, with the newest [`DELTAS_KEPT`] or somewhat more.
pub trait PresenceDeltas: Send + Sync + Debug + 'static {
    fn append_delta(
        &self,
        partition: Partition,
        payload: Bytes,
    ) -> BoxFuture<'_, Result<DeltaId, StorageError>>;

    /// At most `limit` deltas behind a position that was read before, or behind
    /// [`START`](DeltaId::START).
    fn deltas(
        &self,
        partition: Partition,
        after: DeltaId,
        limit: usize,
    ) -> BoxFuture<'_, Result<DeltaPage, StorageError>>;
}

/// About half a minute of a busy partition: as long as readers take to start.
pub const DELTAS_KEPT: usize = 1024;
