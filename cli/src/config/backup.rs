//! Where a node puts backups of its store.

use std::path::{Path, PathBuf};

use super::Reader;

/// For backups that are ordered from a running node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackupSettings {
    /// Each backup is a folder in it.
    pub(crate) directory: PathBuf,
    /// Bytes of its disk that a backup leaves free.
    pub(crate) keep_free: u64,
}

impl BackupSettings {
    /// What holds unless something else is set.
    pub(crate) fn of(data_dir: &Path) -> Self {
        Self { directory: data_dir.join("backups"), keep_free: KEEP_FREE }
    }
}

impl Reader {
    /// `None` without a data directory, which has complained.
    pub(super) fn backup(&mut self, data_dir: Option<&Path>) -> Option<BackupSettings> {
        let directory = self.path("backup.directory");
        let keep_free = self.integer("backup.keep_free", KEEP_FREE, 0..=1 << 50);
        let defaults = BackupSettings::of(data_dir?);
        let directory = directory.unwrap_or(defaults.directory);
        Some(BackupSettings { directory, keep_free: keep_free? })
    }
}

/// 256 MiB.
const KEEP_FREE: u64 = 1 << 28;

#[cfg(test)]
mod tests {
    use crate::config::tests::Place;

    use super::*;

    #[test]
    fn backups_lie_beside_the_store_unless_another_place_is_set() {
        let place = Place::new();
        let config = place.load(&place.good(), &[], &[]).unwrap();
        assert_eq!(config.backup, BackupSettings::of(place.path()));
        assert_eq!(config.backup.directory, place.path().join("backups"));
        let flags = ["backup.directory=/mnt/backups", "backup.keep_free=0"];
        let config = place.load(&place.good(), &[], &flags).unwrap();
        assert_eq!(config.backup.directory, Path::new("/mnt/backups"));
        assert_eq!(config.backup.keep_free, 0);
        let refused = place.load(&place.good(), &[], &["backup.keep_free=-1"]).unwrap_err();
        assert!(refused[0].contains("backup.keep_free"), "{refused:?}");
    }
}
