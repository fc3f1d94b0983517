//! Role: the upper bound below which ids may have been issued (I10).

use std::fmt::Debug;

use futures_util::future::BoxFuture;

use crate::StorageError;

/// A generator issues only ids whose time lies below the stored bound, and starts at or above the
/// bound that it finds; so ids never repeat, whatever the clock does.
pub trait IdBoundStore: Send + Sync + Debug + 'static {
    /// The bound, in milliseconds since 2024-01-01 UTC; 0 in a new store.
    fn id_bound(&self, worker: u16) -> BoxFuture<'_, Result<u64, StorageError>>;

    /// Raises the bound if it is still the expected one, durably when it returns. False: somebody
    /// else has raised it, so the times above the expected one are his and this generator must not
    /// use the number any more. A lower value than the expected one changes nothing.
    fn raise_id_bound(
        &self,
        worker: u16,
        expected_ms: u64,
        bound_ms: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>>;
}
