//! Role: delivered and read cursors of members.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use sterna_proto::{ChannelKey, Offset, UserId};

use crate::StorageError;

/// How far a user has got in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberCursor {
    pub user: UserId,
    pub delivered: Offset,
    pub read: Offset,
}

impl MemberCursor {
    /// A user who has got nothing yet.
    pub fn new(user: UserId) -> Self {
        Self { user, delivered: Offset::ZERO, read: Offset::ZERO }
    }

    /// Moves forward, never back (I8).
    pub fn merge(&mut self, wish: &CursorMove) {
        if crate::planted!(CursorsGoBack) {
            (self.read, self.delivered) = (wish.read, wish.delivered);
        }
        self.read = self.read.max(wish.read);
        self.delivered = self.delivered.max(wish.delivered).max(self.read);
    }
}

/// A wish to move cursors forward. Reading implies delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorMove {
    pub channel: ChannelKey,
    pub user: UserId,
    pub delivered: Offset,
    pub read: Offset,
}

/// Cursors only move forward (I8): a move merges by maximum, per field, in any order and any
/// number of times. Moves may be lost by a crash shortly after they return; they never go back.
pub trait CursorStore: Send + Sync + Debug + 'static {
    /// Merges the moves and returns the cursors after them, in the same order.
    fn advance(
        &self,
        moves: Vec<CursorMove>,
    ) -> BoxFuture<'_, Result<Vec<MemberCursor>, StorageError>>;

    /// `None` when the user has none in the channel.
    fn cursor(
        &self,
        channel: ChannelKey,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<MemberCursor>, StorageError>>;

    /// Cursors of a channel in user order, at most `limit`.
    fn cursors(
        &self,
        channel: ChannelKey,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<MemberCursor>, StorageError>>;
}
