//! Keyspace and tables: what they are, how they come to be, and the few facts that are settled once
//! for a store.

use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use sterna_storage::StorageError;

use crate::columns::text;
use crate::config::ScyllaConfig;
use crate::cql::{Cql, rows_of};
use crate::failure::{corrupt, unavailable};
use crate::statements::Meta;

/// What makes a new store, in order. Nothing here is of one product only; no counters, no indexes, no
/// views. Where rows come and go, tombstones may go soon: a row that comes back does no harm there,
/// as the module that owns it says.
const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS meta (name text PRIMARY KEY, value text)",
    // The head of a channel is the statics of its newest bucket. Kinds of rows are numbered in
    // `statements`.
    "CREATE TABLE IF NOT EXISTS log (
        channel blob, bucket int, kind tinyint, name text, number bigint,
        sealed boolean static, base bigint static, bytes bigint static,
        last bigint static, epoch bigint static, first bigint static, last_ts_ms bigint static,
        epochs blob static, changed bigint static,
        at_offset bigint, at_epoch bigint, id bigint, sender text, client_id text,
        client_seq bigint, client_msg_id blob, server_ts_ms bigint, client_ts_ms bigint,
        publication_kind int, target bigint, payload blob, fingerprint bigint,
        items blob, previous bigint, stamp bigint, tag bigint,
        PRIMARY KEY ((channel, bucket), kind, name, number))",
    "CREATE TABLE IF NOT EXISTS buckets (
        channel blob, base bigint, bucket int, PRIMARY KEY (channel, base)
    ) WITH CLUSTERING ORDER BY (base DESC)",
    "CREATE TABLE IF NOT EXISTS origins (
        channel blob, client_id text, client_seq bigint,
        at_offset bigint, at_epoch bigint, id bigint, server_ts_ms bigint, fingerprint bigint,
        PRIMARY KEY ((channel, client_id), client_seq))",
    "CREATE TABLE IF NOT EXISTS slot_channels (
        slot int, channel blob, PRIMARY KEY (slot, channel))",
    "CREATE TABLE IF NOT EXISTS intent_hints (
        slot int, channel blob, number bigint, bucket int, put_at bigint,
        PRIMARY KEY (slot, channel, number, bucket)
    ) WITH gc_grace_seconds = 60",
    "CREATE TABLE IF NOT EXISTS intents (
        slot int, channel blob, number bigint,
        last bigint static, completed bigint static,
        payload blob, PRIMARY KEY (slot, channel, number)
    ) WITH gc_grace_seconds = 600",
    "CREATE TABLE IF NOT EXISTS channels (
        channel blob, user text,
        name text static, kind int static, access int static, created_by text static,
        created_at_ms bigint static, applied bigint static, members bigint static,
        tag bigint static,
        role int, since_ms bigint, PRIMARY KEY (channel, user))",
    "CREATE TABLE IF NOT EXISTS channel_names (
        part int, name text, PRIMARY KEY (part, name))",
];

/// Of [`TABLES`]. A store of another version is refused, or brought here.
pub(crate) const VERSION: u32 = 1;

/// Makes the keyspace where there is none, if the configuration says so, and tells whether there is
/// one now.
pub(crate) async fn keyspace(session: &Session, config: &ScyllaConfig) -> Result<(), StorageError> {
    let known = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?";
    if !ask(session, known, &config.keyspace).await?.is_empty() {
        return Ok(());
    }
    if !config.migrate {
        return Err(unavailable(format!(
            "there is no keyspace {:?}; run `sterna migrate`",
            config.keyspace
        )));
    }
    let statement = format!(
        "CREATE KEYSPACE IF NOT EXISTS {} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', '{}': {}}}",
        quoted(&config.keyspace),
        config.datacenter.replace('\'', "''"),
        config.replication
    );
    // Conditional writes are younger than tablets, so ScyllaDB is told to do without these.
    if is_scylla(session).await? {
        let plain = format!("{statement} AND tablets = {{'enabled': false}}");
        match session.query_unpaged(plain, ()).await {
            Ok(_) => return Ok(()),
            // Older than tablets: it has nothing to be told.
            Err(error) if is_nonsense(&error) => {}
            Err(error) => return Err(failed("the keyspace", error)),
        }
    }
    match session.query_unpaged(statement, ()).await {
        Ok(_) => Ok(()),
        Err(error) => Err(failed("the keyspace", error)),
    }
}

