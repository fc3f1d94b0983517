//! Opens what a node keeps things in: a store of this machine, a database that cores share, and the
//! Redis that a cluster may lose. Called by the composition root; what is opened ends with it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sterna_core::Tasks;
use sterna_storage::memory::MemoryStore;
use sterna_storage::{StorageError, StorageErrorKind, Stores};
use sterna_storage_redis::{RedisConfig, RedisStore, RedisWarning};
use sterna_storage_rocks::{RocksConfig, RocksStore};
use sterna_storage_scylla::ScyllaStore;
use sterna_storage_sql::SqlStore;

use crate::args::StoreArgs;
use crate::config::{DatabaseConfig, StoreConfig};

/// A store of this process; with its own handle if it lies in files. Blocks for as long as a store may
/// be waited for: before there are signals to listen to, so that
/// any of them ends the wait with the process.
pub(crate) fn open_stores(
    config: &StoreConfig,
    args: StoreArgs,
) -> Result<(Stores, Option<RocksStore>)> {
    let (directory, durability, accept_truncated) = match config {
        StoreConfig::Rocks { directory, durability, accept_truncated } => {
            (directory, durability, accept_truncated)
        }
        StoreConfig::Memory => return Ok((MemoryStore::new().stores(), None)),
        StoreConfig::Sql(_) => bail!("databases are connected to by a node that runs"),
    };
    let mut rocks = RocksConfig::new(directory);
    rocks.durability = *durability;
    rocks.accept_truncated = *accept_truncated;
    rocks.restored = args.restored;
    let patience = Duration::from_secs(args.wait_for_store);
    let store = open_rocks(&rocks, patience).with_context(|| {
        format!("cannot open the store in {}; `sterna doctor` may know why", directory.display())
    })?;
    Ok((store.stores(), Some(store)))
}

/// Connects to the databases, again and again for as long as they may be waited for. The SQL store is
/// told apart because somebody has to look after it.
pub(crate) async fn connect_database(
    database: &DatabaseConfig,
    args: StoreArgs,
) -> Result<(SqlStore, Stores)> {
    if args.restored {
        bail!("--restored is for the store of one machine; a database has its own way back");
    }
    let until = Instant::now() + Duration::from_secs(args.wait_for_store);
    let sql = connect(until, || SqlStore::connect(database.sql.clone())).await;
    let sql = sql.context("cannot open the store in `store.urls`")?;
    let Some(scylla) = &database.scylla else { return Ok((sql.clone(), sql.stores())) };
    let log = connect(until, || ScyllaStore::connect(scylla)).await;
    let log = log.context("cannot open the log in `scylla.nodes`; `sterna doctor` may know why")?;
    Ok((sql.clone(), log.stores(sql.stores())))
}

async fn connect<T, F>(until: Instant, mut open: impl FnMut() -> F) -> Result<T, StorageError>
where
    F: Future<Output = Result<T, StorageError>>,
{
    loop {
        match open().await {
            Err(error) if error.kind == StorageErrorKind::Unavailable && Instant::now() < until => {
                tracing::warn!(%error, "waiting for the store");
                tokio::time::sleep(STORE_POLL * 10).await;
            }
            outcome => return outcome,
        }
    }
}

/// Tries again for as long as the engine says that it may succeed later.
fn open_rocks(rocks: &RocksConfig, patience: Duration) -> Result<RocksStore, StorageError> {
    let began = Instant::now();
    let mut told = false;
    loop {
        match RocksStore::open(rocks.clone()) {
            Err(error)
                if error.kind == StorageErrorKind::Unavailable && began.elapsed() < patience =>
            {
                if !told {
                    tracing::warn!(%error, "waiting for the store");
                    told = true;
                }
                std::thread::sleep(STORE_POLL);
            }
            outcome => return outcome,
        }
    }
}

/// Deletes what is beyond its horizon, a little at a time; every core does, which does no harm.
pub(crate) async fn keep_sql(tasks: Tasks, store: SqlStore) {
    let mut ticks = tokio::time::interval(SQL_UPKEEP);
    loop {
        tokio::select! {
            () = tasks.shutdown_started() => return,
            _ = ticks.tick() => {}
        }
        // A bounded number at a time; as much as there is, but not all at once.
        while !tasks.is_shutting_down() {
            match store.delete_expired().await {
                Ok(0) => break,
                Ok(deleted) => tracing::debug!(deleted, "expired rows are gone"),
                Err(error) => {
                    tracing::warn!(%error, "expired rows stay");
                    break;
                }
            }
            tokio::time::sleep(SQL_UPKEEP_PAUSE).await;
        }
    }
}

/// Prepares connections to Redis. None is made yet: a node starts with Redis away.
pub(crate) fn open_redis(config: RedisConfig) -> Result<RedisStore> {
    RedisStore::open(config).context("`redis.urls` cannot be used")
}

/// Says what an operator should know of the Redis servers: at start, when that changes, and as
/// long as they cannot be asked.
pub(crate) async fn watch_redis(tasks: Tasks, store: RedisStore) {
    let mut told: Option<Vec<String>> = None;
    loop {
        let looked = tokio::select! {
            () = tasks.shutdown_started() => return,
            looked = store.check() => looked,
        };
        let (found, pause) = match looked {
            Ok(report) => {
                (report.warnings.iter().map(RedisWarning::to_string).collect(), REDIS_LOOK)
            }
            Err(error) => {
                let advice = "Redis cannot be asked; the node works without it, and nothing that \
                              was acknowledged depends on it. See to the servers in `redis.urls`";
                (vec![format!("{advice}: {error}")], REDIS_RETRY)
            }
        };
        if told.as_ref() != Some(&found) {
            found.iter().for_each(|warning| tracing::error!(warning, "Redis"));
            if found.is_empty() {
                tracing::info!("Redis answers and is as it should be");
            }
            told = Some(found);
        }
        tokio::select! {
            () = tasks.shutdown_started() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// How often a store that another process holds is asked for.
const STORE_POLL: Duration = Duration::from_millis(50);

/// How often rows of a SQL store that are beyond their horizon go.
const SQL_UPKEEP: Duration = Duration::from_secs(60);
const SQL_UPKEEP_PAUSE: Duration = Duration::from_millis(50);

/// How often settings of Redis are looked at, and how soon again where that has failed.
const REDIS_LOOK: Duration = Duration::from_secs(60);
const REDIS_RETRY: Duration = Duration::from_secs(5);
