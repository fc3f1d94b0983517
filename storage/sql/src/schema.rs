//! The schema: numbered files that are part of the program, applied under a lock of the server,
//! with a table that says which were. A file that was released is never changed.

use std::time::Duration;

use futures_util::FutureExt as _;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use sterna_storage::StorageError;

use crate::columns::{Columns, number, text};
use crate::engine::{Engine, rows, run};
use crate::failure::{Failure, unavailable};
use crate::server::NO_STATEMENT_LIMIT;

/// In the order of their numbers, which count from 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_tables.sql"),
    include_str!("../migrations/0002_pulled.sql"),
    include_str!("../migrations/0003_revocations.sql"),
    include_str!("../migrations/0004_archived.sql"),
    include_str!("../migrations/0005_keeping.sql"),
];

/// Brings one database up to date, or refuses it.
pub(crate) async fn bring_up(
    engine: &Engine,
    database: u16,
    migrate: bool,
) -> Result<(), StorageError> {
    let newest = MIGRATIONS.len() as u64;
    let name = engine.places.database(database).to_owned();
    let present = version(engine, database, &name).await?;
    if present > newest {
        return Err(unavailable(format!(
            "the schema of {name} has version {present}, and this program knows {newest}: \
             use the program that made it, or a newer one"
        )));
    }
    if present < newest && !migrate {
        return Err(unavailable(format!(
            "the schema of {name} has version {present}, and this program needs {newest}: \
             run `sterna migrate` with this configuration, or set `migrate = true`"
        )));
    }
    if present < newest {
        let plan = Plan { name, suffixes: engine.places.suffixes() };
        let server = engine.server(database);
        let applied =
            server.transact_within(PATIENCE, &plan, |conn, plan| apply(conn, plan).boxed());
        applied.await?;
    }
    Ok(())
}

/// 0 for a database without our tables.
async fn version(engine: &Engine, database: u16, name: &str) -> Result<u64, StorageError> {
    let server = engine.server(database);
    let sql = "SELECT COUNT(*) FROM information_schema.tables \
               WHERE table_schema = ? AND table_name = 'schema_versions'";
    let there = server.read(sql, vec![text(name.trim_matches('`'))]).await?.pop();
    let there: u64 = there.map_or(Ok(0), |row| Columns::of("tables", row).take())?;
    if there == 0 {
        return Ok(0);
    }
    let sql = format!("SELECT COALESCE(MAX(version), 0) FROM {name}.schema_versions");
    let found = server.read(&sql, Vec::new()).await?.pop();
    found.map_or(Ok(0), |row| Columns::of("schema_versions", row).take())
}

#[derive(Debug)]
struct Plan {
    name: String,
    suffixes: Vec<String>,
}

/// Applies what is missing, one node at a time. Each statement can be made again, since a server
/// commits every change of the schema by itself and a node may die between two.
async fn apply(conn: &mut Conn, plan: &Plan) -> Result<(), Failure> {
    conn.query_drop(NO_STATEMENT_LIMIT).await?;
    let lock = format!("sterna schema {}", plan.name);
    let taken = rows(conn, "SELECT GET_LOCK(?, ?)", vec![text(&lock), number(LOCK_SECS)]).await?;
    let taken = taken.into_iter().next().map(|row| Columns::of("GET_LOCK", row).take::<u64>());
    if !matches!(taken, Some(Ok(1))) {
        return Err(unavailable("another node is changing the schema; try again").into());
    }
    let applied = apply_locked(conn, plan).await;
    rows(conn, "SELECT RELEASE_LOCK(?)", vec![text(&lock)]).await?;
    applied
}

async fn apply_locked(conn: &mut Conn, plan: &Plan) -> Result<(), Failure> {
    let Plan { name, suffixes } = plan;
    conn.query_drop(format!("CREATE DATABASE IF NOT EXISTS {name}")).await?;
    conn.query_drop(format!("USE {name}")).await?;
    conn.query_drop(VERSIONS).await?;
    // With the name of the database, since a prepared statement keeps the one it was made in.
    let sql = format!("SELECT COALESCE(MAX(version), 0) FROM {name}.schema_versions");
    let present = rows(conn, &sql, Vec::new()).await?.pop();
    let present: u64 = present.map_or(Ok(0), |row| Columns::of("schema_versions", row).take())?;
    for (version, file) in (1..).zip(MIGRATIONS).skip_while(|(version, _)| *version <= present) {
        for statement in statements(file, suffixes) {
            conn.query_drop(statement).await?;
        }
        let sql = format!(
            "INSERT INTO {name}.schema_versions (version, applied_at) VALUES (?, UTC_TIMESTAMP())"
        );
        run(conn, &sql, vec![number(version)]).await?;
        // Before the lock is given up.
        conn.query_drop("COMMIT").await?;
        tracing::info!(database = %name, version, "schema brought up to date");
    }
    Ok(())
}

/// The statements of a file, those with `{t}` once for each suffix.
fn statements(file: &str, suffixes: &[String]) -> Vec<String> {
    let code = file.lines().filter(|line| !line.trim_start().starts_with("--"));
    let code = code.collect::<Vec<_>>().join("\n");
    let statements = code.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    let each = |statement: &str| -> Vec<String> {
        if statement.contains("{t}") {
            suffixes.iter().map(|suffix| statement.replace("{t}", suffix)).collect()
        } else {
            vec![statement.to_owned()]
        }
    };
    statements.flat_map(each).collect()
}

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema_versions (
    version INT UNSIGNED NOT NULL PRIMARY KEY,
    applied_at DATETIME NOT NULL
)";

/// The largest layout makes some hundred tables in each database.
const PATIENCE: Duration = Duration::from_secs(900);

/// Patience with another node that does it, below that.
const LOCK_SECS: u64 = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_repeated_for_each_table() {
        let file = "-- a; comment\nCREATE TABLE a{t} (\n    -- b\n    n INT);\n\nCREATE TABLE b (n INT);\n";
        let found = statements(file, &["_0".to_owned(), "_1".to_owned()]);
        assert_eq!(found.len(), 3);
        assert!(found[1].starts_with("CREATE TABLE a_1 ("), "{found:?}");
        assert_eq!(found[2], "CREATE TABLE b (n INT)");
    }
}
