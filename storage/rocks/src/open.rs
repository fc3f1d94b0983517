//! Opening: lock the directory, look before anything is changed, refuse what is not whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::WriteBatch;
use sterna_proto::Epoch;
use sterna_storage::{StorageError, StorageErrorKind};

use crate::backup::{MARK, unfinished_of};
use crate::database::{Database, DirectoryLock, access_error};
use crate::encoding::{decode_number, seal};
use crate::guard::{self, Guard};
use crate::id_bounds::IDS_BEGIN_UNIX_MS;
use crate::options::{Family, unix_now_ms};
use crate::{ENGINE, RocksConfig, repair, trim};

/// A store that is whole.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) database: Arc<Database>,
    pub(crate) guard: Guard,
    /// Epoch of a channel's first record.
    pub(crate) birth: Epoch,
    /// Number of the newest commit.
    pub(crate) commit: u64,
}

pub(crate) fn open(config: &RocksConfig) -> Result<Opened, StorageError> {
    let directory = &config.directory;
    // Files of a backup are an older copy, whether anybody says so or not.
    let mark = directory.join(MARK);
    let marked = mark.exists();
    let config = &RocksConfig { restored: config.restored || marked, ..config.clone() };
    if !directory.join(CURRENT).exists()
        && let Some(unfinished) = unfinished_of(directory)
    {
        return Err(half_restored(directory, &unfinished));
    }
    make_directory(directory).map_err(|error| access_error(directory, error))?;
    if config.restored && !directory.join(CURRENT).exists() {
        return Err(nothing_restored(directory));
    }
    let lock = DirectoryLock::acquire(directory)?;
    let mut guard = Guard::open(directory, config.durability)
        .map_err(|error| access_error(&directory.join(guard::FILE_NAME), error))?;
    let claim = read_claim(config, &guard)?;
    let loss = find_loss(config, claim, &lock)?;
    if let Some(loss) = loss {
        loss.judge(config)?;
    }
    let database = Arc::new(Database::open(config, lock)?);
    let found = Meta::read(&database)?;
    let meta = match (found.schema, loss) {
        (None, _) => create(&database, &mut guard, claim)?,
        (Some(_), loss) if loss.is_some() || config.restored => {
            if config.restored {
                repair::forget_unpublished(&database)?;
            }
            repair(&database, &mut guard, &found, claim)?
        }
        (Some(_), _) => {
            // A creation that was cut off before its claim, or a store without publications.
            if !matches!(claim, Claim::Synced(_)) {
                claim_first(&database, &mut guard, found.commit)?;
            }
            found
        }
    };
    if meta.schema != Some(SCHEMA) {
        raise_schema(&database)?;
    }
    trim::finish_all(&database)?;
    if marked {
        // After the repair: cut off in between, there is one more epoch.
        remove_mark(&mark).map_err(|error| access_error(&mark, error))?;
    }
    Ok(Opened { database, guard, birth: meta.birth, commit: meta.commit })
}

/// Makes the directory and those above it that are missing, so that a power cut does not take them
/// away with all that is in them.
fn make_directory(directory: &Path) -> io::Result<()> {
    let parents = parents_of_missing(directory);
    fs::create_dir_all(directory)?;
    parents.into_iter().try_for_each(|parent| fs::File::open(parent)?.sync_all())
}

/// The directories that get a new entry when this one is made, innermost first.
fn parents_of_missing(directory: &Path) -> Vec<PathBuf> {
    let missing = directory.ancestors().take_while(|each| !each.exists());
    let parents = missing.filter_map(Path::parent);
    // The parent of a single name is empty.
    parents.map(|parent| Path::new(".").join(parent)).collect()
}

