//! What of a channel is not to be kept: said by whoever knows of retention and redaction, honoured
//! when segments are written again.

use std::fmt::Debug;

use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{BoxFuture, StorageError};

/// What of a channel is to be dropped or blanked when its segments are written again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fate {
    /// Publications before this offset are dropped.
    pub first: Offset,
    /// Offsets whose payload is emptied, ascending.
    pub redacted: Vec<Offset>,
}

/// Knows the fates of channels. What was dropped or blanked once stays so, whatever is said later.
pub trait Fates: Send + Sync + Debug + 'static {
    /// In the order asked for.
    fn fates(&self, channels: Vec<ChannelKey>) -> BoxFuture<'_, Result<Vec<Fate>, StorageError>>;

    /// True: no channel has any, and no segment has to be looked through for it.
    fn keep_all(&self) -> bool {
        false
    }
}

/// Everything is kept as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepAll;

impl Fates for KeepAll {
    fn fates(&self, channels: Vec<ChannelKey>) -> BoxFuture<'_, Result<Vec<Fate>, StorageError>> {
        Box::pin(std::future::ready(Ok(vec![Fate::default(); channels.len()])))
    }

    fn keep_all(&self) -> bool {
        true
    }
}
