//! The publication log on the tables `heads`, `publications` and `origins`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use mysql_async::{Conn, Value};
use sterna_proto::id::SLOTS;
use sterna_proto::{ChannelKey, Offset, Position};
use sterna_storage::{
    Adoption, Append, AppendError, BoxFuture, Duplicate, Head, NewRecord, Origin, PageLimit,
    PublicationLog, ReadError, Record, StorageError,
};

use crate::batch::padded;
use crate::columns::{key, limit, number, repeat};
use crate::commit::Change;
use crate::engine::run;
use crate::failure::Failure;
use crate::place::Place;
use crate::{SqlStore, head, origins, records};

impl PublicationLog for SqlStore {
    fn append(&self, appends: Vec<Append>) -> BoxFuture<'_, Vec<Result<Head, AppendError>>> {
        let changes = appends.into_iter().map(Change::Append).collect();
        self.engine.commit(changes).boxed()
    }

    fn head(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        async move {
            let place = self.engine.places.locate(channel.slot());
            let sql = format!(
                "SELECT {} FROM {} WHERE channel = ?",
                head::COLUMNS,
                self.engine.places.table(place, "heads")
            );
            let found = self.engine.read(place, &sql, vec![key(channel)]).await?.pop();
            found.map(|row| head::decode(row).map(|(_, head)| head)).transpose()
        }
        .boxed()
    }

    fn heads(
        &self,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Head>>, StorageError>> {
        async move {
            let found = self.find_heads(&channels).await?;
            Ok(channels.iter().map(|channel| found.get(channel).cloned()).collect())
        }
        .boxed()
    }

    fn slot_heads(
        &self,
        slot: u16,
        after: Option<ChannelKey>,
        wish: usize,
    ) -> BoxFuture<'_, Result<Vec<(ChannelKey, Head)>, StorageError>> {
        async move {
            // A slot is the first bits of its channels' keys, so they lie side by side.
            let bound = |slot: u32| Value::Bytes((slot << 21).to_be_bytes().to_vec());
            let (first, end) = (bound(slot.into()), bound(u32::from(slot) + 1));
            let place = self.engine.places.locate(slot);
            let mut condition = "channel >= ?".to_owned();
            let mut params = vec![first];
            if slot + 1 < SLOTS {
                condition += " AND channel < ?";
                params.push(end);
            }
            if let Some(after) = after {
                condition += " AND channel > ?";
                params.push(key(after));
            }
            params.push(limit(wish));
            let sql = format!(
                "SELECT {} FROM {} WHERE {condition} ORDER BY channel LIMIT ?",
                head::COLUMNS,
                self.engine.places.table(place, "heads")
            );
            let found = self.engine.read(place, &sql, params).await?;
            found.into_iter().map(head::decode).collect()
        }
        .boxed()
    }

    fn read(
        &self,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, ReadError>> {
        records::page(&self.engine, channel, after, limit).boxed()
    }

    fn find(
        &self,
        channel: ChannelKey,
        origin: Origin,
    ) -> BoxFuture<'_, Result<Option<Duplicate>, StorageError>> {
        async move {
            let place = self.engine.places.locate(channel.slot());
            let table = self.engine.places.table(place, "origins");
            let (sql, params) = origins::find(&table, channel, &origin);
            let found = self.engine.read(place, &sql, params).await?.pop();
            found.map(|row| origins::decode(row).map(|(_, duplicate)| duplicate)).transpose()
        }
        .boxed()
    }

    fn raise_epoch(
        &self,
        channel: ChannelKey,
        expected: Position,
        marker: NewRecord,
    ) -> BoxFuture<'_, Result<Head, AppendError>> {
        async move {
            let change = Change::OpenEpoch { channel, expected, marker };
            self.engine.commit(vec![change]).await.remove(0)
        }
        .boxed()
    }

    fn adopt(&self, adoption: Adoption) -> BoxFuture<'_, Result<Head, AppendError>> {
        async move { self.engine.commit(vec![Change::Adopt(adoption)]).await.remove(0) }.boxed()
    }

    fn trim(
        &self,
        channel: ChannelKey,
        first: Offset,
    ) -> BoxFuture<'_, Result<Option<Head>, StorageError>> {
        self.trim_log(channel, first).boxed()
    }

    fn redact(
        &self,
        channel: ChannelKey,
        offsets: Vec<Offset>,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.redact_log(channel, offsets).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        self.engine.closed.store(true, Ordering::Release);
        futures_util::future::ready(Ok(())).boxed()
    }
}

