//! Backups in an object store. Files lie under their digest and are shared by all backups there, so that
//! what is there already is not sent again; the description of a backup comes last.
//!
//! ```text
//! files/SHA-256    a file of one or more backups
//! NAME.json        a backup: its description, as in its folder
//! ```

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use sha2::{Digest as _, Sha256};
use sterna_storage::StorageErrorKind;
use sterna_storage_object::{Keys, ObjectConfig, ObjectFiles};
use sterna_storage_rocks::backup::{BackupError, FileEntry, INVENTORY, Inventory, Source};
use tokio::runtime::Runtime;

use crate::args::PlaceArgs;
use crate::config::place_of;

/// An object store with backups in it.
pub(super) struct Remote {
    files: ObjectFiles,
    runtime: Runtime,
}

/// What a push came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Pushed {
    pub(super) files: u64,
    pub(super) sent_files: u64,
    pub(super) sent_bytes: u64,
}

/// One backup there.
pub(super) struct RemoteBackup<'a> {
    pub(super) remote: &'a Remote,
    pub(super) name: &'a str,
}

/// Whether this names an object store, and no folder.
pub(super) fn is_url(text: &str) -> bool {
    text.contains("://")
}

/// The store and the name of `URL/NAME`.
pub(super) fn split(url: &str) -> Result<(&str, &str)> {
    let split = url.trim_end_matches('/').rsplit_once('/');
    split
        .filter(|(url, name)| !name.is_empty() && is_url(url) && !url.ends_with(":/"))
        .ok_or_else(|| anyhow!("`{url}` is not URL/NAME, as in s3://bucket/folder/backup"))
}

impl Remote {
    pub(super) fn open(url: &str, args: &PlaceArgs) -> Result<Self> {
        let keys = match (&args.key_id_file, &args.secret_file) {
            (Some(id), Some(secret)) => Keys::Files { id: id.clone(), secret: secret.clone() },
            (_, Some(secret)) if url.starts_with("gcs://") => {
                Keys::Files { id: secret.clone(), secret: secret.clone() }
            }
            (_, Some(_)) => bail!("--key-id-file belongs to --secret-file"),
            (_, None) => Keys::Environment,
        };
        let place = place_of(url, args.endpoint.clone(), args.region.clone(), keys);
        let place = place.map_err(anyhow::Error::msg)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let files = runtime.block_on(async { ObjectFiles::open(ObjectConfig::new(place)) })?;
        Ok(Self { files, runtime })
    }

    /// The names of the backups there.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let found = self.runtime.block_on(self.files.names("/", NAMES))?;
        let name = |object: String| {
            object.trim_start_matches('/').strip_suffix(".json").map(str::to_owned)
        };
        Ok(found.into_iter().filter_map(name).collect())
    }

    pub(super) fn backup<'a>(&'a self, name: &'a str) -> RemoteBackup<'a> {
        RemoteBackup { remote: self, name }
    }

    /// Sends a backup whose files were compared with its description before. `told` hears of bytes.
    pub(super) fn push(
        &self,
        folder: &Path,
        name: &str,
        inventory: &Inventory,
        told: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Pushed> {
        let description = format!("{name}.json");
        if self.runtime.block_on(self.files.size(&description))?.is_some() {
            bail!("there is a backup `{name}`; nothing was sent");
        }
        let mut pushed = Pushed::default();
        for file in &inventory.files {
            let path = file.place(folder).with_context(|| format!("`{}` is no file", file.path))?;
            let object = object_of(file)?;
            pushed.files += 1;
            match self.runtime.block_on(self.files.size(&object))? {
                Some(bytes) if bytes == file.bytes => told(file.bytes),
                Some(bytes) => bail!("{object} has {bytes} bytes and should have {}", file.bytes),
                None => {
                    let mut each = |bytes| {
                        told(bytes);
                        true
                    };
                    self.runtime.block_on(self.files.send(&object, &path, &mut each))?;
                    pushed.sent_files += 1;
                    pushed.sent_bytes += file.bytes;
                }
            }
        }
        let text = std::fs::read(folder.join(INVENTORY))?;
        self.runtime.block_on(self.files.write(&description, text))?;
        Ok(pushed)
    }
}

