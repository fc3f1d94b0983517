//! What of a channel is to go from the archive: asked by whoever writes segments anew, answered by
//! whoever knows what channels keep.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::StorageError;

/// What becomes of a channel's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// What is before this offset is given to nobody any more, and goes.
    pub first: Offset,
    /// Records at these offsets stay, without their payloads. In order.
    pub redacted: Vec<Offset>,
}

/// Knows what of channels is to go.
pub trait Fates: Send + Sync + Debug + 'static {
    /// The fates of channels, in the order asked for.
    fn fates(&self, channels: Vec<ChannelKey>) -> BoxFuture<'_, Result<Vec<Fate>, StorageError>>;
}
