//! The service as the rest of this crate sees it: objects by name, each call with attempts, a time
//! for each attempt, and bounded answers. Knows nothing of what is in them.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::options::{ListOptions, WriteOptions};
use opendal::{ErrorKind, Operator, Writer};
use sterna_storage::{SegmentKey, StorageError};

use crate::config::ObjectConfig;
use crate::failure::{corrupt, told};
use crate::format::Damage;
use crate::name::{folder_of, name_of, parse_name};

#[derive(Debug, Clone)]
pub(crate) struct Objects {
    operator: Operator,
    /// The same with more patience for each attempt.
    uploads: Operator,
    /// One attempt only.
    reads: Operator,
    /// Attempts of a read after the first.
    retries: usize,
    part_bytes: usize,
}

impl Objects {
    pub(crate) fn new(bare: &Operator, config: &ObjectConfig) -> Self {
        let retry = RetryLayer::new()
            .with_jitter()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(LONGEST_DELAY)
            .with_max_times(config.retries);
        let timed = |deadline| {
            let timeout = TimeoutLayer::new().with_timeout(deadline).with_io_timeout(deadline);
            bare.clone().layer(timeout)
        };
        let patient_for = |deadline| timed(deadline).layer(retry.clone());
        Self {
            operator: patient_for(config.attempt_deadline),
            uploads: patient_for(config.part_deadline),
            reads: timed(config.attempt_deadline),
            retries: config.retries,
            part_bytes: config.part_bytes,
        }
    }

    /// Exactly these bytes of an object. Each attempt asks for all of them: [`RetryLayer`] goes on where
    /// an answer broke off, and where that was behind the last byte it asks for none and panics.
    pub(crate) async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes, StorageError> {
        let wanted = range.end.saturating_sub(range.start);
        if wanted == 0 {
            return Ok(Bytes::new());
        }
        let (mut delay, mut left) = (FIRST_DELAY, self.retries);
        let bytes = loop {
            match self.reads.read_with(name).range(range.clone()).await {
                Ok(bytes) => break bytes.to_bytes(),
                Err(error) if error.is_temporary() && left > 0 => {
                    tracing::debug!(name, %error, "a read is tried again");
                    tokio::time::sleep(delay.mul_f64(rand::random_range(0.5..1.0))).await;
                    (delay, left) = ((2 * delay).min(LONGEST_DELAY), left - 1);
                }
                Err(error) => return Err(told(name, error)),
            }
        };
        if bytes.len() as u64 == wanted {
            return Ok(bytes);
        }
        let what = format!("cut: {} bytes instead of {wanted}", bytes.len());
        Err(corrupt(name, &Damage { what, at: range.start }))
    }

    /// Size of an object.
    pub(crate) async fn bytes(&self, name: &str) -> Result<u64, StorageError> {
        let metadata = self.operator.stat(name).await.map_err(|error| told(name, error))?;
        Ok(metadata.content_length())
    }

    pub(crate) async fn exists(&self, name: &str) -> Result<bool, StorageError> {
        match self.operator.stat(name).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(told(name, error)),
        }
    }

    /// Begins an object that comes in parts; it is there once the writer is closed, which a service
    /// that compares before it writes refuses if there is one of that name. What is held is the part
    /// that fills and the one before it.
    pub(crate) async fn begin(&self, name: &str) -> Result<Writer, StorageError> {
        let if_not_exists = self.operator.info().capability().write_with_if_not_exists;
        let chunk = Some(self.part_bytes);
        let options = WriteOptions { chunk, if_not_exists, ..WriteOptions::default() };
        self.uploads.writer_options(name, options).await.map_err(|error| told(name, error))
    }

    /// The same, in place of what may be there of that name.
    pub(crate) async fn begin_anew(&self, name: &str) -> Result<Writer, StorageError> {
        let options = WriteOptions { chunk: Some(self.part_bytes), ..WriteOptions::default() };
        self.uploads.writer_options(name, options).await.map_err(|error| told(name, error))
    }

    /// Without effect on one that is not there.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), StorageError> {
        match self.operator.delete(name).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(told(name, error)),
            _ => Ok(()),
        }
    }

    /// The names of objects right below a folder, which ends with `/`, in order.
    pub(crate) async fn names(
        &self,
        folder: &str,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let mut listed = match self.operator.lister(folder).await {
            Ok(listed) => listed,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(told(folder, error)),
        };
        let mut found = Vec::new();
        while let Some(entry) = listed.next().await {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(told(folder, error)),
            };
            if !entry.path().ends_with('/') && found.len() < limit {
                found.push(entry.path().to_owned());
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The first `limit` segments of a shard behind `after`, in order. Services that list in no
    /// order, or know no place to begin at, are read to their end; what is held is bounded either
    /// way. What is no segment is skipped and counted.
    pub(crate) async fn segments(
        &self,
        shard: u16,
        after: Option<SegmentKey>,
        limit: usize,
    ) -> Result<Vec<SegmentKey>, StorageError> {
        let folder = folder_of(shard);
        let is_ordered = self.operator.info().capability().list_with_start_after;
        let start_after = after.filter(|_| is_ordered).map(|after| name_of(&after));
        let options = ListOptions { recursive: true, start_after, ..ListOptions::default() };
        let mut found = BTreeSet::new();
        let mut listed = match self.operator.lister_options(&folder, options).await {
            Ok(listed) => listed,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(told(&folder, error)),
        };
        while let Some(entry) = listed.next().await {
            let entry = match entry {
                Ok(entry) => entry,
                // A folder that was there when its parent was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(told(&folder, error)),
            };
            if entry.path().ends_with('/') {
                continue;
            }
            let Some(key) = parse_name(entry.path()) else {
                metrics::counter!("sterna_storage_object_foreign_total").increment(1);
                tracing::debug!(object = entry.path(), "this is no segment");
                continue;
            };
            if after.is_some_and(|after| key <= after) {
                continue;
            }
            found.insert(key);
            if found.len() > limit {
                found.pop_last();
                if is_ordered {
                    break;
                }
            }
        }
        Ok(found.into_iter().collect())
    }
}

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::{Keys, Place};

    fn objects(address: SocketAddr, keys: &std::path::Path) -> Objects {
        let key = |name: &str| {
            let path = keys.join(name);
            std::fs::write(&path, name).unwrap();
            path
        };
        let config = ObjectConfig::new(Place::S3 {
            bucket: "bucket".into(),
            root: "/".into(),
            endpoint: Some(format!("http://{address}")),
            region: Some("eu".into()),
            keys: Keys::Files { id: key("id"), secret: key("secret") },
        });
        Objects::new(&config.operator().unwrap(), &config)
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_behind_its_last_byte_is_asked_for_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let objects = objects(listener.local_addr().unwrap(), directory.path());
        let server = async {
            for promised in [7, 5] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = vec![0; 16 * 1024];
                let read = stream.read(&mut asked).await.unwrap();
                assert!(asked[..read].starts_with(b"GET /"));
                let answer = format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Length: {promised}\r\n\
                     Content-Range: bytes 0-4/5\r\nConnection: close\r\n\r\nhello"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let ((), read) = tokio::join!(server, objects.read("name", 0..5));
        assert_eq!(read.unwrap(), "hello");
        assert_eq!(objects.read("name", 3..3).await.unwrap(), "", "nothing is not asked for");
    }
}
