//! Whole files in the same kinds of places as segments, for what is taken out of the archive. A file
//! that is there already is replaced in one step: who reads sees the one or the other.

use std::path::{Path, PathBuf};

use futures_util::FutureExt as _;
use opendal::{ErrorKind, Operator};
use sterna_storage::{BoxFuture, StorageError};
use tokio::io::AsyncReadExt as _;

use crate::config::{ObjectConfig, Place};
use crate::failure::{told, unavailable};
use crate::objects::Objects;

/// Where files go.
#[derive(Debug, Clone)]
pub struct Outlet {
    objects: Objects,
    operator: Operator,
    /// Of local files.
    root: Option<PathBuf>,
}

impl Outlet {
    /// Needs nothing of the place to begin with.
    ///
    /// # Errors
    /// Of kind `Fatal`: the configuration makes no sense, or a file with a key is not readable.
    pub fn open(config: &ObjectConfig) -> Result<Self, StorageError> {
        let operator = config.operator()?;
        let root = match &config.place {
            Place::Files { root } => Some(root.clone()),
            _ => None,
        };
        Ok(Self { objects: Objects::new(&operator, config), operator, root })
    }

    /// A folder for files that are being made: of local ones on the same file system.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn workshop(&self) -> Result<PathBuf, StorageError> {
        let Some(root) = &self.root else { return Ok(std::env::temp_dir()) };
        std::fs::create_dir_all(root).map_err(|error| failed(root, &error))?;
        Ok(root.clone())
    }

    /// Brings a file there under this name. Of local files it is moved, otherwise copied.
    pub fn put<'a>(
        &'a self,
        name: &'a str,
        file: &'a Path,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        async move {
            match &self.root {
                Some(root) => {
                    let target = root.join(name);
                    let folder = target.parent().unwrap_or(root);
                    let made = tokio::fs::create_dir_all(folder).await;
                    made.map_err(|error| failed(folder, &error))?;
                    tokio::fs::rename(file, &target).await.map_err(|error| failed(&target, &error))
                }
                None => self.upload(name, file).await,
            }
        }
        .boxed()
    }

    async fn upload(&self, name: &str, file: &Path) -> Result<(), StorageError> {
        let mut source = tokio::fs::File::open(file).await.map_err(|it| failed(file, &it))?;
        let mut writer = self.objects.begin_anew(name).await?;
        let sent = async {
            loop {
                let mut bytes = Vec::with_capacity(READ_BYTES);
                let limit = READ_BYTES as u64;
                let read = (&mut source).take(limit).read_to_end(&mut bytes).await;
                if read.map_err(|error| failed(file, &error))? == 0 {
                    break;
                }
                writer.write(bytes).await.map_err(|error| told(name, error))?;
            }
            writer.close().await.map(drop).map_err(|error| told(name, error))
        };
        let sent = sent.await;
        if sent.is_err()
            && let Err(error) = writer.abort().await
        {
            tracing::warn!(object = name, %error, "parts of an upload may stay");
        }
        sent
    }

    /// Takes a file away. False: there was none.
    pub fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, StorageError>> {
        async move {
            match self.operator.stat(name).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(told(name, error)),
            }
            self.objects.remove(name).await.map(|()| true)
        }
        .boxed()
    }
}

fn failed(path: &Path, error: &std::io::Error) -> StorageError {
    unavailable(format!("{}: {error}", path.display()))
}

/// Read of a file at once.
const READ_BYTES: usize = 1 << 20;
