//! How far channels are archived, each in the place of its channel.

use std::collections::{BTreeMap, HashMap};

use futures_util::FutureExt as _;
use mysql_async::{Conn, Row, Value};
use sterna_proto::ChannelKey;
use sterna_storage::archived::decide;
use sterna_storage::{
    Archived, ArchivedChange, ArchivedError, ArchivedStore, BoxFuture, StorageError,
};

use crate::SqlStore;
use crate::batch::{batches, padded};
use crate::columns::{Columns, key, number, repeat};
use crate::engine::{rows, run};
use crate::failure::Failure;
use crate::place::Place;

impl ArchivedStore for SqlStore {
    fn archived(
        &self,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Archived>>, StorageError>> {
        async move {
            let mut tables: BTreeMap<Place, Vec<ChannelKey>> = BTreeMap::new();
            for channel in &channels {
                let place = self.engine.places.locate(channel.slot());
                tables.entry(place).or_default().push(*channel);
            }
            let mut found = Found::default();
            for (place, channels) in tables {
                let table = self.engine.places.table(place, "archived");
                for some in padded(&channels) {
                    let sql = select(&table, some.len());
                    let keys = some.iter().map(|channel| key(*channel)).collect();
                    for row in self.engine.read(place, &sql, keys).await? {
                        found.extend([decode(row)?]);
                    }
                }
            }
            Ok(channels.iter().map(|channel| found.get(channel).cloned()).collect())
        }
        .boxed()
    }

    /// One transaction for each place.
    fn change_archived(
        &self,
        changes: Vec<ArchivedChange>,
    ) -> BoxFuture<'_, Vec<Result<(), ArchivedError>>> {
        async move {
            let mut by_place: BTreeMap<Place, Vec<(usize, ArchivedChange)>> = BTreeMap::new();
            for (index, change) in changes.into_iter().enumerate() {
                let place = self.engine.places.locate(change.channel.slot());
                by_place.entry(place).or_default().push((index, change));
            }
            let mut verdicts = Vec::new();
            for (place, changes) in by_place {
                let table = self.engine.places.table(place, "archived");
                let args = (table, changes);
                let changed = self.engine.transact(place, &args, |conn, (table, changes)| {
                    change(conn, table, changes).boxed()
                });
                match changed.await {
                    Ok(decided) => verdicts.extend(decided),
                    Err(error) => {
                        let failed = |(index, _): &(usize, _)| (*index, Err(error.clone().into()));
                        verdicts.extend(args.1.iter().map(failed));
                    }
                }
            }
            verdicts.sort_unstable_by_key(|(index, _)| *index);
            verdicts.into_iter().map(|(_, verdict)| verdict).collect()
        }
        .boxed()
    }
}

type Found = HashMap<ChannelKey, Archived, ahash::RandomState>;
type Verdicts = Vec<(usize, Result<(), ArchivedError>)>;

/// Locks the rows, compares, and writes those that were as expected.
async fn change(
    conn: &mut Conn,
    table: &str,
    changes: &[(usize, ArchivedChange)],
) -> Result<Verdicts, Failure> {
    let mut channels: Vec<ChannelKey> = changes.iter().map(|(_, change)| change.channel).collect();
    channels.sort_unstable();
    let mut found = Found::default();
    for some in padded(&channels) {
        let sql = select(table, some.len()) + " ORDER BY channel FOR UPDATE";
        let keys = some.iter().map(|channel| key(*channel)).collect();
        for row in rows(conn, &sql, keys).await? {
            found.extend([decode(row)?]);
        }
    }
    let (mut verdicts, mut new, mut old) = (Verdicts::new(), Vec::new(), Vec::new());
    for (index, change) in changes {
        let stored = found.get(&change.channel);
        let verdict = decide(change, stored);
        if verdict.is_ok() {
            let list = if stored.is_some() { &mut old } else { &mut new };
            list.push((change.channel, &change.archived));
        }
        verdicts.push((*index, verdict));
    }
    // Of two that are the first to say it of a channel the second fails on the key, and sees it when
    // it tries again.
    write(conn, table, &new, "").await?;
    let replace = " ON DUPLICATE KEY UPDATE upto = VALUES(upto), content = VALUES(content)";
    write(conn, table, &old, replace).await?;
    Ok(verdicts)
}

async fn write(
    conn: &mut Conn,
    table: &str,
    archived: &[(ChannelKey, &Archived)],
    suffix: &str,
) -> Result<(), Failure> {
    for some in batches(archived) {
        let values = repeat("(?, ?, ?)", some.len(), ", ");
        let sql = format!("INSERT INTO {table} ({COLUMNS}) VALUES {values}{suffix}");
        let params = some.iter().flat_map(|(channel, archived)| {
            [key(*channel), number(archived.upto.0), Value::Bytes(archived.content.to_vec())]
        });
        run(conn, &sql, params.collect()).await?;
    }
    Ok(())
}

fn select(table: &str, channels: usize) -> String {
    let some = repeat("?", channels, ", ");
    format!("SELECT {COLUMNS} FROM {table} FORCE INDEX (PRIMARY) WHERE channel IN ({some})")
}

fn decode(row: Row) -> Result<(ChannelKey, Archived), StorageError> {
    let mut columns = Columns::of("archived", row);
    let channel = columns.channel()?;
    let upto = columns.offset()?;
    Ok((channel, Archived { upto, content: columns.bytes()? }))
}

/// In the order in which they are written and read.
const COLUMNS: &str = "channel, upto, content";
