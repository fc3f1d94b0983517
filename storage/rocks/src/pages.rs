//! Old pages of the logs of a database elsewhere, on this machine's disk: a RocksDB of its own that
//! may be deleted at any moment, and is when it is damaged or of another database. The oldest of its
//! files go when there is no room.
//!
//! Nothing is synced, and nobody waits for a compaction: what a crash takes away is read again.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::{fmt, fs, io};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompactionStyle, DBCompressionType, FifoCompactOptions,
    Options, WriteBatch, WriteOptions,
};
use sterna_storage::page::{PAGE_BYTES, PageCache, PageName};
use sterna_storage::{StorageError, StorageErrorKind};
use tokio::sync::oneshot;

use crate::ENGINE;
use crate::engine::{refused, thread_error};

/// Calls that wait for the disk. Full: refused as unavailable; whoever asks does without.
pub const QUEUE_PAGES: usize = 256;

/// Says that a directory is one of pages, and of which database.
const MARK: &str = "STERNA-PAGES";

/// Of this layout.
const FORMAT: &str = "sterna pages 1";

/// Threads that go to the disk.
const THREADS: usize = 2;

/// Least room, below which files would hold next to nothing.
const LEAST_BYTES: u64 = 16 << 20;

type Job = Box<dyn FnOnce(&DB) + Send>;

/// See the module. Ends with what it is at when it is dropped.
pub struct PageFiles {
    /// `None` only while dropping.
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl PageFiles {
    /// Opens pages in a directory that nobody else uses, or begins anew if what lies there cannot be
    /// used. `database`: whose pages they are. A directory with anything else in it is left alone.
    pub fn open(directory: &Path, max_bytes: u64, database: &str) -> Result<Self, StorageError> {
        let max_bytes = max_bytes.max(LEAST_BYTES);
        let mark = format!("{FORMAT}\n{database}\n");
        if !is_kept(directory, &mark).map_err(|error| told(directory, &error))? {
            begin_anew(directory, &mark).map_err(|error| told(directory, &error))?;
        }
        let files = directory.join("files");
        let database = match DB::open(&options(max_bytes), &files) {
            Ok(database) => database,
            Err(error) if is_in_use(&error) => return Err(told(directory, &error)),
            Err(error) => {
                tracing::warn!(%error, directory = %directory.display(), "pages are damaged and begin anew");
                begin_anew(directory, &mark).map_err(|error| told(directory, &error))?;
                DB::open(&options(max_bytes), &files).map_err(|error| told(directory, &error))?
            }
        };
        Self::start(Arc::new(database))
    }

    fn start(database: Arc<DB>) -> Result<Self, StorageError> {
        let (jobs, queue) = sync_channel(QUEUE_PAGES);
        let queue = Arc::new(Mutex::new(queue));
        let start = |n| {
            let (database, queue) = (database.clone(), queue.clone());
            let thread = thread::Builder::new().name(format!("sterna-pages-{n}"));
            thread.spawn(move || run(&database, &queue)).map_err(thread_error)
        };
        let threads = (0..THREADS).map(start).collect::<Result<_, _>>()?;
        Ok(Self { jobs: Some(jobs), threads })
    }

    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&DB) -> Result<T, rocksdb::Error> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (answer, answered) = oneshot::channel();
        // Whoever asked may have lost patience.
        let job: Job = Box::new(move |database| drop(answer.send(work(database))));
        let jobs = self.jobs.as_ref().unwrap_or_else(|| unreachable!("taken by drop only"));
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => refused("pages"),
            TrySendError::Disconnected(_) => failed("the threads have panicked"),
        })?;
        match answered.await {
            Ok(done) => done.map_err(|error| failed(error.as_ref())),
            Err(_) => Err(failed("a thread has panicked")),
        }
    }
}

