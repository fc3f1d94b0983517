//! Which worker of this node has a session.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use sterna_proto::SessionId;

const SHARDS: usize = 16;

/// Touched when sessions begin, move and end; never on the path of a publication.
#[derive(Debug, Default)]
pub struct SessionDirectory {
    shards: [Mutex<HashMap<SessionId, u16, RandomState>>; SHARDS],
}

impl SessionDirectory {
    pub fn insert(&self, session: SessionId, worker: u16) {
        self.shard(session).insert(session, worker);
    }

    /// Removes the session if it is still this worker's; whether it was.
    pub fn remove(&self, session: SessionId, worker: u16) -> bool {
        let mut shard = self.shard(session);
        let is_its_own = shard.get(&session) == Some(&worker);
        if is_its_own {
            shard.remove(&session);
        }
        is_its_own
    }

    /// It moves to another worker, if it is still this one's.
    pub fn hand_over(&self, session: SessionId, worker: u16, to: u16) {
        let mut shard = self.shard(session);
        if let Some(place) = shard.get_mut(&session).filter(|place| **place == worker) {
            *place = to;
        }
    }

    pub fn worker(&self, session: SessionId) -> Option<u16> {
        self.shard(session).get(&session).copied()
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, session: SessionId) -> MutexGuard<'_, HashMap<SessionId, u16, RandomState>> {
        let index = session.0 as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
