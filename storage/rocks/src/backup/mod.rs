//! Backups of a store: folders that say themselves what is in them.
//!
//! ```text
//! NAME/backup.json    what is there: every file with its length and SHA-256, birth and newest commit
//! NAME/store/…        RocksDB as it was at one moment, its guard file, and a mark
//! ```
//!
//! A backup is made of a store that is in use, without a pause for anybody: RocksDB links its files
//! and copies the little that is still being written. What was answered before the call is in it.
//!
//! The mark (`sterna.backup`) makes whoever opens these files, wherever they were copied to, open
//! them as an older copy: every channel gets an epoch that nobody has seen, and ids go on above all
//! that may have been given since (I5, I10). So a backup that was copied by hand is as safe as one
//! that [`restore`] has put back.
//!
//! Nothing here has a task of its own. All of it blocks, and is called where that may be.

mod create;
mod inventory;
mod look;
mod restore;
mod room;
mod staging;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use sterna_storage::StorageError;

pub use create::{BackupOrder, create, create_of_stopped};
pub use inventory::{FileEntry, INVENTORY, Inventory};
pub use look::{Found, Verified, list, read, verify};
pub use restore::{Folder, Restored, restore};
pub use staging::Staging;
pub(crate) use staging::unfinished_of;

/// Why there is no backup, or nothing was put back. Nothing is left of what was begun.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Somebody else is at it, there is no room, or something is in the way.
    #[error("{0}; nothing was done")]
    Refused(String),
    /// It is not what was written.
    #[error("{0}; the backup is damaged and was left alone")]
    Damaged(String),
    /// Whoever asked has given up.
    #[error("it was given up; nothing is left of it")]
    GivenUp,
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Where a backup is read from.
pub trait Source {
    /// What it says of itself.
    fn inventory(&self) -> Result<Inventory, BackupError>;

    /// Copies a file of it into `to`, which lies at `path`; length and SHA-256 of what was copied.
    /// `each` hears of every piece, and ends it with `false`.
    fn copy(
        &self,
        file: &FileEntry,
        to: &mut File,
        path: &Path,
        each: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(u64, String), BackupError>;
}

/// For `map_err`: what could not be done with which file.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError + use<> {
    let path = path.to_owned();
    move |source| BackupError::Io { path, source }
}

/// How far it has got, in bytes; who answers `false` wants no more of it.
pub type Told<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

/// The store's files, below a backup.
pub(crate) const STORE: &str = "store";

/// In a store's directory: these files are of a backup.
pub(crate) const MARK: &str = "sterna.backup";

/// What is read and written at once.
const CHUNK_BYTES: usize = 256 * 1024;
