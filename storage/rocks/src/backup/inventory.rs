//! What a backup says of itself: `backup.json`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::staging::is_unfinished;
use super::{BackupError, CHUNK_BYTES, at};

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Of this file and of how the others lie.
    pub format: u32,
    /// The program that made it.
    pub version: String,
    /// Whose store it was.
    pub node: String,
    /// Epoch of channels that began in the store.
    pub birth: u32,
    /// Number of the newest commit in it.
    pub commit: u64,
    /// When it was begun, in Unix milliseconds.
    pub created_ms: u64,
    /// Of all files together.
    pub bytes: u64,
    /// In the order of their names.
    pub files: Vec<FileEntry>,
    /// SHA-256 of this description without this field.
    #[serde(default)]
    pub digest: String,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileEntry {
    /// Below the backup's folder, with `/`.
    pub path: String,
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
}

impl Inventory {
    /// What the description of a backup says that lies elsewhere.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] if it is not what was written.
    pub fn of_text(text: &[u8]) -> Result<Self, BackupError> {
        Self::parse(text).map_err(BackupError::Damaged)
    }

    /// Writes it to stable storage.
    pub(crate) fn write(&mut self, folder: &Path) -> Result<(), BackupError> {
        self.digest = self.digest_of();
        let path = folder.join(INVENTORY);
        let text = serde_json::to_vec_pretty(self).unwrap_or_else(|_| unreachable!("it is text"));
        let mut file = File::create(&path).map_err(at(&path))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(at(&path))
    }

    /// Reads and checks it; what it says of the files is not compared with them.
    pub(crate) fn read(folder: &Path) -> Result<Self, BackupError> {
        if is_unfinished(folder) {
            let message = format!("{} was not finished and is no backup", folder.display());
            return Err(BackupError::Refused(message));
        }
        let path = folder.join(INVENTORY);
        let mut text = Vec::new();
        let file = File::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => BackupError::Refused(format!(
                "{} is no backup: it has no {INVENTORY}",
                folder.display()
            )),
            _ => at(&path)(error),
        })?;
        file.take(INVENTORY_BYTES).read_to_end(&mut text).map_err(at(&path))?;
        Self::parse(&text)
            .map_err(|what| BackupError::Damaged(format!("{}: {what}", path.display())))
    }

    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let found: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if found.format != FORMAT {
            return Err(format!(
                "it has format {}, and this program knows {FORMAT}: use the one that made it ({})",
                found.format, found.version
            ));
        }
        if found.digest != found.digest_of() {
            return Err("it does not agree with its own digest".to_owned());
        }
        if let Some(bad) = found.files.iter().find(|file| file.place(Path::new("")).is_none()) {
            return Err(format!("`{}` is no name of a file in a backup", bad.path));
        }
        Ok(found)
    }

    pub(crate) fn digest_of(&self) -> String {
        let bare = Self { digest: String::new(), ..self.clone() };
        let text = serde_json::to_vec(&bare).unwrap_or_else(|_| unreachable!("it is text"));
        hex(&Sha256::digest(text))
    }
}

impl FileEntry {
    /// Where it lies, below a folder; `None` for a name that leads elsewhere.
    pub fn place(&self, folder: &Path) -> Option<PathBuf> {
        let path = Path::new(&self.path);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        (plain && !self.path.is_empty()).then(|| folder.join(path))
    }
}

/// Reads a file through, and writes what it reads; its length and SHA-256. `each` hears of every
/// piece, and ends it with `false`.
pub(crate) fn read_through(
    path: &Path,
    mut to: Option<(&mut File, &Path)>,
    each: &mut dyn FnMut(u64) -> bool,
) -> Result<(u64, String), BackupError> {
    let mut file = File::open(path).map_err(at(path))?;
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => return Ok((bytes, hex(&digest.finalize()))),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(at(path)(error)),
        };
        digest.update(&chunk[..read]);
        if let Some((file, path)) = &mut to {
            file.write_all(&chunk[..read]).map_err(at(path))?;
        }
        bytes += read as u64;
        if !each(read as u64) {
            return Err(BackupError::GivenUp);
        }
    }
}

/// The files below a folder, by their names there, in order.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<(String, u64)>, BackupError> {
    let mut found = Vec::new();
    let mut folders = vec![(String::new(), folder.to_owned())];
    while let Some((prefix, folder)) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(at(&folder))? {
            let entry = entry.map_err(at(&folder))?;
            let path = entry.path();
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                let message = format!("{} has a name that is no text", path.display());
                return Err(BackupError::Refused(message));
            };
            let metadata = entry.metadata().map_err(at(&path))?;
            let name = format!("{prefix}{name}");
            if metadata.is_dir() {
                folders.push((format!("{name}/"), path));
            } else {
                found.push((name, metadata.len()));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file in a backup that describes it.
pub const INVENTORY: &str = "backup.json";
pub(crate) const FORMAT: u32 = 1;

/// Of hundreds of thousands of files.
const INVENTORY_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory() -> Inventory {
        let file = |path: &str| FileEntry { path: path.into(), bytes: 3, sha256: "00".into() };
        Inventory {
            format: FORMAT,
            version: "0.1.0".into(),
            node: "n".into(),
            birth: 7,
            commit: 9,
            created_ms: 1,
            bytes: 3,
            files: vec![file("store/CURRENT")],
            digest: String::new(),
        }
    }

    #[test]
    fn a_description_that_was_changed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut written = inventory();
        written.write(folder.path()).unwrap();
        assert_eq!(Inventory::read(folder.path()).unwrap(), written);
        let path = folder.path().join(INVENTORY);
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to) in [("\"birth\": 7", "\"birth\": 8"), ("CURRENT", "CURRENU"), ("{", "")] {
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let refused = Inventory::read(folder.path()).unwrap_err();
            assert!(matches!(refused, BackupError::Damaged(_)), "{from}: {refused}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Inventory::read(folder.path()), Err(BackupError::Refused(_))));
    }

    #[test]
    fn a_name_that_leads_out_of_the_backup_is_refused() {
        for name in ["../x", "/etc/passwd", "store/../../x", "", "./x"] {
            let mut bad = inventory();
            bad.files[0].path = name.into();
            bad.digest = bad.digest_of();
            let text = serde_json::to_vec(&bad).unwrap();
            assert!(Inventory::parse(&text).is_err(), "{name}");
        }
        let mut later = inventory();
        later.format = FORMAT + 1;
        later.digest = later.digest_of();
        let refused = Inventory::parse(&serde_json::to_vec(&later).unwrap()).unwrap_err();
        assert!(refused.contains("format 2"), "{refused}");
    }
}
