//! The roster in memory: for tests, and for engines that serve one process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use crate::{RosterEntry, RosterError, RosterStore, StorageError};

/// Nodes that beat within this process.
#[derive(Debug, Default)]
pub struct MemoryRoster {
    nodes: Mutex<BTreeMap<String, Heard>>,
}

#[derive(Debug)]
struct Heard {
    incarnation: u64,
    content: Bytes,
    /// `None` once it has left.
    at: Option<Instant>,
}

impl MemoryRoster {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Heard>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RosterStore for MemoryRoster {
    fn beat(
        &self,
        entry: RosterEntry,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Vec<RosterEntry>, RosterError>> {
        let mut nodes = self.nodes();
        let stored = nodes.get(&entry.name).map(|heard| heard.incarnation);
        if let Some(incarnation) = stored.filter(|stored| *stored > entry.incarnation) {
            return ready(Err(RosterError::Superseded { incarnation })).boxed();
        }
        let RosterEntry { name, incarnation, content } = entry;
        nodes.insert(name.clone(), Heard { incarnation, content, at: Some(Instant::now()) });
        let alive = nodes.iter().filter(|(other, heard)| {
            **other == name || heard.at.is_some_and(|at| at.elapsed() < lease)
        });
        let entries = alive.map(|(name, heard)| RosterEntry {
            name: name.clone(),
            incarnation: heard.incarnation,
            content: heard.content.clone(),
        });
        ready(Ok(entries.collect())).boxed()
    }

    fn leave<'a>(
        &'a self,
        name: &'a str,
        incarnation: u64,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        if let Some(heard) = self.nodes().get_mut(name)
            && heard.incarnation <= incarnation
        {
            (heard.incarnation, heard.at) = (incarnation, None);
        }
        ready(Ok(())).boxed()
    }
}
