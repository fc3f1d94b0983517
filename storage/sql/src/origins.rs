//! Rows of origins, by which retransmissions are recognised (I3).

use std::collections::HashMap;

use mysql_async::{Conn, Row, Value};
use sterna_proto::{ChannelKey, ClientId, PublicationId};
use sterna_storage::{Duplicate, Origin, Record, StorageError};

use crate::batch::{batches, padded};
use crate::columns::{Columns, key, number, repeat, text};
use crate::engine::{rows, run};
use crate::failure::Failure;

/// What is stored under the origins of a transaction.
pub(crate) type Stored = HashMap<(ChannelKey, Origin), Duplicate, ahash::RandomState>;

/// What is stored under the origins now, whatever the transaction has seen before. Only the holder
/// of the heads' locks may rely on what it does not find.
pub(crate) async fn look_up(
    conn: &mut Conn,
    table: &str,
    origins: &[(ChannelKey, Origin)],
) -> Result<Stored, Failure> {
    let mut stored = Stored::default();
    for some in padded(origins) {
        // Alternatives rather than a list of tuples, which MariaDB would answer by a scan.
        let sql = format!(
            "SELECT {COLUMNS} FROM {table} FORCE INDEX (PRIMARY) WHERE {} FOR UPDATE",
            repeat(MATCH, some.len(), " OR ")
        );
        let params = some.iter().flat_map(|(channel, origin)| origin_key(*channel, origin));
        for row in rows(conn, &sql, params.collect()).await? {
            let (key, duplicate) = decode(row)?;
            stored.insert(key, duplicate);
        }
    }
    Ok(stored)
}

/// The statement and the parameters that find one origin.
pub(crate) fn find(table: &str, channel: ChannelKey, origin: &Origin) -> (String, Vec<Value>) {
    let sql = format!("SELECT {COLUMNS} FROM {table} WHERE {MATCH}");
    (sql, origin_key(channel, origin).into())
}

pub(crate) fn decode(row: Row) -> Result<((ChannelKey, Origin), Duplicate), StorageError> {
    let mut columns = Columns::of("origins", row);
    let channel = columns.channel()?;
    let client_id = columns.name(ClientId::new)?;
    let origin = Origin { client_id, client_seq: columns.take()? };
    let duplicate = Duplicate {
        index: 0,
        position: columns.position()?,
        id: PublicationId(columns.take()?),
        server_ts_ms: columns.take()?,
        fingerprint: columns.take()?,
    };
    Ok(((channel, origin), duplicate))
}

/// Writes the origins of records; those without one are passed over. The primary key refuses what
/// the look-up did not see.
pub(crate) async fn insert(
    conn: &mut Conn,
    table: &str,
    records: &[(ChannelKey, &Record)],
) -> Result<(), Failure> {
    let rows: Vec<[Value; 8]> = records.iter().filter_map(|(at, one)| encode(*at, one)).collect();
    for some in batches(&rows) {
        let values = repeat("(?, ?, ?, ?, ?, ?, ?, ?, UNIX_TIMESTAMP())", some.len(), ", ");
        let sql = format!("INSERT INTO {table} ({COLUMNS}, stored_at_s) VALUES {values}");
        run(conn, &sql, some.concat()).await?;
    }
    Ok(())
}

fn encode(channel: ChannelKey, record: &Record) -> Option<[Value; 8]> {
    let Record { position, body, .. } = record;
    let [channel, client_id, client_seq] = origin_key(channel, body.origin.as_ref()?);
    Some([
        channel,
        client_id,
        client_seq,
        number(position.offset.0),
        number(position.epoch.0),
        number(body.id.0),
        number(body.server_ts_ms),
        number(body.fingerprint()),
    ])
}

fn origin_key(channel: ChannelKey, origin: &Origin) -> [Value; 3] {
    [key(channel), text(origin.client_id.as_str()), number(origin.client_seq)]
}

/// In the order in which [`decode`] takes them.
const COLUMNS: &str =
    "channel, client_id, client_seq, `offset`, epoch, id, server_ts_ms, fingerprint";
const MATCH: &str = "(channel = ? AND client_id = ? AND client_seq = ?)";
