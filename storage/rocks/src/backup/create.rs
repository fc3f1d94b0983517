//! Makes a backup.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::inventory::{FORMAT, FileEntry, Inventory, files_below, read_through};
use super::room::{check_room, is_one_file_system};
use super::staging::clear_left;
use super::{BackupError, MARK, STORE, Staging, Told, at};
use crate::database::{Database, DirectoryLock, LOCK_FILE_NAME};
use crate::guard;
use crate::open::Meta;
use crate::options::unix_now_ms;
use crate::{RocksConfig, RocksStore};

/// What is to be made.
#[derive(Debug, Clone)]
pub struct BackupOrder {
    /// The folder, which must not be there yet.
    pub to: PathBuf,
    /// Whose store it is; written into it.
    pub node: String,
    /// Bytes that have to stay free on the disk.
    pub keep_free: u64,
}

/// Makes a backup of an open store: of everything that was answered before, and perhaps of some that
/// is written meanwhile.
///
/// # Errors
/// See [`BackupError`]; nothing is left then.
pub fn create(
    store: &RocksStore,
    order: &BackupOrder,
    told: Told<'_>,
) -> Result<Inventory, BackupError> {
    let created_ms = unix_now_ms();
    let parent = Path::new(".").join(order.to.parent().unwrap_or(Path::new("")));
    fs::create_dir_all(&parent).map_err(at(&parent))?;
    clear_left(&parent)?;
    let staging = Staging::begin(&order.to)?;
    let directory = store.directory();
    let needed = needed_bytes(directory, staging.path())?;
    check_room(staging.path(), needed, order.keep_free)?;
    let files = staging.path().join(STORE);
    // Before the files: a guard never claims more than is there.
    let claim = guard::read_of(directory).map_err(at(directory))?;
    store.link_files(&files)?;
    guard::write_new(&files, claim).map_err(at(&files))?;
    let mark = files.join(MARK);
    File::create(&mark).and_then(|mark| mark.sync_all()).map_err(at(&mark))?;
    let meta = look(&files)?;
    let (files, bytes) = describe(staging.path(), told)?;
    let mut inventory = Inventory {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: order.node.clone(),
        birth: meta.birth.0,
        commit: meta.commit,
        created_ms,
        bytes,
        files,
        digest: String::new(),
    };
    inventory.write(staging.path())?;
    staging.finish()?;
    metrics::counter!("sterna_storage_backups_total", "engine" => crate::ENGINE).increment(1);
    Ok(inventory)
}

/// The same of a store that nobody has open. Opening it puts it in order, as a start of its node does.
///
/// # Errors
/// See [`BackupError`].
pub fn create_of_stopped(
    config: &RocksConfig,
    order: &BackupOrder,
    told: Told<'_>,
) -> Result<Inventory, BackupError> {
    if !config.directory.join(CURRENT).exists() {
        let message = format!("{} holds no store", config.directory.display());
        return Err(BackupError::Refused(message));
    }
    let store = RocksStore::open(config.clone())?;
    create(&store, order, told)
}

/// Linked files take no room; what is in memory and in the write-ahead log is written once more.
fn needed_bytes(directory: &Path, to: &Path) -> Result<u64, BackupError> {
    let linked = is_one_file_system(directory, to)?;
    let copied = |name: &str| !linked || !(name.ends_with(".sst") || name.ends_with(".blob"));
    let files = files_below(directory)?;
    let bytes: u64 = files.iter().filter(|(name, _)| copied(name)).map(|(_, bytes)| bytes).sum();
    Ok(bytes.saturating_mul(2))
}

/// Opens what was linked for reading, as whoever restores it will.
fn look(files: &Path) -> Result<Meta, BackupError> {
    let config = RocksConfig::new(files);
    let lock = DirectoryLock::acquire(files)?;
    let meta = Meta::read(&Database::inspect(&config, &lock)?)?;
    drop(lock);
    let lock = files.join(LOCK_FILE_NAME);
    fs::remove_file(&lock).map_err(at(&lock))?;
    Ok(meta)
}

/// Every file with its digest, each on stable storage; and their bytes.
fn describe(folder: &Path, told: Told<'_>) -> Result<(Vec<FileEntry>, u64), BackupError> {
    let prefix = format!("{STORE}/");
    let found = files_below(folder)?;
    let found: Vec<_> = found.into_iter().filter(|(name, _)| name.starts_with(&prefix)).collect();
    let all: u64 = found.iter().map(|(_, bytes)| bytes).sum();
    let (mut files, mut done) = (Vec::with_capacity(found.len()), 0);
    for (name, _) in found {
        let path = folder.join(&name);
        let mut each = |read| {
            done += read;
            told(done, all.max(done))
        };
        let (bytes, sha256) = read_through(&path, None, &mut each)?;
        File::open(&path).and_then(|file| file.sync_all()).map_err(at(&path))?;
        files.push(FileEntry { path: name, bytes, sha256 });
    }
    let bytes = files.iter().map(|file| file.bytes).sum();
    Ok((files, bytes))
}

/// The file that every RocksDB has.
const CURRENT: &str = "CURRENT";
