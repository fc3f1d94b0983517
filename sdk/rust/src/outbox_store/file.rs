//! The outbox in one file: a journal that is appended to, and rewritten when most of it is over. A
//! lock file keeps a second client out. Blocking; called by whoever owns the store.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::journal::{self, Replayed};
use super::{OutboxChange, OutboxStore, OutboxStoreError, StoredOutbox, StoredPublication};

/// An [`OutboxStore`] in a plain file.
///
/// Every entry carries a checksum. An entry that is found damaged is lost, is counted in
/// [`Statistics::outbox_damaged`](crate::Statistics::outbox_damaged), and leaves the others as they
/// are; an entry that was being written when the power went is dropped, and nothing was sent of it.
///
/// Limits: the outbox's own bounds ([`OutboxLimits`](crate::OutboxLimits)) are the bounds of what
/// is kept. The file is rewritten once it holds more than 256 KiB and less than half of it is still
/// needed. Beside the file lies one with `.lock` behind its name, and while it is rewritten one with
/// `.new`. The locks of network file systems are not to be trusted; keep it on a local one. What is
/// in it is not encrypted; on Unix only its owner may read it.
#[derive(Debug)]
pub struct FileOutbox {
    path: PathBuf,
    /// `None`: there is no file yet, or no [`OutboxStore::load`].
    file: Option<File>,
    /// Locked as long as it is open.
    _lock: File,
    client_id: String,
    last_seq: u64,
    live: BTreeMap<u64, StoredPublication>,
    /// What the live publications take in the file.
    live_bytes: u64,
    file_bytes: u64,
    broken: bool,
}

impl FileOutbox {
    /// Opens or makes the outbox at `path`, in a folder that exists. Fails with
    /// [`OutboxStoreError::InUse`] while another client has it open.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OutboxStoreError> {
        let path = path.into();
        let lock_path = beside(&path, "lock");
        let lock = owner_only().truncate(false).open(&lock_path);
        let lock = lock.map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OutboxStoreError::InUse(path)),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &lock_path)(error)),
        }
        Ok(Self {
            path,
            file: None,
            _lock: lock,
            client_id: String::new(),
            last_seq: 0,
            live: BTreeMap::new(),
            live_bytes: 0,
            file_bytes: 0,
            broken: false,
        })
    }

    fn adopt(&mut self, replayed: Replayed) -> Result<(), OutboxStoreError> {
        let Some(client_id) = replayed.client_id else {
            return Err(OutboxStoreError::Unreadable(self.path.clone()));
        };
        self.client_id = client_id;
        self.last_seq = replayed.last_seq;
        self.live_bytes = replayed.live.values().map(|stored| size(&stored.publish)).sum();
        self.live = replayed.live;
        let file = OpenOptions::new().write(true).open(&self.path).map_err(self.failed("open"))?;
        // A torn entry must not stand before the next one.
        file.set_len(replayed.good_bytes as u64).map_err(self.failed("cut"))?;
        self.file_bytes = replayed.good_bytes as u64;
        self.file = Some(file);
        Ok(())
    }

    /// Appends, and takes everything back when that fails.
    fn append(&mut self, bytes: &[u8], durable: bool) -> Result<(), OutboxStoreError> {
        let start = self.file_bytes;
        let Some(file) = &mut self.file else {
            return Err(OutboxStoreError::Other("the outbox was not loaded".into()));
        };
        let written = file
            .seek(SeekFrom::Start(start))
            .and_then(|_| file.write_all(bytes))
            .and_then(|()| if durable { file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            self.broken = file.set_len(start).is_err();
            return Err(self.failed("write")(error));
        }
        self.file_bytes += bytes.len() as u64;
        Ok(())
    }

    fn apply(&mut self, change: &OutboxChange) {
        match change {
            OutboxChange::Insert(publish) => {
                self.last_seq = self.last_seq.max(publish.client_seq);
                self.live_bytes += size(publish);
                let stored = StoredPublication { publish: publish.clone(), attempted: false };
                self.live.insert(publish.client_seq, stored);
            }
            OutboxChange::Attempted { client_seq } => {
                if let Some(stored) = self.live.get_mut(client_seq) {
                    stored.attempted = true;
                }
            }
            OutboxChange::Remove { client_seq } => {
                if let Some(stored) = self.live.remove(client_seq) {
                    self.live_bytes -= size(&stored.publish);
                }
            }
        }
    }

    fn is_mostly_over(&self) -> bool {
        self.file_bytes > REWRITE_ABOVE_BYTES && self.live_bytes < self.file_bytes / 2
    }

    /// Writes what is live into a new file that then takes the place of the old one, at once and
    /// whole, whatever happens meanwhile.
    fn rewrite(&mut self) -> Result<(), OutboxStoreError> {
        let mut bytes = Vec::new();
        journal::put_identity(&self.client_id, self.last_seq, &mut bytes);
        for (seq, stored) in &self.live {
            journal::put_insert(&stored.publish, &mut bytes);
            if stored.attempted {
                journal::put_attempted(*seq, &mut bytes);
            }
        }
        let new = beside(&self.path, "new");
        let mut file = owner_only().truncate(true).open(&new).map_err(failed("make", &new))?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed("write", &new))?;
        std::fs::rename(&new, &self.path).map_err(failed("rename", &new))?;
        sync_folder(&self.path).map_err(self.failed("make durable"))?;
        self.file_bytes = bytes.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(io::Error) -> OutboxStoreError + use<> {
        failed(doing, &self.path)
    }
}

