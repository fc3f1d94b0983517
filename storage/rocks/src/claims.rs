//! What lies between a synced group and its answers: the claim in the guard file. While groups wait
//! for the committer, a thread of its own makes the claims, so that the next group is being synced
//! meanwhile; the newest of several claims stands for all. When nobody waits, the committer makes
//! the claim itself, which spares a lone writer the way to another thread and back.
//!
//! In either case a group is claimed after it was synced and answered after it was claimed, and
//! claims only go up. The thread ends when the committer does, after what waits is answered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use sterna_storage::StorageError;

use crate::ENGINE;
use crate::committer::Answer;
use crate::database::Database;
use crate::engine::{State, panicked, thread_error};
use crate::guard::Guard;

/// A synced group.
pub(crate) struct Unclaimed {
    pub(crate) commit: u64,
    pub(crate) answers: Vec<Answer>,
}

/// The committer's side.
pub(crate) struct Claims {
    claimer: Claimer,
    /// `None` only while dropping.
    groups: Option<SyncSender<Unclaimed>>,
    thread: Option<JoinHandle<()>>,
}

impl Claims {
    pub(crate) fn start(
        guard: Guard,
        database: Arc<Database>,
        state: Arc<State>,
    ) -> Result<Self, StorageError> {
        let guard = Arc::new(Mutex::new(guard));
        let claimer = Claimer { guard, database, state, unclaimed: Arc::default() };
        let (groups, queue) = sync_channel(UNCLAIMED_GROUPS);
        let thread = claimer.clone();
        let thread = thread::Builder::new()
            .name("sterna-claim".to_owned())
            .spawn(move || thread.run(&queue))
            .map_err(thread_error)?;
        Ok(Self { claimer, groups: Some(groups), thread: Some(thread) })
    }

    /// Claims and answers the group, now or soon: `now` when there is nothing better to do.
    pub(crate) fn claim(&self, group: Unclaimed, now: bool) {
        // Claims that are under way come first.
        if now && self.claimer.unclaimed.load(Ordering::Acquire) == 0 {
            return self.claimer.claim(vec![group]);
        }
        self.claimer.count(1);
        let groups = self.groups.as_ref().unwrap_or_else(|| unreachable!("taken by drop only"));
        if let Err(unsent) = groups.send(group) {
            self.claimer.refuse(unsent.0.answers, panicked());
        }
    }

    /// Makes and answers all claims that are under way, and ends.
    pub(crate) fn finish(&mut self) {
        self.groups = None;
        let Some(thread) = self.thread.take() else { return };
        if thread.join().is_err() {
            tracing::error!("the thread that claims has panicked");
            self.claimer.state.set_fatal(panicked());
        }
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        self.finish();
    }
}

#[derive(Clone)]
struct Claimer {
    guard: Arc<Mutex<Guard>>,
    database: Arc<Database>,
    state: Arc<State>,
    /// Groups that were handed over and are not claimed.
    unclaimed: Arc<AtomicUsize>,
}

impl Claimer {
    fn run(self, queue: &Receiver<Unclaimed>) {
        while let Ok(first) = queue.recv() {
            let groups: Vec<_> = std::iter::once(first).chain(queue.try_iter()).collect();
            let count = groups.len();
            self.claim(groups);
            self.count(-(count as isize));
        }
    }

    /// The newest stands for all.
    fn claim(&self, groups: Vec<Unclaimed>) {
        let Some(newest) = groups.iter().map(|group| group.commit).max() else { return };
        let answers = groups.into_iter().flat_map(|group| group.answers);
        match self.write(newest) {
            Ok(()) => answers.for_each(|answer| answer(Ok(()))),
            Err(error) => self.refuse(answers, error),
        }
    }

    fn write(&self, commit: u64) -> Result<(), StorageError> {
        // After a failure nothing is claimed, as nothing is synced twice.
        self.state.check_alive()?;
        // A claim that panicked half-way is a torn one, which is written over.
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        guard.claim(commit).map_err(|error| self.database.write_error(error))
    }