/// Brings the tables up to date, or refuses what is not.
pub(crate) async fn tables(session: &Session, config: &ScyllaConfig) -> Result<(), StorageError> {
    let found = match version(session, config).await? {
        Some(found) if found == VERSION => return Ok(()),
        Some(found) if found > VERSION => {
            let message = format!(
                "the schema has version {found} and this program knows {VERSION}: it is older than \
                 what made the tables"
            );
            return Err(unavailable(message));
        }
        found => found.unwrap_or(0),
    };
    if !config.migrate {
        let message = format!(
            "the schema has version {found} and this program needs {VERSION}: run `sterna migrate`"
        );
        return Err(unavailable(message));
    }
    for statement in TABLES {
        let done = session.query_unpaged(*statement, ()).await;
        done.map_err(|error| failed("a table", error))?;
    }
    Ok(())
}

/// Says that the tables are there, which is only true after all of them are.
pub(crate) async fn conclude(cql: &Cql, meta: &Meta) -> Result<(), StorageError> {
    settle(cql, meta, "schema", &VERSION.to_string()).await.map(drop)
}

pub(crate) async fn version(
    session: &Session,
    config: &ScyllaConfig,
) -> Result<Option<u32>, StorageError> {
    let tables = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
    let mut tables = ask(session, tables, &config.keyspace).await?;
    let mut has_meta = false;
    for row in &mut tables {
        has_meta |= row.text()? == "meta";
    }
    if !has_meta {
        return Ok(None);
    }
    let said = ask(session, "SELECT value FROM meta WHERE name = ?", "schema").await?;
    let Some(mut row) = said.into_iter().next() else { return Ok(None) };
    let value = row.text()?;
    value.parse().map(Some).map_err(|_| corrupt(format!("the schema's version is {value:?}")))
}

/// The value that was settled first, by whichever node.
pub(crate) async fn settle(
    cql: &Cql,
    meta: &Meta,
    name: &str,
    value: &str,
) -> Result<String, StorageError> {
    if let Some(found) = settled(cql, meta, name).await? {
        return Ok(found);
    }
    let put = vec![(&meta.put, vec![text(name), text(value)])];
    cql.decide(put).await.map_err(crate::cql::Uncertain::harmless)?;
    let found = settled(cql, meta, name).await?;
    found.ok_or_else(|| corrupt(format!("{name} is missing in meta")))
}

async fn settled(cql: &Cql, meta: &Meta, name: &str) -> Result<Option<String>, StorageError> {
    let found = cql.rows("meta", (&meta.get, vec![text(name)])).await?;
    found.into_iter().next().map(|mut row| row.text()).transpose()
}

/// Whether it is ScyllaDB, and not Cassandra.
pub(crate) async fn is_scylla(session: &Session) -> Result<bool, StorageError> {
    let own = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? \
               AND table_name = 'scylla_local'";
    Ok(!ask(session, own, "system").await?.is_empty())
}

/// Rows of a statement that is asked once, with one value.
pub(crate) async fn ask(
    session: &Session,
    statement: &str,
    value: &str,
) -> Result<Vec<crate::columns::Columns>, StorageError> {
    let found = session.query_unpaged(statement, (value,)).await;
    rows_of("a system table", found.map_err(crate::failure::refused)?)
}

fn is_nonsense(error: &ExecutionError) -> bool {
    let ExecutionError::LastAttemptError(RequestAttemptError::DbError(said, _)) = error else {
        return false;
    };
    matches!(said, DbError::SyntaxError | DbError::Invalid | DbError::ConfigError)
}

fn failed(what: &str, error: ExecutionError) -> StorageError {
    unavailable(format!("{what} cannot be made: {error}")).with_source(error)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
