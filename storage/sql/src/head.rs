//! Rows of heads.

use mysql_async::{Conn, Row, Value};
use sterna_proto::{ChannelKey, Epoch, Offset};
use sterna_storage::{EpochStart, Head, StorageError};

use crate::batch::{batches, padded};
use crate::columns::{Columns, key, number, repeat};
use crate::engine::{rows, run};
use crate::failure::{Failure, corrupt};

/// In the order in which [`decode`] takes them.
pub(crate) const COLUMNS: &str = "channel, `offset`, epoch, first, last_ts_ms, epochs";

pub(crate) fn decode(row: Row) -> Result<(ChannelKey, Head), StorageError> {
    let mut columns = Columns::of("heads", row);
    let channel = columns.channel()?;
    let position = columns.position()?;
    let (first, last_ts_ms) = (columns.offset()?, columns.take()?);
    let epochs = decode_epochs(&columns.take::<Vec<u8>>()?)
        .ok_or_else(|| columns.damaged("its list of epochs is cut or empty"))?;
    Ok((channel, Head { position, first, last_ts_ms, epochs }))
}

/// Locks the heads in key order, the same for everybody, and reads them as they are now.
pub(crate) async fn lock(
    conn: &mut Conn,
    table: &str,
    channels: &[ChannelKey],
) -> Result<Vec<(ChannelKey, Head)>, Failure> {
    let mut heads = Vec::with_capacity(channels.len());
    for some in padded(channels) {
        // The index is named because a scan of a small table would wait for the locks of others.
        let sql = format!(
            "SELECT {COLUMNS} FROM {table} FORCE INDEX (PRIMARY) WHERE channel IN ({}) \
             ORDER BY channel FOR UPDATE",
            repeat("?", some.len(), ", ")
        );
        let keys = some.iter().map(|channel| key(*channel)).collect();
        for row in rows(conn, &sql, keys).await? {
            heads.push(decode(row)?);
        }
    }
    Ok(heads)
}

/// Inserts heads of channels without records: of two first writers one fails on the primary key,
/// and finds the head when it tries again.
pub(crate) async fn insert(
    conn: &mut Conn,
    table: &str,
    heads: &[(ChannelKey, &Head)],
) -> Result<(), Failure> {
    write(conn, table, heads, "", 1).await
}

/// Replaces heads that are locked.
pub(crate) async fn update(
    conn: &mut Conn,
    table: &str,
    heads: &[(ChannelKey, &Head)],
) -> Result<(), Failure> {
    let update = " ON DUPLICATE KEY UPDATE `offset` = VALUES(`offset`), epoch = VALUES(epoch), \
                  first = VALUES(first), last_ts_ms = VALUES(last_ts_ms), epochs = VALUES(epochs)";
    write(conn, table, heads, update, 2).await
}

/// `each` is what a row adds to the count of affected rows: 1 inserted, 2 replaced.
async fn write(
    conn: &mut Conn,
    table: &str,
    heads: &[(ChannelKey, &Head)],
    suffix: &str,
    each: usize,
) -> Result<(), Failure> {
    for some in batches(heads) {
        let values = repeat("(?, ?, ?, ?, ?, ?)", some.len(), ", ");
        let sql = format!("INSERT INTO {table} ({COLUMNS}) VALUES {values}{suffix}");
        let params = some.iter().flat_map(|(channel, head)| encode(*channel, head)).collect();
        let affected = run(conn, &sql, params).await?;
        if affected != (some.len() * each) as u64 {
            let message = format!("{affected} rows changed for {} locked heads", some.len());
            return Err(corrupt(message).into());
        }
    }
    Ok(())
}

fn encode(channel: ChannelKey, head: &Head) -> [Value; 6] {
    [
        key(channel),
        number(head.position.offset.0),
        number(head.position.epoch.0),
        number(head.first.0),
        number(head.last_ts_ms),
        Value::Bytes(encode_epochs(&head.epochs)),
    ]
}

fn encode_epochs(epochs: &[EpochStart]) -> Vec<u8> {
    let entry = |start: &EpochStart| {
        [&start.epoch.0.to_be_bytes()[..], &start.first.0.to_be_bytes()].concat()
    };
    epochs.iter().flat_map(entry).collect()
}

fn decode_epochs(bytes: &[u8]) -> Option<Vec<EpochStart>> {
    let (entries, rest) = bytes.as_chunks::<12>();
    let start = |entry: &[u8; 12]| {
        let (epoch, first) = entry.split_first_chunk::<4>()?;
        Some(EpochStart {
            epoch: Epoch(u32::from_be_bytes(*epoch)),
            first: Offset(u64::from_be_bytes(first.try_into().ok()?)),
        })
    };
    if entries.is_empty() || !rest.is_empty() {
        return None;
    }
    entries.iter().map(start).collect()
}

#[cfg(test)]
mod fuzz_tests {
    use super::*;
    use sterna_fuzz::check;

    /// No bytes in the column make the decoder panic, and a list that is taken is what would be
    /// written.
    #[test]
    fn fuzz_sql_epochs() {
        check!("sql_epochs", |bytes: &[u8]| {
            if let Some(epochs) = decode_epochs(bytes) {
                assert_eq!(encode_epochs(&epochs), bytes);
            }
        });
    }
}
