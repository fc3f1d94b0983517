//! Old publications move from the log to segments in a store of objects, under one numbering.
//!
//! ```text
//! appends ──> log (RocksDB, SQL) ── archiver ──> segments (files, S3, GCS, Azure)
//!                 │                     │             │
//!                 └──────── TieredLog reads from both ┘   how far: ArchivedStore; which: ManifestStore
//! ```
//!
//! [`TieredLog`] is a [`PublicationLog`]: whoever reads through it
//! does not see where a publication lies. [`Archiver`] copies publications beyond an age, says so,
//! and trims the log after a grace (I7: nothing is trimmed that was not read back from the archive).
//!
//! Small segments are put together by and by; nothing that refers to them changes, and whoever does not
//! find one asks the manifest what it was replaced by.
//!
//! Nothing here locks anything. Two archivers of one channel write two runs; compare-and-set lets
//! one of them count, and the other is a waste of space until its segment is collected.

mod archiver;
mod chain;
mod collector;
mod compactor;
mod config;
mod cuts;
mod entry;
mod export;
mod fate;
mod floors;
#[cfg(test)]
mod fuzz_tests;
mod library;
mod merge;
mod pace;
mod passes;
mod plan;
mod pressure;
pub mod rebuild;
mod status;
mod tiered;
mod trimmer;
mod verify;
mod writing;

use std::sync::Arc;

use sterna_storage::StorageErrorKind;
use sterna_storage::{ArchivedStore, ManifestStore, PublicationLog, Segments, StorageError};

pub use archiver::{Archiver, PassReport};
pub use collector::Collected;
pub use compactor::Compacted;
pub use config::{ArchiveConfig, SHARDS};
pub use entry::{MadeOf, Replaced, SegmentInfo};
pub use export::{Export, Wanted, segments_between};
pub use fate::{Fate, Fates, KeepAll};
pub use pace::Pace;
pub use passes::Turn;
pub use pressure::{Pressure, Unpressed, WriteTimes};
pub use status::{CLASSES, SizeClass, Status, status};
pub use tiered::TieredLog;
pub use verify::{Progress, Verified, verify, verify_beside};

/// What the archive stands on.
#[derive(Debug, Clone)]
pub struct Tiers {
    /// The log that is archived.
    pub log: Arc<dyn PublicationLog>,
    pub archived: Arc<dyn ArchivedStore>,
    pub manifest: Arc<dyn ManifestStore>,
    pub segments: Arc<dyn Segments>,
}

/// In errors and metrics.
const ENGINE: &str = "archive";

fn corrupt(message: impl Into<String>) -> StorageError {
    metrics::counter!("sterna_storage_corrupt_total", "engine" => ENGINE).increment(1);
    StorageError::new(StorageErrorKind::Corrupt, ENGINE, message)
}
