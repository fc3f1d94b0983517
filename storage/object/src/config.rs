//! What the composition root says about the archive, and the service that follows from it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use opendal::Operator;
use opendal::services::{Azblob, Fs, Gcs, Memory, S3};
use sterna_storage::StorageError;

use crate::failure::{told, unfit};
use crate::format::{BLOCK_BYTES, LEAST_BLOCK_BYTES, MOST_BLOCK_BYTES};

/// Where segments lie.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder on a local file system. Several processes may share it.
    Files { root: PathBuf },
    /// This process's memory, for tests.
    Memory,
    /// Amazon S3, or what speaks its protocol. Where it knows If-None-Match, an object is never
    /// replaced.
    S3 {
        bucket: String,
        /// Folder in the bucket.
        root: String,
        /// Amazon's own without it.
        endpoint: Option<String>,
        /// From the environment without it.
        region: Option<String>,
        keys: Keys,
    },
    /// Google Cloud Storage.
    Gcs { bucket: String, root: String, endpoint: Option<String>, keys: Keys },
    /// Azure Blob Storage.
    Azblob { container: String, root: String, endpoint: Option<String>, keys: Keys },
}

/// What proves who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Keys {
    /// What the service's own tools would find: environment variables, their files, the machine's
    /// role.
    Environment,
    /// Files with the name of the key and the key, each alone in its file; read once, when the store
    /// is opened. Of GCS the second is a service account's JSON and the first is not read.
    Files { id: PathBuf, secret: PathBuf },
}

/// How the archive is kept. Every limit has a default that serves a core node.
#[derive(Debug, Clone)]
pub struct ObjectConfig {
    pub place: Place,
    /// For looking up or reading a run, a listing and a removal, with all attempts.
    pub call_deadline: Duration,
    /// For one step of an upload, which is a part, or the end of it, with all attempts.
    pub upload_deadline: Duration,
    /// For reading one segment again as a whole.
    pub verify_deadline: Duration,
    /// For one attempt at one request.
    pub attempt_deadline: Duration,
    /// For one attempt to send a part of an upload.
    pub part_deadline: Duration,
    /// How often a request is tried again, with growing, jittered delays from 50 ms to 2 s.
    pub retries: usize,
    /// Requests of callers on their way; more are refused as unavailable, retryable.
    pub calls_in_flight: usize,
    /// Segments that are being written; more are refused as unavailable, retryable. Each holds a
    /// block, a page of its index and two parts.
    pub writers: usize,
    /// Tails and pages of segments that are kept in memory.
    pub index_bytes: usize,
    /// When a block is closed, from 4 KiB to 1 MiB.
    pub block_bytes: usize,
    /// Parts of an upload, of which two are held at most; services want at least 5 MiB.
    pub part_bytes: usize,
}

impl ObjectConfig {
    /// With defaults.
    pub fn new(place: Place) -> Self {
        Self {
            place,
            call_deadline: Duration::from_secs(20),
            upload_deadline: Duration::from_secs(180),
            verify_deadline: Duration::from_secs(600),
            attempt_deadline: Duration::from_secs(5),
            part_deadline: Duration::from_secs(60),
            retries: 4,
            calls_in_flight: ARCHIVE_CALLS,
            writers: ARCHIVE_WRITERS,
            index_bytes: INDEX_BYTES,
            block_bytes: BLOCK_BYTES,
            part_bytes: PART_BYTES,
        }
    }

    /// Whether the numbers make sense.
    pub(crate) fn check(&self) -> Result<(), StorageError> {
        let refuse = |what: String| Err(unfit(what));
        if !(LEAST_BLOCK_BYTES..=MOST_BLOCK_BYTES).contains(&self.block_bytes) {
            return refuse(format!(
                "block_bytes is not between {LEAST_BLOCK_BYTES} and {MOST_BLOCK_BYTES}"
            ));
        }
        if !(LEAST_PART_BYTES..=MOST_PART_BYTES).contains(&self.part_bytes) {
            return refuse(format!(
                "part_bytes is not between {LEAST_PART_BYTES} and {MOST_PART_BYTES}"
            ));
        }
        if self.calls_in_flight == 0 || self.writers == 0 {
            return refuse("calls_in_flight or writers is 0".to_owned());
        }
        Ok(())
    }

    /// The service, bare.
    pub(crate) fn operator(&self) -> Result<Operator, StorageError> {
        opendal::install_default();
        let made = match &self.place {
            Place::Files { root } => {
                // Read, listed and removed through this; `local.rs` writes.
                Operator::new(Fs::default().root(text_of(root)?))
            }
            Place::Memory => Operator::new(Memory::default()),
            Place::S3 { bucket, root, endpoint, region, keys } => {
                let mut service = S3::default().bucket(bucket).root(root);
                if let Some(endpoint) = endpoint {
                    service = service.endpoint(endpoint);
                }
                if let Some(region) = region {
                    service = service.region(region);
                }
                if let Some((id, secret)) = keys.read()? {
                    service = service.access_key_id(&id).secret_access_key(&secret);
                    service = service.disable_config_load().disable_ec2_metadata();
                }
                Operator::new(service)
            }
            Place::Gcs { bucket, root, endpoint, keys } => {
                let mut service = Gcs::default().bucket(bucket).root(root);
                if let Some(endpoint) = endpoint {
                    service = service.endpoint(endpoint);
                }
                if let Keys::Files { secret, .. } = keys {
                    service = service.credential_path(text_of(secret)?);
                }
                Operator::new(service)
            }
            Place::Azblob { container, root, endpoint, keys } => {
                let mut service = Azblob::default().container(container).root(root);
                if let Some(endpoint) = endpoint {
                    service = service.endpoint(endpoint);
                }
                if let Some((id, secret)) = keys.read()? {
                    service = service.account_name(&id).account_key(&secret);
                }
                Operator::new(service)
            }
        };
        made.map_err(|error| told("the archive", error))
    }
}

