//! Stores that fail and wait on command.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sterna_proto::{ChannelId, ChannelKey, Offset, UserId};
use sterna_storage::{
    Append, AppendError, BoxFuture, ChannelRecord, ChannelStore, Created, CursorMove, CursorStore,
    Head, LogLayer, MemberCursor, Membership, PublicationLog, Revocation, RevocationStore,
    StorageError, StorageErrorKind,
};
use tokio::sync::watch;

/// Lets calls through, or not, and counts those that wait.
#[derive(Debug, Default)]
pub struct Gate {
    held: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
    failures: AtomicUsize,
}

impl Gate {
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    pub fn release(&self) {
        self.held.send_replace(false);
    }

    pub fn fail(&self, calls: usize) {
        self.failures.store(calls, Ordering::Relaxed);
    }

    pub async fn wait_for_waiting(&self, count: usize) {
        self.waiting.subscribe().wait_for(|waiting| *waiting >= count).await.unwrap();
    }

    async fn enter(&self) -> Result<(), StorageError> {
        if *self.held.borrow() {
            self.waiting.send_modify(|waiting| *waiting += 1);
            self.held.subscribe().wait_for(|held| !held).await.unwrap();
            self.waiting.send_modify(|waiting| *waiting -= 1);
        }
        let fails = |left: usize| left.checked_sub(1);
        match self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails) {
            Ok(_) => Err(StorageError::new(StorageErrorKind::Unavailable, "test", "on command")),
            Err(_) => Ok(()),
        }
    }
}

/// Channels can be held and fail when they are loaded, and when a role is looked up.
#[derive(Debug)]
pub struct GatedChannels {
    inner: Arc<dyn ChannelStore>,
    pub loads: Gate,
    pub roles: Gate,
}

impl GatedChannels {
    pub fn new(inner: Arc<dyn ChannelStore>) -> Self {
        Self { inner, loads: Gate::default(), roles: Gate::default() }
    }
}

impl ChannelStore for GatedChannels {
    fn create(
        &self,
        record: ChannelRecord,
        members: Vec<Membership>,
    ) -> BoxFuture<'_, Result<Created, StorageError>> {
        self.inner.create(record, members)
    }

    fn channel(
        &self,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<ChannelRecord>, StorageError>> {
        Box::pin(async move {
            self.loads.enter().await?;
            self.inner.channel(channel).await
        })
    }

    fn channels(
        &self,
        after: Option<ChannelId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ChannelRecord>, StorageError>> {
        self.inner.channels(after, limit)
    }

    fn member(
        &self,
        channel: ChannelKey,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<Membership>, StorageError>> {
        Box::pin(async move {
            self.roles.enter().await?;
            self.inner.member(channel, user).await
        })
    }

    fn members(
        &self,
        channel: ChannelKey,
        after: Option<UserId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Membership>, StorageError>> {
        self.inner.members(channel, after, limit)
    }

    fn member_count(&self, channel: ChannelKey) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.inner.member_count(channel)
    }
}

/// Cursors whose writes can be held and fail.
#[derive(Debug)]
pub struct GatedCursors {
    inner: Arc<dyn CursorStore>,
    pub writes: Gate,
}

impl GatedCursors {
    pub fn new(inner: Arc<dyn CursorStore>) -> Self {
        Self { inner, writes: Gate::default() }
    }

    /// Delivered and read.
    pub async fn offsets(&self, channel: &str, user: &str) -> Option<(Offset, Offset)> {
        let key = ChannelId::new(channel).unwrap().key();
        let user = UserId::new(user).unwrap();
        let cursor = self.inner.cursor(key, user).await.unwrap();
        cursor.map(|cursor| (cursor.delivered, cursor.read))
    }
}

impl CursorStore for GatedCursors {
    fn advance(
        &self,
        moves: Vec<CursorMove>,
    ) -> BoxFuture<'_, Result<Vec<MemberCursor>, StorageError>> {
        Box::pin(async move {
            self.writes.enter().await?;
            self.inner.advance(moves).await
        })
    }

    fn cursor(
        &self,
        channel: ChannelKey,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<MemberCursor>, StorageError>> {
        self.inner.cursor(channel, user)
    }

    fn cursors(
        &self,
        channel: ChannelKey,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<MemberCursor>, StorageError>> {
        self.inner.cursors(channel, limit)
    }
}

/// Revocations whose keeping fails on command.
#[derive(Debug)]
pub struct GatedRevocations {
    inner: Arc<dyn RevocationStore>,
    pub writes: Gate,
}

impl GatedRevocations {
    pub fn new(inner: Arc<dyn RevocationStore>) -> Self {
        Self { inner, writes: Gate::default() }
    }
}

impl RevocationStore for GatedRevocations {
    fn keep_revocation(&self, revocation: Revocation) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async move {
            self.writes.enter().await?;
            self.inner.keep_revocation(revocation).await
        })
    }

    fn revocations(&self, most: usize) -> BoxFuture<'_, Result<Vec<Revocation>, StorageError>> {
        self.inner.revocations(most)
    }
}

/// A log whose appends can be held and fail.
#[derive(Debug)]
pub struct GatedLog {
    inner: Arc<dyn PublicationLog>,
    pub appends: Gate,
}

impl GatedLog {
    pub fn new(inner: Arc<dyn PublicationLog>) -> Self {
        Self { inner, appends: Gate::default() }
    }
}

impl LogLayer for GatedLog {
    fn behind(&self) -> &dyn PublicationLog {
        &*self.inner
    }

    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Vec<Result<Head, AppendError>>> {
        Box::pin(async move {
            match self.appends.enter().await {
                Ok(()) => self.inner.append(appends).await,
                Err(error) => appends.iter().map(|_| Err(error.clone().into())).collect(),
            }
        })
    }
}
