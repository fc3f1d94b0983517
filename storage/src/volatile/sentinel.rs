//! Role: whether volatile content was lost since somebody looked last.

use std::fmt::Debug;

use futures_util::future::BoxFuture;

use super::Partition;
use crate::StorageError;

/// Names a life of a partition's content; another one begins when everything was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Boot(pub u128);

/// What a look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sentinel {
    /// Nothing was lost.
    Same,
    /// Everything that was put before is gone, or this is the first look: put it again, and
    /// remember this.
    Lost { now: Boot },
}

/// Notices a loss of everything: a flush, a start without what was there before, a fail-over to an
/// empty replica. Not the loss of the last moments, as by a replica that lags; leases and the time
/// for which routes are kept mend that.
pub trait LossSentinel: Send + Sync + Debug + 'static {
    /// Compares with what the caller remembers from its last look.
    fn check_loss(
        &self,
        partition: Partition,
        remembered: Option<Boot>,
    ) -> BoxFuture<'_, Result<Sentinel, StorageError>>;
}
