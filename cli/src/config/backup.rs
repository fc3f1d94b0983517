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
