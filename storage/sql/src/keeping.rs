//! What channels keep, each in the place of its channel: a row, its redactions, and what was
//! ordered. The clock of retention lies in the home database.

use std::collections::{BTreeMap, HashMap};

use futures_util::FutureExt as _;
use mysql_async::{Conn, Row, Value};
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::keeping::stored::{
    decode_author, decode_deed, decode_kept, encode_author, encode_deed, encode_kept,
};
use sterna_storage::keeping::{
    Author, Decided, Deed, KeepingError, KeepingStore, Kept, Order, Redaction, decide,
};
use sterna_storage::{BoxFuture, StorageError};

use crate::SqlStore;
use crate::batch::{batches, padded};
use crate::columns::{Columns, key, limit, number, repeat, text};
use crate::engine::{rows, run};
use crate::failure::{Failure, corrupt};
use crate::place::{HOME, Place};

impl KeepingStore for SqlStore {
    fn kept(&self, channels: Vec<ChannelKey>) -> BoxFuture<'_, Result<Vec<Kept>, StorageError>> {
        async move {
            let mut tables: BTreeMap<Place, Vec<ChannelKey>> = BTreeMap::new();
            for channel in &channels {
                let place = self.engine.places.locate(channel.slot());
                tables.entry(place).or_default().push(*channel);
            }
            let mut found: HashMap<ChannelKey, Kept, ahash::RandomState> = HashMap::default();
            for (place, channels) in tables {
                let table = self.engine.places.table(place, "kept");
                for some in padded(&channels) {
                    let sql = select(&table, some.len());
                    let keys = some.iter().map(|channel| key(*channel)).collect();
                    for row in self.engine.read(place, &sql, keys).await? {
                        found.extend([decode(row)?]);
                    }
                }
            }
            Ok(channels.iter().map(|it| found.get(it).cloned().unwrap_or_default()).collect())
        }
        .boxed()
    }

    fn keep(
        &self,
        channel: ChannelKey,
        order: Order,
        author: Author,
    ) -> BoxFuture<'_, Result<Kept, KeepingError>> {
        async move {
            let place = self.engine.places.locate(channel.slot());
            let table = |name| self.engine.places.table(place, name);
            let tables = [table("kept"), table("redactions"), table("deeds")];
            let wish = Wish { tables, channel, order, author };
            let kept = self.engine.transact(place, &wish, |conn, wish| keep(conn, wish).boxed());
            kept.await?
        }
        .boxed()
    }

    fn redactions(
        &self,
        channel: ChannelKey,
        after: Offset,
        wish: usize,
    ) -> BoxFuture<'_, Result<Vec<Redaction>, StorageError>> {
        async move {
            let place = self.engine.places.locate(channel.slot());
            let sql = format!(
                "SELECT `offset`, content FROM {} WHERE channel = ? AND `offset` > ? \
                 ORDER BY `offset` LIMIT ?",
                self.engine.places.table(place, "redactions")
            );
            let params = vec![key(channel), number(after.0), limit(wish)];
            let found = self.engine.read(place, &sql, params).await?;
            found.into_iter().map(decode_redaction).collect()
        }
        .boxed()
    }

    fn deeds(
        &self,
        channel: ChannelKey,
        before: u64,
        wish: usize,
    ) -> BoxFuture<'_, Result<Vec<Deed>, StorageError>> {
        async move {
            let place = self.engine.places.locate(channel.slot());
            let sql = format!(
                "SELECT version, content FROM {} WHERE channel = ? AND version < ? \
                 ORDER BY version DESC LIMIT ?",
                self.engine.places.table(place, "deeds")
            );
            let params = vec![key(channel), number(before), limit(wish)];
            let found = self.engine.read(place, &sql, params).await?;
            found.into_iter().map(decode_deed_row).collect()
        }
        .boxed()
    }

    fn raise_retention_clock(&self, to_ms: u64) -> BoxFuture<'_, Result<u64, StorageError>> {
        async move {
            let clocks = self.engine.places.home("clocks");
            if to_ms > 0 {
                let sql = format!(
                    "INSERT INTO {clocks} (name, at_ms) VALUES (?, ?) \
                     ON DUPLICATE KEY UPDATE at_ms = GREATEST(at_ms, VALUES(at_ms))"
                );
                self.engine.execute(HOME, sql, vec![text(CLOCK), number(to_ms)]).await?;
            }
            let sql = format!("SELECT at_ms FROM {clocks} WHERE name = ?");
            let found = self.engine.home().read(&sql, vec![text(CLOCK)]).await?.pop();
            found.map_or(Ok(0), |row| Columns::of("clocks", row).take())
        }
        .boxed()
    }
}

