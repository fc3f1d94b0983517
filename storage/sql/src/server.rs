//! One server: transactions and reads on it, with everything that can go wrong with either.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, Params, Row, SslOpts, Value};
use rand::Rng as _;
use sterna_storage::{BoxFuture, StorageError};

use crate::config::{SqlConfig, Tls};
use crate::failure::{
    Failure, Meaning, count_lost_lock, meaning, meaning_at_commit, refused, unavailable, unknown,
};
use crate::pool::{Leased, Pool, PoolLimits};

/// What a transaction does before its commit, given its connection and its arguments. Called again
/// from the start after a lost race, so it changes nothing but rows.
pub(crate) type Work<A, T> = for<'c> fn(&'c mut Conn, &'c A) -> BoxFuture<'c, Result<T, Failure>>;

/// Connections for transactions and for reads.
#[derive(Debug)]
pub(crate) struct Server {
    writes: Pool,
    reads: Pool,
    patience: Duration,
    retries: u32,
}

impl Server {
    pub(crate) fn new(opts: OptsBuilder, config: &SqlConfig) -> Self {
        let limits = |connections| PoolLimits {
            connections,
            queue_calls: config.queue_calls,
            queue_wait: config.queue_wait,
            patience: config.patience,
        };
        let opts = secured(opts, &config.tls)
            // A socket of the same name on this machine belongs to somebody else.
            .prefer_socket(false)
            .stmt_cache_size(STATEMENTS_PER_CONNECTION)
            .db_name(None::<String>);
        // Without autocommit the first statement begins the transaction: one round trip less.
        let lock_wait = config.lock_wait.as_secs().max(1);
        let limit = statement_limit(config.patience);
        let writes = opts.clone().init(vec![
            format!(
                "SET autocommit = 0, innodb_lock_wait_timeout = {lock_wait}, {IDLE}, {SESSION} \
                 {limit}"
            ),
            ISOLATION.to_owned(),
        ]);
        let reads = opts.init(vec![format!("SET {SESSION} {limit}"), ISOLATION.to_owned()]);
        Self {
            writes: Pool::new(writes.into(), limits(config.write_connections)),
            reads: Pool::new(reads.into(), limits(config.read_connections)),
            patience: config.patience,
            retries: config.retries,
        }
    }

    /// Does the work and commits it, again after lost races.
    pub(crate) async fn transact<A: Sync, T: Send>(
        &self,
        args: &A,
        work: Work<A, T>,
    ) -> Result<T, StorageError> {
        self.transact_within(self.patience, args, work).await
    }

    /// The same with another patience for the work of one attempt. The work of one that takes longer
    /// than a statement may has to lift that limit first, and its connection is not used again.
    pub(crate) async fn transact_within<A: Sync, T: Send>(
        &self,
        patience: Duration,
        args: &A,
        work: Work<A, T>,
    ) -> Result<T, StorageError> {
        let mut retries = 0;
        loop {
            let lost = match self.attempt(patience, args, work).await? {
                Attempt::Committed(done) => return Ok(done),
                Attempt::Lost(error) => error,
            };
            if retries == self.retries {
                return Err(refused(lost));
            }
            retries += 1;
            metrics::counter!("sterna_storage_sql_retries_total").increment(1);
            // Two that lost to each other must not meet again.
            let jitter = rand::rng().random_range(0..=RETRY_JITTER_MS << retries.min(5));
            tokio::time::sleep(Duration::from_millis(jitter)).await;
        }
    }

    async fn attempt<A: Sync, T: Send>(
        &self,
        patience: Duration,
        args: &A,
        work: Work<A, T>,
    ) -> Result<Attempt<T>, StorageError> {
        let mut leased = self.writes.lease().await?;
        leased.last_use = patience > self.patience;
        let worked = tokio::time::timeout(patience, work(&mut leased.conn, args)).await;
        match worked {
            Ok(Ok(done)) => self.commit(leased, done).await,
            Ok(Err(Failure::Sql(error))) => self.give_up(leased, error).await,
            Ok(Err(Failure::Storage(error))) => {
                self.roll_back(leased).await;
                Err(error)
            }
            Err(_) => {
                self.writes.forget_idle();
                Err(unavailable("the server did not answer in time; nothing was stored"))
            }
        }
    }

    async fn commit<T>(&self, mut leased: Leased<'_>, done: T) -> Result<Attempt<T>, StorageError> {
        let commit = leased.conn.query_drop("COMMIT");
        let error = match tokio::time::timeout(self.patience, commit).await {
            Ok(Ok(())) => {
                leased.give_back();
                metrics::counter!("sterna_storage_sql_commits_total").increment(1);
                return Ok(Attempt::Committed(done));
            }
            Ok(Err(error)) if meaning_at_commit(&error) == Meaning::LostRace => {
                return self.give_up(leased, error).await;
            }
            Ok(Err(error)) => unknown(&error.to_string()).with_source(error),
            Err(_) => unknown("the server did not answer"),
        };
        self.writes.forget_idle();
        metrics::counter!("sterna_storage_sql_unknown_outcomes_total").increment(1);
        tracing::warn!(%error, "the outcome of a commit is unknown");
        Err(error)
    }

