//! Role: the roster. Which nodes of the cluster are alive, and what each tells of itself.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::StorageError;

/// A node as it tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterEntry {
    /// Names the node over its restarts.
    pub name: String,
    /// Goes up with each start of the node.
    pub incarnation: u64,
    /// Opaque here.
    pub content: Bytes,
}

/// Why a node is not on the roster.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RosterError {
    /// A later start of a node of this name has been heard of: this one must stop serving.
    #[error("superseded: the node has been started again, as incarnation {incarnation}")]
    Superseded { incarnation: u64 },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Time is the store's own clock. What is here is a hint for placement and links, never a right.
pub trait RosterStore: Send + Sync + Debug + 'static {
    /// Notes that the node is alive and answers with everybody heard of within `lease`, itself
    /// included, in name order. A later incarnation replaces an earlier one at once.
    fn beat(
        &self,
        entry: RosterEntry,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Vec<RosterEntry>, RosterError>>;

    /// Takes the node off. Changes nothing if a later incarnation is there. Earlier incarnations
    /// stay refused.
    fn leave<'a>(
        &'a self,
        name: &'a str,
        incarnation: u64,
    ) -> BoxFuture<'a, Result<(), StorageError>>;
}
