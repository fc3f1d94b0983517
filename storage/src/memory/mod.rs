//! The reference engine: everything in this process's memory, for tests, demonstrations and the
//! `memory` durability. It never writes to a disk and forgets everything at the process's end.
//!
//! Values made by [`Clone`] or [`MemoryStore::stores`] share one content, so that two nodes of a
//! test can run on one store. Each value is closed on its own: what one node closes at its
//! shutdown, the other still appends to.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use sterna_proto::{ChannelId, ChannelKey, Epoch, UserId};

use crate::{
    Archived, ChannelRecord, ChannelStore, Created, CursorMove, CursorStore, IdBoundStore,
    MemberCursor, Membership, MembershipChange, StorageError, StorageErrorKind, Stores,
};

mod archived;
mod id_leases;
mod inbox;
mod intents;
mod keeping;
mod log;
mod manifest;
mod relations;
mod revocations;
mod roster;
mod segments;
#[cfg(test)]
mod tests;

pub use id_leases::MemoryIdLeases;
use inbox::Inboxes;
use intents::Intents;
use keeping::Keeping;
use log::ChannelLog;
use manifest::Segments;
use relations::Relations;
pub use roster::MemoryRoster;
pub use segments::MemorySegments;

/// All roles in memory.
#[derive(Debug)]
pub struct MemoryStore {
    birth: Epoch,
    content: Arc<Mutex<Content>>,
    id_leases: Arc<MemoryIdLeases>,
    roster: Arc<MemoryRoster>,
    closed: AtomicBool,
}

impl MemoryStore {
    /// An empty store, born now.
    pub fn new() -> Self {
        Self::with_birth(birth_of(SystemTime::now()))
    }

