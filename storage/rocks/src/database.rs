//! RocksDB with our families, keys and sealed values: typed reads, raw writes. Knows nothing of
//! commits. Closed, and the directory given back, when the last owner drops it.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{ColumnFamily, DB, ErrorKind, ReadOptions, WriteBatch, WriteOptions};
use sterna_proto::{ChannelKey, Offset, UserId};
use sterna_storage::{Head, Origin, PageLimit, ReadError, Record, StorageError, StorageErrorKind};

use crate::encoding::{Damaged, decode_head, decode_record, unseal};
use crate::options::{CHANNEL_PREFIX_BYTES, Family};
use crate::{ENGINE, RocksConfig, options};

/// Declared in the order of dropping: the lock goes when RocksDB is closed.
#[derive(Debug)]
pub(crate) struct Database {
    rocks: DB,
    directory: PathBuf,
    /// `None` while somebody else holds it for us.
    _lock: Option<DirectoryLock>,
}

impl Database {
    pub(crate) fn open(config: &RocksConfig, lock: DirectoryLock) -> Result<Self, StorageError> {
        let options = options::database_options(config);
        let families = options::families(config);
        let rocks = DB::open_cf_descriptors(&options, &config.directory, families)
            .map_err(|error| open_error(&config.directory, error))?;
        Ok(Self { rocks, directory: config.directory.clone(), _lock: Some(lock) })
    }

    /// Opens for reading under the caller's lock: replays the write-ahead log into memory and
    /// changes nothing on the disk.
    pub(crate) fn inspect(
        config: &RocksConfig,
        _lock: &DirectoryLock,
    ) -> Result<Self, StorageError> {
        let mut options = options::database_options(config);
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        // An older version made fewer.
        let made = DB::list_cf(&options, &config.directory)
            .map_err(|error| open_error(&config.directory, error))?;
        let mut families = options::families(config);
        families.retain(|family| made.iter().any(|name| name == family.name()));
        if !made.iter().any(|name| name == Family::Meta.name()) {
            let message = format!("{} was never made whole", config.directory.display());
            return Err(StorageError::new(StorageErrorKind::Unavailable, ENGINE, message));
        }
        let rocks = DB::open_cf_descriptors_read_only(&options, &config.directory, families, false)
            .map_err(|error| open_error(&config.directory, error))?;
        Ok(Self { rocks, directory: config.directory.clone(), _lock: None })
    }

