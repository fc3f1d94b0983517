//! Role: the second guard of publication ids, beside the durable bound (I10).

use std::fmt::Debug;

use futures_util::future::BoxFuture;

use crate::StorageError;

/// Read at a start and after a clock went back. If it was lost, the durable bound still holds.
pub trait IdFloor: Send + Sync + Debug + 'static {
    /// Says that ids up to this time may have been issued, in milliseconds since 2024-01-01 UTC,
    /// and answers with the highest that anybody ever said for the worker.
    fn raise_floor(&self, worker: u16, floor_ms: u64) -> BoxFuture<'_, Result<u64, StorageError>>;
}
