//! Writes segments into local files. A file grows under a temporary name, is synced, and gets its
//! own by a rename that replaces nothing; then the folders are synced that name it. So a name stands
//! for a whole file that outlives a power cut, or for none.
//!
//! A temporary is named after its segment and goes with its writer; what a crash left goes when its
//! segment is removed.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sterna_storage::StorageError;
use tempfile::TempPath;

use crate::failure::unavailable;

#[derive(Debug, Clone)]
pub(crate) struct LocalFiles {
    root: PathBuf,
}

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct LocalUpload {
    files: LocalFiles,
    name: String,
    file: Arc<File>,
    /// Goes with this value; `None` once the file has its name.
    temporary: Option<TempPath>,
}

/// What came of the end of an upload.
#[derive(Debug)]
pub(crate) enum Ended {
    Done,
    /// There is one of that name.
    IsThere,
}

impl LocalFiles {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Begins the file of this name.
    pub(crate) async fn begin(&self, name: &str) -> Result<LocalUpload, StorageError> {
        let (files, owned) = (self.clone(), name.to_owned());
        in_background(name, move || {
            let uploads = files.root.join(UPLOADS);
            std::fs::create_dir_all(&uploads)?;
            let made = tempfile::Builder::new().prefix(&stem(&owned)).tempfile_in(&uploads)?;
            let (file, temporary) = made.into_parts();
            let (file, temporary) = (Arc::new(file), Some(temporary));
            Ok(LocalUpload { files, name: owned, file, temporary })
        })
        .await
    }

    /// Removes what writers of this name left that are no more.
    pub(crate) async fn remove_uploads(&self, name: &str) -> Result<(), StorageError> {
        let (uploads, stem) = (self.root.join(UPLOADS), stem(name));
        in_background(name, move || {
            let entries = match std::fs::read_dir(&uploads) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with(&stem) {
                    remove_file(&entry.path())?;
                }
            }
            Ok(())
        })
        .await
    }

    /// From a file's folder up to the root: any of them may be new.
    fn sync_folders(&self, name: &str) -> io::Result<()> {
        let mut folder = Path::new(name).parent();
        while let Some(inner) = folder {
            File::open(self.root.join(inner))?.sync_all()?;
            folder = inner.parent();
        }
        Ok(())
    }
}

impl LocalUpload {
    /// Appends. Dropped on the way, the file is of no use any more.
    pub(crate) async fn write(&mut self, bytes: Vec<u8>) -> Result<(), StorageError> {
        let file = self.file.clone();
        in_background(&self.name, move || (&*file).write_all(&bytes)).await
    }

    /// Gives the file its name. Once.
    pub(crate) async fn finish(&mut self) -> Result<Ended, StorageError> {
        let (files, name, file) = (self.files.clone(), self.name.clone(), self.file.clone());
        let temporary = self.temporary.take();
        in_background(&self.name, move || {
            let Some(temporary) = temporary else {
                return Err(io::Error::other("it was finished before"));
            };
            file.sync_all()?;
            let path = files.root.join(&name);
            std::fs::create_dir_all(path.parent().unwrap_or(&files.root))?;
            match temporary.persist_noclobber(&path) {
                Ok(()) => {}
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                    return Ok(Ended::IsThere);
                }
                Err(error) => return Err(error.error),
            }
            files.sync_folders(&name)?;
            Ok(Ended::Done)
        })
        .await
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What names of a segment's temporaries begin with.
fn stem(name: &str) -> String {
    format!("{}.", name.replace('/', "-"))
}

pub(crate) async fn in_background<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StorageError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|error| Err(error.into()));
    // A full disk or a lost mount may be well later; a call costs little.
    done.map_err(|error| unavailable(format!("{name}: {error}")).with_source(error))
}

/// Below the root: files that are being written, and what a crash left of them.
const UPLOADS: &str = "uploads";

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "v1/0001/2024/01/01/a.seg";

    fn uploads(root: &Path) -> usize {
        std::fs::read_dir(root.join(UPLOADS)).unwrap().count()
    }

    #[tokio::test]
    async fn a_file_appears_whole_and_is_never_replaced() {
        let root = tempfile::tempdir().unwrap();
        let files = LocalFiles::new(root.path().to_owned());
        let (mut one, mut two) =
            (files.begin(NAME).await.unwrap(), files.begin(NAME).await.unwrap());
        one.write(b"on".to_vec()).await.unwrap();
        two.write(b"two".to_vec()).await.unwrap();
        one.write(b"e".to_vec()).await.unwrap();
        assert!(!root.path().join(NAME).exists());
        assert!(matches!(one.finish().await, Ok(Ended::Done)));
        assert!(matches!(two.finish().await, Ok(Ended::IsThere)));
        two.finish().await.unwrap_err();
        assert_eq!(std::fs::read(root.path().join(NAME)).unwrap(), b"one");
        assert_eq!(uploads(root.path()), 0);
    }

    #[tokio::test]
    async fn a_temporary_goes_with_its_writer_and_after_a_crash_with_its_segment() {
        let root = tempfile::tempdir().unwrap();
        let files = LocalFiles::new(root.path().to_owned());
        files.remove_uploads(NAME).await.unwrap();
        let dropped = files.begin(NAME).await.unwrap();
        assert_eq!(uploads(root.path()), 1);
        drop(dropped);
        assert_eq!(uploads(root.path()), 0);
        // As a process that was killed leaves them.
        let other = "v1/0001/2024/01/01/ab.seg";
        for name in [NAME, NAME, other] {
            let mut killed = files.begin(name).await.unwrap();
            killed.temporary.take().unwrap().keep().unwrap();
        }
        files.remove_uploads(NAME).await.unwrap();
        assert_eq!(uploads(root.path()), 1, "another segment's");
    }
}
