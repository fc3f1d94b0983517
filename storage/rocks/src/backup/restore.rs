//! Puts a backup back, as a store with a new epoch in every channel.

use std::fs::{self, File};
use std::path::Path;

use sterna_proto::Epoch;

use super::inventory::{Inventory, read_through};
use super::room::check_room;
use super::staging::clear_left;
use super::{BackupError, FileEntry, STORE, Source, Staging, Told, at};
use crate::RocksConfig;
use crate::open::open;

/// What was put back.
#[derive(Debug, Clone)]
pub struct Restored {
    pub inventory: Inventory,
    /// Of every channel from now on, but for those that had a later one.
    pub epoch: Epoch,
}

/// Copies a backup to `directory`, which must not be there or be empty, checks every byte on the
/// way, and opens it once: every channel has another epoch afterwards, and ids go on above all that
/// may have been given since the backup was made.
///
/// # Errors
/// See [`BackupError`]; nothing is left then.
pub fn restore(
    from: &dyn Source,
    directory: &Path,
    keep_free: u64,
    told: Told<'_>,
) -> Result<Restored, BackupError> {
    let inventory = from.inventory()?;
    let parent = Path::new(".").join(directory.parent().unwrap_or(Path::new("")));
    fs::create_dir_all(&parent).map_err(at(&parent))?;
    clear_left(&parent)?;
    let staging = Staging::begin(directory)?;
    check_room(staging.path(), inventory.bytes, keep_free)?;
    let mut done = 0;
    for file in &inventory.files {
        let inside = file.path.strip_prefix(&format!("{STORE}/"));
        let place = inside.and_then(|_| file.place(Path::new("")));
        let Some((inside, _)) = inside.zip(place) else {
            return Err(BackupError::Damaged(format!("`{}` is no file of a store", file.path)));
        };
        let path = staging.path().join(inside);
        let folder = path.parent().unwrap_or(staging.path());
        fs::create_dir_all(folder).map_err(at(folder))?;
        let mut copy = File::create_new(&path).map_err(at(&path))?;
        let mut each = |read| {
            done += read;
            told(done, inventory.bytes.max(done))
        };
        let (bytes, sha256) = from.copy(file, &mut copy, &path, &mut each)?;
        if (bytes, &sha256) != (file.bytes, &file.sha256) {
            return Err(BackupError::Damaged(format!("{} is not what was written", file.path)));
        }
        copy.sync_all().map_err(at(&path))?;
    }
    let config = RocksConfig { restored: true, ..RocksConfig::new(staging.path()) };
    let opened = open(&config)?;
    let epoch = opened.birth;
    drop(opened);
    staging.finish()?;
    Ok(Restored { inventory, epoch })
}

/// A backup in a folder of this machine.
#[derive(Debug, Clone, Copy)]
pub struct Folder<'a>(pub &'a Path);

impl Source for Folder<'_> {
    fn inventory(&self) -> Result<Inventory, BackupError> {
        Inventory::read(self.0)
    }

    fn copy(
        &self,
        file: &FileEntry,
        to: &mut File,
        path: &Path,
        each: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(u64, String), BackupError> {
        let from = file.place(self.0).ok_or_else(|| {
            BackupError::Damaged(format!("`{}` leads out of the backup", file.path))
        })?;
        read_through(&from, Some((to, path)), each)
    }
}