impl SqlStore {
    /// The heads of many channels, some of a table in a statement.
    async fn find_heads(
        &self,
        channels: &[ChannelKey],
    ) -> Result<HashMap<ChannelKey, Head, ahash::RandomState>, StorageError> {
        let mut tables: BTreeMap<Place, Vec<ChannelKey>> = BTreeMap::new();
        for channel in channels {
            tables.entry(self.engine.places.locate(channel.slot())).or_default().push(*channel);
        }
        let mut found = HashMap::default();
        for (place, channels) in tables {
            for some in padded(&channels) {
                let sql = format!(
                    "SELECT {} FROM {} WHERE channel IN ({})",
                    head::COLUMNS,
                    self.engine.places.table(place, "heads"),
                    repeat("?", some.len(), ", ")
                );
                let keys = some.iter().map(|channel| key(*channel)).collect();
                for row in self.engine.read(place, &sql, keys).await? {
                    found.extend([head::decode(row)?]);
                }
            }
        }
        Ok(found)
    }

    async fn redact_log(
        &self,
        channel: ChannelKey,
        mut offsets: Vec<Offset>,
    ) -> Result<u64, StorageError> {
        self.engine.check_open()?;
        offsets.sort_unstable();
        offsets.dedup();
        let place = self.engine.places.locate(channel.slot());
        let table = |name| self.engine.places.table(place, name);
        let args = (table("heads"), table("publications"), channel, offsets);
        let redacted =
            self.engine.transact(place, &args, |conn, (heads, records, channel, offsets)| {
                redact(conn, (heads, records), *channel, offsets).boxed()
            });
        redacted.await
    }

    /// The head tells the trim point at once; the records below it go behind it, some in each
    /// transaction.
    async fn trim_log(
        &self,
        channel: ChannelKey,
        first: Offset,
    ) -> Result<Option<Head>, StorageError> {
        self.engine.check_open()?;
        let place = self.engine.places.locate(channel.slot());
        let heads = self.engine.places.table(place, "heads");
        let args = (heads, channel, first);
        let raised = self.engine.transact(place, &args, |conn, (heads, channel, first)| {
            raise_trim_point(conn, heads, *channel, *first).boxed()
        });
        let Some(head) = raised.await? else { return Ok(None) };
        let records = self.engine.places.table(place, "publications");
        loop {
            let sql = format!(
                "DELETE FROM {records} WHERE channel = ? AND `offset` < ? ORDER BY `offset` LIMIT ?"
            );
            let params = vec![key(channel), number(head.first.0), limit(RECORDS_PER_TRIM)];
            let deleted = self.engine.execute(place.database, sql, params).await?;
            if deleted < RECORDS_PER_TRIM as u64 {
                return Ok(Some(head));
            }
        }
    }
}

/// Empties those that are there, behind the lock of the head: a trim may be under way that has told
/// of its point and not deleted all below.
async fn redact(
    conn: &mut Conn,
    (heads, records): (&str, &str),
    channel: ChannelKey,
    offsets: &[Offset],
) -> Result<u64, Failure> {
    let Some((_, head)) = head::lock(conn, heads, &[channel]).await?.pop() else { return Ok(0) };
    let there = |offset: &&Offset| **offset >= head.first && **offset <= head.position.offset;
    let there: Vec<Offset> = offsets.iter().filter(there).copied().collect();
    for some in padded(&there) {
        let sql = format!(
            "UPDATE {records} SET payload = '' WHERE channel = ? AND `offset` IN ({})",
            repeat("?", some.len(), ", ")
        );
        let named = some.iter().map(|offset| number(offset.0));
        run(conn, &sql, std::iter::once(key(channel)).chain(named).collect()).await?;
    }
    Ok(there.len() as u64)
}

async fn raise_trim_point(
    conn: &mut Conn,
    heads: &str,
    channel: ChannelKey,
    first: Offset,
) -> Result<Option<Head>, Failure> {
    let Some((_, before)) = head::lock(conn, heads, &[channel]).await?.pop() else {
        return Ok(None);
    };
    let Some(raised) = sterna_storage::sequence::trim(&before, first) else {
        return Ok(Some(before));
    };
    head::update(conn, heads, &[(channel, &raised)]).await?;
    Ok(Some(raised))
}

/// Small enough that the transactions of others do not wait for long.
const RECORDS_PER_TRIM: usize = 1_000;