impl Keys {
    fn read(&self) -> Result<Option<(String, String)>, StorageError> {
        let Self::Files { id, secret } = self else { return Ok(None) };
        let read = |path: &Path| -> Result<String, StorageError> {
            let text = std::fs::read_to_string(path)
                .map_err(|error| unfit(format!("{}: {error}", path.display())))?;
            Ok(text.trim().to_owned())
        };
        Ok(Some((read(id)?, read(secret)?)))
    }
}

/// Without what a path or an address may tell.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files { .. } => "Files",
            Self::Memory => "Memory",
            Self::S3 { .. } => "S3",
            Self::Gcs { .. } => "Gcs",
            Self::Azblob { .. } => "Azblob",
        })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "Environment",
            Self::Files { .. } => "Files",
        })
    }
}

fn text_of(path: &Path) -> Result<&str, StorageError> {
    path.to_str().ok_or_else(|| unfit(format!("{} is no text", path.display())))
}

/// Calls on their way, unless configured otherwise.
const ARCHIVE_CALLS: usize = 256;

/// Segments that are being written, unless configured otherwise. A node has one archiver, which
/// writes one after the other.
const ARCHIVE_WRITERS: usize = 8;

/// Kept tails and pages, unless configured otherwise: the tails of some 1,500 segments of 64 MiB, or
/// half a million runs.
const INDEX_BYTES: usize = 64 * 1024 * 1024;

/// Parts, unless configured otherwise.
const PART_BYTES: usize = 8 * 1024 * 1024;

const LEAST_PART_BYTES: usize = 5 * 1024 * 1024;
const MOST_PART_BYTES: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use sterna_storage::StorageErrorKind;

    use super::*;

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        let good = ObjectConfig::new(Place::Memory);
        assert!(good.check().is_ok());
        for bad in [
            ObjectConfig { block_bytes: 100, ..good.clone() },
            ObjectConfig { block_bytes: 1 << 30, ..good.clone() },
            ObjectConfig { part_bytes: 1 << 20, ..good.clone() },
            ObjectConfig { part_bytes: 1 << 30, ..good.clone() },
            ObjectConfig { calls_in_flight: 0, ..good.clone() },
            ObjectConfig { writers: 0, ..good },
        ] {
            let refused = bad.check().unwrap_err();
            assert_eq!(refused.kind, StorageErrorKind::Fatal, "{bad:?}");
        }
    }

    /// Whatever may be configured is opened without a service to begin with.
    #[tokio::test]
    async fn all_services_are_opened_without_asking_them() {
        let folder = tempfile::tempdir().unwrap();
        let (id, secret) = (folder.path().join("id"), folder.path().join("secret"));
        std::fs::write(&id, "account").unwrap();
        std::fs::write(&secret, "c2VjcmV0").unwrap();
        let keys = Keys::Files { id, secret };
        let (bucket, root) = ("archive".to_owned(), "/sterna".to_owned());
        let endpoint = Some("https://127.0.0.1:1".to_owned());
        let region = Some("eu".to_owned());
        for place in [
            Place::Gcs {
                bucket: bucket.clone(),
                root: root.clone(),
                endpoint: endpoint.clone(),
                keys: keys.clone(),
            },
            Place::Azblob {
                container: bucket.clone(),
                root: root.clone(),
                endpoint: endpoint.clone(),
                keys: keys.clone(),
            },
            Place::S3 { bucket, root, endpoint, region, keys },
        ] {
            let config = ObjectConfig::new(place);
            let capability = config.operator().unwrap().info().capability();
            assert!(capability.write_with_if_not_exists, "an object might be replaced");
            let opened = crate::ObjectSegments::open(config);
            assert!(opened.is_ok(), "{opened:?}");
        }
    }

    #[test]
    fn keys_come_from_files_and_are_told_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let (id, secret) = (folder.path().join("id"), folder.path().join("secret"));
        std::fs::write(&id, "name\n").unwrap();
        let keys = Keys::Files { id, secret: secret.clone() };
        let place = Place::S3 {
            bucket: "archive".into(),
            root: "/".into(),
            endpoint: Some("http://127.0.0.1:1".into()),
            region: Some("eu".into()),
            keys: keys.clone(),
        };
        let refused = ObjectConfig::new(place.clone()).operator().unwrap_err().to_string();
        assert!(refused.contains("secret"), "names the file: {refused}");
        std::fs::write(&secret, "hidden").unwrap();
        assert_eq!(keys.read().unwrap(), Some(("name".into(), "hidden".into())));
        let config = ObjectConfig::new(place);
        assert!(config.operator().is_ok());
        assert!(!format!("{config:?}").contains("hidden"));
    }
}