    /// Ends an attempt that the server or the connection has ended before its commit.
    async fn give_up<T>(
        &self,
        leased: Leased<'_>,
        error: mysql_async::Error,
    ) -> Result<Attempt<T>, StorageError> {
        count_lost_lock(&error);
        match meaning(&error) {
            Meaning::LostRace => {
                self.roll_back(leased).await;
                Ok(Attempt::Lost(error))
            }
            Meaning::Refused | Meaning::Undetermined => {
                self.roll_back(leased).await;
                Err(refused(error))
            }
            // No commit was sent, so the server rolls back; an idle connection may be long dead.
            Meaning::Broken => {
                drop(leased);
                self.writes.forget_idle();
                Ok(Attempt::Lost(error))
            }
        }
    }

    /// A connection that cannot even roll back is thrown away, and the server does it.
    async fn roll_back(&self, mut leased: Leased<'_>) {
        let rolled_back = tokio::time::timeout(self.patience, leased.conn.query_drop("ROLLBACK"));
        if let Ok(Ok(())) = rolled_back.await {
            leased.give_back();
        }
    }

    /// Reads outside any transaction what was committed before; a second time if the connection had
    /// died.
    pub(crate) async fn read(
        &self,
        sql: &str,
        params: Vec<Value>,
    ) -> Result<Vec<Row>, StorageError> {
        match self.read_once(sql, params.clone()).await? {
            Ok(rows) => Ok(rows),
            Err(error) if meaning(&error) == Meaning::Broken => {
                self.reads.forget_idle();
                self.read_once(sql, params).await?.map_err(refused)
            }
            Err(error) => Err(refused(error)),
        }
    }

    async fn read_once(
        &self,
        sql: &str,
        params: Vec<Value>,
    ) -> Result<Result<Vec<Row>, mysql_async::Error>, StorageError> {
        let mut leased = self.reads.lease().await?;
        let read = leased.conn.exec(sql, positional(params));
        match tokio::time::timeout(self.patience, read).await {
            Ok(Ok(rows)) => {
                leased.give_back();
                Ok(Ok(rows))
            }
            Ok(Err(error)) => Ok(Err(error)),
            Err(_) => {
                self.reads.forget_idle();
                Err(unavailable("the server did not answer in time"))
            }
        }
    }
}

fn secured(opts: OptsBuilder, tls: &Tls) -> OptsBuilder {
    match tls {
        Tls::AsTheUrlsSay => opts,
        Tls::Required { authorities: None } => opts.ssl_opts(SslOpts::default()),
        Tls::Required { authorities: Some(file) } => opts.ssl_opts(
            SslOpts::default()
                .with_root_certs(vec![file.clone().into()])
                .with_disable_built_in_roots(true),
        ),
    }
}

/// What a `SET` says of how long one statement may take, to each server in the words that it knows:
/// in comments that the others do not read.
fn statement_limit(patience: Duration) -> String {
    let (seconds, millis) = (patience.as_secs_f64(), patience.as_millis());
    format!(
        "/*M!100300 , max_statement_time = {seconds} */ /*!50708 , max_execution_time = {millis} */"
    )
}

/// Lifts [`statement_limit`] on a connection; what a change of the schema begins with.
pub(crate) const NO_STATEMENT_LIMIT: &str = "SET time_zone = '+00:00' \
     /*M!100300 , max_statement_time = 0 */ /*!50708 , max_execution_time = 0 */";

/// How an attempt ended, if another one may follow.
enum Attempt<T> {
    Committed(T),
    Lost(mysql_async::Error),
}

/// Parameters of a statement; the driver wants to be told when there are none.
pub(crate) fn positional(params: Vec<Value>) -> Params {
    if params.is_empty() { Params::Empty } else { Params::Positional(params) }
}

/// Most prepared statements that a connection keeps. It suffices for what commits in one table of
/// each kind ([`crate::batch`]); servers limit what all connections of all nodes keep together.
pub const STATEMENTS_PER_CONNECTION: usize = 120;

const RETRY_JITTER_MS: u64 = 4;

/// A node that stands still in the middle of a transaction loses its locks within seconds, or its
/// channels would stand still with it. MySQL knows only of idle connections; MariaDB and TiDB also of
/// idle transactions, in comments that the others do not read.
const IDLE: &str = "wait_timeout = 20 /*M!100300 , idle_transaction_timeout = 3 */ \
                    /*T! , tidb_idle_transaction_timeout = 3 */";

/// Times are taken in UTC; a value that does not fit is an error, never cut.
const SESSION: &str = "time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES'";

/// Every statement sees what was committed before it, and locks rows without the gaps between.
const ISOLATION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
