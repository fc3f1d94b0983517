//! The folder of a server. It goes with the value; one that is left behind, since its process was killed
//! or never drops what its tests share, is removed by whoever makes the next one.

use std::fs::File;
use std::path::Path;

use tempfile::TempDir;

/// See the module.
#[derive(Debug)]
pub(crate) struct Place {
    directory: TempDir,
    /// Locked for as long as the process lives.
    _lock: File,
}

impl Place {
    /// An empty folder for a server of this kind.
    pub(crate) fn new(kind: &str) -> Self {
        remove_leftovers(&std::env::temp_dir());
        let directory = tempfile::Builder::new().prefix(&format!("{PREFIX}{kind}-")).tempdir();
        let directory = directory.expect("there is a place for temporary files");
        let fresh = directory.path().join("fresh");
        let lock = File::create(&fresh).expect("a file in a new folder");
        lock.lock().expect("nobody else knows the file");
        // Only now others can see it.
        std::fs::rename(fresh, directory.path().join(LOCK)).expect("both are in one folder");
        Self { directory, _lock: lock }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

fn remove_leftovers(temporary: &Path) {
    let Ok(entries) = std::fs::read_dir(temporary) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            // Another process may be doing the same.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

const PREFIX: &str = "sterna-engine-";
const LOCK: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_nobody_are_removed_and_those_in_use_are_not() {
        let temporary = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let folder = temporary.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("data"), "x").unwrap();
            (File::create(folder.join(LOCK)).unwrap(), folder)
        };
        let (left, gone) = make("sterna-engine-x-1");
        let (lock, used) = make("sterna-engine-x-2");
        let (_, foreign) = make("another-1");
        lock.lock().unwrap();
        drop(left);
        remove_leftovers(temporary.path());
        assert!(!gone.exists() && used.exists() && foreign.exists());
        drop(lock);
        remove_leftovers(temporary.path());
        assert!(!used.exists());
    }

    #[test]
    fn a_folder_is_there_until_its_value_goes() {
        let place = Place::new("test");
        let path = place.path().to_owned();
        drop(Place::new("test"));
        assert!(path.exists());
        drop(place);
        assert!(!path.exists());
    }
}