impl PageCache for PageFiles {
    fn pages(
        &self,
        names: Vec<PageName>,
    ) -> BoxFuture<'_, Result<Vec<Option<Bytes>>, StorageError>> {
        let read = move |database: &DB| {
            let found = database.multi_get(names.iter().map(key));
            Ok(found.into_iter().map(whole).collect())
        };
        self.ask(read).boxed()
    }

    fn keep(&self, pages: Vec<(PageName, Bytes)>) -> BoxFuture<'_, Result<(), StorageError>> {
        let write = move |database: &DB| {
            let mut batch = WriteBatch::default();
            for (name, page) in pages.iter().filter(|(_, page)| page.len() <= PAGE_BYTES) {
                batch.put(key(name), page);
            }
            database.write_opt(batch, &unsynced())
        };
        self.ask(write).boxed()
    }

    fn drop_pages(&self, names: Vec<PageName>) -> BoxFuture<'_, Result<(), StorageError>> {
        let write = move |database: &DB| {
            let mut batch = WriteBatch::default();
            names.iter().for_each(|name| batch.delete(key(name)));
            database.write_opt(batch, &unsynced())
        };
        self.ask(write).boxed()
    }
}

/// A block that does not verify is a page that is not there.
fn whole(found: Result<Option<Vec<u8>>, rocksdb::Error>) -> Option<Bytes> {
    found.map(|page| page.map(Bytes::from)).unwrap_or_else(|error| {
        tracing::warn!(%error, "a page on the disk is damaged");
        None
    })
}

impl Drop for PageFiles {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that reads pages has panicked");
            }
        }
    }
}

impl fmt::Debug for PageFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageFiles({})", self.threads.len())
    }
}

fn run(database: &DB, queue: &Mutex<Receiver<Job>>) {
    loop {
        // One thread waits in the queue, the others for it.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        job(database);
    }
}

/// Channel, epoch, number; big-endian.
fn key(name: &PageName) -> [u8; 28] {
    let mut key = [0; 28];
    key[..16].copy_from_slice(&name.channel.0);
    key[16..20].copy_from_slice(&name.epoch.0.to_be_bytes());
    key[20..].copy_from_slice(&name.number.to_be_bytes());
    key
}

fn unsynced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

fn options(max_bytes: u64) -> Options {
    let file_bytes = max_bytes / 8;
    let mut fifo = FifoCompactOptions::default();
    // What is in memory comes on top, until it is a file itself.
    fifo.set_max_table_files_size(max_bytes - file_bytes);
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(&Cache::new_lru_cache(8 << 20));
    tables.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_paranoid_checks(true);
    options.set_compaction_style(DBCompactionStyle::Fifo);
    options.set_fifo_compaction_options(&fifo);
    options.set_block_based_table_factory(&tables);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(usize::try_from(file_bytes).unwrap_or(usize::MAX).min(32 << 20));
    options.set_max_background_jobs(2);
    options.set_max_log_file_size(1 << 20);
    options.set_keep_log_file_num(2);
    options
}

/// Whether pages of this database are there. An error if the directory is somebody else's.
fn is_kept(directory: &Path, mark: &str) -> io::Result<bool> {
    match fs::read(directory.join(MARK)) {
        Ok(found) => return Ok(found == mark.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let is_empty = match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(error),
    };
    let message = "holds something else than pages; name a directory of its own";
    if is_empty { Ok(false) } else { Err(io::Error::other(message)) }
}

/// The mark comes first: what is cut off in the middle can be deleted again.
fn begin_anew(directory: &Path, mark: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let files = directory.join("files");
    if files.join("LOCK").exists() {
        // Another process may be at it, and its files are not taken away.
        DB::destroy(&Options::default(), &files).map_err(io::Error::other)?;
    }
    fs::write(directory.join(MARK), mark)?;
    match fs::remove_dir_all(&files) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_in_use(error: &rocksdb::Error) -> bool {
    error.kind() == rocksdb::ErrorKind::IOError && error.to_string().contains("lock")
}

fn told(directory: &Path, error: &dyn fmt::Display) -> StorageError {
    let directory: PathBuf = directory.into();
    let message = format!("{}: {error}", directory.display());
    StorageError::new(StorageErrorKind::Fatal, ENGINE, message)
}

fn failed(message: &str) -> StorageError {
    StorageError::new(StorageErrorKind::Unavailable, ENGINE, message)
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