impl OutboxStore for FileOutbox {
    fn load(&mut self, client_id: &str) -> Result<StoredOutbox, OutboxStoreError> {
        let damaged = match std::fs::read(&self.path) {
            Ok(bytes) if !bytes.is_empty() => {
                let replayed = journal::replay(&bytes);
                let damaged = replayed.damaged;
                self.adopt(replayed)?;
                if damaged > 0 || self.is_mostly_over() {
                    self.rewrite()?;
                }
                damaged
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(self.failed("read")(error));
            }
            _ => {
                client_id.clone_into(&mut self.client_id);
                self.rewrite()?;
                0
            }
        };
        Ok(StoredOutbox {
            client_id: self.client_id.clone(),
            last_seq: self.last_seq,
            publications: self.live.values().cloned().collect(),
            damaged,
        })
    }

    fn write(&mut self, changes: &[OutboxChange]) -> Result<(), OutboxStoreError> {
        if self.broken {
            return Err(OutboxStoreError::Broken(self.path.clone()));
        }
        let mut bytes = Vec::new();
        changes.iter().for_each(|change| journal::put_change(change, &mut bytes));
        let durable = changes.iter().any(|change| matches!(change, OutboxChange::Insert(_)));
        self.append(&bytes, durable)?;
        changes.iter().for_each(|change| self.apply(change));
        if self.is_mostly_over()
            && let Err(error) = self.rewrite()
        {
            // The old file has everything; it only stays longer than it should.
            tracing::warn!(%error, "the outbox file could not be rewritten");
        }
        Ok(())
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OutboxStoreError + use<> {
    let path = path.to_owned();
    move |error| OutboxStoreError::Io { doing, path, error }
}

/// Makes files that nobody but this user may read.
fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The file of the same name with more behind it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// A rename is durable once its folder is.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Elsewhere folders cannot be synced; the file system orders the rename by itself.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// What a publication takes in the file, roughly: its payload and names, and the entry around it.
fn size(publish: &sterna_proto::v1::Publish) -> u64 {
    (publish.payload.len() + publish.channel.len() + ENTRY_OVERHEAD_BYTES) as u64
}

const ENTRY_OVERHEAD_BYTES: usize = 64;
/// Smaller files are not worth rewriting.
const REWRITE_ABOVE_BYTES: u64 = 256 * 1024;

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
