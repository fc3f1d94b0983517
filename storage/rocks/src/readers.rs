//! Threads that read pages, which may go to the disk many times. They are our own and few, rather
//! than the runtime's blocking pool: that one has hundreds of threads, so a burst of recoveries
//! would turn into hundreds of readers at once, and its queue has no bound to refuse at. They end
//! when the engine is dropped, after the page they are at.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use sterna_storage::{StorageError, StorageErrorKind};

use crate::ENGINE;
use crate::database::Database;
use crate::engine::{refused, thread_error};

pub(crate) type Read = Box<dyn FnOnce(&Database) + Send>;

pub(crate) struct Readers {
    /// `None` only while dropping.
    reads: Option<SyncSender<Read>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(crate) fn start(
        database: &Arc<Database>,
        threads: usize,
        queue_reads: usize,
    ) -> Result<Self, StorageError> {
        let (reads, queue) = sync_channel(queue_reads.max(1));
        let queue = Arc::new(Mutex::new(queue));
        let start = |n| {
            let (database, queue) = (database.clone(), queue.clone());
            thread::Builder::new()
                .name(format!("sterna-read-{n}"))
                .spawn(move || run(&database, &queue))
                .map_err(thread_error)
        };
        let threads = (0..threads.max(1)).map(start).collect::<Result<_, _>>()?;
        Ok(Self { reads: Some(reads), threads })
    }

    pub(crate) fn try_read(&self, read: Read) -> Result<(), StorageError> {
        let reads = self.reads.as_ref().unwrap_or_else(|| unreachable!("taken by drop only"));
        reads.try_send(read).map_err(|error| match error {
            TrySendError::Full(_) => refused("read"),
            TrySendError::Disconnected(_) => {
                let message = "the reader threads have panicked; stop the process";
                StorageError::new(StorageErrorKind::Fatal, ENGINE, message)
            }
        })
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.reads = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reader has panicked");
            }
        }
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Readers({})", self.threads.len())
    }
}

fn run(database: &Database, queue: &Mutex<Receiver<Read>>) {
    loop {
        // One reader waits in the queue, the others for it.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(read) = next else { return };
        read(database);
    }
}
