//! Role: intents. What a commit still owes to the world beside its publications, such as inbox
//! marks and notifications, stored with it so that no crash forgets it.

use std::fmt::Debug;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{PageLimit, StorageError};

/// Something owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// [`ChannelKey::slot`](sterna_proto::ChannelKey::slot) of the channel it came with.
    pub slot: u16,
    /// Counts the slot's intents from 1, in the order of their commits; never used twice.
    pub number: u64,
    pub payload: Bytes,
}

/// Intents come in through [`Append::intents`](crate::Append::intents) alone, in the same atomic,
/// durable step as the records. They are carried out at least once: whoever has carried out all up
/// to a number says so, and after a crash begins again behind what was said last.
pub trait IntentStore: Send + Sync + Debug + 'static {
    /// Slots with intents that are not completed, in order.
    fn slots_with_intents(&self) -> BoxFuture<'_, Result<Vec<u16>, StorageError>>;

    /// A slot's intents that are not completed, after a number, in order.
    fn intents(
        &self,
        slot: u16,
        after: u64,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Intent>, StorageError>>;

    /// Forgets a slot's intents up to and including a number. Never goes back, and never beyond
    /// the newest. A crash shortly after it returns may bring the last ones back.
    fn complete_intents(&self, slot: u16, upto: u64) -> BoxFuture<'_, Result<(), StorageError>>;
}
