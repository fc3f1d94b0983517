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

/// What `create` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    New,
    Exists(ChannelRecord),
}

/// Writes are durable when they return. `create` is atomic: of several callers one gets `New`, and
/// the channel and its first members are seen together.
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

    /// Adds the member or replaces its role.
    fn set_member(
        &self,
        channel: ChannelKey,
        membership: Membership,
    ) -> BoxFuture<'_, Result<(), StorageError>>;

    /// False when there was no such member.
    fn remove_member(
        &self,
        channel: ChannelKey,
        user: UserId,
    ) -> BoxFuture<'_, Result<bool, StorageError>>;

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
