//! Role: which sessions a user has, and on which edges.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sterna_proto::{NodeId, SessionId, UserId};

use crate::StorageError;

/// Where a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    pub session: SessionId,
    pub edge: NodeId,
    /// Which start of that edge; later ones have higher numbers.
    pub incarnation: u64,
    /// Activity class, as edges count them.
    pub class: u8,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionPut {
    Stored,
    /// The user has [`SESSIONS_PER_USER`] others; nothing was stored.
    Full,
}

/// What a beat found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The lease runs on.
    Kept,
    /// There was no lease of this incarnation. Entries that were put before may be gone: put all
    /// of them again.
    Begun,
    /// A later incarnation has the lease; this one is not listened to any more.
    Superseded { incarnation: u64 },
}

/// Entries of an edge count only while the edge's lease runs for just that incarnation; readers
/// remove those that do not. So an edge that ends without a word takes its entries with it.
pub trait Directory: Send + Sync + Debug + 'static {
    /// Adds or replaces the entry of a session. To be repeated within [`ENTRIES_KEPT`].
    fn put_session(
        &self,
        user: UserId,
        entry: DirectoryEntry,
    ) -> BoxFuture<'_, Result<SessionPut, StorageError>>;

    /// Removes a session's entry if it is still this incarnation's of this edge; false if not.
    fn remove_session(
        &self,
        user: UserId,
        session: SessionId,
        edge: NodeId,
        incarnation: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>>;

    /// The user's sessions in the order of their ids, at most `limit`.
    fn sessions_of(
        &self,
        user: UserId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DirectoryEntry>, StorageError>>;

    /// Renews the edge's lease for that long, with its present load in sessions.
    fn beat_edge(
        &self,
        edge: NodeId,
        incarnation: u64,
        load: u32,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Beat, StorageError>>;

    /// The load of the last beat; `None` without a running lease.
    fn edge_load(&self, edge: NodeId) -> BoxFuture<'_, Result<Option<u32>, StorageError>>;

    /// Ends the lease of this incarnation, and with it all its entries; false if it has none.
    fn drop_edge(
        &self,
        edge: NodeId,
        incarnation: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>>;
}

/// Entries that one user may have; far beyond a person's devices, and a bound for one who opens
/// sessions without end.
pub const SESSIONS_PER_USER: usize = 128;

/// A user's entries outlive the last put of any of them by this long.
pub const ENTRIES_KEPT: Duration = Duration::from_hours(24);
