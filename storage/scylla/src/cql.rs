//! Statements on their way to the nodes: how many at a time, how long, and what their failures mean.
//! Conditional writes are sent once and never again by themselves; what only reads, or writes the same
//! whenever it is repeated, is tried at further nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use scylla::policies::retry::{FallthroughRetryPolicy, RetryPolicy};
use scylla::response::query_result::QueryResult;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::Row;
use sterna_storage::StorageError;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::ENGINE;
use crate::columns::{Columns, Values, boolean};
use crate::config::ScyllaConfig;
use crate::failure::{Meaning, corrupt, meaning, refused, unavailable};

/// A statement with its values.
pub(crate) type Bound<'a> = (&'a PreparedStatement, Values);

/// Why it is not known whether a conditional write took effect, or why it did not.
#[derive(Debug)]
pub(crate) enum Uncertain {
    /// Nothing was stored.
    Refused(StorageError),
    /// It may have taken effect.
    Unknown(ExecutionError),
}

impl Uncertain {
    /// For steps that do no harm when they happen unseen, and are taken again.
    pub(crate) fn harmless(self) -> StorageError {
        match self {
            Self::Refused(error) => error,
            Self::Unknown(error) => {
                let message = format!("{error}, while something else was prepared for this");
                unavailable(message).with_source(error)
            }
        }
    }
}

/// The way to the nodes.
#[derive(Debug)]
pub(crate) struct Cql {
    session: Session,
    once: Arc<dyn RetryPolicy>,
    room: Semaphore,
    waiting: AtomicUsize,
    queue_calls: usize,
    queue_wait: Duration,
}

impl Cql {
    pub(crate) fn new(session: Session, config: &ScyllaConfig) -> Self {
        Self {
            session,
            once: Arc::new(FallthroughRetryPolicy::new()),
            room: Semaphore::new(config.calls.max(1)),
            waiting: AtomicUsize::new(0),
            queue_calls: config.queue_calls,
            queue_wait: config.queue_wait,
        }
    }

    /// Rows of a read.
    pub(crate) async fn rows(
        &self,
        table: &'static str,
        (statement, values): Bound<'_>,
    ) -> Result<Vec<Columns>, StorageError> {
        let mut tries = 0;
        let found = loop {
            let room = self.enter().await?;
            let error = match self.session.execute_unpaged(statement, &values).await {
                Ok(found) => break found,
                Err(error) => error,
            };
            drop(room);
            if tries == READ_RETRIES || !may_pass(&error) {
                return Err(refused(error));
            }
            tracing::debug!(%error, "a read is tried again");
            tokio::time::sleep(READ_PAUSE * (1 << tries)).await;
            tries += 1;
        };
        rows_of(table, found)
    }

    /// A write that is the same whenever it is repeated.
    pub(crate) async fn write(&self, (statement, values): Bound<'_>) -> Result<(), StorageError> {
        let _room = self.enter().await?;
        self.session.execute_unpaged(statement, &values).await.map(drop).map_err(refused)
    }

    /// The same for some of one partition.
    pub(crate) async fn write_all(&self, statements: Vec<Bound<'_>>) -> Result<(), StorageError> {
        let _room = self.enter().await?;
        let (mut batch, values) = batch_of(statements);
        batch.set_is_idempotent(true);
        self.session.batch(&batch, values).await.map(drop).map_err(refused)
    }

    /// A conditional write of one partition; whether its conditions held.
    pub(crate) async fn decide(&self, statements: Vec<Bound<'_>>) -> Result<bool, Uncertain> {
        let _room = self.enter().await.map_err(Uncertain::Refused)?;
        let (mut batch, values) = batch_of(statements);
        batch.set_consistency(Consistency::LocalQuorum);
        batch.set_serial_consistency(Some(SerialConsistency::LocalSerial));
        batch.set_is_idempotent(false);
        batch.set_retry_policy(Some(self.once.clone()));
        let answer = match self.session.batch(&batch, values).await {
            Ok(answer) => answer,
            Err(error) if meaning(&error) == Meaning::Refused => {
                return Err(Uncertain::Refused(refused(error)));
            }
            Err(error) => {
                metrics::counter!("sterna_storage_scylla_unknown_outcomes_total").increment(1);
                return Err(Uncertain::Unknown(error));
            }
        };
        let verdict = rows_of("[applied]", answer).map_err(Uncertain::Refused)?.into_iter().next();
        let verdict = verdict.and_then(|mut row| row.optional(boolean).ok().flatten());
        verdict.ok_or_else(|| Uncertain::Refused(corrupt("a conditional write has no verdict")))
    }

    async fn enter(&self) -> Result<SemaphorePermit<'_>, StorageError> {
        if let Ok(permit) = self.room.try_acquire() {
            return Ok(permit);
        }
        let waits = Waits::enter(&self.waiting);
        if waits.before < self.queue_calls
            && let Ok(Ok(permit)) = tokio::time::timeout(self.queue_wait, self.room.acquire()).await
        {
            return Ok(permit);
        }
        metrics::counter!("sterna_storage_refused_total", "engine" => ENGINE, "queue" => "statements")
            .increment(1);
        Err(unavailable("too many statements are on their way; nothing was stored"))
    }
}

/// One of those that wait, for as long as it lives.
struct Waits<'a> {
    waiting: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waits<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Self {
        Self { waiting, before: waiting.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn batch_of(statements: Vec<Bound<'_>>) -> (Batch, Vec<Values>) {
    let mut batch = Batch::new(BatchType::Unlogged);
    let mut all = Vec::with_capacity(statements.len());
    for (statement, values) in statements {
        batch.append_statement(statement.clone());
        all.push(values);
    }
    (batch, all)
}

pub(crate) fn rows_of(
    table: &'static str,
    found: QueryResult,
) -> Result<Vec<Columns>, StorageError> {
    let damaged = |error: &dyn std::fmt::Display| corrupt(format!("an answer of {table}: {error}"));
    let found = found.into_rows_result().map_err(|error| damaged(&error))?;
    let rows = found.rows::<Row>().map_err(|error| damaged(&error))?;
    rows.map(|row| row.map(|row| Columns::of(table, row)).map_err(|error| damaged(&error)))
        .collect()
}

/// Whether a read that failed so may succeed soon. The driver tries no serial read again, which may be:
/// it only settles what is. Nor does it wait for a connection that has just broken to be made anew.
fn may_pass(error: &ExecutionError) -> bool {
    let is_broken = matches!(error, ExecutionError::ConnectionPoolError(_));
    let is_late = matches!(error, ExecutionError::RequestTimeout(_));
    is_broken || (meaning(error) == Meaning::Undetermined && !is_late)
}

/// How often a read is tried again whose node did not answer, or was not to be reached, and how long
/// it waits the first time.
const READ_RETRIES: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(20);
