//! The committer: the one thread that writes. It takes the write that waits first and all that
//! wait behind it, up to a bound, makes one batch of them, writes and syncs it, notes its number in
//! the guard file and answers. It never waits for more: the next group gathers by itself while
//! this one is being synced. Ends when the engine is dropped, is closed, or a write has failed.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use sterna_storage::StorageError;
use tokio::sync::oneshot;

use crate::database::Database;
use crate::engine::State;
use crate::group::{Gathered, Group, Sync};
use crate::guard::Guard;
use crate::open::{COMMIT_KEY, Opened, stage_number};
use crate::{Durability, ENGINE, RocksConfig};

/// What waits for the committer.
pub(crate) enum Job {
    Write(Stage),
    /// Sync, answer and end.
    Close(oneshot::Sender<Result<(), StorageError>>),
}

/// Decides a write and stages it; the answer is given once the group's fate is known.
pub(crate) type Stage = Box<dyn FnOnce(&mut Group) -> Answer + Send>;
pub(crate) type Answer = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

pub(crate) struct Committer {
    database: Arc<Database>,
    state: Arc<State>,
    guard: Guard,
    durability: Durability,
    group: Group,
    group_writes: usize,
    group_bytes: usize,
    /// Number of the newest commit.
    commit: u64,
}

impl Committer {
    pub(crate) fn new(opened: Opened, state: Arc<State>, config: &RocksConfig) -> Self {
        let group = Group::new(opened.database.clone(), opened.birth, config.cached_heads);
        Self {
            database: opened.database,
            state,
            guard: opened.guard,
            durability: config.durability,
            group,
            group_writes: config.group_writes.max(1),
            group_bytes: config.group_bytes,
            commit: opened.commit,
        }
    }

    /// The thread's body.
    pub(crate) fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let (answers, close) = self.gather(first, queue);
            let outcome = self.commit();
            if let Err(error) = &outcome {
                tracing::error!(%error, "the store has failed");
                self.state.set_fatal(error.clone());
            }
            for answer in answers {
                answer(outcome.clone());
            }
            match close {
                Some(answer) => {
                    let closed = outcome.and_then(|()| self.finish());
                    // Whoever closes may have given up waiting.
                    let _ = answer.send(closed);
                    return;
                }
                None if outcome.is_err() => return,
                None => {}
            }
        }
    }

    fn gather(
        &mut self,
        first: Job,
        queue: &Receiver<Job>,
    ) -> (Vec<Answer>, Option<oneshot::Sender<Result<(), StorageError>>>) {
        let mut answers = Vec::new();
        let mut close = None;
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Write(stage) => answers.push(stage(&mut self.group)),
                Job::Close(answer) => {
                    close = Some(answer);
                    break;
                }
            }
            let room = answers.len() < self.group_writes && self.group.bytes() < self.group_bytes;
            next = if room { queue.try_recv().ok() } else { None };
        }
        self.state.on_gathered(answers.len());
        (answers, close)
    }

    fn commit(&mut self) -> Result<(), StorageError> {
        let Some(Gathered { mut batch, publications, sync }) = self.group.take() else {
            return Ok(());
        };
        let started = Instant::now();
        self.commit += 1;
        stage_number(&self.database, &mut batch, COMMIT_KEY, self.commit);
        let sync = sync == Sync::Now && self.durability == Durability::Fsync;
        self.database.write(batch, sync)?;
        // Never before the sync: a claim of what is not there would refuse a store that is whole.
        if sync || self.durability == Durability::Os {
            self.claim()?;
        }
        let seconds = started.elapsed().as_secs_f64();
        metrics::histogram!("sterna_storage_commit_seconds", "engine" => ENGINE).record(seconds);
        metrics::histogram!("sterna_storage_commit_publications", "engine" => ENGINE)
            .record(publications as f64);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StorageError> {
        let synced = self.database.sync().and_then(|()| self.claim());
        if let Err(error) = &synced {
            tracing::error!(%error, "the store has failed");
            self.state.set_fatal(error.clone());
        }
        synced
    }

    fn claim(&mut self) -> Result<(), StorageError> {
        self.guard.claim(self.commit).map_err(|error| self.database.write_error(error))
    }
}
