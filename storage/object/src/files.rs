//! Whole files as objects, for what is kept beside the archive: backups. A name stands for one content
//! and is written once; what is there already is not sent again. Nothing here has a task of its own.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opendal::{ErrorKind, Writer};
use sterna_storage::StorageError;

use crate::config::{ObjectConfig, Place};
use crate::failure::{late, told, unavailable};
use crate::local::{Ended, LocalFiles, LocalUpload, in_background};
use crate::objects::Objects;

/// A place for files.
#[derive(Debug, Clone)]
pub struct ObjectFiles {
    objects: Objects,
    /// Where objects are local files: what writes them.
    files: Option<LocalFiles>,
    config: ObjectConfig,
}

/// Who hears of each piece, and ends the transfer with `false`.
pub type Each<'a> = &'a mut (dyn FnMut(u64) -> bool + Send);

enum Sink {
    Parts(Writer),
    File(LocalUpload),
}

impl ObjectFiles {
    /// Checks the configuration; nobody is asked yet. Call it within a tokio runtime.
    ///
    /// # Errors
    /// Of kind `Fatal`: the configuration makes no sense, or a file with a key is not readable.
    pub fn open(config: ObjectConfig) -> Result<Self, StorageError> {
        config.check()?;
        let files = match &config.place {
            Place::Files { root } => Some(LocalFiles::new(root.clone())),
            _ => None,
        };
        Ok(Self { objects: Objects::new(&config.operator()?, &config), files, config })
    }

    /// The size of a file, `None` if it is not there.
    ///
    /// # Errors
    /// When the service does not answer.
    pub async fn size(&self, name: &str) -> Result<Option<u64>, StorageError> {
        let looked = async {
            match self.objects.exists(name).await? {
                true => self.objects.bytes(name).await.map(Some),
                false => Ok(None),
            }
        };
        within("look", self.config.call_deadline, looked).await
    }

    /// The names right below a folder, which ends with `/`; at most `limit`.
    ///
    /// # Errors
    /// When the service does not answer.
    pub async fn names(&self, folder: &str, limit: usize) -> Result<Vec<String>, StorageError> {
        within("list", self.config.call_deadline, self.objects.names(folder, limit)).await
    }

    /// All of a small file.
    ///
    /// # Errors
    /// When the service does not answer; `Corrupt` if it is not there.
    pub async fn read(&self, name: &str, most: u64) -> Result<Bytes, StorageError> {
        let read = async {
            let bytes = self.objects.bytes(name).await?;
            if bytes > most {
                return Err(unavailable(format!(
                    "{name} has {bytes} bytes; {most} at most are read"
                )));
            }
            self.objects.read(name, 0..bytes).await
        };
        within("read", self.config.call_deadline, read).await
    }

    /// A piece of a file.
    ///
    /// # Errors
    /// When the service does not answer; `Corrupt` if the file is not there or shorter.
    pub async fn piece(&self, name: &str, from: u64, to: u64) -> Result<Bytes, StorageError> {
        let read = self.objects.read(name, from..to);
        within("read", self.config.call_deadline, read).await
    }

    /// Writes a small file that is not there yet.
    ///
    /// # Errors
    /// When the service does not answer, or there is one of that name.
    pub async fn write(&self, name: &str, content: Vec<u8>) -> Result<(), StorageError> {
        let mut sink = self.begin(name).await?;
        let written = async {
            sink.write(name, content).await?;
            sink.finish(name).await
        };
        let written = within("write", self.config.upload_deadline, written).await;
        sink.ended(name, written).await
    }

    /// Sends a file of this machine. `false`: whoever hears of the pieces has ended it.
    ///
    /// # Errors
    /// When the file cannot be read, the service does not answer, or there is one of that name.
    pub async fn send(
        &self,
        name: &str,
        from: &Path,
        each: Each<'_>,
    ) -> Result<bool, StorageError> {
        let path = from.to_owned();
        let file = Arc::new(in_background(name, move || File::open(path)).await?);
        let mut sink = self.begin(name).await?;
        loop {
            let piece = read_piece(name, &file).await?;
            let (read, deadline) = (piece.len() as u64, self.config.upload_deadline);
            let step = async {
                if piece.is_empty() {
                    sink.finish(name).await
                } else {
                    sink.write(name, piece).await
                }
            };
            let done = within("upload", deadline, step).await;
            if read == 0 || done.is_err() {
                return sink.ended(name, done).await.map(|()| true);
            }
            if !each(read) {
                sink.give_up(name).await;
                return Ok(false);
            }
        }
    }

