//! Where old publications go, and when.

use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sterna_storage_archive::ArchiveConfig;
use sterna_storage_keeping::{Encrypt, RootKeys};
use sterna_storage_object::{Keys, ObjectConfig, Place};

use super::Reader;

/// An archive behind the store.
#[derive(Debug, Clone)]
pub(crate) struct ArchiveSettings {
    pub(crate) objects: ObjectConfig,
    pub(crate) when: ArchiveConfig,
    /// Appends that take this long make the archiver wait.
    pub(crate) slow_write: Duration,
    pub(crate) encrypt: Encrypt,
    /// `None`: nothing can be sealed.
    pub(crate) roots: Option<RootKeys>,
}

impl Reader {
    /// `Some(None)`: everything stays in the store.
    pub(super) fn archive(&mut self, has_store: bool) -> Option<Option<ArchiveSettings>> {
        let Some(url) = self.text("archive.url") else { return Some(None) };
        if !has_store {
            let reason = "cores archive what is in their store; this node has none";
            return self.refuse("archive.url", reason);
        }
        let place = self.archive_place(&url)?;
        let defaults = ArchiveConfig::default();
        let after = self.duration("archive.after", "24h", "1s", "3650d");
        let every = self.duration("archive.every", "1h", "1s", "7d");
        let grace = self.duration("archive.grace", "1h", "0s", "30d");
        let keep_newest = self.integer("archive.keep_newest", defaults.keep_newest, 0..=100_000);
        let keep_active = self.duration("archive.keep_active", "30d", "0s", "3650d");
        let bytes = 1 << 16..=1 << 30;
        let segment_bytes = self.integer("archive.segment_bytes", defaults.segment_bytes, bytes);
        let rate = u64::from(defaults.records_per_second);
        let rate = self.integer("archive.records_per_second", rate, 1..=10_000_000);
        let compact = self.bool("archive.compact", defaults.compact);
        let slow_write = self.duration("archive.slow_write", "100ms", "1ms", "1m");
        let roots = self.root_keys();
        let encrypt = self.archive_encrypt();
        Some(Some(ArchiveSettings {
            objects: ObjectConfig::new(place),
            when: ArchiveConfig {
                after: after?,
                every: every?,
                grace: grace?,
                keep_newest: keep_newest?,
                keep_active: keep_active?,
                segment_bytes: segment_bytes?,
                records_per_second: rate? as u32,
                compact: compact?,
                order: number_of(&self.text("node.name").unwrap_or_default()),
            },
            slow_write: slow_write?,
            encrypt: encrypt?,
            roots: roots?,
        }))
    }

    fn root_keys(&mut self) -> Option<Option<RootKeys>> {
        let Some(path) = self.path("archive.master_key_file") else { return Some(None) };
        match RootKeys::read(&path) {
            Ok(roots) => Some(Some(roots)),
            Err(error) => self.refuse("archive.master_key_file", error),
        }
    }

    fn archive_encrypt(&mut self) -> Option<Encrypt> {
        const CHOICES: &[(&str, Encrypt)] =
            &[("none", Encrypt::None), ("marked", Encrypt::Marked), ("all", Encrypt::All)];
        let encrypt = self.choice("archive.encrypt", CHOICES)?;
        if encrypt != Encrypt::None && !self.is_given("archive.master_key_file") {
            let reason = "`archive.master_key_file` belongs to it; `sterna key` makes one";
            return self.refuse("archive.encrypt", reason);
        }
        Some(encrypt)
    }

    fn archive_place(&mut self, url: &str) -> Option<Place> {
        let endpoint = self.text("archive.endpoint");
        let region = self.text("archive.region");
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        let keys = self.archive_keys(scheme)?;
        match place_of(url, endpoint, region, keys) {
            Ok(place) => Some(place),
            Err(reason) => self.refuse("archive.url", reason),
        }
    }

    fn archive_keys(&mut self, scheme: &str) -> Option<Keys> {
        let (id, secret) = (self.path("archive.key_id_file"), self.path("archive.secret_file"));
        match (id, secret) {
            (None, None) => Some(Keys::Environment),
            (Some(id), Some(secret)) => Some(Keys::Files { id, secret }),
            // A service account's JSON says whose it is.
            (None, Some(secret)) if scheme == "gcs" => {
                Some(Keys::Files { id: PathBuf::new(), secret })
            }
            (None, Some(_)) => {
                self.refuse("archive.secret_file", "`archive.key_id_file` belongs to it")
            }
            (Some(_), None) => {
                self.refuse("archive.key_id_file", "`archive.secret_file` belongs to it")
            }
        }
    }
}

/// Where objects lie, as a URL names it.
pub(crate) fn place_of(
    url: &str,
    endpoint: Option<String>,
    region: Option<String>,
    keys: Keys,
) -> Result<Place, String> {
    let Some((scheme, rest)) = url.split_once("://") else { return Err(SCHEMES.to_owned()) };
    let (bucket, root) = rest.split_once('/').unwrap_or((rest, ""));
    if scheme != "file" && bucket.is_empty() {
        return Err(format!("{scheme}:// is followed by a bucket"));
    }
    let (bucket, root) = (bucket.to_owned(), format!("/{}", root.trim_matches('/')));
    Ok(match scheme {
        "file" if rest.starts_with('/') && rest.len() > 1 => {
            Place::Files { root: PathBuf::from(rest) }
        }
        "s3" => Place::S3 { bucket, root, endpoint, region, keys },
        "gcs" => Place::Gcs { bucket, root, endpoint, keys },
        "azblob" => Place::Azblob { container: bucket, root, endpoint, keys },
        _ => return Err(SCHEMES.to_owned()),
    })
}

/// Another for each name, the same at every start.
fn number_of(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

const SCHEMES: &str = "write file:///folder, s3://bucket/folder, gcs://bucket/folder or \
                       azblob://container/folder";
