//! Role: inboxes. Which channels have something new for a user: pointers, not bodies, so that any
//! number of publications to one channel is one entry.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use sterna_proto::{ChannelKey, Offset, UserId};

use crate::StorageError;

/// A place in one user's inbox. Only goes up, may skip numbers, and never names two things; 0 is
/// the place before the first.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pts(pub u64);

impl Pts {
    /// The place before the first.
    pub const ZERO: Self = Self(0);

    /// The place that follows. Saturates: no inbox reaches 2^64 marks.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A channel with something new, at the place of its latest mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxEntry {
    pub pts: Pts,
    pub channel: ChannelKey,
}

/// What a user's inbox knows about one channel. How far the user has read is a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxState {
    pub channel: ChannelKey,
    /// The latest mark; 0 if there was none.
    pub last_pts: Pts,
    pub muted: bool,
    pub pinned: bool,
    /// The user has deleted, for himself, what lies before this offset.
    pub deleted_before: Offset,
    /// Counts the changes of the three above. A mark is no change.
    pub version: u64,
}

impl InboxState {
    /// A channel that was neither marked nor changed.
    pub fn new(channel: ChannelKey) -> Self {
        Self {
            channel,
            last_pts: Pts::ZERO,
            muted: false,
            pinned: false,
            deleted_before: Offset::ZERO,
            version: 0,
        }
    }

    /// Takes over what the change names. True if that made a difference.
    pub fn merge(&mut self, change: &InboxChange) -> bool {
        let before = (self.muted, self.pinned, self.deleted_before);
        self.muted = change.muted.unwrap_or(self.muted);
        self.pinned = change.pinned.unwrap_or(self.pinned);
        self.deleted_before = self.deleted_before.max(change.deleted_before);
        let changed = before != (self.muted, self.pinned, self.deleted_before);
        self.version += u64::from(changed);
        changed
    }
}

/// What a user wants of a channel; what is not named stays.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct InboxChange {
    pub muted: Option<bool>,
    pub pinned: Option<bool>,
    /// Only moves forward; 0 leaves it where it is.
    pub deleted_before: Offset,
}

/// Writes are durable when they return. A place is never given twice, also not after the entry at
/// it was removed or the store was opened again; a mark and the move of its entry are seen
/// together.
pub trait InboxStore: Send + Sync + Debug + 'static {
    /// Moves the channels behind everything else in the user's inbox, in this order, each to a
    /// place of its own. Answers with the newest place of the inbox.
    fn mark_dirty(
        &self,
        user: UserId,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Pts, StorageError>>;

    /// The newest place that may have been given to anything: 0 for an inbox that never held
    /// anything, and above all lost ones in a store that was repaired.
    fn inbox_head(&self, user: UserId) -> BoxFuture<'_, Result<Pts, StorageError>>;

    /// Entries after a place, oldest first, at most `limit`.
    fn inbox(
        &self,
        user: UserId,
        after: Pts,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxEntry>, StorageError>>;

    /// `None` for a channel that is not in the inbox.
    fn inbox_state(
        &self,
        user: UserId,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<InboxState>, StorageError>>;

    /// All channels of the inbox in key order after `after`, at most `limit`.
    fn inbox_states(
        &self,
        user: UserId,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<InboxState>, StorageError>>;

    /// Merges the change and answers with the state afterwards. A channel that is not in the inbox
    /// comes into it, without an entry.
    fn change_inbox(
        &self,
        user: UserId,
        channel: ChannelKey,
        change: InboxChange,
    ) -> BoxFuture<'_, Result<InboxState, StorageError>>;

    /// Takes the channel out, with its entry. False when it was not in the inbox.
    fn remove_from_inbox(
        &self,
        user: UserId,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<bool, StorageError>>;

    /// Whether the user pulls the channel: nobody marks it for him, so whoever wants to know of
    /// something new there looks at its head. Apart from marks and changes, which stay as they are.
    fn set_pulled(
        &self,
        user: UserId,
        channel: ChannelKey,
        pulled: bool,
    ) -> BoxFuture<'_, Result<(), StorageError>>;

    /// Channels that the user pulls, in key order, at most `limit`.
    fn pulled(
        &self,
        user: UserId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ChannelKey>, StorageError>>;
}