    async fn begin(&self, name: &str) -> Result<Sink, StorageError> {
        let begun = async {
            Ok(match &self.files {
                Some(files) => Sink::File(files.begin(name).await?),
                None => Sink::Parts(self.objects.begin(name).await?),
            })
        };
        within("upload", self.config.call_deadline, begun).await
    }
}

impl Sink {
    async fn write(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        match self {
            Self::File(file) => file.write(bytes).await,
            Self::Parts(writer) => {
                writer.write(Bytes::from(bytes)).await.map_err(|error| told(name, error))
            }
        }
    }

    async fn finish(&mut self, name: &str) -> Result<(), StorageError> {
        let is_there =
            || Err(unavailable(format!("{name} is there already; nothing was replaced")));
        match self {
            Self::File(file) => match file.finish().await? {
                Ended::Done => Ok(()),
                Ended::IsThere => is_there(),
            },
            Self::Parts(writer) => match writer.close().await {
                Ok(_) => Ok(()),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists
                    ) =>
                {
                    is_there()
                }
                Err(error) => Err(told(name, error)),
            },
        }
    }

    /// Leaves nothing of one that failed.
    async fn ended(self, name: &str, done: Result<(), StorageError>) -> Result<(), StorageError> {
        if done.is_err() {
            self.give_up(name).await;
        }
        done
    }

    /// Of a local file the temporary goes with its value.
    async fn give_up(self, name: &str) {
        let Self::Parts(mut writer) = self else { return };
        match tokio::time::timeout(ABORT_DEADLINE, writer.abort()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(object = name, %error, "parts of it may stay"),
            Err(_) => tracing::warn!(object = name, "parts of it may stay: no answer"),
        }
    }
}

async fn read_piece(name: &str, file: &Arc<File>) -> Result<Vec<u8>, StorageError> {
    let file = file.clone();
    in_background(name, move || {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        (&*file).take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        Ok(piece)
    })
    .await
}

async fn within<T>(
    call: &'static str,
    deadline: Duration,
    work: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    let answer = tokio::time::timeout(deadline, work).await;
    answer.unwrap_or_else(|_| Err(late(call, deadline)))
}

/// What is read of a file and given to the upload at once; it makes parts of them.
const PIECE_BYTES: usize = 1 << 20;

/// For ending an upload that has failed already.
const ABORT_DEADLINE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use sterna_storage::StorageErrorKind;

    use super::*;

    /// The places that need no service.
    fn places(root: &Path) -> [ObjectFiles; 2] {
        [Place::Memory, Place::Files { root: root.to_owned() }]
            .map(|place| ObjectFiles::open(ObjectConfig::new(place)).unwrap())
    }

    #[tokio::test]
    async fn a_file_comes_back_as_it_was_and_is_never_replaced() {
        let home = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..3 * PIECE_BYTES + 7).map(|n| (n % 251) as u8).collect();
        let path = home.path().join("file");
        std::fs::write(&path, &content).unwrap();
        for files in places(&home.path().join("root")) {
            assert_eq!(files.size("files/a").await.unwrap(), None);
            let mut heard = 0;
            let mut each = |bytes| {
                heard += bytes;
                true
            };
            assert!(files.send("files/a", &path, &mut each).await.unwrap());
            let bytes = content.len() as u64;
            assert_eq!((files.size("files/a").await.unwrap(), heard), (Some(bytes), bytes));
            let piece = files.piece("files/a", 5, bytes - 5).await.unwrap();
            assert!(piece[..] == content[5..content.len() - 5]);
            files.write("b.json", b"{}".to_vec()).await.unwrap();
            assert_eq!(files.read("b.json", 100).await.unwrap()[..], b"{}"[..]);
            files.read("files/a", 100).await.unwrap_err();
            let gone = files.read("files/c", 100).await.unwrap_err();
            assert_eq!(gone.kind, StorageErrorKind::Corrupt);
            assert_eq!(files.names("files/", 10).await.unwrap(), ["files/a"]);
            assert_eq!(files.names("none/", 10).await.unwrap(), [""; 0]);
        }
        let [_, local] = places(&home.path().join("root"));
        let late = local.write("b.json", b"[]".to_vec()).await.unwrap_err();
        assert!(late.message.contains("is there already"), "{late}");
        assert_eq!(local.read("b.json", 100).await.unwrap()[..], b"{}"[..]);
    }

    #[tokio::test]
    async fn one_that_was_given_up_is_not_there() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        std::fs::write(&path, vec![1; 2 * PIECE_BYTES]).unwrap();
        for files in places(&home.path().join("root")) {
            assert!(!files.send("files/a", &path, &mut |_| false).await.unwrap());
            assert_eq!(files.size("files/a").await.unwrap(), None);
            files.send("files/a", &home.path().join("none"), &mut |_| true).await.unwrap_err();
        }
    }
}
