//! The role of the publication log: what is asked of several channels at once is done for each by
//! itself, some at a time.

use std::sync::atomic::Ordering;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use sterna_proto::{ChannelKey, Offset, Position};
use sterna_storage::{
    Adoption, Append, AppendError, BoxFuture, Duplicate, Head, NewRecord, Origin, PageLimit,
    PublicationLog, ReadError, Record, StorageError,
};

use crate::ScyllaStore;
use crate::columns::{bytes, limit, small};
use crate::commit::{Change, Verdict};
use crate::engine::{AT_ONCE, Engine};
use crate::tip::Look;

impl PublicationLog for ScyllaStore {
    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Vec<Result<Head, AppendError>>> {
        let commits: Vec<BoxFuture<'_, Verdict>> = (0..)
            .zip(appends)
            .map(|(order, append)| self.engine.commit(Change::Append(append), order).boxed())
            .collect();
        stream::iter(commits).buffered(APPENDS_AT_ONCE).collect().boxed()
    }

    fn head(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        self.engine.head(channel).boxed()
    }

    fn heads(
        &self,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Head>>, StorageError>> {
        self.engine.heads_of(channels).boxed()
    }

    fn slot_heads(
        &self,
        slot: u16,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(ChannelKey, Head)>, StorageError>> {
        self.engine.slot_heads(slot, after, limit).boxed()
    }

    fn read(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        self.engine.page(channel, after, limit).boxed()
    }

    fn find(
        &self,
        channel: ChannelKey,
        origin: Origin,
    ) -> BoxFuture<'_, Result<Option<Duplicate>, StorageError>> {
        async move {
            let Some(tip) = self.engine.tip(channel, Look::Settled).await? else {
                return Ok(None);
            };
            let mut stored = self.engine.stored(channel, &tip, vec![&origin]).await?;
            Ok(stored.remove(&origin))
        }
        .boxed()
    }

    fn raise_epoch(
        &self,
        channel: ChannelKey,
        expected: Position,
        marker: NewRecord,
    ) -> BoxFuture<'_, Result<Head, AppendError>> {
        let change = Change::OpenEpoch { channel, expected, marker };
        async move { self.engine.commit(change, 0).await }.boxed()
    }

    fn adopt(&self, adoption: Adoption) -> BoxFuture<'_, Result<Head, AppendError>> {
        async move { self.engine.commit(Change::Adopt(adoption), 0).await }.boxed()
    }

    fn trim(
        &self,
        channel: ChannelKey,
        first: Offset,
    ) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        self.engine.trim_log(channel, first).boxed()
    }

    fn redact(
        &self,
        channel: ChannelKey,
        offsets: Vec<Offset>,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.engine.redact(channel, offsets).boxed()
    }

    /// Every success was durable when it was told.
    fn close(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        self.engine.closed.store(true, Ordering::Release);
        futures_util::future::ready(Ok(())).boxed()
    }
}

impl Engine {
    async fn head(&self, channel: ChannelKey) -> Result<Option<Head>, StorageError> {
        Ok(self.tip(channel, Look::Settled).await?.map(|tip| tip.head))
    }

    async fn heads_of(&self, channels: Vec<ChannelKey>) -> Result<Vec<Option<Head>>, StorageError> {
        let looks: Vec<BoxFuture<'_, _>> =
            channels.into_iter().map(|channel| self.head(channel).boxed()).collect();
        stream::iter(looks).buffered(AT_ONCE).try_collect().await
    }

    async fn slot_heads(
        &self,
        slot: u16,
        after: Option<ChannelKey>,
        wish: usize,
    ) -> Result<Vec<(ChannelKey, Head)>, StorageError> {
        let mut after = after.map_or(Vec::new(), |channel| channel.0.to_vec());
        let mut found = Vec::new();
        while found.len() < wish {
            let values = vec![small(slot), bytes(after), limit(wish - found.len())];
            let listed = (&self.lists.slot_channels, values);
            let mut channels = Vec::new();
            for mut row in self.cql.rows("slot_channels", listed).await? {
                channels.push(row.channel()?);
            }
            let Some(last) = channels.last() else { break };
            after = last.0.to_vec();
            let heads = self.heads_of(channels.clone()).await?;
            // A channel whose first append did not come to be is listed without a head.
            let both = channels.into_iter().zip(heads);
            found.extend(both.filter_map(|(channel, head)| Some((channel, head?))));
        }
        Ok(found)
    }
}

/// Channels of one call whose appends are on their way together.
const APPENDS_AT_ONCE: usize = 64;
