//! What all roles share: the servers, the places of rows on them, and whether appends are taken.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row, Value};
use sterna_proto::Epoch;
use sterna_storage::StorageError;

use crate::failure::{Failure, unavailable};
use crate::place::{HOME, Place, Places};
use crate::server::{Server, Work, positional};

/// An open store.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) places: Places,
    pub(crate) birth: Epoch,
    pub(crate) servers: Vec<Server>,
    pub(crate) closed: AtomicBool,
}

impl Engine {
    /// Databases lie on the servers in turn.
    pub(crate) fn server(&self, database: u16) -> &Server {
        &self.servers[usize::from(database) % self.servers.len()]
    }

    pub(crate) fn home(&self) -> &Server {
        self.server(HOME)
    }

    pub(crate) async fn read(
        &self,
        place: Place,
        sql: &str,
        params: Vec<Value>,
    ) -> Result<Vec<Row>, StorageError> {
        self.server(place.database).read(sql, params).await
    }

    pub(crate) async fn transact<A: Sync, T: Send>(
        &self,
        place: Place,
        args: &A,
        work: Work<A, T>,
    ) -> Result<T, StorageError> {
        self.server(place.database).transact(args, work).await
    }

    /// A transaction of one statement; answers with the affected rows.
    pub(crate) async fn execute(
        &self,
        database: u16,
        sql: String,
        params: Vec<Value>,
    ) -> Result<u64, StorageError> {
        let work: Work<(String, Vec<Value>), u64> =
            |conn, (sql, params)| async move { run(conn, sql, params.clone()).await }.boxed();
        self.server(database).transact(&(sql, params), work).await
    }

    pub(crate) fn check_open(&self) -> Result<(), StorageError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(unavailable("closed; nothing was stored"));
        }
        Ok(())
    }
}

/// Executes a statement of a transaction; answers with the affected rows.
pub(crate) async fn run(conn: &mut Conn, sql: &str, params: Vec<Value>) -> Result<u64, Failure> {
    conn.exec_drop(sql, positional(params)).await?;
    Ok(conn.affected_rows())
}

/// The rows of a locking read of a transaction.
pub(crate) async fn rows(
    conn: &mut Conn,
    sql: &str,
    params: Vec<Value>,
) -> Result<Vec<Row>, Failure> {
    Ok(conn.exec(sql, positional(params)).await?)
}