    fn refuse(&self, answers: impl IntoIterator<Item = Answer>, error: StorageError) {
        tracing::error!(%error, "the store has failed");
        self.state.set_fatal(error.clone());
        answers.into_iter().for_each(|answer| answer(Err(error.clone())));
    }

    fn count(&self, by: isize) {
        let before = self.unclaimed.fetch_add(by.cast_unsigned(), Ordering::AcqRel);
        let now = before.wrapping_add_signed(by);
        metrics::gauge!("sterna_storage_unclaimed_depth", "engine" => ENGINE).set(now as f64);
    }
}

/// Synced groups that wait for the thread; the committer waits when there are more.
const UNCLAIMED_GROUPS: usize = 8;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;
    use crate::{RocksConfig, open};

    #[test]
    fn nothing_is_answered_before_it_is_claimed_and_the_newest_claim_stands_for_all() {
        let directory = tempfile::tempdir().unwrap();
        let mut place = Place::new(directory.path());
        let guard = place.claims.claimer.guard.clone();
        let held = guard.lock().unwrap();
        place.claim(5, false);
        place.claim(6, false);
        place.claim(7, false);
        // Nobody waits, and yet it must not overtake those.
        place.claim(8, true);
        assert!(place.answered.try_recv().is_err(), "nothing is claimed");
        assert_eq!(held.read().unwrap(), Some(FIRST));
        drop(held);
        place.claims.finish();
        let answers: Vec<_> = place.answered.try_iter().collect();
        assert_eq!(answers, [(5, true), (6, true), (7, true), (8, true)]);
        assert_eq!(guard.lock().unwrap().read().unwrap(), Some(8));
    }

    #[test]
    fn a_claim_of_a_lone_writer_is_made_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::new(directory.path());
        place.claim(5, true);
        assert_eq!(place.answered.try_recv(), Ok((5, true)));
        assert_eq!(place.claims.claimer.guard.lock().unwrap().read().unwrap(), Some(5));
    }

    #[test]
    fn after_a_failure_nothing_is_claimed() {
        let directory = tempfile::tempdir().unwrap();
        let mut place = Place::new(directory.path());
        place.claims.claimer.state.set_fatal(panicked());
        place.claim(5, false);
        place.claim(6, true);
        place.claims.finish();
        let mut answers: Vec<_> = place.answered.try_iter().collect();
        answers.sort();
        assert_eq!(answers, [(5, false), (6, false)]);
        assert_eq!(place.claims.claimer.guard.lock().unwrap().read().unwrap(), Some(FIRST));
    }

    #[test]
    fn groups_that_wait_are_counted() {
        let recorder = metrics_util::debugging::DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let directory = tempfile::tempdir().unwrap();
        let mut place = Place::new(directory.path());
        let guard = place.claims.claimer.guard.clone();
        let held = guard.lock().unwrap();
        metrics::with_local_recorder(&recorder, || {
            place.claim(5, false);
            place.claim(6, false);
        });
        let found = crate::tests::moved_since(&snapshotter);
        assert_eq!(found["sterna_storage_unclaimed_depth engine=rocksdb"], 2.0);
        drop(held);
        place.claims.finish();
        assert_eq!(place.claims.claimer.unclaimed.load(Ordering::Acquire), 0);
    }

    struct Place {
        claims: Claims,
        answer: SyncSender<(u64, bool)>,
        answered: Receiver<(u64, bool)>,
    }

    impl Place {
        fn new(directory: &std::path::Path) -> Self {
            let opened = open::open(&RocksConfig::new(directory)).unwrap();
            let (answer, answered) = sync_channel(10);
            let claims = Claims::start(opened.guard, opened.database, Arc::default()).unwrap();
            Self { claims, answer, answered }
        }

        fn claim(&self, commit: u64, now: bool) {
            let answer = self.answer.clone();
            let answer: Answer = Box::new(move |outcome: Result<(), StorageError>| {
                answer.send((commit, outcome.is_ok())).unwrap();
            });
            self.claims.claim(Unclaimed { commit, answers: vec![answer] }, now);
        }
    }

    /// What the guard file of a new store claims.
    const FIRST: u64 = 1;
}