impl RemoteBackup<'_> {
    /// Reads a file through; its length and digest.
    fn read_through(
        &self,
        file: &FileEntry,
        mut to: Option<(&mut File, &Path)>,
        each: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(u64, String), BackupError> {
        let object = object_of(file).map_err(|error| BackupError::Damaged(error.to_string()))?;
        let Remote { files, runtime } = self.remote;
        let (mut digest, mut at) = (Sha256::new(), 0);
        if runtime.block_on(files.size(&object))? != Some(file.bytes) {
            return Err(BackupError::Damaged(format!("{object} is missing or has other bytes")));
        }
        while at < file.bytes {
            let upto = file.bytes.min(at + PIECE_BYTES);
            let piece = runtime.block_on(files.piece(&object, at, upto))?;
            digest.update(&piece);
            if let Some((to, path)) = &mut to {
                to.write_all(&piece)
                    .map_err(|source| BackupError::Io { path: path.to_path_buf(), source })?;
            }
            at = upto;
            if !each(piece.len() as u64) {
                return Err(BackupError::GivenUp);
            }
        }
        let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((at, digest))
    }

    /// One sentence for each file that is not as it was.
    pub(super) fn verify(
        &self,
        inventory: &Inventory,
        told: &mut dyn FnMut(u64),
    ) -> Result<Vec<String>, BackupError> {
        let mut damages = Vec::new();
        for file in &inventory.files {
            let mut each = |bytes| {
                told(bytes);
                true
            };
            match self.read_through(file, None, &mut each) {
                Ok((_, sha256)) if sha256 == file.sha256 => {}
                Ok(_) => damages.push(format!("{} is not what was written", file.path)),
                Err(BackupError::Damaged(what)) => damages.push(format!("{}: {what}", file.path)),
                Err(BackupError::Storage(error)) if error.kind == StorageErrorKind::Corrupt => {
                    damages.push(format!("{}: {error}", file.path));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(damages)
    }
}

impl Source for RemoteBackup<'_> {
    fn inventory(&self) -> Result<Inventory, BackupError> {
        let Remote { files, runtime } = self.remote;
        let description = format!("{}.json", self.name);
        if runtime.block_on(files.size(&description))?.is_none() {
            return Err(BackupError::Refused(format!("there is no backup `{}`", self.name)));
        }
        Inventory::of_text(&runtime.block_on(files.read(&description, DESCRIPTION_BYTES))?)
    }

    fn copy(
        &self,
        file: &FileEntry,
        to: &mut File,
        path: &Path,
        each: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(u64, String), BackupError> {
        self.read_through(file, Some((to, path)), each)
    }
}

/// Where a file lies.
fn object_of(file: &FileEntry) -> Result<String> {
    let is_digest = file.sha256.len() == 64 && file.sha256.bytes().all(|it| it.is_ascii_hexdigit());
    if !is_digest {
        bail!("`{}` is no SHA-256", file.sha256);
    }
    Ok(format!("files/{}", file.sha256))
}

/// What is fetched at once.
const PIECE_BYTES: u64 = 4 << 20;

/// Most backups that are listed.
const NAMES: usize = 10_000;

/// Of hundreds of thousands of files.
const DESCRIPTION_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_elsewhere_is_a_url_and_a_name() {
        assert_eq!(split("s3://bucket/deep/er/monday").unwrap(), ("s3://bucket/deep/er", "monday"));
        assert_eq!(split("file:///b/monday/").unwrap(), ("file:///b", "monday"));
        for bad in ["s3://bucket", "monday", "/b/monday", "s3://"] {
            assert!(split(bad).is_err(), "{bad}");
        }
        assert!(is_url("s3://bucket") && !is_url("/b/monday"));
    }

    #[test]
    fn files_lie_under_their_digest_and_nowhere_else() {
        let file = |sha256: &str| FileEntry { path: "a".into(), bytes: 1, sha256: sha256.into() };
        assert_eq!(object_of(&file(&"a".repeat(64))).unwrap(), format!("files/{}", "a".repeat(64)));
        for bad in ["", "../x", &"/".repeat(64)] {
            assert!(object_of(&file(bad)).is_err(), "{bad}");
        }
    }
}
