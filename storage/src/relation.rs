//! Role: relations of users to each other, such as who follows whom.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use sterna_proto::UserId;

use crate::StorageError;

/// What sort of relation; the numbers belong to whoever stores relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationKind(pub u16);

/// What names a relation. It has a direction: the opposite one is another relation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    pub user: UserId,
    pub kind: RelationKind,
    pub target: UserId,
}

/// A relation that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub edge: Edge,
    pub since_ms: u64,
    pub version: u64,
}

/// From which end of a relation the neighbours are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The targets of the user's relations.
    Out,
    /// The users whose relations have this user as their target.
    In,
}

/// Writes are durable when they return, and both directions of a relation are seen together. Each
/// write has a version, and only one above the stored version takes effect, so that writes that
/// arrive late, again or in another order end at the same place. A removed relation keeps its
/// version for at least [`REMOVED_RELATION_MS`].
pub trait RelationStore: Send + Sync + Debug + 'static {
    /// True if it took effect.
    fn set_relation(&self, relation: Relation) -> BoxFuture<'_, Result<bool, StorageError>>;

    /// True if it took effect; also for a relation that never was, so that its late creation does
    /// not.
    fn remove_relation(
        &self,
        edge: Edge,
        version: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>>;

    /// `None` for one that never was and for one that was removed.
    fn relation(&self, edge: Edge) -> BoxFuture<'_, Result<Option<Relation>, StorageError>>;

    /// Relations of one kind at a user, in the order of the users at their other ends after
    /// `after`, at most `limit`.
    fn neighbours(
        &self,
        user: UserId,
        kind: RelationKind,
        direction: Direction,
        after: Option<UserId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Relation>, StorageError>>;
}

/// How long the version of a removed relation is kept: 7 days.
pub const REMOVED_RELATION_MS: u64 = 7 * 24 * 3600 * 1000;
