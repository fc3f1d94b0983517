//! The committer: the one thread that writes. It takes the write that waits first and all that
//! wait behind it, up to a bound, makes one batch of them, writes and syncs it, and has it claimed
//! in the guard file and answered. It never waits for more: the next group gathers by itself while
//! this one is being synced. Ends when the engine is dropped, is closed, or a write has failed.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Instant;

use sterna_storage::StorageError;
use tokio::sync::oneshot;

use crate::claims::{Claims, Unclaimed};
use crate::database::Database;
use crate::engine::State;
use crate::group::{Gathered, Group, Sync};
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
    claims: Claims,
    durability: Durability,
    group: Group,
    group_writes: usize,
    group_bytes: usize,
    /// Number of the newest commit.
    commit: u64,
}

impl Committer {
    pub(crate) fn new(
        opened: Opened,
        state: Arc<State>,
        config: &RocksConfig,
    ) -> Result<Self, StorageError> {
        let claims = Claims::start(opened.guard, opened.database.clone(), state.clone())?;
        let group = Group::new(opened.database.clone(), opened.birth, config.cached_heads);
        Ok(Self {
            database: opened.database,
            state,
            claims,
            durability: config.durability,
            group,
            group_writes: config.group_writes.max(1),
            group_bytes: config.group_bytes,
            commit: opened.commit,
        })
    }

    /// The thread's body.
    pub(crate) fn run(mut self, queue: &Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let (answers, close) = self.gather(first, queue);
            let committed = self.state.check_alive().and_then(|()| self.commit());
            let failed = committed.is_err();
            match committed {
                Ok(Committed::Unclaimed) => {
                    let group = Unclaimed { commit: self.commit, answers };
                    self.claims.claim(group, self.state.nobody_waits());
                }
                Ok(Committed::NoClaim) => answers.into_iter().for_each(|answer| answer(Ok(()))),
                Err(error) => {
                    self.fail(&error);
                    answers.into_iter().for_each(|answer| answer(Err(error.clone())));
                }
            }
            if let Some(answer) = close {
                // Whoever closes may have given up waiting.
                let _ = answer.send(self.finish());
                return;
            }
            if failed {
                return;
            }
        }
    }

    fn gather(
        &mut self,
        first: Job,
        queue: &Receiver<Job>,
    ) -> (Vec<Answer>, Option<oneshot::Sender<Result<(), StorageError>>>) {
        // Whoever is about to write and waits for this processor gets to; at once if nobody does.
        // A sync for each few publications would cost more time than it saves.
        thread::yield_now();
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

    fn commit(&mut self) -> Result<Committed, StorageError> {
        let Some(Gathered { mut batch, publications, sync }) = self.group.take() else {
            return Ok(Committed::NoClaim);
        };
        let started = Instant::now();
        self.commit += 1;
        stage_number(&self.database, &mut batch, COMMIT_KEY, self.commit);
        let sync = sync == Sync::Now && self.durability == Durability::Fsync;
        self.database.write(batch, sync)?;
        let seconds = started.elapsed().as_secs_f64();
        metrics::histogram!("sterna_storage_commit_seconds", "engine" => ENGINE).record(seconds);
        metrics::histogram!("sterna_storage_commit_publications", "engine" => ENGINE)
            .record(publications as f64);
        // Never before the sync: a claim of what is not there would refuse a store that is whole.
        let claim = sync || self.durability == Durability::Os;
        Ok(if claim { Committed::Unclaimed } else { Committed::NoClaim })
    }

    /// Syncs and claims what no group has, and waits for every claim.
    fn finish(&mut self) -> Result<(), StorageError> {
        let synced = self.state.check_alive().and_then(|()| self.database.sync());
        match synced {
            Ok(()) => {
                let group = Unclaimed { commit: self.commit, answers: Vec::new() };
                self.claims.claim(group, false);
            }
            Err(error) => self.fail(&error),
        }
        self.claims.finish();
        self.state.check_alive()
    }

    fn fail(&self, error: &StorageError) {
        tracing::error!(%error, "the store has failed");
        self.state.set_fatal(error.clone());
    }
}

/// What a group still needs before it is answered.
enum Committed {
    /// Nothing: it changed nothing, or nothing that is worth a sync.
    NoClaim,
    /// That it is claimed in the guard file.
    Unclaimed,
}
