//! Looks at backups: which there are, and whether all of one can be read.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::inventory::{INVENTORY, Inventory, files_below, read_through};
use super::staging::{LOCK, is_unfinished};
use super::{BackupError, Told, at};

/// A folder among backups.
#[derive(Debug)]
pub struct Found {
    pub path: PathBuf,
    /// An error for one that is not whole.
    pub inventory: Result<Inventory, BackupError>,
}

/// What came of reading a backup again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub inventory: Inventory,
    /// One sentence for each file that is not as it was.
    pub damages: Vec<String>,
}

/// The backups in a folder, the oldest first.
///
/// # Errors
/// [`BackupError::Io`] if the folder cannot be read; that it is not there means that there are none.
pub fn list(folder: &Path) -> Result<Vec<Found>, BackupError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(at(folder))?.path();
        if path.join(INVENTORY).exists() && !is_unfinished(&path) {
            found.push(Found { inventory: Inventory::read(&path), path });
        }
    }
    let time = |found: &Found| found.inventory.as_ref().map_or(0, |it| it.created_ms);
    found.sort_by(|one, other| (time(one), &one.path).cmp(&(time(other), &other.path)));
    Ok(found)
}

/// What a backup says of itself.
///
/// # Errors
/// [`BackupError::Refused`] for a folder that is none, [`BackupError::Damaged`] for another's words.
pub fn read(folder: &Path) -> Result<Inventory, BackupError> {
    Inventory::read(folder)
}

/// Reads every file again and compares it.
///
/// # Errors
/// As [`read`], or when a file is there and cannot be read, or when it was given up.
pub fn verify(folder: &Path, told: Told<'_>) -> Result<Verified, BackupError> {
    let inventory = Inventory::read(folder)?;
    let mut present: BTreeMap<String, u64> = files_below(folder)?.into_iter().collect();
    for own in [INVENTORY, LOCK] {
        present.remove(own);
    }
    let (mut damages, mut done) = (Vec::new(), 0);
    for file in &inventory.files {
        let Some(path) = file.place(folder).filter(|_| present.remove(&file.path).is_some()) else {
            damages.push(format!("{} is missing", file.path));
            continue;
        };
        let mut each = |read| {
            done += read;
            told(done, inventory.bytes.max(done))
        };
        let (bytes, sha256) = match read_through(&path, None, &mut each) {
            Err(BackupError::Io { path, source }) => {
                damages.push(format!("{} cannot be read: {source}", path.display()));
                continue;
            }
            other => other?,
        };
        if bytes != file.bytes {
            damages.push(format!("{} has {bytes} bytes instead of {}", file.path, file.bytes));
        } else if sha256 != file.sha256 {
            damages.push(format!("{} is not what was written", file.path));
        }
    }
    damages.extend(present.keys().map(|name| format!("{name} does not belong to it")));
    Ok(Verified { inventory, damages })
}
