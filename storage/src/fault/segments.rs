//! Segments that fail on command, for tests of what stands on them.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sterna_proto::{ChannelKey, Offset};

use super::Script;
use crate::{
    Behind, Links, PageLimit, Piece, Record, Run, Sealed, SegmentKey, SegmentWriter, Segments,
    StorageError,
};

/// Wraps segments; share it by `Arc` between the test and the code under test. Everything is a call
/// but what a writer is given: its end is one.
#[derive(Debug)]
pub struct FaultySegments {
    inner: Arc<dyn Segments>,
    script: Arc<Script>,
}

impl FaultySegments {
    pub fn new(inner: Arc<dyn Segments>) -> Self {
        Self::following(inner, Arc::default())
    }

    /// By a script that others follow too.
    pub fn following(inner: Arc<dyn Segments>, script: Arc<Script>) -> Self {
        Self { inner, script }
    }

    /// The `count`-th call from now on fails as unavailable and has no effect; 0: none does.
    pub fn fail_in(&self, count: u64) {
        self.script.fail_in(count);
    }

    /// True while the scripted failure has not struck yet.
    pub fn is_armed(&self) -> bool {
        self.script.is_armed()
    }

    /// How many calls have been made, the failed ones included.
    pub fn calls(&self) -> u64 {
        self.script.calls()
    }
}

impl Segments for FaultySegments {
    fn create(
        &self,
        key: SegmentKey,
    ) -> BoxFuture<'_, Result<Box<dyn SegmentWriter>, StorageError>> {
        async move {
            let late = self.script.enter()?;
            let inner = late.then(self.inner.create(key).await?)?;
            let writer = FaultyWriter { inner, script: self.script.clone() };
            Ok(Box::new(writer) as Box<dyn SegmentWriter>)
        }
        .boxed()
    }

    fn run(
        &self,
        key: SegmentKey,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<Run>, StorageError>> {
        async move { self.script.enter()?.then(self.inner.run(key, channel).await?) }.boxed()
    }

    fn read(
        &self,
        key: SegmentKey,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, StorageError>> {
        async move { self.script.enter()?.then(self.inner.read(key, channel, after, limit).await?) }
            .boxed()
    }

    fn runs(
        &self,
        key: SegmentKey,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Run>, StorageError>> {
        async move { self.script.enter()?.then(self.inner.runs(key, after, limit).await?) }.boxed()
    }

    fn scan(
        &self,
        key: SegmentKey,
        behind: Option<Behind>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Piece>, StorageError>> {
        async move { self.script.enter()?.then(self.inner.scan(key, behind, limit).await?) }.boxed()
    }

    fn verify(&self, key: SegmentKey) -> BoxFuture<'_, Result<Sealed, StorageError>> {
        async move { self.script.enter()?.then(self.inner.verify(key).await?) }.boxed()
    }

    fn remove(&self, key: SegmentKey) -> BoxFuture<'_, Result<(), StorageError>> {
        async move { self.script.enter()?.then(self.inner.remove(key).await?) }.boxed()
    }

    fn list(
        &self,
        shard: u16,
        after: Option<SegmentKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SegmentKey>, StorageError>> {
        async move { self.script.enter()?.then(self.inner.list(shard, after, limit).await?) }
            .boxed()
    }
}

struct FaultyWriter {
    inner: Box<dyn SegmentWriter>,
    script: Arc<Script>,
}

impl SegmentWriter for FaultyWriter {
    fn begin_run(&mut self, channel: ChannelKey, links: Links) -> Result<(), StorageError> {
        self.inner.begin_run(channel, links)
    }

    fn push(&mut self, record: Record) -> BoxFuture<'_, Result<(), StorageError>> {
        self.inner.push(record)
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Sealed, StorageError>> {
        match self.script.enter() {
            Ok(late) => self.inner.finish().map(|sealed| late.then(sealed?)).boxed(),
            Err(error) => self.inner.abort().map(|()| Err(error)).boxed(),
        }
    }

    fn abort(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.inner.abort()
    }
}
