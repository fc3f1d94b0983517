//! Publication ids: 41 bits of milliseconds since 2024-01-01 UTC, 10 bits of worker, 12 bits of
//! sequence. They name; they never order.
//!
//! I10: an id never repeats, whatever the clock does. The generator issues only times below a
//! bound that is durable before, starts at the bound that it finds, and never goes back: a clock
//! that is set back is simply not followed until it has caught up.

use std::sync::{Arc, Mutex, PoisonError};

use sterna_proto::PublicationId;
use sterna_storage::{IdBoundStore, StorageError, StorageErrorKind};

use tokio::sync::Notify;

use crate::clock::Clock;

/// 2024-01-01T00:00:00Z in Unix milliseconds.
pub const ID_EPOCH_UNIX_MS: u64 = 1_704_067_200_000;

pub use sterna_storage::id_lease::ID_WORKERS;

/// How far ahead of the clock the bound is put: one durable write in this time.
const BOUND_STEP_MS: u64 = 10_000;

/// A floor further ahead is a mistake of somebody's, and would use ids up.
const FLOOR_AHEAD_MS: u64 = 24 * 3600 * 1000;

const SEQUENCE_BITS: u32 = 12;
const WORKER_BITS: u32 = 10;
const SEQUENCES: u64 = 1 << SEQUENCE_BITS;

/// Issues ids for one worker number. Shared by all shards of a node.
#[derive(Debug)]
pub struct IdGenerator {
    clock: Arc<dyn Clock>,
    store: Arc<dyn IdBoundStore>,
    state: Mutex<State>,
    raising: tokio::sync::Mutex<()>,
    lost: Notify,
}

#[derive(Debug)]
struct State {
    worker: u16,
    /// The number is used by another generator.
    lost: bool,
    /// Time and sequence of the next id.
    time_ms: u64,
    sequence: u64,
    /// Times below are durable.
    bound_ms: u64,
}

impl IdGenerator {
    /// Continues above everything that this worker number may have issued.
    pub async fn start(
        worker: u16,
        clock: Arc<dyn Clock>,
        store: Arc<dyn IdBoundStore>,
    ) -> Result<Self, StorageError> {
        let bound_ms = store.id_bound(worker).await?;
        let state = Mutex::new(State::new(worker, bound_ms));
        let raising = tokio::sync::Mutex::default();
        Ok(Self { clock, store, state, raising, lost: Notify::new() })
    }

    /// The next id, or the bound that has to be [raised](Self::raise) to first: that takes one
    /// durable write in ten seconds.
    pub fn try_next(&self) -> Result<PublicationId, u64> {
        let now_ms = self.clock.unix_ms().saturating_sub(ID_EPOCH_UNIX_MS);
        let mut state = self.lock();
        if now_ms > state.time_ms
            || sterna_storage::planted!(IdsFollowClock) && now_ms != state.time_ms
        {
            state.time_ms = now_ms;
            state.sequence = 0;
        }
        if state.time_ms >= state.bound_ms {
            return Err(state.time_ms + BOUND_STEP_MS);
        }
        Ok(state.issue())
    }

    /// The bound that has to be raised before the next id, if that is due.
    pub fn wanted_bound(&self) -> Option<u64> {
        let now_ms = self.clock.unix_ms().saturating_sub(ID_EPOCH_UNIX_MS);
        let state = self.lock();
        let time_ms = now_ms.max(state.time_ms);
        (time_ms >= state.bound_ms).then_some(time_ms + BOUND_STEP_MS)
    }

    /// Makes a bound durable. `Unavailable` when another generator has raised the bound of this
    /// number: its ids are its own from there on, and this one has none left (I10).
    pub async fn raise(&self, bound_ms: u64) -> Result<(), StorageError> {
        let _raising = self.raising.lock().await;
        let (worker, expected_ms) = {
            let state = self.lock();
            (state.worker, state.bound_ms)
        };
        if expected_ms >= bound_ms {
            return Ok(());
        }
        if !self.store.raise_id_bound(worker, expected_ms, bound_ms).await? {
            self.lock().lost = true;
            self.lost.notify_one();
            return Err(taken(worker));
        }
        self.lock().bound_ms = bound_ms;
        Ok(())
    }

    /// The worker number, and the time below which its ids are durably its own.
    pub fn bound(&self) -> (u16, u64) {
        let state = self.lock();
        (state.worker, state.bound_ms)
    }

    /// Issues nothing below this time any more. False: it is nothing that any clock could have
    /// shown, or the number is another one by now.
    pub fn skip_to(&self, worker: u16, time_ms: u64) -> bool {
        let now_ms = self.clock.unix_ms().saturating_sub(ID_EPOCH_UNIX_MS);
        let mut state = self.lock();
        if worker != state.worker || time_ms > now_ms.max(state.time_ms) + FLOOR_AHEAD_MS {
            return false;
        }
        if time_ms > state.time_ms {
            (state.time_ms, state.sequence) = (time_ms, 0);
        }
        true
    }

    /// Whether another generator issues ids under this number, whoever it belongs to by now.
    pub fn is_useless(&self) -> bool {
        self.lock().lost
    }

    /// Completes when this generator needs another number.
    pub async fn became_useless(&self) {
        self.lost.notified().await;
    }

