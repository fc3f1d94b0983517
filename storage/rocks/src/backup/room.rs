//! Whether there is room on a disk.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{BackupError, at};

/// Refuses what would leave less than `keep_free` on the file system of `folder`, which is there.
pub(crate) fn check_room(folder: &Path, needed: u64, keep_free: u64) -> Result<(), BackupError> {
    let found = rustix::fs::statvfs(folder).map_err(io::Error::from).map_err(at(folder))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if free >= needed.saturating_add(keep_free) {
        return Ok(());
    }
    Err(BackupError::Refused(format!(
        "{} has {free} bytes free; {needed} may be needed, and {keep_free} are to stay free",
        folder.display()
    )))
}

/// Whether files of one can be linked into the other.
pub(crate) fn is_one_file_system(one: &Path, other: &Path) -> Result<bool, BackupError> {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).map_err(at(path));
    Ok(device(one)? == device(other)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        check_room(folder.path(), 1, 0).unwrap();
        for (needed, keep_free) in [(u64::MAX, 0), (1, u64::MAX), (1 << 62, 1 << 62)] {
            let refused = check_room(folder.path(), needed, keep_free).unwrap_err();
            assert!(matches!(refused, BackupError::Refused(_)), "{refused}");
        }
    }
}
