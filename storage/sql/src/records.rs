//! Rows of publications, and the pages that readers get.

use mysql_async::{Conn, Value};
use sterna_proto::{ChannelKey, ClientId, Offset, PublicationId};
use sterna_storage::{NewRecord, Origin, PageLimit, ReadError, Record, StorageError};

use crate::batch::{MOST, batch};
use crate::columns::{Columns, key, limit, number, repeat, text};
use crate::engine::{Engine, run};
use crate::failure::{Failure, corrupt};

/// Writes the records in their places. The primary key refuses a place that is taken.
pub(crate) async fn insert(
    conn: &mut Conn,
    table: &str,
    records: &[(ChannelKey, &Record)],
) -> Result<(), Failure> {
    let mut rest = records;
    while !rest.is_empty() {
        let (some, others) = rest.split_at(batch(fitting(rest)));
        let values = repeat("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", some.len(), ", ");
        let sql = format!("INSERT INTO {table} (channel, {COLUMNS}) VALUES {values}");
        let params = some.iter().flat_map(|(channel, record)| encode(*channel, record)).collect();
        run(conn, &sql, params).await?;
        rest = others;
    }
    Ok(())
}

/// At least one, and no more than a packet of any server's default holds.
fn fitting(records: &[(ChannelKey, &Record)]) -> usize {
    let mut bytes = 0;
    let fits = records.iter().take(MOST).take_while(|(_, record)| {
        bytes += record.body.payload.len() + ROW_OVERHEAD_BYTES;
        bytes <= BYTES_PER_STATEMENT
    });
    fits.count().max(1)
}

/// The page after an offset.
pub(crate) async fn page(
    engine: &Engine,
    channel: ChannelKey,
    after: Offset,
    wish: PageLimit,
) -> Result<Vec<Record>, ReadError> {
    let mut room = wish.start();
    let mut page: Vec<Record> = Vec::new();
    let mut rows = FIRST_ROWS;
    loop {
        let last = page.last().map_or(after, |record| record.position.offset);
        let found = match fetch(engine, channel, last, rows).await {
            // Trimmed while the page was read: what was read before is whole.
            Err(ReadError::Trimmed { .. }) if !page.is_empty() => return Ok(page),
            found => found?,
        };
        let complete = found.len() < rows;
        for record in found {
            if !room.take(record.body.payload.len()) {
                return Ok(page);
            }
            page.push(record);
        }
        if complete || room.is_full() {
            return Ok(page);
        }
        rows = MORE_ROWS;
    }
}

/// Some records after an offset, all of them if fewer than `rows`. Head and records are read in one
/// statement, so of one moment.
async fn fetch(
    engine: &Engine,
    channel: ChannelKey,
    after: Offset,
    rows: usize,
) -> Result<Vec<Record>, ReadError> {
    let place = engine.places.locate(channel.slot());
    // The rows are taken, in the order of the key, before the head is joined: in one flat join the
    // servers sort all that follows the offset, to the channel's end.
    let sql = format!(
        "SELECT h.first, h.`offset`, p.* FROM {} h LEFT JOIN \
         (SELECT {COLUMNS} FROM {} WHERE channel = ? AND `offset` > ? ORDER BY `offset` LIMIT ?) p \
         ON TRUE WHERE h.channel = ? ORDER BY p.`offset`",
        engine.places.table(place, "heads"),
        engine.places.table(place, "publications"),
    );
    let params = vec![key(channel), number(after.0), limit(rows), key(channel)];
    let mut page = Vec::new();
    let mut newest = Offset::ZERO;
    for row in engine.read(place, &sql, params).await? {
        let mut columns = Columns::of("publications", row);
        let (first, head) = (columns.offset()?, columns.offset()?);
        if after.next() < first {
            return Err(ReadError::Trimmed { first });
        }
        newest = head;
        if let Some(offset) = columns.take::<Option<u64>>()? {
            page.push(decode(Offset(offset), &mut columns)?);
        }
    }
    check_dense(&page, after, newest, rows)?;
    Ok(page)
}

/// A hole, or an end before the head, is never passed on as a page.
fn check_dense(
    page: &[Record],
    after: Offset,
    head: Offset,
    rows: usize,
) -> Result<(), StorageError> {
    let mut last = after;
    for record in page {
        if record.position.offset != last.next() {
            return Err(corrupt(format!("the record behind offset {} is missing", last.0)));
        }
        last = record.position.offset;
    }
    if page.len() < rows && last < head {
        return Err(corrupt(format!("the records behind offset {} are missing", last.0)));
    }
    Ok(())
}

fn encode(channel: ChannelKey, record: &Record) -> [Value; 13] {
    let Record { position, body, .. } = record;
    let (client_id, client_seq) = match &body.origin {
        Some(origin) => (text(origin.client_id.as_str()), number(origin.client_seq)),
        None => (Value::NULL, Value::NULL),
    };
    [
        key(channel),
        number(position.offset.0),
        number(position.epoch.0),
        number(body.id.0),
        text(body.sender.as_str()),
        client_id,
        client_seq,
        Value::Bytes(body.client_msg_id.to_vec()),
        number(body.server_ts_ms),
        number(body.client_ts_ms),
        Value::Int(body.kind.into()),
        number(body.target_offset.0),
        Value::Bytes(body.payload.to_vec()),
    ]
}

fn decode(offset: Offset, columns: &mut Columns) -> Result<Record, StorageError> {
    let epoch = sterna_proto::Epoch(columns.take()?);
    let (id, sender) = (PublicationId(columns.take()?), columns.user()?);
    let client_id: Option<String> = columns.take()?;
    let client_seq: Option<u64> = columns.take()?;
    let origin = match (client_id, client_seq) {
        (Some(client_id), Some(client_seq)) => {
            let client_id =
                ClientId::new(&client_id).map_err(|error| columns.damaged(&error.to_string()))?;
            Some(Origin { client_id, client_seq })
        }
        _ => None,
    };
    let body = NewRecord {
        id,
        sender,
        origin,
        client_msg_id: columns.bytes()?,
        server_ts_ms: columns.take()?,
        client_ts_ms: columns.take()?,
        kind: columns.take()?,
        target_offset: columns.offset()?,
        payload: columns.bytes()?,
    };
    Ok(Record::new(sterna_proto::Position { epoch, offset }, body))
}

/// In the order in which they are written and read, behind the channel.
const COLUMNS: &str = "`offset`, epoch, id, sender, client_id, client_seq, client_msg_id, \
                       server_ts_ms, client_ts_ms, kind, target_offset, payload";

/// A quarter of MariaDB's default for the largest packet.
const BYTES_PER_STATEMENT: usize = 4 << 20;

/// Names and numbers of a row at their largest.
const ROW_OVERHEAD_BYTES: usize = 300;

/// Few, since one large payload may fill the page; then many, since none did.
const FIRST_ROWS: usize = 64;
const MORE_ROWS: usize = 512;
