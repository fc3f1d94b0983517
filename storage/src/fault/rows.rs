//! A manifest, and rows of how far channels are archived, that fail on command.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sterna_proto::ChannelKey;

use super::Script;
use crate::{
    Archived, ArchivedChange, ArchivedError, ArchivedStore, ManifestChange, ManifestEntry,
    ManifestError, ManifestStore, SegmentKey, StorageError,
};

/// Wraps a manifest.
#[derive(Debug)]
pub struct FaultyManifest {
    inner: Arc<dyn ManifestStore>,
    script: Arc<Script>,
}

impl FaultyManifest {
    pub fn new(inner: Arc<dyn ManifestStore>, script: Arc<Script>) -> Self {
        Self { inner, script }
    }
}

impl ManifestStore for FaultyManifest {
    fn change_manifest(
        &self,
        changes: Vec<ManifestChange>,
    ) -> BoxFuture<'_, Result<(), ManifestError>> {
        async move {
            let late = self.script.enter()?;
            self.inner.change_manifest(changes).await?;
            Ok(late.then(())?)
        }
        .boxed()
    }

    fn segment(
        &self,
        key: SegmentKey,
    ) -> BoxFuture<'_, Result<Option<ManifestEntry>, StorageError>> {
        async move { self.script.enter()?.then(self.inner.segment(key).await?) }.boxed()
    }

    fn segments(
        &self,
        shard: u16,
        after: Option<SegmentKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ManifestEntry>, StorageError>> {
        async move { self.script.enter()?.then(self.inner.segments(shard, after, limit).await?) }
            .boxed()
    }
}

/// Wraps rows of how far channels are archived.
#[derive(Debug)]
pub struct FaultyArchived {
    inner: Arc<dyn ArchivedStore>,
    script: Arc<Script>,
}

impl FaultyArchived {
    pub fn new(inner: Arc<dyn ArchivedStore>, script: Arc<Script>) -> Self {
        Self { inner, script }
    }
}

impl ArchivedStore for FaultyArchived {
    fn archived(
        &self,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Archived>>, StorageError>> {
        async move { self.script.enter()?.then(self.inner.archived(channels).await?) }.boxed()
    }

    fn change_archived(
        &self,
        changes: Vec<ArchivedChange>,
    ) -> BoxFuture<'_, Vec<Result<(), ArchivedError>>> {
        async move {
            let count = changes.len();
            let failed =
                |error: StorageError| (0..count).map(|_| Err(error.clone().into())).collect();
            let late = match self.script.enter() {
                Ok(late) => late,
                Err(error) => return failed(error),
            };
            let verdicts = self.inner.change_archived(changes).await;
            late.then(verdicts).unwrap_or_else(failed)
        }
        .boxed()
    }
}
