//! A folder that is being made: under another name, locked, and gone with whoever makes it, until it
//! is whole and gets its name. What a killed process left is cleared by the next one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{BackupError, at};

/// A folder that has not got its name yet.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    to: PathBuf,
    /// Held against others until the end.
    _lock: File,
    done: bool,
}

impl Staging {
    /// Begins `to`, which must not be there or be an empty folder.
    ///
    /// # Errors
    /// [`BackupError::Refused`] if something is there, or somebody else is making it.
    pub fn begin(to: &Path) -> Result<Self, BackupError> {
        let name = to.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            BackupError::Refused(format!("`{}` does not end with a name", to.display()))
        })?;
        // The parent of a single name is empty.
        let parent = to.parent().unwrap_or(Path::new(""));
        let parent = Path::new(".").join(parent);
        check_free(to)?;
        let path = parent.join(unfinished(name));
        fs::create_dir_all(&path).map_err(at(&path))?;
        let lock = lock(&path)?.ok_or_else(|| {
            BackupError::Refused(format!("somebody else is making {}", to.display()))
        })?;
        clear(&path)?;
        Ok(Self { path, to: to.to_owned(), _lock: lock, done: false })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the folder its name, to last.
    ///
    /// # Errors
    /// [`BackupError::Io`], and then nothing is there of that name.
    pub fn finish(mut self) -> Result<(), BackupError> {
        sync_folders(&self.path)?;
        check_free(&self.to)?;
        fs::rename(&self.path, &self.to).map_err(at(&self.to))?;
        self.done = true;
        let parent = Path::new(".").join(self.to.parent().unwrap_or(Path::new("")));
        File::open(&parent).and_then(|parent| parent.sync_all()).map_err(at(&parent))?;
        // After the name: without its lock an unfinished folder would be nobody's. Who is killed here
        // leaves a file that says nothing any more.
        let lock = self.to.join(LOCK);
        fs::remove_file(&lock).map_err(at(&lock))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not be cleared");
        }
    }
}

/// Takes away what killed processes have left beside `to`.
pub(crate) fn clear_left(parent: &Path) -> Result<(), BackupError> {
    for path in left(parent)? {
        match clear_one(&path) {
            Ok(true) => {
                tracing::info!(path = %path.display(), "what somebody has not finished is gone");
            }
            Ok(false) => {}
            // Another user's, perhaps: no reason to do nothing.
            Err(error) => tracing::warn!(path = %path.display(), %error, "could not be cleared"),
        }
    }
    Ok(())
}

/// False: somebody is at it.
fn clear_one(path: &Path) -> Result<bool, BackupError> {
    // Held until all of it is gone: nobody begins anew in it meanwhile.
    let Some(_held) = lock(path)? else { return Ok(false) };
    fs::remove_dir_all(path).map_err(at(path))?;
    Ok(true)
}

/// The folder in which somebody makes `to`, or has not finished it.
pub(crate) fn unfinished_of(to: &Path) -> Option<PathBuf> {
    let path = to.with_file_name(unfinished(to.file_name()?.to_str()?));
    path.join(LOCK).exists().then_some(path)
}

/// Whether this is the name of a folder that is not finished.
pub(crate) fn is_unfinished(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && name.ends_with(SUFFIX)
}

fn unfinished(name: &str) -> String {
    format!(".{name}{SUFFIX}")
}

/// Folders that are being made, or were left.
fn left(parent: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(parent)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(at(parent))?.path();
        if is_unfinished(&path) && path.join(LOCK).exists() {
            found.push(path);
        }
    }
    Ok(found)
}

fn check_free(to: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => true,
        Err(error) => return Err(at(to)(error)),
    };
    if entries {
        return Err(BackupError::Refused(format!("{} is there already", to.display())));
    }
    Ok(())
}

/// `None`: somebody holds it.
fn lock(path: &Path) -> Result<Option<File>, BackupError> {
    let path = path.join(LOCK);
    let file = File::create(&path).map_err(at(&path))?;
    match file.try_lock() {
        // Whoever held it until now may have cleared or finished the folder.
        Ok(()) => Ok(is_file_at(&file, &path).map_err(at(&path))?.then_some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(at(&path)(error)),
    }
}

fn is_file_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Everything but the lock.
fn clear(path: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(path).map_err(at(path))? {
        let entry = entry.map_err(at(path))?;
        let inner = entry.path();
        let is_folder = entry.file_type().map_err(at(&inner))?.is_dir();
        if is_folder {
            fs::remove_dir_all(&inner).map_err(at(&inner))?;
        } else if entry.file_name() != LOCK {
            fs::remove_file(&inner).map_err(at(&inner))?;
        }
    }
    Ok(())
}

/// The names in a folder and in those below it outlive a power cut.
fn sync_folders(folder: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        if path.is_dir() {
            sync_folders(&path)?;
        }
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

const SUFFIX: &str = ".unfinished";
/// In a folder that is being made, and in a whole one only if its maker was killed at the very end.
pub(crate) const LOCK: &str = "sterna.making";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_there_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let to = home.path().join("b");
        let staging = Staging::begin(&to).unwrap();
        fs::write(staging.path().join("x"), "1").unwrap();
        assert!(matches!(Staging::begin(&to), Err(BackupError::Refused(_))), "by somebody else");
        clear_left(home.path()).unwrap();
        assert!(staging.path().join("x").exists(), "it is being made");
        drop(staging);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "given up");
        let staging = Staging::begin(&to).unwrap();
        fs::write(staging.path().join("x"), "1").unwrap();
        assert_eq!(unfinished_of(&to).as_deref(), Some(staging.path()));
        staging.finish().unwrap();
        assert_eq!((fs::read_dir(&to).unwrap().count(), unfinished_of(&to)), (1, None));
        assert!(matches!(Staging::begin(&to), Err(BackupError::Refused(_))), "it is there");
    }

    #[test]
    fn a_lock_on_what_was_cleared_meanwhile_is_none() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(LOCK);
        let file = File::create(&path).unwrap();
        assert!(is_file_at(&file, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!is_file_at(&file, &path).unwrap());
        File::create(&path).unwrap();
        assert!(!is_file_at(&file, &path).unwrap(), "another's");
    }

    #[test]
    fn what_a_killed_process_left_is_cleared() {
        let home = tempfile::tempdir().unwrap();
        let left = home.path().join(format!(".b{SUFFIX}"));
        let other = home.path().join(format!(".other{SUFFIX}"));
        fs::create_dir_all(left.join("store")).unwrap();
        fs::create_dir_all(&other).unwrap();
        for path in [left.join(LOCK), left.join("store/1.sst"), left.join("x")] {
            fs::write(path, "").unwrap();
        }
        let staging = Staging::begin(&home.path().join("b")).unwrap();
        assert_eq!(fs::read_dir(staging.path()).unwrap().count(), 1, "the lock");
        drop(staging);
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        clear_left(home.path()).unwrap();
        assert!(!left.exists());
        assert!(other.exists(), "no folder of ours");
    }
}
