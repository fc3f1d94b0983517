//! The embedded engine: all storage roles on one RocksDB in one directory.
//!
//! [`RocksStore`] is made by the composition root and shared by the core through
//! [`Stores`]. It owns the directory (nobody else may open it meanwhile), one committer thread that
//! makes every write, one that makes claims in the guard file, and a few reader threads for pages.
//! It ends by [`RocksStore::close`], which syncs what was written before, and gives the directory
//! back when the last handle is dropped.
//!
//! # What an acknowledgement proves
//!
//! With [`Durability::Fsync`] every answer to a write comes after the write-ahead log was synced
//! and the guard file beside it was written, so it outlives a kill and a power cut (I1). With
//! [`Durability::Os`] the bytes are with the operating system: they outlive the process, not the
//! machine. Moves of cursors and completions of intents are never synced by themselves; they ride
//! on the next sync.
//!
//! # The guard file
//!
//! RocksDB replays its write-ahead log up to the first record that does not verify and goes on
//! from there. That is right for a record that was being written at the crash; but a bit that
//! flips later in the middle of that log makes every record behind it vanish without a word, synced
//! and acknowledged as they were. So each group commit carries a number, in its own batch and,
//! once that is synced and before anybody hears of it, in the guard file. A store that comes back
//! with a lower number than its guard has lost acknowledged publications and is not opened.
//!
//! Exactly: of the commits that were synced for their answers, the guard's number is never above
//! the newest synced one and never below the newest answered one. So with [`Durability::Fsync`] no
//! loss of an answered write at the end of the write-ahead log goes unnoticed, were it only the
//! last one, and no store is refused for a write that nobody was told of. With
//! [`Durability::Os`] that holds for a kill; after a power cut the guard file may be as old as the
//! rest, and the operator says so with [`RocksConfig::restored`]. Damage elsewhere shows when it is
//! read, by the checksum over each key and value.
//!
//! The price is one synced write of 64 bytes, inside a preallocated file, for each group commit.
//! While more groups wait it is paid beside the sync of the next group, on a thread of its own,
//! and one claim may stand for several groups (`examples/commits.rs` measures it). It cannot be
//! paid beside the sync of its own group: a claim that may be ahead of the log by one commit
//! leaves open whether that commit was answered.
//!
//! # Backups
//!
//! [`backup`] links the files of an open store into a folder, describes them, and puts them back as a
//! store in which every channel has a new epoch.
//!
//! # When writing fails
//!
//! The first failed write or sync ends the engine: that group and every later call are answered
//! with `Fatal`, nothing is acknowledged, and no sync is tried twice, since a kernel that has told
//! of lost pages once does not tell again. What is on the disk is found out by opening it anew.

mod archived;
pub mod backup;
mod channels;
mod claims;
mod committer;
mod config;
#[doc(hidden)]
pub mod counted;
mod cursors;
mod database;
mod encoding;
mod engine;
mod group;
mod guard;
mod heads;
mod id_bounds;
mod inboxes;
mod intents;
mod keeping;
mod log;
mod manifest;
mod open;
mod options;
mod pages;
mod readers;
mod redact;
mod relations;
mod repair;
mod revocations;
mod trim;

#[cfg(test)]
mod backup_tests;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upkeep_tests;

use std::path::Path;
use std::sync::Arc;

use sterna_storage::memory::{MemoryIdLeases, MemoryRoster};
use sterna_storage::{StorageError, Stores};

pub use config::{Durability, RocksConfig};
use engine::Engine;
pub use pages::{PageFiles, QUEUE_PAGES};

/// An open store; clones share it.
#[derive(Debug, Clone)]
pub struct RocksStore {
    engine: Arc<Engine>,
    // One process holds the directory, so these two need not outlive it.
    id_leases: Arc<MemoryIdLeases>,
    roster: Arc<MemoryRoster>,
}

impl RocksStore {
    /// Opens the directory, or makes a new store in it. Blocks for as long as the write-ahead log
    /// takes to be read, so call it before the runtime serves anybody.
    pub fn open(config: RocksConfig) -> Result<Self, StorageError> {
        let opened = open::open(&config)?;
        let engine = Arc::new(Engine::start(opened, &config)?);
        Ok(Self { engine, id_leases: Arc::default(), roster: Arc::default() })
    }

    /// This store in all roles.
    pub fn stores(&self) -> Stores {
        let store = Arc::new(self.clone());
        Stores {
            log: store.clone(),
            channels: store.clone(),
            cursors: store.clone(),
            id_bound: store.clone(),
            inboxes: store.clone(),
            relations: store.clone(),
            intents: store.clone(),
            manifest: store.clone(),
            archived: store.clone(),
            revocations: store.clone(),
            keeping: store,
            id_leases: self.id_leases.clone(),
            roster: self.roster.clone(),
        }
    }

    /// Where it lies.
    pub fn directory(&self) -> &Path {
        self.engine.directory()
    }

    /// Links the files of this moment into a folder that is not there yet. Blocks.
    fn link_files(&self, to: &Path) -> Result<(), StorageError> {
        self.engine.database()?.link_files(to)
    }

    /// Completes when everything written before is synced; later writes are refused, reads are
    /// not. The same as [`PublicationLog::close`](sterna_storage::PublicationLog::close).
    pub async fn close(&self) -> Result<(), StorageError> {
        sterna_storage::PublicationLog::close(self).await
    }
}

const ENGINE: &str = "rocksdb";
