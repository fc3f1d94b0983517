//! Worker numbers of ids and their bounds (I10), in the home database.

use std::time::Duration;

use futures_util::FutureExt as _;
use mysql_async::Conn;
use sterna_storage::id_lease::{LeasedWorker, choose_id_worker};
use sterna_storage::{BoxFuture, IdBoundStore, IdLeaseStore, StorageError};

use crate::SqlStore;
use crate::columns::{Columns, number, text};
use crate::engine::{rows, run};
use crate::failure::Failure;
use crate::place::HOME;
use crate::{NOW_MS, millis};

impl IdBoundStore for SqlStore {
    fn id_bound(&self, worker: u16) -> BoxFuture<'_, Result<u64, StorageError>> {
        async move {
            let table = self.engine.places.home("id_bounds");
            let sql = format!("SELECT bound_ms FROM {table} WHERE worker = ?");
            let found = self.engine.home().read(&sql, vec![number(worker)]).await?.pop();
            found.map_or(Ok(0), |row| Columns::of("id_bounds", row).take())
        }
        .boxed()
    }

    fn raise_id_bound(
        &self,
        worker: u16,
        expected_ms: u64,
        bound_ms: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        async move {
            let args = Raise {
                table: self.engine.places.home("id_bounds"),
                worker,
                expected_ms,
                bound_ms,
            };
            self.engine.home().transact(&args, |conn, args| raise(conn, args).boxed()).await
        }
        .boxed()
    }
}

impl IdLeaseStore for SqlStore {
    fn lease_id_worker<'a>(
        &'a self,
        holder: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Option<u16>, StorageError>> {
        async move {
            let args = Wish {
                table: self.engine.places.home("id_leases"),
                gate: self.engine.places.home("meta"),
                holder: holder.to_owned(),
                lease_ms: millis(lease),
            };
            self.engine.home().transact(&args, |conn, args| take(conn, args).boxed()).await
        }
        .boxed()
    }

    fn renew_id_worker<'a>(
        &'a self,
        worker: u16,
        holder: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, StorageError>> {
        // Two renewals within one millisecond change nothing the second time: one more tells them
        // from a lease that is gone.
        let until = format!("GREATEST(until_ms + 1, {NOW_MS} + {})", millis(lease));
        async move { Ok(self.change_lease(worker, holder, until).await? > 0) }.boxed()
    }

    fn release_id_worker<'a>(
        &'a self,
        worker: u16,
        holder: &'a str,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        self.change_lease(worker, holder, NOW_MS.to_owned())
            .map(|changed| changed.map(drop))
            .boxed()
    }
}

impl SqlStore {
    /// Moves the end of a lease that the holder has.
    async fn change_lease(
        &self,
        worker: u16,
        holder: &str,
        until: String,
    ) -> Result<u64, StorageError> {
        let table = self.engine.places.home("id_leases");
        let sql = format!(
            "UPDATE {table} SET until_ms = {until} \
             WHERE worker = ? AND holder = ? AND until_ms > {NOW_MS}"
        );
        self.engine.execute(HOME, sql, vec![number(worker), text(holder)]).await
    }
}

#[derive(Debug)]
struct Raise {
    table: String,
    worker: u16,
    expected_ms: u64,
    bound_ms: u64,
}

async fn raise(conn: &mut Conn, args: &Raise) -> Result<bool, Failure> {
    let Raise { table, worker, expected_ms, bound_ms } = args;
    let sql = format!("SELECT bound_ms FROM {table} WHERE worker = ? FOR UPDATE");
    let stored = rows(conn, &sql, vec![number(*worker)]).await?.pop();
    let Some(stored) = stored else {
        if *expected_ms == 0 {
            // Of two first ones the second fails on the key, and compares when it tries again.
            let sql = format!("INSERT INTO {table} (worker, bound_ms) VALUES (?, ?)");
            run(conn, &sql, vec![number(*worker), number(*bound_ms)]).await?;
        }
        return Ok(*expected_ms == 0);
    };
    let stored: u64 = Columns::of("id_bounds", stored).take()?;
    if stored == *expected_ms && stored < *bound_ms {
        let sql = format!("UPDATE {table} SET bound_ms = ? WHERE worker = ?");
        run(conn, &sql, vec![number(*bound_ms), number(*worker)]).await?;
    }
    Ok(stored == *expected_ms)
}

#[derive(Debug)]
struct Wish {
    table: String,
    gate: String,
    holder: String,
    lease_ms: u64,
}

/// Chooses among all numbers, one caller at a time.
async fn take(conn: &mut Conn, wish: &Wish) -> Result<Option<u16>, Failure> {
    let Wish { table, gate, holder, lease_ms } = wish;
    rows(conn, &format!("SELECT value FROM {gate} WHERE name = ? FOR UPDATE"), vec![text(GATE)])
        .await?;
    let sql = format!("SELECT {NOW_MS}, worker, holder, until_ms FROM {table} FOR UPDATE");
    let mut leased = Vec::new();
    let mut now_ms = 0;
    for row in rows(conn, &sql, Vec::new()).await? {
        let mut columns = Columns::of("id_leases", row);
        now_ms = columns.take()?;
        let (worker, holder, until_ms) = (columns.take()?, columns.take()?, columns.take()?);
        leased.push(LeasedWorker { worker, holder, until_ms });
    }
    let Some(worker) = choose_id_worker(&leased, holder, now_ms) else { return Ok(None) };
    let sql = format!(
        "INSERT INTO {table} (worker, holder, until_ms) VALUES (?, ?, {NOW_MS} + ?) \
         ON DUPLICATE KEY UPDATE holder = VALUES(holder), until_ms = VALUES(until_ms)"
    );
    run(conn, &sql, vec![number(worker), text(holder), number(*lease_ms)]).await?;
    Ok(Some(worker))
}

/// The row whose lock lets one caller choose a number at a time.
pub(crate) const GATE: &str = "birth";
