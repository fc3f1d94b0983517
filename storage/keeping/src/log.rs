//! One log without what was given up.

use std::sync::Arc;

use futures_util::FutureExt as _;
use sterna_proto::{ChannelKey, Offset, Position};
use sterna_storage::{
    Append, AppendError, BoxFuture, Head, LogLayer, NewRecord, PageLimit, PublicationLog,
    ReadError, Record, StorageError,
};

use crate::cache::View;
use crate::keeper::Keeper;

/// Stands before a log, or before one over two tiers: a page below a channel's floor is answered as
/// trimmed, wherever its records still lie; what was redacted comes without its payload.
///
/// What was ordered is looked up before a page is read and once more when it is there: from memory,
/// nearly always.
#[derive(Debug)]
pub struct KeptLog {
    log: Arc<dyn PublicationLog>,
    keeper: Arc<Keeper>,
}

impl KeptLog {
    pub fn new(log: Arc<dyn PublicationLog>, keeper: Arc<Keeper>) -> Self {
        Self { log, keeper }
    }

    async fn raise(&self, channel: ChannelKey, head: Head) -> Result<Head, StorageError> {
        Ok(raised(head, &self.keeper.look_anew(channel).await?))
    }

    fn raise_known(&self, channel: &ChannelKey, head: Head) -> Head {
        match self.keeper.known(channel) {
            Some(view) => raised(head, &view),
            None => head,
        }
    }

    /// As far as is known: the next page says the rest.
    fn raise_verdict(
        &self,
        channel: ChannelKey,
        verdict: Result<Head, AppendError>,
    ) -> Result<Head, AppendError> {
        let raise = |head| self.raise_known(&channel, head);
        match verdict {
            Ok(head) => Ok(raise(head)),
            Err(AppendError::Conflict { head }) => {
                Err(AppendError::Conflict { head: head.map(raise) })
            }
            other => other,
        }
    }

    async fn page(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> Result<Vec<Record>, ReadError> {
        let view = self.keeper.look(channel).await?;
        check(&view, after)?;
        let read = self.log.read(channel, after, limit).await;
        let view = self.keeper.look(channel).await?;
        check(&view, after)?;
        let mut page = read.map_err(|error| match error {
            ReadError::Trimmed { first } => ReadError::Trimmed { first: first.max(view.floor) },
            other => other,
        })?;
        self.keeper.hide(channel, &view, &mut page).await?;
        Ok(page)
    }
}

fn raised(head: Head, view: &View) -> Head {
    let floor = view.floor.min(head.position.offset.next());
    Head { first: head.first.max(floor), ..head }
}

fn check(view: &View, after: Offset) -> Result<(), ReadError> {
    match after.next() < view.floor {
        true => Err(ReadError::Trimmed { first: view.floor }),
        false => Ok(()),
    }
}

impl LogLayer for KeptLog {
    fn behind(&self) -> &dyn PublicationLog {
        &*self.log
    }

    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Vec<Result<Head, AppendError>>> {
        async move {
            let channels: Vec<ChannelKey> = appends.iter().map(|append| append.channel).collect();
            let verdicts = self.log.append(appends).await;
            let raise = |(channel, verdict)| self.raise_verdict(channel, verdict);
            channels.into_iter().zip(verdicts).map(raise).collect()
        }
        .boxed()
    }

    fn head(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        async move {
            match self.log.head(channel).await? {
                Some(head) => self.raise(channel, head).await.map(Some),
                None => Ok(None),
            }
        }
        .boxed()
    }

    /// Where channels begin, as far as is known: who asks for many wants to know where they end.
    fn heads(
        &self,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Head>>, StorageError>> {
        async move {
            let heads = self.log.heads(channels.clone()).await?;
            let raise = |(channel, head): (_, Option<Head>)| {
                head.map(|head| self.raise_known(&channel, head))
            };
            Ok(channels.into_iter().zip(heads).map(raise).collect())
        }
        .boxed()
    }

    fn read(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        self.page(channel, after, limit).boxed()
    }

    fn raise_epoch(
        &self,
        channel: ChannelKey,
        expected: Position,
        marker: NewRecord,
    ) -> BoxFuture<'_, Result<Head, AppendError>> {
        async move {
            let verdict = self.log.raise_epoch(channel, expected, marker).await;
            self.raise_verdict(channel, verdict)
        }
        .boxed()
    }
}
