//! Segments as their callers have them: deadlines, the bounds on calls and writers, what is counted.
//! The work is done in `reader.rs` and `upload.rs`.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use opendal::Operator;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{
    Behind, BoxFuture, Lookups, PageLimit, Piece, Record, Run, Sealed, SegmentKey, SegmentWriter,
    Segments, StorageError, StorageErrorKind, TierLookups,
};
use tokio::sync::Semaphore;

use crate::ENGINE;
use crate::config::{ObjectConfig, Place};
use crate::failure::{kind_of, late, unavailable};
use crate::kept::Kept;
use crate::local::LocalFiles;
use crate::name::name_of;
use crate::objects::Objects;
use crate::upload::Upload;

/// A handle on the segments; clones share connections and what is kept in memory.
#[derive(Debug, Clone)]
pub struct ObjectSegments {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) objects: Objects,
    /// Where segments are local files: what writes them.
    pub(crate) files: Option<LocalFiles>,
    pub(crate) kept: Kept,
    /// Whether what the index says of a channel's run was in memory.
    pub(crate) lookups: Lookups,
    pub(crate) config: ObjectConfig,
    calls: Semaphore,
    writers: Arc<Semaphore>,
}

impl ObjectSegments {
    /// Checks the configuration and prepares connections, which are made when they are needed. Call
    /// it within a tokio runtime.
    ///
    /// # Errors
    /// Of kind `Fatal`: the configuration makes no sense, or a file with a key is not readable.
    pub fn open(config: ObjectConfig) -> Result<Self, StorageError> {
        let bare = config.operator()?;
        Self::over(bare, config)
    }

    /// The same over an operator of the caller's, such as one with faults in it. It has to be one
    /// of the place that the configuration names.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn over(bare: Operator, config: ObjectConfig) -> Result<Self, StorageError> {
        config.check()?;
        let files = match &config.place {
            Place::Files { root } => Some(LocalFiles::new(root.clone())),
            _ => None,
        };
        let inner = Inner {
            objects: Objects::new(&bare, &config),
            files,
            kept: Kept::new(config.index_bytes),
            lookups: Lookups::default(),
            calls: Semaphore::new(config.calls_in_flight),
            writers: Arc::new(Semaphore::new(config.writers)),
            config,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Inner {
    /// One call: refused if too many are on their way, ended by its deadline, counted.
    async fn call<T>(
        &self,
        name: &'static str,
        deadline: Duration,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let Ok(_permit) = self.calls.try_acquire() else {
            let limit = self.config.calls_in_flight;
            return Err(full("calls", format!("{limit} calls are on their way")));
        };
        self.timed(name, deadline, work).await
    }

    /// Ended by its deadline, counted.
    pub(crate) async fn timed<T>(
        &self,
        name: &'static str,
        deadline: Duration,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let since = Instant::now();
        let answer = tokio::time::timeout(deadline, work).await;
        let answer = answer.unwrap_or_else(|_| Err(late(name, deadline)));
        metrics::histogram!("sterna_storage_object_call_seconds", "call" => name)
            .record(since.elapsed());
        if let Err(error) = &answer {
            let kind = kind_of(error);
            metrics::counter!("sterna_storage_object_errors_total", "call" => name, "kind" => kind)
                .increment(1);
            // Of what is not there the caller may know that it lies elsewhere by now.
            if error.kind == StorageErrorKind::Corrupt && !error.is_missing() {
                metrics::counter!("sterna_storage_corrupt_total", "engine" => ENGINE).increment(1);
                tracing::error!(%error, call = name, "the archive is not what it was");
            }
        }
        answer
    }

    async fn remove(&self, key: SegmentKey) -> Result<(), StorageError> {
        self.kept.forget(key);
        let name = name_of(&key);
        self.objects.remove(&name).await?;
        match &self.files {
            Some(files) => files.remove_uploads(&name).await,
            None => Ok(()),
        }
    }
}

fn full(queue: &'static str, message: String) -> StorageError {
    metrics::counter!("sterna_storage_refused_total", "engine" => ENGINE, "queue" => queue)
        .increment(1);
    unavailable(message)
}

impl Segments for ObjectSegments {
    fn create(
        &self,
        key: SegmentKey,
    ) -> BoxFuture<'_, Result<Box<dyn SegmentWriter>, StorageError>> {
        let inner = &self.inner;
        let work = async move {
            let Ok(permit) = inner.writers.clone().try_acquire_owned() else {
                let limit = inner.config.writers;
                return Err(full("writers", format!("{limit} segments are being written")));
            };
            let upload = Upload::begin(inner.clone(), key, permit).await?;
            Ok(Box::new(upload) as Box<dyn SegmentWriter>)
        };
        inner.call("create", inner.config.call_deadline, work).boxed()
    }

    fn run(
        &self,
        key: SegmentKey,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<Run>, StorageError>> {
        let work = self.inner.run(key, channel);
        self.inner.call("run", self.inner.config.call_deadline, work).boxed()
    }

    fn read(
        &self,
        key: SegmentKey,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, StorageError>> {
        let work = self.inner.read(key, channel, after, limit);
        self.inner.call("read", self.inner.config.call_deadline, work).boxed()
    }

    fn runs(
        &self,
        key: SegmentKey,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Run>, StorageError>> {
        let work = self.inner.runs(key, after, limit);
        self.inner.call("runs", self.inner.config.call_deadline, work).boxed()
    }

    fn scan(
        &self,
        key: SegmentKey,
        behind: Option<Behind>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Piece>, StorageError>> {
        let work = self.inner.scan(key, behind, limit);
        self.inner.call("scan", self.inner.config.call_deadline, work).boxed()
    }

    fn verify(&self, key: SegmentKey) -> BoxFuture<'_, Result<Sealed, StorageError>> {
        let work = self.inner.verify(key);
        self.inner.call("verify", self.inner.config.verify_deadline, work).boxed()
    }

    fn remove(&self, key: SegmentKey) -> BoxFuture<'_, Result<(), StorageError>> {
        let work = self.inner.remove(key);
        self.inner.call("remove", self.inner.config.call_deadline, work).boxed()
    }

    fn lookups(&self) -> Vec<TierLookups> {
        vec![self.inner.lookups.told("archive_index")]
    }

    fn list(
        &self,
        shard: u16,
        after: Option<SegmentKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SegmentKey>, StorageError>> {
        let work = self.inner.objects.segments(shard, after, limit);
        self.inner.call("list", self.inner.config.call_deadline, work).boxed()
    }
}
