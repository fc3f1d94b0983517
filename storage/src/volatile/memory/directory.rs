//! Sessions of users and leases of edges in memory.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use sterna_proto::{NodeId, SessionId, UserId};

use super::{Ending, MemoryVolatile};
use crate::StorageError;
use crate::volatile::{
    Beat, Directory, DirectoryEntry, ENTRIES_KEPT, SESSIONS_PER_USER, SessionPut,
};

impl Directory for MemoryVolatile {
    fn put_session(
        &self,
        user: UserId,
        entry: DirectoryEntry,
    ) -> BoxFuture<'_, Result<SessionPut, StorageError>> {
        let now = self.now();
        let mut content = self.content();
        content.sessions.make_room(|user| user.ends_at <= now);
        let user = content.sessions.map.entry(user).or_default();
        let is_full = user.entries.len() >= SESSIONS_PER_USER;
        if is_full && !user.entries.contains_key(&entry.session) {
            return ready(Ok(SessionPut::Full)).boxed();
        }
        user.ends_at = now + ENTRIES_KEPT;
        user.entries.insert(entry.session, entry);
        ready(Ok(SessionPut::Stored)).boxed()
    }

    fn remove_session(
        &self,
        user: UserId,
        session: SessionId,
        edge: NodeId,
        incarnation: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        let mut content = self.content();
        let Some(of_user) = content.sessions.map.get_mut(&user) else {
            return ready(Ok(false)).boxed();
        };
        let is_theirs = of_user
            .entries
            .get(&session)
            .is_some_and(|entry| entry.edge == edge && entry.incarnation == incarnation);
        if is_theirs {
            of_user.entries.remove(&session);
        }
        if of_user.entries.is_empty() {
            content.sessions.map.remove(&user);
        }
        ready(Ok(is_theirs)).boxed()
    }

    fn sessions_of(
        &self,
        user: UserId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DirectoryEntry>, StorageError>> {
        let now = self.now();
        let mut content = self.content();
        let super::Content { sessions, edges, .. } = &mut *content;
        let Some(user) = sessions.map.get_mut(&user) else {
            return ready(Ok(Vec::new())).boxed();
        };
        user.entries.retain(|_, entry| {
            edges.get(&entry.edge).is_some_and(|edge| edge.holds(entry.incarnation, now))
        });
        ready(Ok(user.entries.values().take(limit).cloned().collect())).boxed()
    }

    fn beat_edge(
        &self,
        edge: NodeId,
        incarnation: u64,
        load: u32,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Beat, StorageError>> {
        let now = self.now();
        let mut content = self.content();
        let found = content.edges.get(&edge).filter(|edge| edge.ends_at > now);
        let beat = match found.map(|edge| edge.incarnation) {
            Some(later) if later > incarnation => Beat::Superseded { incarnation: later },
            Some(same) if same == incarnation => Beat::Kept,
            _ => Beat::Begun,
        };
        if !matches!(beat, Beat::Superseded { .. }) {
            content
                .edges
                .insert(edge, Edge { incarnation, load, ends_at: now.saturating_add(lease) });
        }
        ready(Ok(beat)).boxed()
    }

    fn edge_load(&self, edge: NodeId) -> BoxFuture<'_, Result<Option<u32>, StorageError>> {
        let now = self.now();
        let content = self.content();
        let found = content.edges.get(&edge).filter(|edge| edge.ends_at > now);
        ready(Ok(found.map(|edge| edge.load))).boxed()
    }

    fn drop_edge(
        &self,
        edge: NodeId,
        incarnation: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        let now = self.now();
        let mut content = self.content();
        let holds = content.edges.get(&edge).is_some_and(|edge| edge.holds(incarnation, now));
        if holds {
            content.edges.remove(&edge);
        }
        ready(Ok(holds)).boxed()
    }
}

pub(super) type Sessions = Ending<UserId, UserSessions>;

/// As many as there are names of edges.
pub(super) type Edges = HashMap<NodeId, Edge, ahash::RandomState>;

#[derive(Debug, Default)]
pub(super) struct UserSessions {
    entries: BTreeMap<SessionId, DirectoryEntry>,
    ends_at: Duration,
}

#[derive(Debug)]
pub(super) struct Edge {
    incarnation: u64,
    load: u32,
    ends_at: Duration,
}

impl Edge {
    fn holds(&self, incarnation: u64, now: Duration) -> bool {
        self.incarnation == incarnation && self.ends_at > now
    }
}
