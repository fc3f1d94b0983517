//! Logs that stand before another log.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use sterna_proto::{ChannelKey, Offset, Position};

use crate::{
    Adoption, Append, AppendError, Duplicate, Head, NewRecord, Origin, PageLimit, PublicationLog,
    ReadError, Record, StorageError, StorageErrorKind, TierLookups,
};

/// A log that does some things in its own way and leaves the rest to the log behind it. The promises of
/// [`PublicationLog`] hold for it as for any log.
pub trait LogLayer: Send + Sync + Debug + 'static {
    /// The log behind this one.
    fn behind(&self) -> &dyn PublicationLog;

    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Vec<Result<Head, AppendError>>> {
        self.behind().append(appends)
    }

    fn head(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        self.behind().head(channel)
    }

    /// One after the other, as this layer has them: one that does not change heads asks for all at once.
    fn heads(
        &self,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Head>>, StorageError>> {
        Box::pin(async move {
            let mut heads = Vec::with_capacity(channels.len());
            for channel in channels {
                heads.push(LogLayer::head(self, channel).await?);
            }
            Ok(heads)
        })
    }

    fn slot_heads(
        &self,
        slot: u16,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(ChannelKey, Head)>, StorageError>> {
        self.behind().slot_heads(slot, after, limit)
    }

    fn read(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        self.behind().read(channel, after, limit)
    }

    fn find(
        &self,
        channel: ChannelKey,
        origin: Origin,
    ) -> BoxFuture<'_, Result<Option<Duplicate>, StorageError>> {
        self.behind().find(channel, origin)
    }

    fn raise_epoch(
        &self,
        channel: ChannelKey,
        expected: Position,
        marker: NewRecord,
    ) -> BoxFuture<'_, Result<Head, AppendError>> {
        self.behind().raise_epoch(channel, expected, marker)
    }

    /// Refused, unless a layer lets it through: a log that is rebuilt is a store.
    fn adopt(&self, adoption: Adoption) -> BoxFuture<'_, Result<Head, AppendError>> {
        let channel = adoption.channel;
        let message = format!("{channel:?} cannot be adopted by a log that is no store of its own");
        let refused = StorageError::new(StorageErrorKind::Fatal, "log", message);
        Box::pin(std::future::ready(Err(refused.into())))
    }

    fn trim(
        &self,
        channel: ChannelKey,
        first: Offset,
    ) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        self.behind().trim(channel, first)
    }

    fn redact(
        &self,
        channel: ChannelKey,
        offsets: Vec<Offset>,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.behind().redact(channel, offsets)
    }

    fn lookups(&self) -> Vec<TierLookups> {
        self.behind().lookups()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        self.behind().close()
    }
}

impl<L: LogLayer> PublicationLog for L {
    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Vec<Result<Head, AppendError>>> {
        LogLayer::append(self, appends)
    }

    fn head(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        LogLayer::head(self, channel)
    }

    fn heads(
        &self,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Head>>, StorageError>> {
        LogLayer::heads(self, channels)
    }

    fn slot_heads(
        &self,
        slot: u16,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(ChannelKey, Head)>, StorageError>> {
        LogLayer::slot_heads(self, slot, after, limit)
    }

    fn read(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        LogLayer::read(self, channel, after, limit)
    }

    fn find(
        &self,
        channel: ChannelKey,
        origin: Origin,
    ) -> BoxFuture<'_, Result<Option<Duplicate>, StorageError>> {
        LogLayer::find(self, channel, origin)
    }

    fn raise_epoch(
        &self,
        channel: ChannelKey,
        expected: Position,
        marker: NewRecord,
    ) -> BoxFuture<'_, Result<Head, AppendError>> {
        LogLayer::raise_epoch(self, channel, expected, marker)
    }

    fn adopt(&self, adoption: Adoption) -> BoxFuture<'_, Result<Head, AppendError>> {
        LogLayer::adopt(self, adoption)
    }

    fn trim(
        &self,
        channel: ChannelKey,
        first: Offset,
    ) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        LogLayer::trim(self, channel, first)
    }

    fn redact(
        &self,
        channel: ChannelKey,
        offsets: Vec<Offset>,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        LogLayer::redact(self, channel, offsets)
    }

    fn lookups(&self) -> Vec<TierLookups> {
        LogLayer::lookups(self)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        LogLayer::close(self)
    }
}