fn remove_mark(mark: &Path) -> io::Result<()> {
    fs::remove_file(mark)?;
    fs::File::open(mark.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn nothing_restored(directory: &Path) -> StorageError {
    let message = format!(
        "{} holds no store, although it is said to be restored; nothing was made: put the backup \
         there, or open a new store without saying so",
        directory.display()
    );
    StorageError::new(StorageErrorKind::Unavailable, ENGINE, message)
}

/// Whoever put it back meant this store, and a new one would hide that.
fn half_restored(directory: &Path, unfinished: &Path) -> StorageError {
    let message = format!(
        "{} holds no store yet: a backup is being put back, or whoever did so was cut off, and left \
         {}; nothing was made: put the backup back once more, or remove that folder to begin with an \
         empty store",
        directory.display(),
        unfinished.display()
    );
    StorageError::new(StorageErrorKind::Unavailable, ENGINE, message)
}

/// What the guard file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Never,
    Synced(u64),
    Unreadable,
}

impl Claim {
    fn commit(self) -> u64 {
        if let Self::Synced(commit) = self { commit } else { 0 }
    }
}

fn read_claim(config: &RocksConfig, guard: &Guard) -> Result<Claim, StorageError> {
    match guard.read() {
        Ok(None) => Ok(Claim::Never),
        Ok(Some(commit)) => Ok(Claim::Synced(commit)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Claim::Unreadable),
        Err(error) => Err(access_error(&config.directory.join(guard::FILE_NAME), error)),
    }
}

/// Compares RocksDB with the claim, reading only: a refusal must leave everything as it was found,
/// while opening for writing drops the part of the write-ahead log that does not verify.
fn find_loss(
    config: &RocksConfig,
    claim: Claim,
    lock: &DirectoryLock,
) -> Result<Option<Loss>, StorageError> {
    let commit = if config.directory.join(CURRENT).exists() {
        match (inspect(config, lock), claim) {
            (Ok(found), _) => found.commit,
            // A creation that was interrupted before it had all families; what else may be wrong
            // with a store, opening it for writing finds too.
            (Err(error), Claim::Never) if error.kind == StorageErrorKind::Unavailable => 0,
            (Err(error), _) => return Err(error),
        }
    } else {
        0
    };
    Ok(match claim {
        Claim::Synced(claimed) if commit < claimed => {
            Some(Loss::Commits { recovered: commit, claimed })
        }
        // A store with publications always has a readable guard.
        Claim::Never | Claim::Unreadable if commit > FIRST_COMMIT => Some(Loss::Guard),
        _ => None,
    })
}

fn inspect(config: &RocksConfig, lock: &DirectoryLock) -> Result<Meta, StorageError> {
    let database = Database::inspect(config, lock)?;
    let found = Meta::read(&database)?;
    found.check_schema(&database)?;
    Ok(found)
}

/// How a store is not what was acknowledged.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Commits { recovered: u64, claimed: u64 },
    Guard,
}

impl Loss {
    /// An error, unless the operator has accepted the loss.
    fn judge(self, config: &RocksConfig) -> Result<(), StorageError> {
        if config.accept_truncated || config.restored {
            tracing::warn!(loss = %self.describe(), "opening a truncated store as configured");
            return Ok(());
        }
        let message = format!(
            "{}: {}. Nothing was changed. Restore the store from a backup; or, to go on with what \
             is left, open it once with accept_truncated: every channel then gets a new epoch, so \
             that clients notice and forget what was lost",
            config.directory.display(),
            self.describe()
        );
        Err(StorageError::new(StorageErrorKind::Corrupt, ENGINE, message))
    }

    fn describe(self) -> String {
        match self {
            Self::Commits { recovered, claimed } => format!(
                "acknowledged publications are missing: commit {claimed} was synced, and only \
                 {recovered} could be recovered, because the end of the write-ahead log is \
                 damaged or gone"
            ),
            Self::Guard => format!(
                "the guard file {} is missing or damaged, so it is not known whether the store is \
                 whole",
                guard::FILE_NAME
            ),
        }
    }
}

/// What the store knows about itself.
#[derive(Debug)]
pub(crate) struct Meta {
    schema: Option<u64>,
    pub(crate) birth: Epoch,
    pub(crate) commit: u64,
}

impl Meta {
    pub(crate) fn read(database: &Database) -> Result<Self, StorageError> {
        let number = |key| database.get_as(Family::Meta, key, decode_number);
        let birth = number(BIRTH_KEY)?.unwrap_or(0);
        Ok(Self {
            schema: number(SCHEMA_KEY)?,
            birth: Epoch(u32::try_from(birth).unwrap_or(u32::MAX)),
            commit: number(COMMIT_KEY)?.unwrap_or(0),
        })
    }

    fn check_schema(&self, database: &Database) -> Result<(), StorageError> {
        let Some(found) = self.schema.filter(|found| *found > SCHEMA) else { return Ok(()) };
        let message = format!(
            "{} has schema {found} and this version knows {SCHEMA} at most; start the newer \
             version that wrote it",
            database.directory().display()
        );
        Err(StorageError::new(StorageErrorKind::Fatal, ENGINE, message))
    }
}

fn create(database: &Database, guard: &mut Guard, claim: Claim) -> Result<Meta, StorageError> {
    let birth = sterna_storage::memory::birth_of(std::time::SystemTime::now());
    // Above what an older guard claims: until that is overwritten, it holds of this store, too.
    let commit = claim.commit().saturating_add(FIRST_COMMIT);
    let mut batch = WriteBatch::default();
    stage_number(database, &mut batch, SCHEMA_KEY, SCHEMA);
    stage_number(database, &mut batch, BIRTH_KEY, u64::from(birth.0));
    stage_number(database, &mut batch, COMMIT_KEY, commit);
    database.write(batch, true)?;
    claim_first(database, guard, commit)?;
    tracing::info!(directory = %database.directory().display(), "made a new store");
    Ok(Meta { schema: Some(SCHEMA), birth, commit })
}

/// So that the version which made the store does not open it any more: it does not know all that
/// is in it now.
fn raise_schema(database: &Database) -> Result<(), StorageError> {
    let mut batch = WriteBatch::default();
    stage_number(database, &mut batch, SCHEMA_KEY, SCHEMA);
    database.write(batch, true)
}

