//! A thread that commits what waits, all of it at a time: what a raw server with a log needs, and no more.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use anyhow::Result;
use bytes::Bytes;

use crate::commit::Log;

/// Where and how a raw server stores what is published.
#[derive(Debug, Clone)]
pub struct Storage {
    /// A new directory.
    pub directory: PathBuf,
    pub synced: bool,
}

/// Runs for as long as its server does.
pub(crate) struct Committer {
    payloads: mpsc::SyncSender<Bytes>,
    /// How many were committed, the oldest first.
    pub(crate) committed: tokio::sync::mpsc::Receiver<usize>,
}

impl Committer {
    pub(crate) fn start(storage: &Storage) -> Result<Self> {
        let mut log = Log::open(&storage.directory, storage.synced)?;
        let (payloads, queue) = mpsc::sync_channel::<Bytes>(UNCOMMITTED);
        let (done, committed) = tokio::sync::mpsc::channel(UNACKNOWLEDGED);
        thread::spawn(move || {
            let mut batch = Vec::new();
            while let Ok(first) = queue.recv() {
                batch.push(first);
                batch.extend(queue.try_iter());
                if let Err(error) = log.commit(batch.iter().map(|payload| &payload[..])) {
                    // Whoever waits for acknowledgements would wait for ever; so its connections end.
                    eprintln!("the raw server cannot store what is published: {error:#}");
                    std::process::exit(1);
                }
                if done.blocking_send(batch.len()).is_err() {
                    return;
                }
                batch.clear();
            }
        });
        Ok(Self { payloads, committed })
    }

    /// False: more wait than the clients of a measurement have on their way.
    pub(crate) fn commit(&self, payload: Bytes) -> bool {
        self.payloads.try_send(payload).is_ok()
    }
}

/// More than all clients have on their way.
const UNCOMMITTED: usize = 65_536;

/// Batches; the thread waits when more were not looked at.
const UNACKNOWLEDGED: usize = 16;