    /// Issues ids under another number from now on, above everything that it may have issued.
    pub async fn continue_as(&self, worker: u16) -> Result<(), StorageError> {
        let _raising = self.raising.lock().await;
        let bound_ms = self.store.id_bound(worker).await?;
        *self.lock() = State::new(worker, bound_ms);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another generator issues ids under this number, whoever it belongs to by now.
fn taken(worker: u16) -> StorageError {
    let message = format!(
        "worker number {worker} is used by another generator: no ids from this one any more"
    );
    StorageError::new(StorageErrorKind::Unavailable, "ids", message)
}

impl State {
    /// Nothing may be issued before the bound has been raised.
    fn new(worker: u16, bound_ms: u64) -> Self {
        Self { worker, lost: false, time_ms: bound_ms, sequence: 0, bound_ms }
    }

    fn issue(&mut self) -> PublicationId {
        let id = self.time_ms << (SEQUENCE_BITS + WORKER_BITS)
            | u64::from(self.worker) << SEQUENCE_BITS
            | self.sequence;
        self.sequence += 1;
        if self.sequence == SEQUENCES {
            self.time_ms += 1;
            self.sequence = 0;
        }
        PublicationId(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use std::collections::HashSet;
    use sterna_storage::memory::MemoryStore;

    async fn take(ids: &IdGenerator) -> PublicationId {
        loop {
            match ids.try_next() {
                Ok(id) => return id,
                Err(bound_ms) => ids.raise(bound_ms).await.unwrap(),
            }
        }
    }

    #[tokio::test]
    async fn i10_ids_never_repeat_when_the_clock_goes_back_and_the_node_restarts() {
        let stores = MemoryStore::new().stores();
        let start = ID_EPOCH_UNIX_MS + 90_000_000_000;
        let clock = ManualClock::new(start);
        let mut seen = HashSet::new();
        for (restart, shift_ms) in [0, -3_600_000, 5, -86_400_000, 1_000].into_iter().enumerate() {
            clock.set_unix_ms(start.checked_add_signed(shift_ms).unwrap());
            let ids = IdGenerator::start(3, Arc::new(clock.clone()), stores.id_bound.clone())
                .await
                .unwrap();
            for round in 0..20 {
                for _ in 0..700 {
                    let id = take(&ids).await;
                    assert!(seen.insert(id), "repeated after restart {restart}, round {round}");
                    assert_eq!(id.0 >> SEQUENCE_BITS & 0x3ff, 3);
                }
                clock.set_unix_ms(clock.unix_ms() - 1000);
            }
        }
    }

    #[tokio::test]
    async fn i10_two_generators_of_one_number_never_issue_the_same_id() {
        let stores = MemoryStore::new().stores();
        let clock = ManualClock::new(ID_EPOCH_UNIX_MS + 1_000_000);
        let start = || IdGenerator::start(7, Arc::new(clock.clone()), stores.id_bound.clone());
        let paused = start().await.unwrap();
        let mut seen: HashSet<PublicationId> = HashSet::new();
        assert!(seen.insert(take(&paused).await));
        // Its lease has expired while it was paused, and the number was given to another.
        let other = start().await.unwrap();
        for _ in 0..5_000 {
            assert!(seen.insert(take(&other).await));
        }
        // What it had made durable is still its own, and ends.
        let refused = loop {
            match paused.try_next() {
                Ok(id) => assert!(seen.insert(id), "{id:?} was issued twice"),
                Err(bound_ms) => break paused.raise(bound_ms).await,
            }
            clock.set_unix_ms(clock.unix_ms() + 10);
        };
        assert_eq!(refused.unwrap_err().kind, StorageErrorKind::Unavailable);
        for _ in 0..5_000 {
            assert!(seen.insert(take(&other).await));
        }
    }

    #[tokio::test]
    async fn i10_ids_skip_what_a_forgotten_past_may_have_issued() {
        let stores = MemoryStore::new().stores();
        let clock = ManualClock::new(ID_EPOCH_UNIX_MS + 1_000_000);
        let ids = IdGenerator::start(3, Arc::new(clock), stores.id_bound).await.unwrap();
        assert!(ids.skip_to(3, 5_000_000));
        assert_eq!(take(&ids).await.0 >> 22, 5_000_000);
        assert!(ids.skip_to(3, 2_000_000), "already above it");
        assert_eq!(take(&ids).await.0 >> 22, 5_000_000);
        assert!(!ids.skip_to(4, 6_000_000), "another number's");
        assert!(!ids.skip_to(3, u64::MAX / 2), "no clock has shown that");
        assert_eq!(take(&ids).await.0 >> 22, 5_000_000);
    }

    #[tokio::test]
    async fn ids_grow_and_follow_the_clock() {
        let stores = MemoryStore::new().stores();
        let clock = ManualClock::new(ID_EPOCH_UNIX_MS + 1_000_000);
        let ids = IdGenerator::start(0, Arc::new(clock.clone()), stores.id_bound).await.unwrap();
        let first = take(&ids).await;
        clock.set_unix_ms(ID_EPOCH_UNIX_MS + 2_000_000);
        let second = take(&ids).await;
        assert_eq!(first.0 >> 22, 1_000_000);
        assert_eq!(second.0 >> 22, 2_000_000);
    }
}