fn repair(
    database: &Database,
    guard: &mut Guard,
    found: &Meta,
    claim: Claim,
) -> Result<Meta, StorageError> {
    let commit = claim.commit().max(found.commit) + 1;
    // Epochs are seconds of the clock. Of two repairs of one copy each has one of its own, so that
    // clients of the first notice the second (I5).
    wait_beyond(found.birth);
    let birth = repair::raise_every_epoch(database, found.birth, unix_now_ms(), commit)?;
    wait_beyond(birth);
    claim_first(database, guard, commit)?;
    Ok(Meta { schema: found.schema, birth, commit })
}

/// Waits until the clock has left the second of an epoch; not for one that is far ahead.
fn wait_beyond(epoch: Epoch) {
    let until = (u64::from(epoch.0) + 1).saturating_mul(1000).saturating_add(IDS_BEGIN_UNIX_MS);
    let left = until.saturating_sub(unix_now_ms());
    if left <= LONGEST_WAIT_MS {
        std::thread::sleep(std::time::Duration::from_millis(left));
    }
}

/// Writes a claim with which the guard file begins anew.
fn claim_first(database: &Database, guard: &mut Guard, commit: u64) -> Result<(), StorageError> {
    guard.claim_first(commit).map_err(|error| database.write_error(error))
}

pub(crate) fn stage_number(database: &Database, batch: &mut WriteBatch, key: &[u8], number: u64) {
    let value = seal(key, &number.to_be_bytes());
    database.stage_put(batch, Family::Meta, key, &value);
}

/// Raised with every change of keys or values that an older version would misread.
const SCHEMA: u64 = 2;
/// The file that every RocksDB has.
const CURRENT: &str = "CURRENT";

const SCHEMA_KEY: &[u8] = b"schema";
pub(crate) const BIRTH_KEY: &[u8] = b"birth";
pub(crate) const COMMIT_KEY: &[u8] = b"commit";

/// A birth that is further ahead comes from a clock that was wrong.
const LONGEST_WAIT_MS: u64 = 2_000;

/// The commit that makes the store; it holds no publication.
const FIRST_COMMIT: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_schema_is_refused_and_nothing_changes() {
        let directory = tempfile::tempdir().unwrap();
        let config = RocksConfig::new(directory.path());
        let opened = open(&config).unwrap();
        let mut batch = WriteBatch::default();
        stage_number(&opened.database, &mut batch, SCHEMA_KEY, SCHEMA + 1);
        opened.database.write(batch, true).unwrap();
        drop(opened);
        for _ in 0..2 {
            let error = open(&config).unwrap_err();
            assert_eq!(error.kind, StorageErrorKind::Fatal);
            assert!(error.message.contains("newer version"), "{error}");
        }
    }

    #[test]
    fn directories_are_made_to_last() {
        let directory = tempfile::tempdir().unwrap();
        let parents = |below: &str| {
            let parents = parents_of_missing(&directory.path().join(below));
            let relative = |each: &PathBuf| each.strip_prefix(directory.path()).unwrap().to_owned();
            parents.iter().map(relative).collect::<Vec<_>>()
        };
        assert_eq!(parents("a/b/c"), ["a/b", "a", ""].map(PathBuf::from));
        make_directory(&directory.path().join("a/b")).unwrap();
        assert_eq!(parents("a/b/c"), [PathBuf::from("a/b")]);
        assert!(parents("a/b").is_empty());
        // Seen from the working directory, each of these can be opened.
        assert_eq!(parents_of_missing(Path::new("no-such")), [Path::new("./")]);
        open(&RocksConfig::new(directory.path().join("a/b/c"))).unwrap();
    }

    #[test]
    fn a_repair_that_is_cut_off_before_its_claim_leaves_a_whole_store() {
        let directory = tempfile::tempdir().unwrap();
        let config = RocksConfig::new(directory.path());
        drop(open(&config).unwrap());
        let guard = directory.path().join(guard::FILE_NAME);
        Guard::open(directory.path(), config.durability).unwrap().claim(9).unwrap();
        let lossy = fs::read(&guard).unwrap();
        let accepting = RocksConfig { accept_truncated: true, ..config.clone() };
        assert_eq!(open(&accepting).unwrap().commit, 10);
        // What was synced last is back: the claim from before the repair.
        fs::write(&guard, lossy).unwrap();
        assert_eq!(open(&config).unwrap().commit, 10);
    }

    #[test]
    fn an_interrupted_creation_is_finished() {
        let directory = tempfile::tempdir().unwrap();
        let config = RocksConfig::new(directory.path());
        let first = open(&config).unwrap();
        let birth = first.birth;
        drop(first);
        // The batch was written and the guard was not.
        fs::remove_file(directory.path().join(guard::FILE_NAME)).unwrap();
        let second = open(&config).unwrap();
        assert_eq!((second.birth, second.commit), (birth, FIRST_COMMIT));
        drop(second);
        // Not even the batch was.
        let directory = tempfile::tempdir().unwrap();
        let config = RocksConfig::new(directory.path());
        let lock = DirectoryLock::acquire(directory.path()).unwrap();
        drop(Database::open(&config, lock).unwrap());
        assert_eq!(open(&config).unwrap().commit, FIRST_COMMIT);
    }
}
