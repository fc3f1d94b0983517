//! Connections to one server. A connection comes back only when whoever had it says that it is
//! clean; in every other case, a dropped future included, it is thrown away. So none is used again
//! after a commit whose outcome is unknown.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::{Conn, Opts};
use sterna_storage::StorageError;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::failure::{refused, unavailable};

/// A bounded number of connections and of callers that wait for one.
pub(crate) struct Pool {
    opts: Opts,
    limits: PoolLimits,
    /// One permit for each connection that may be in use.
    connections: Semaphore,
    /// One permit for each caller that may wait.
    queue: Semaphore,
    idle: Mutex<Vec<Conn>>,
}

/// What bounds a pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolLimits {
    pub(crate) connections: usize,
    pub(crate) queue_calls: usize,
    pub(crate) queue_wait: Duration,
    pub(crate) patience: Duration,
}

impl Pool {
    pub(crate) fn new(opts: Opts, limits: PoolLimits) -> Self {
        Self {
            opts,
            connections: Semaphore::new(limits.connections),
            queue: Semaphore::new(limits.queue_calls),
            idle: Mutex::default(),
            limits,
        }
    }

    /// A connection, when one is free.
    pub(crate) async fn lease(&self) -> Result<Leased<'_>, StorageError> {
        let permit = match self.connections.try_acquire() {
            Ok(permit) => permit,
            Err(_) => self.wait().await?,
        };
        let idle = self.idle().pop();
        let conn = match idle {
            Some(conn) => conn,
            None => self.connect().await?,
        };
        Ok(Leased { conn, last_use: false, pool: self, _permit: permit })
    }

    /// Throws away what is idle: one broken connection seldom comes alone.
    pub(crate) fn forget_idle(&self) {
        let forgotten = std::mem::take(&mut *self.idle());
        drop(forgotten);
    }

    async fn wait(&self) -> Result<SemaphorePermit<'_>, StorageError> {
        let Ok(_queued) = self.queue.try_acquire() else {
            metrics::counter!("sterna_storage_sql_pool_refused_total").increment(1);
            return Err(unavailable("too many callers wait for a connection; nothing was stored"));
        };
        let since = Instant::now();
        let waited = tokio::time::timeout(self.limits.queue_wait, self.connections.acquire()).await;
        metrics::histogram!("sterna_storage_sql_pool_wait_seconds").record(since.elapsed());
        let Ok(Ok(permit)) = waited else {
            metrics::counter!("sterna_storage_sql_pool_refused_total").increment(1);
            return Err(unavailable("no connection became free in time; nothing was stored"));
        };
        Ok(permit)
    }

    async fn connect(&self) -> Result<Conn, StorageError> {
        match tokio::time::timeout(self.limits.patience, Conn::new(self.opts.clone())).await {
            Ok(connected) => connected.map_err(refused),
            Err(_) => Err(unavailable("the server does not answer; nothing was stored")),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Conn>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without the options, which hold the password.
impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle = self.idle().len();
        f.debug_struct("Pool")
            .field("limits", &self.limits)
            .field("idle", &idle)
            .finish_non_exhaustive()
    }
}

/// A connection in use. Thrown away unless it is given back.
pub(crate) struct Leased<'a> {
    pub(crate) conn: Conn,
    /// It was set up for something else than others would expect.
    pub(crate) last_use: bool,
    pool: &'a Pool,
    _permit: SemaphorePermit<'a>,
}

impl Leased<'_> {
    /// It is outside any transaction and nothing is on its way.
    pub(crate) fn give_back(self) {
        if !self.last_use {
            self.pool.idle().push(self.conn);
        }
    }
}