/// An order with the names of its tables: rows, redactions, deeds.
#[derive(Debug)]
struct Wish {
    tables: [String; 3],
    channel: ChannelKey,
    order: Order,
    author: Author,
}

/// Locks the row, decides and writes. Of two that are the first of a channel the second fails on
/// the key, and sees it when it tries again.
async fn keep(conn: &mut Conn, wish: &Wish) -> Result<Result<Kept, KeepingError>, Failure> {
    let Wish { tables: [table, ..], channel, order, author } = wish;
    let sql = select(table, 1) + " FOR UPDATE";
    let found = rows(conn, &sql, vec![key(*channel)]).await?.pop();
    let before = found.map(decode).transpose()?.map(|(_, kept)| kept);
    let decided = match decide(&before.clone().unwrap_or_default(), order.clone(), author) {
        Ok(Some(decided)) => decided,
        Ok(None) => return Ok(Ok(before.unwrap_or_default())),
        Err(refused) => return Ok(Err(refused)),
    };
    write(conn, wish, &decided, before.is_none()).await?;
    Ok(Ok(decided.kept))
}

async fn write(
    conn: &mut Conn,
    wish: &Wish,
    decided: &Decided,
    is_first: bool,
) -> Result<(), Failure> {
    let Wish { tables: [table, redactions, deeds], channel, .. } = wish;
    let row = Value::Bytes(encode_kept(&decided.kept));
    if is_first {
        let sql = format!("INSERT INTO {table} (channel, content) VALUES (?, ?)");
        run(conn, &sql, vec![key(*channel), row]).await?;
    } else {
        let sql = format!("UPDATE {table} SET content = ? WHERE channel = ?");
        run(conn, &sql, vec![row, key(*channel)]).await?;
    }
    for some in batches(&decided.redactions) {
        // One that is there stays as it is.
        let sql = format!(
            "INSERT INTO {redactions} (channel, `offset`, content) VALUES {} \
             ON DUPLICATE KEY UPDATE channel = channel",
            repeat("(?, ?, ?)", some.len(), ", ")
        );
        let params = some.iter().flat_map(|it| {
            [key(*channel), number(it.offset.0), Value::Bytes(encode_author(&it.author))]
        });
        run(conn, &sql, params.collect()).await?;
    }
    if let Some(deed) = &decided.deed {
        let sql = format!("INSERT INTO {deeds} (channel, version, content) VALUES (?, ?, ?)");
        let row = Value::Bytes(encode_deed(deed));
        run(conn, &sql, vec![key(*channel), number(deed.version), row]).await?;
    }
    Ok(())
}

fn select(table: &str, channels: usize) -> String {
    let some = repeat("?", channels, ", ");
    format!("SELECT channel, content FROM {table} FORCE INDEX (PRIMARY) WHERE channel IN ({some})")
}

fn decode(row: Row) -> Result<(ChannelKey, Kept), StorageError> {
    let mut columns = Columns::of("kept", row);
    let channel = columns.channel()?;
    let kept = decode_kept(&columns.bytes()?).map_err(|error| columns.damaged(&error.0))?;
    Ok((channel, kept))
}

fn decode_redaction(row: Row) -> Result<Redaction, StorageError> {
    let mut columns = Columns::of("redactions", row);
    let offset = columns.offset()?;
    let author = decode_author(&columns.bytes()?).map_err(|error| columns.damaged(&error.0))?;
    Ok(Redaction { offset, author })
}

fn decode_deed_row(row: Row) -> Result<Deed, StorageError> {
    let mut columns = Columns::of("deeds", row);
    let version = columns.take()?;
    decode_deed(version, &columns.bytes()?)
        .map_err(|error| corrupt(format!("deed {version} of a channel is damaged: {}", error.0)))
}

const CLOCK: &str = "retention";
