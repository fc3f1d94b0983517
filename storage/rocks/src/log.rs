//! The publication log.

use std::ops::ControlFlow;

use futures_util::FutureExt as _;
use sterna_proto::id::SLOTS;
use sterna_proto::{ChannelKey, Offset, Position};
use sterna_storage::{
    Adoption, Append, AppendError, BoxFuture, Duplicate, Head, NewRecord, Origin, PageLimit,
    PublicationLog, ReadError, Record, StorageError,
};

use crate::RocksStore;
use crate::channels::until_full;
use crate::database::{Database, dedup_key};
use crate::encoding::{Damaged, decode_dedup, decode_head};
use crate::options::{CHANNEL_PREFIX_BYTES, Family};
use crate::{redact, trim};

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

    fn slot_heads(
        &self,
        slot: u16,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(ChannelKey, Head)>, StorageError>> {
        self.engine.read(move |database| slot_heads(database, slot, after, limit))
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

    fn adopt(&self, adoption: Adoption) -> BoxFuture<'_, Result<Head, AppendError>> {
        let written = self.engine.write(move |group| Ok(group.adopt(adoption)));
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

    fn redact(
        &self,
        channel: ChannelKey,
        offsets: Vec<Offset>,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.engine.write(move |group| redact::records(group, channel, &offsets))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        self.engine.close()
    }
}

/// A slot is the first bits of its channels' keys, so they lie side by side.
fn slot_heads(
    database: &Database,
    slot: u16,
    after: Option<ChannelKey>,
    limit: usize,
) -> Result<Vec<(ChannelKey, Head)>, StorageError> {
    let mut heads = Vec::new();
    if limit == 0 || slot >= SLOTS {
        return Ok(heads);
    }
    let first = (slot << 5).to_be_bytes();
    let after = after.filter(|after| after.slot() == slot).map(|after| after.0[1..].to_vec());
    let after = after.unwrap_or_else(|| vec![first[1]]);
    database.scan(Family::Head, &first[..1], Some(&after), |key, content| {
        let damage = |damaged| database.corrupt(Family::Head, key, damaged);
        let channel = <[u8; CHANNEL_PREFIX_BYTES]>::try_from(key)
            .map_err(|_| damage(Damaged("not a channel key".to_owned())))?;
        let channel = ChannelKey(channel);
        if channel.slot() != slot {
            return Ok(ControlFlow::Break(()));
        }
        heads.push((channel, decode_head(content).map_err(damage)?));
        Ok(until_full(heads.len(), limit))
    })?;
    Ok(heads)
}
