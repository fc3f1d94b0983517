//! The volatile roles in this process's memory: for a node alone, and the reference for other
//! engines. Values made by [`Clone`] share one content. It ends with the last of them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::{Boot, IdFloor, LossSentinel, Partition, Partitions, Sentinel, VolatileStores};
use crate::StorageError;

mod directory;
mod idempotency;
mod presence;
mod rates;
mod routes;
#[cfg(test)]
mod tests;

use directory::{Edges, Sessions};
use idempotency::Commands;
use presence::Deltas;
use rates::Buckets;
use routes::Routes;

/// All volatile roles in memory.
#[derive(Clone)]
pub struct MemoryVolatile {
    partitions: Partitions,
    content: Arc<Mutex<Content>>,
    clock: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl MemoryVolatile {
    /// Empty, with the machine's clock.
    pub fn new(partitions: Partitions) -> Self {
        let start = Instant::now();
        Self::with_clock(partitions, move || start.elapsed())
    }

    /// The same with a clock that a test holds: the time since any fixed moment, never going back.
    pub fn with_clock(
        partitions: Partitions,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        Self { partitions, content: Arc::default(), clock: Arc::new(clock) }
    }

    /// This content in all roles.
    pub fn stores(&self) -> VolatileStores {
        let handle = Arc::new(self.clone());
        VolatileStores {
            routes: handle.clone(),
            directory: handle.clone(),
            presence: handle.clone(),
            rates: handle.clone(),
            idempotency: handle.clone(),
            id_floor: handle.clone(),
            sentinel: handle,
        }
    }

    /// Loses everything, as a flush of Redis does.
    pub fn forget(&self) {
        let mut content = self.content();
        let numbers = content.numbers;
        let mut routes = std::mem::take(&mut content.routes);
        routes.forget();
        *content = Content { numbers, routes, ..Content::default() };
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // Nothing below panics half-way through a change, so a poisoned content is still whole.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        (self.clock)()
    }
}

impl fmt::Debug for MemoryVolatile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryVolatile")
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

impl IdFloor for MemoryVolatile {
    fn raise_floor(&self, worker: u16, floor_ms: u64) -> BoxFuture<'_, Result<u64, StorageError>> {
        let mut content = self.content();
        let floor = content.floors.entry(worker).or_default();
        *floor = floor_ms.max(*floor);
        ready(Ok(*floor)).boxed()
    }
}

impl LossSentinel for MemoryVolatile {
    fn check_loss(
        &self,
        partition: Partition,
        remembered: Option<Boot>,
    ) -> BoxFuture<'_, Result<Sentinel, StorageError>> {
        let mut content = self.content();
        let number = content.number();
        let now = *content.boots.entry(partition).or_insert(Boot(u128::from(number)));
        let found = if remembered == Some(now) { Sentinel::Same } else { Sentinel::Lost { now } };
        ready(Ok(found)).boxed()
    }
}

#[derive(Debug, Default)]
struct Content {
    /// Given out so far, by [`Content::number`]; outlives a loss.
    numbers: u64,
    routes: Routes,
    sessions: Sessions,
    edges: Edges,
    deltas: BTreeMap<Partition, Deltas>,
    buckets: Buckets,
    commands: Commands,
    floors: BTreeMap<u16, u64>,
    boots: BTreeMap<Partition, Boot>,
}

impl Content {
    /// One that was never given before.
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

/// A map whose values end by themselves. Those that are over are removed when it has doubled, so
/// it holds at most twice what runs.
#[derive(Debug)]
struct Ending<K, V> {
    map: HashMap<K, V, ahash::RandomState>,
    look_at: usize,
}

impl<K: Eq + Hash, V> Ending<K, V> {
    fn make_room(&mut self, is_over: impl Fn(&V) -> bool) {
        if self.map.len() >= self.look_at {
            self.map.retain(|_, value| !is_over(value));
            self.look_at = (self.map.len() * 2).max(FIRST_LOOK);
        }
    }
}

impl<K, V> Default for Ending<K, V> {
    fn default() -> Self {
        Self { map: HashMap::default(), look_at: FIRST_LOOK }
    }
}

const FIRST_LOOK: usize = 1024;

const ENGINE: &str = "memory";