    /// An empty store whose channels begin in this epoch, for tests that compare positions.
    pub fn with_birth(birth: Epoch) -> Self {
        Self {
            birth,
            content: Arc::default(),
            id_leases: Arc::default(),
            roster: Arc::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// A handle on the same content in which new channels begin in this epoch, as after a backup was
    /// put back.
    #[must_use]
    pub fn reborn(&self, birth: Epoch) -> Self {
        Self { birth, ..self.clone() }
    }

    /// One open handle on this content for all roles.
    pub fn stores(&self) -> Stores {
        let handle = Arc::new(self.clone());
        Stores {
            log: handle.clone(),
            channels: handle.clone(),
            cursors: handle.clone(),
            id_bound: handle.clone(),
            inboxes: handle.clone(),
            relations: handle.clone(),
            intents: handle.clone(),
            manifest: handle.clone(),
            archived: handle.clone(),
            revocations: handle.clone(),
            keeping: handle,
            id_leases: self.id_leases.clone(),
            roster: self.roster.clone(),
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // Nothing below panics half-way through a change, so a poisoned content is still whole.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_open(&self) -> Result<(), StorageError> {
        if self.closed.load(Ordering::Acquire) {
            let message = "closed; nothing was stored";
            return Err(StorageError::new(StorageErrorKind::Unavailable, ENGINE, message));
        }
        Ok(())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        Self {
            birth: self.birth,
            content: self.content.clone(),
            id_leases: self.id_leases.clone(),
            roster: self.roster.clone(),
            closed: AtomicBool::new(self.closed.load(Ordering::Acquire)),
        }
    }
}

impl ChannelStore for MemoryStore {
    fn create(
        &self,
        record: ChannelRecord,
        members: Vec<Membership>,
    ) -> BoxFuture<'_, Result<Created, StorageError>> {
        let mut content = self.content();
        if let Some(found) = content.channels.get(&record.name) {
            return ready(Ok(Created::Exists(found.clone()))).boxed();
        }
        let key = record.name.key();
        content.names.insert(key, record.name.clone());
        content.channels.insert(record.name.clone(), record);
        let listed = content.members.entry(key).or_default();
        listed.extend(members.into_iter().map(|member| (member.user.clone(), member)));
        ready(Ok(Created::New)).boxed()
    }

    fn channel(
        &self,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<ChannelRecord>, StorageError>> {
        let content = self.content();
        let found = content.names.get(&channel).and_then(|name| content.channels.get(name));
        ready(Ok(found.cloned())).boxed()
    }

    fn channels(
        &self,
        after: Option<ChannelId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ChannelRecord>, StorageError>> {
        ready(Ok(page(&self.content().channels, after.as_ref(), limit))).boxed()
    }

    fn member(
        &self,
        channel: ChannelKey,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<Membership>, StorageError>> {
        let content = self.content();
        let found = content.members.get(&channel).and_then(|all| all.get(&user));
        ready(Ok(found.cloned())).boxed()
    }

    fn members(
        &self,
        channel: ChannelKey,
        after: Option<UserId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Membership>, StorageError>> {
        let content = self.content();
        let all = content.members.get(&channel);
        let found = all.map(|all| page(all, after.as_ref(), limit)).unwrap_or_default();
        ready(Ok(found)).boxed()
    }

    fn member_count(&self, channel: ChannelKey) -> BoxFuture<'_, Result<u64, StorageError>> {
        let count = self.content().members.get(&channel).map_or(0, |all| all.len() as u64);
        ready(Ok(count)).boxed()
    }
}

impl CursorStore for MemoryStore {
    fn advance(
        &self,
        moves: Vec<CursorMove>,
    ) -> BoxFuture<'_, Result<Vec<MemberCursor>, StorageError>> {
        let mut content = self.content();
        let moved = moves.into_iter().map(|wish| content.advance(wish)).collect();
        ready(Ok(moved)).boxed()
    }

    fn cursor(
        &self,
        channel: ChannelKey,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<MemberCursor>, StorageError>> {
        let content = self.content();
        let found = content.cursors.get(&channel).and_then(|all| all.get(&user));
        ready(Ok(found.cloned())).boxed()
    }

    fn cursors(
        &self,
        channel: ChannelKey,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<MemberCursor>, StorageError>> {
        let content = self.content();
        let all = content.cursors.get(&channel);
        ready(Ok(all.map(|all| page(all, None, limit)).unwrap_or_default())).boxed()
    }
}

impl IdBoundStore for MemoryStore {
    fn id_bound(&self, worker: u16) -> BoxFuture<'_, Result<u64, StorageError>> {
        ready(Ok(self.content().id_bounds.get(&worker).copied().unwrap_or(0))).boxed()
    }

    fn raise_id_bound(
        &self,
        worker: u16,
        expected_ms: u64,
        bound_ms: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        let mut content = self.content();
        let bound = content.id_bounds.entry(worker).or_default();
        let expected = *bound == expected_ms;
        if expected {
            *bound = bound_ms.max(*bound);
        }
        ready(Ok(expected)).boxed()
    }
}

#[derive(Debug, Default)]
struct Content {
    logs: HashMap<ChannelKey, ChannelLog, ahash::RandomState>,
    channels: BTreeMap<ChannelId, ChannelRecord>,
    names: HashMap<ChannelKey, ChannelId, ahash::RandomState>,
    members: HashMap<ChannelKey, BTreeMap<UserId, Membership>, ahash::RandomState>,
    cursors: HashMap<ChannelKey, BTreeMap<UserId, MemberCursor>, ahash::RandomState>,
    id_bounds: HashMap<u16, u64, ahash::RandomState>,
    inboxes: Inboxes,
    relations: Relations,
    revocations: BTreeMap<Option<UserId>, u64>,
    keeping: Keeping,
    intents: Intents,
    segments: Segments,
    archived: HashMap<ChannelKey, Archived, ahash::RandomState>,
}

impl Content {
    fn change_members(&mut self, channel: ChannelKey, changes: Vec<MembershipChange>) {
        let members = self.members.entry(channel).or_default();
        for change in changes {
            match change {
                MembershipChange::Set(member) => members.insert(member.user.clone(), member),
                MembershipChange::Removed(user) => members.remove(&user),
            };
        }
    }

    fn advance(&mut self, wish: CursorMove) -> MemberCursor {
        let cursors = self.cursors.entry(wish.channel).or_default();
        let cursor = cursors
            .entry(wish.user.clone())
            .or_insert_with(|| MemberCursor::new(wish.user.clone()));
        cursor.merge(&wish);
        cursor.clone()
    }
}

/// The epoch of channels in a store that is created at this moment.
pub fn birth_of(now: SystemTime) -> Epoch {
    let since_unix = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let seconds = since_unix.saturating_sub(IDS_BEGIN_UNIX_SECS).max(1);
    Epoch(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// The entries after a key, in order.
fn page<K: Ord, V: Clone>(all: &BTreeMap<K, V>, after: Option<&K>, limit: usize) -> Vec<V> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    all.range((from, Bound::Unbounded)).take(limit).map(|(_, value)| value.clone()).collect()
}

const ENGINE: &str = "memory";

/// 2024-01-01 00:00 UTC, where ids and epochs begin.
const IDS_BEGIN_UNIX_SECS: u64 = 1_704_067_200;
