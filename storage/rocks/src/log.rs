//! The publication log.

use futures_util::FutureExt as _;
use sterna_proto::{ChannelKey, Offset, Position};
use sterna_storage::{
    Append, AppendError, BoxFuture, Duplicate, Head, NewRecord, Origin, PageLimit, PublicationLog,
    ReadError, Record, StorageError,
};

use crate::RocksStore;
use crate::database::dedup_key;
use crate::encoding::decode_dedup;
use crate::options::Family;
use crate::trim;

impl PublicationLog for RocksStore {
    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Vec<Result<Head, AppendError>>> {
        let count = appends.len();
        let written = self.engine.write(move |group| {
            let verdicts: Vec<_> = appends.into_iter().map(|one| group.append(one)).collect();
            Ok(verdicts)
        });
        let spread = move |outcome: Result<Vec<_>, StorageError>| match outcome {
            Ok(verdicts) => verdicts,
            Err(error) => (0..count).map(|_| Err(error.clone().into())).collect(),
        };
        written.map(spread).boxed()
    }

    fn head(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        self.engine.look(|database| database.head(channel))
    }

    fn read(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        let page = self.engine.read(move |database| database.page(channel, after, limit));
        page.map(|page| page.unwrap_or_else(|error| Err(error.into()))).boxed()
    }

    fn find(
        &self,
        channel: ChannelKey,
        origin: Origin,
    ) -> BoxFuture<'_, Result<Option<Duplicate>, StorageError>> {
        let key = dedup_key(channel, &origin);
        self.engine.look(|database| database.get_as(Family::Dedup, &key, decode_dedup))
    }

    fn raise_epoch(
        &self,
        channel: ChannelKey,
        expected: Position,
        marker: NewRecord,
    ) -> BoxFuture<'_, Result<Head, AppendError>> {
        let written =
            self.engine.write(move |group| Ok(group.raise_epoch(channel, expected, marker)));
        written.map(|outcome| outcome.unwrap_or_else(|error| Err(error.into()))).boxed()
    }

    fn trim(
        &self,
        channel: ChannelKey,
        first: Offset,
    ) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        async move {
            loop {
                let step = self.engine.write(move |group| trim::step(group, channel, first));
                match step.await? {
                    None => return Ok(None),
                    Some(trimmed) if !trimmed.more => return Ok(Some(trimmed.head)),
                    Some(_) => {}
                }
            }
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        self.engine.close()
    }
}
