//! The running store: hands writes to the committer and pages to the readers, and knows whether
//! there is still a store to hand them to. Dropping it lets what waits be written and joins the
//! threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use sterna_storage::{StorageError, StorageErrorKind};
use tokio::sync::oneshot;

use crate::committer::{Answer, Committer, Job};
use crate::database::Database;
use crate::group::Group;
use crate::open::Opened;
use crate::readers::Readers;
use crate::{ENGINE, RocksConfig};

#[derive(Debug)]
pub(crate) struct Engine {
    database: Arc<Database>,
    state: Arc<State>,
    /// `None` only while dropping.
    writes: Option<SyncSender<Job>>,
    committer: Option<JoinHandle<()>>,
    readers: Readers,
}

impl Engine {
    pub(crate) fn start(opened: Opened, config: &RocksConfig) -> Result<Self, StorageError> {
        let database = opened.database.clone();
        let readers = Readers::start(&database, config.reader_threads, config.queue_reads)?;
        let state = Arc::new(State::default());
        let (writes, queue) = sync_channel(config.queue_writes.max(1));
        let committer = Committer::new(opened, state.clone(), config)?;
        let committer = thread::Builder::new()
            .name("sterna-commit".to_owned())
            .spawn(move || committer.run(&queue))
            .map_err(thread_error)?;
        Ok(Self { database, state, writes: Some(writes), committer: Some(committer), readers })
    }

    /// Has the committer decide and stage something; completes when its group is committed. The
    /// write may still happen when the future is dropped.
    pub(crate) fn write<T: Send + 'static>(
        &self,
        stage: impl FnOnce(&mut Group) -> Result<T, StorageError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StorageError>> {
        let (answer, answered) = oneshot::channel();
        let stage = Box::new(move |group: &mut Group| -> Answer {
            let verdict = stage(group);
            // A caller that has gone away needs no answer.
            Box::new(move |outcome| drop(answer.send(outcome.and(verdict))))
        });
        if let Err(error) = self.send(Job::Write(stage)) {
            return ready(Err(error)).boxed();
        }
        async move { answered.await.unwrap_or_else(|_| Err(self.state.ended())) }.boxed()
    }

    /// A read that is answered at once: a look into memory, at worst one block of one file.
    pub(crate) fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Database) -> Result<T, StorageError>,
    ) -> BoxFuture<'_, Result<T, StorageError>> {
        ready(self.state.check_alive().and_then(|()| look(&self.database))).boxed()
    }

    /// A read of many rows, on a reader thread.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, StorageError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StorageError>> {
        if let Err(error) = self.state.check_alive() {
            return ready(Err(error)).boxed();
        }
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move |database: &Database| drop(answer.send(read(database))));
        if let Err(error) = self.readers.try_read(job) {
            return ready(Err(error)).boxed();
        }
        async move { answered.await.unwrap_or_else(|_| Err(self.state.ended())) }.boxed()
    }

    /// What everybody reads, on the caller's thread. Not after a failed write.
    pub(crate) fn database(&self) -> Result<&Database, StorageError> {
        self.state.check_alive().map(|()| &*self.database)
    }

    pub(crate) fn directory(&self) -> &std::path::Path {
        self.database.directory()
    }

    /// Refuses later writes and syncs the earlier ones.
    pub(crate) fn close(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        async {
            self.state.check_alive()?;
            if self.state.closed.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
            let (answer, answered) = oneshot::channel();
            self.close_behind_all(answer).await?;
            answered.await.unwrap_or_else(|_| Err(self.state.ended()))
        }
        .boxed()
    }

    /// Queues the closing. The queue only shrinks now, so room comes with the next group.
    async fn close_behind_all(
        &self,
        answer: oneshot::Sender<Result<(), StorageError>>,
    ) -> Result<(), StorageError> {
        let mut job = Job::Close(answer);
        loop {
            // Listening before trying, or the group that makes room could go unheard.
            let mut gathered = std::pin::pin!(self.state.gathered.notified());
            gathered.as_mut().enable();
            match self.writes().try_send(job) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(self.state.ended()),
                Err(TrySendError::Full(back)) => job = back,
            }
            gathered.await;
        }
    }

    fn send(&self, job: Job) -> Result<(), StorageError> {
        self.state.check_alive()?;
        if self.state.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        self.state.waiting.fetch_add(1, Ordering::Relaxed);
        let Err(error) = self.writes().try_send(job) else { return Ok(()) };
        self.state.waiting.fetch_sub(1, Ordering::Relaxed);
        match error {
            TrySendError::Full(_) => Err(refused("commit")),
            TrySendError::Disconnected(_) => Err(self.state.ended()),
        }
    }

    fn writes(&self) -> &SyncSender<Job> {
        self.writes.as_ref().unwrap_or_else(|| unreachable!("taken by drop only"))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.writes = None;
        if let Some(committer) = self.committer.take()
            && committer.join().is_err()
        {
            tracing::error!("the committer has panicked");
        }
    }
}

/// What the committer and its callers tell each other beside the queue.
#[derive(Debug, Default)]
pub(crate) struct State {
    closed: AtomicBool,
    fatal: OnceLock<StorageError>,
    waiting: AtomicUsize,
    gathered: tokio::sync::Notify,
}

impl State {
    pub(crate) fn set_fatal(&self, error: StorageError) {
        // The first failure is the cause; later ones follow from it.
        let _ = self.fatal.set(error);
    }

    pub(crate) fn on_gathered(&self, writes: usize) {
        let waiting = self.waiting.fetch_sub(writes, Ordering::Relaxed).saturating_sub(writes);
        metrics::gauge!("sterna_storage_queue_depth", "engine" => ENGINE).set(waiting as f64);
        self.gathered.notify_waiters();
    }

    /// No write is queued behind those that were gathered.
    pub(crate) fn nobody_waits(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn check_alive(&self) -> Result<(), StorageError> {
        self.fatal.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Why there was no answer.
    fn ended(&self) -> StorageError {
        if let Some(error) = self.fatal.get() {
            return error.clone();
        }
        if self.closed.load(Ordering::Acquire) {
            return closed();
        }
        panicked()
    }
}

pub(crate) fn panicked() -> StorageError {
    let message = "a thread of the store has panicked; stop the process and start again";
    StorageError::new(StorageErrorKind::Fatal, ENGINE, message)
}

/// A bounded queue is full.
pub(crate) fn refused(queue: &'static str) -> StorageError {
    metrics::counter!("sterna_storage_refused_total", "engine" => ENGINE, "queue" => queue)
        .increment(1);
    let message = format!("the {queue} queue is full; nothing was done, try again later");
    StorageError::new(StorageErrorKind::Unavailable, ENGINE, message)
}

pub(crate) fn thread_error(error: std::io::Error) -> StorageError {
    let message = format!("a thread could not be started ({error}); see to the process limits");
    StorageError::new(StorageErrorKind::Unavailable, ENGINE, message).with_source(error)
}

fn closed() -> StorageError {
    StorageError::new(StorageErrorKind::Unavailable, ENGINE, "closed; nothing was stored")
}
