//! Role: channels and memberships.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use sterna_proto::v1::{ChannelAccess, ChannelKind, Role};
use sterna_proto::{ChannelId, ChannelKey, UserId};

use crate::StorageError;

/// A channel as it was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRecord {
    pub name: ChannelId,
    pub kind: ChannelKind,
    pub access: ChannelAccess,
    pub created_by: UserId,
    pub created_at_ms: u64,
}

/// A durable relation of a user and a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub user: UserId,
    pub role: Role,
    pub since_ms: u64,
}

/// What becomes of a user's membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembershipChange {
    /// A new member, or an old one with another role.
    Set(Membership),
    /// No member any more; nothing changes if the user was none.
    Removed(UserId),
}

impl MembershipChange {
    /// Whose membership it is.
    pub fn user(&self) -> &UserId {
        match self {
            Self::Set(membership) => &membership.user,
            Self::Removed(user) => user,
        }
    }

    /// The role that it leaves the user with.
    pub fn role(&self) -> Option<Role> {
        match self {
            Self::Set(membership) => Some(membership.role),
            Self::Removed(_) => None,
        }
    }
}

/// What `create` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    New,
    Exists(ChannelRecord),
}

/// Writes are durable when they return. `create` is atomic: of several callers one gets `New`, and
/// the channel and its first members are seen together. Later changes of members come in through
/// [`Append::members`](crate::Append::members) alone.
pub trait ChannelStore: Send + Sync + Debug + 'static {
    fn create(
        &self,
        record: ChannelRecord,
        members: Vec<Membership>,
    ) -> BoxFuture<'_, Result<Created, StorageError>>;

    fn channel(
        &self,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<ChannelRecord>, StorageError>>;

    /// Channels in name order after `after`, for listings.
    fn channels(
        &self,
        after: Option<ChannelId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ChannelRecord>, StorageError>>;

    fn member(
        &self,
        channel: ChannelKey,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<Membership>, StorageError>>;

    /// Members in user order after `after`.
    fn members(
        &self,
        channel: ChannelKey,
        after: Option<UserId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Membership>, StorageError>>;

    /// How many members the channel has.
    fn member_count(&self, channel: ChannelKey) -> BoxFuture<'_, Result<u64, StorageError>>;
}