    /// The content stored under a key.
    pub(crate) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let found = self.rocks.get_pinned_cf(self.handle(family), key);
        let Some(value) = found.map_err(|error| self.read_error(error))? else { return Ok(None) };
        let content = unseal(key, &value).map_err(|damaged| self.corrupt(family, key, damaged))?;
        Ok(Some(content.to_vec()))
    }

    /// The same, decoded.
    pub(crate) fn get_as<T>(
        &self,
        family: Family,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, Damaged>,
    ) -> Result<Option<T>, StorageError> {
        let Some(content) = self.get(family, key)? else { return Ok(None) };
        decode(&content).map(Some).map_err(|damaged| self.corrupt(family, key, damaged))
    }

    pub(crate) fn head(&self, channel: ChannelKey) -> Result<Option<Head>, StorageError> {
        self.get_as(Family::Head, &channel.0, decode_head)
    }

    /// One page of a channel's log. What is missing below the head is an error, never a shorter
    /// page; the inner one where it was trimmed.
    pub(crate) fn page(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> Result<Result<Vec<Record>, ReadError>, StorageError> {
        // Before the records: what this head names was written before the scan began.
        let Some(head) = self.head(channel)? else { return Ok(Ok(Vec::new())) };
        if after.next() < head.first {
            return Ok(Err(ReadError::Trimmed { first: head.first }));
        }
        let hole = match self.records(channel, after, limit, &head)? {
            Ok(page) => return Ok(Ok(page)),
            Err(hole) => hole,
        };
        // A trim may have gone by between the head and the records.
        match self.head(channel)? {
            Some(now) if hole.missing < now.first => {
                Ok(Err(ReadError::Trimmed { first: now.first }))
            }
            _ => Err(self.corrupt(Family::Msg, &hole.key, hole.damage())),
        }
    }

    /// The records after an offset, or the first one that is missing below the head.
    fn records(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
        head: &Head,
    ) -> Result<Result<Vec<Record>, Hole>, StorageError> {
        let mut room = limit.start();
        let mut page: Vec<Record> = Vec::new();
        let mut last = after;
        let mut full = false;
        let mut hole = None;
        self.scan(Family::Msg, &channel.0, Some(&after.0.to_be_bytes()), |key, content| {
            let next = last.next();
            if key[CHANNEL_PREFIX_BYTES..] != next.0.to_be_bytes() {
                hole = Some(Hole { key: key.to_vec(), missing: next });
                return Ok(ControlFlow::Break(()));
            }
            full = room.is_full();
            if full {
                return Ok(ControlFlow::Break(()));
            }
            let record = decode_record(next, Bytes::copy_from_slice(content))
                .map_err(|damaged| self.corrupt(Family::Msg, key, damaged))?;
            full = !room.take(record.body.payload.len());
            if full {
                return Ok(ControlFlow::Break(()));
            }
            last = next;
            page.push(record);
            Ok(ControlFlow::Continue(()))
        })?;
        if hole.is_none() && !full && last < head.position.offset {
            hole = Some(Hole { key: channel.0.to_vec(), missing: last.next() });
        }
        Ok(hole.map_or(Ok(page), Err))
    }

    /// Calls `each` with the keys that begin with `prefix` and come after `prefix` . `after`.
    pub(crate) fn scan(
        &self,
        family: Family,
        prefix: &[u8],
        after: Option<&[u8]>,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StorageError>,
    ) -> Result<(), StorageError> {
        let mut options = ReadOptions::default();
        if let Some(end) = end_of(prefix) {
            options.set_iterate_upper_bound(end);
        }
        // The bounds are exact, and a prefix of another length than the extractor's is allowed.
        options.set_total_order_seek(true);
        let mut cursor = self.rocks.raw_iterator_cf_opt(self.handle(family), options);
        let mut start = prefix.to_vec();
        if let Some(after) = after {
            start.extend_from_slice(after);
        }
        cursor.seek(&start);
        if after.is_some() && cursor.key() == Some(&start[..]) {
            cursor.next();
        }
        while let Some((key, value)) = cursor.item() {
            let content =
                unseal(key, value).map_err(|damaged| self.corrupt(family, key, damaged))?;
            if each(key, content)?.is_break() {
                return Ok(());
            }
            cursor.next();
        }
        cursor.status().map_err(|error| self.read_error(error))
    }

    pub(crate) fn stage_put(
        &self,
        batch: &mut WriteBatch,
        family: Family,
        key: &[u8],
        value: &[u8],
    ) {
        batch.put_cf(self.handle(family), key, value);
    }

    pub(crate) fn stage_delete(&self, batch: &mut WriteBatch, family: Family, key: &[u8]) {
        batch.delete_cf(self.handle(family), key);
    }

    pub(crate) fn stage_delete_range(
        &self,
        batch: &mut WriteBatch,
        family: Family,
        from: &[u8],
        to: &[u8],
    ) {
        batch.delete_range_cf(self.handle(family), from, to);
    }

    /// Writes a batch; with `sync` it is on stable storage before anybody can read it.
    pub(crate) fn write(&self, batch: WriteBatch, sync: bool) -> Result<(), StorageError> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.rocks.write_opt(batch, &options).map_err(|error| self.write_error(error))
    }

    /// Syncs everything written so far.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.rocks.flush_wal(true).map_err(|error| self.write_error(error))
    }

    /// Links the files of this moment into a folder that is not there yet: what is in memory is
    /// written first, and of what is still being written there is a copy.
    pub(crate) fn link_files(&self, to: &Path) -> Result<(), StorageError> {
        let linked = Checkpoint::new(&self.rocks).and_then(|files| files.create_checkpoint(to));
        linked.map_err(|error| {
            let message = format!("linking the files of {} failed", self.directory.display());
            StorageError::new(StorageErrorKind::Unavailable, ENGINE, format!("{message} ({error})"))
                .with_source(error)
        })
    }

    #[cfg(test)]
    pub(crate) fn rocks(&self) -> &DB {
        &self.rocks
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The engine may not be used any more after a failed write.
    pub(crate) fn write_error(
        &self,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> StorageError {
        let message = format!(
            "writing to {} failed ({source}); nothing of it was acknowledged and nothing more is \
             written: stop the process, see to the disk and start again",
            self.directory.display()
        );
        StorageError::new(StorageErrorKind::Fatal, ENGINE, message).with_source(source)
    }

    pub(crate) fn corrupt(&self, family: Family, key: &[u8], damaged: Damaged) -> StorageError {
        metrics::counter!("sterna_storage_corrupt_total", "engine" => ENGINE).increment(1);
        let message = format!(
            "{}: what is stored in {} under {} is damaged: {}; restore the store from a backup",
            self.directory.display(),
            family.name(),
            hex(key),
            damaged.0
        );
        StorageError::new(StorageErrorKind::Corrupt, ENGINE, message)
    }

    fn read_error(&self, error: rocksdb::Error) -> StorageError {
        let kind = match error.kind() {
            ErrorKind::Corruption => StorageErrorKind::Corrupt,
            _ => StorageErrorKind::Unavailable,
        };
        let message = format!("reading from {} failed ({error})", self.directory.display());
        StorageError::new(kind, ENGINE, message).with_source(error)
    }

    fn handle(&self, family: Family) -> &ColumnFamily {
        self.rocks
            .cf_handle(family.name())
            .unwrap_or_else(|| unreachable!("opened with every family"))
    }
}

/// A record that is not where it should be, and the key at which that showed.
struct Hole {
    key: Vec<u8>,
    missing: Offset,
}

impl Hole {
    fn damage(&self) -> Damaged {
        Damaged(format!("offset {} is missing below the head", self.missing.0))
    }
}

/// Holds the directory against every other opener, in this process and outside. The system lets go
/// of it when the process dies, however it dies.
#[derive(Debug)]
pub(crate) struct DirectoryLock(#[allow(dead_code, reason = "held, never read")] File);

impl DirectoryLock {
    pub(crate) fn acquire(directory: &Path) -> Result<Self, StorageError> {
        let path = directory.join(LOCK_FILE_NAME);
        let file = File::create(&path).map_err(|error| access_error(&path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(std::fs::TryLockError::WouldBlock) => {
                let message = format!(
                    "{} is in use by another process or by another store of this one; stop that \
                     one, or give this node a directory of its own",
                    directory.display()
                );
                Err(StorageError::new(StorageErrorKind::Unavailable, ENGINE, message))
            }
            Err(std::fs::TryLockError::Error(error)) => Err(access_error(&path, error)),
        }
    }
}

/// A file of the store that cannot be opened, read or written at the start.
pub(crate) fn access_error(path: &Path, error: io::Error) -> StorageError {
    let message = format!(
        "{} cannot be used ({error}); check that it lies on a local disk with room and that this \
         process may write there",
        path.display()
    );
    StorageError::new(StorageErrorKind::Unavailable, ENGINE, message).with_source(error)
}

fn open_error(directory: &Path, error: rocksdb::Error) -> StorageError {
    let (kind, advice) = match error.kind() {
        ErrorKind::Corruption => {
            (StorageErrorKind::Corrupt, "its files are damaged: restore it from a backup")
        }
        _ => (StorageErrorKind::Unavailable, "see to what the cause says and start again"),
    };
    let message = format!("{} cannot be opened ({error}); {advice}", directory.display());
    StorageError::new(kind, ENGINE, message).with_source(error)
}

/// The first key behind all that begin with `prefix`; `None` if there is no such key.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end)
}

/// channel . offset
pub(crate) fn msg_key(channel: ChannelKey, offset: Offset) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&channel.0);
    key[16..].copy_from_slice(&offset.0.to_be_bytes());
    key
}

/// channel . client id . client seq: the number's fixed length keeps the parts apart.
pub(crate) fn dedup_key(channel: ChannelKey, origin: &Origin) -> Vec<u8> {
    let client = origin.client_id.as_str().as_bytes();
    [&channel.0, client, &origin.client_seq.to_be_bytes()].concat()
}

/// channel . user
pub(crate) fn user_key(channel: ChannelKey, user: &UserId) -> Vec<u8> {
    [&channel.0, user.as_str().as_bytes()].concat()
}

/// user . 0: no name holds that byte, so no user's rows lie among another's.
pub(crate) fn users_prefix(user: &UserId) -> Vec<u8> {
    [user.as_str().as_bytes(), &[0]].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) const LOCK_FILE_NAME: &str = "sterna.lock";

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn the_end_of_a_prefix_is_behind_all_of_it() {
        assert_eq!(end_of(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(end_of(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(end_of(&[255, 255]), None);
        assert_eq!(end_of(&[]), None);
    }
}
