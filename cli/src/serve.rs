//! The verb `serve`: opens what a node needs from outside (stores, databases, Redis, threads), runs it
//! until something ends it, and closes what it has opened.
//!
//! Exit codes: 0 drained, 1 could not start, 3 something did not end in time, 4 storage failed
//! for good, 5 broken by a panic, 6 another process has this node's name, 130 told to end twice.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sterna_core::{Clock as _, SystemClock, Tasks, Threads};
use sterna_storage::Stores;
use sterna_storage_redis::RedisStore;

use crate::args::{ServeArgs, StoreArgs};
use crate::config::{Config, StoreConfig};
use crate::jobs::WorkedOn;
use crate::keeping::Kept;
use crate::raw_config::{RawConfig, environment};
use crate::running::{Addresses, Running, SHUTDOWN};
use crate::signals::Signals;
use crate::stores::{connect_database, keep_sql, open_redis, open_stores, watch_redis};
use crate::telemetry::Telemetry;
use crate::{keeping, keys, output, pages};

const INTERRUPTED: u8 = 130;

/// The verb `serve`.
pub(crate) fn run_configured(args: &ServeArgs) -> Result<ExitCode> {
    let raw = RawConfig::gather(&args.config.config, environment(), &args.config.overrides);
    match Config::from_raw(raw) {
        Ok(config) => run(config, args.store, |addresses| {
            let client = addresses.client.map(|address| address.to_string());
            tracing::info!(client, http = %addresses.http, "node is up");
            Ok(())
        }),
        Err(complaints) => {
            complaints.iter().for_each(|it| output::complain(&anyhow::anyhow!("{it}")));
            bail!("the configuration has {} errors; nothing was started", complaints.len());
        }
    }
}

/// Runs a node until somebody or something ends it. `announce` hears when clients can come.
pub(crate) fn run(
    mut config: Config,
    store: StoreArgs,
    announce: impl FnOnce(Addresses) -> Result<()>,
) -> Result<ExitCode> {
    let telemetry = Telemetry::start(&config.log)?;
    let local = config.store.as_ref().filter(|engine| !matches!(engine, StoreConfig::Sql(_)));
    let opened = local.map(|engine| open_stores(engine, store)).transpose()?;
    let (stores, rocks) = opened.map_or((None, None), |(stores, rocks)| (Some(stores), rocks));
    config.set_incarnation(SystemClock.unix_ms())?;
    let node_secret = keys::node_secret(&config.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("sterna-core")
        .build()
        .context("cannot start the runtime")?;
    let threads = start_threads(&config)?;
    let code = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let upkeep = Tasks::new();
        let mut stores = match &config.store {
            Some(StoreConfig::Sql(database)) => tokio::select! {
                connected = connect_database(database, store) => {
                    let (sql, stores) = connected?;
                    upkeep.spawn("sql upkeep", keep_sql(upkeep.clone(), sql));
                    Some(stores)
                }
                () = signals.end() => return Ok(ExitCode::from(INTERRUPTED)),
            },
            _ => stores,
        };
        let shared = connect_redis(&mut config, &upkeep)?;
        let kept = match &mut stores {
            Some(stores) => Some(put_in_front(&mut config, stores, shared)?),
            None => None,
        };
        let archive = kept.as_ref().and_then(|kept| kept.archive.clone());
        let worked_on = WorkedOn { archive, rocks };
        let metrics = telemetry.metrics.clone();
        let parts = (config, stores, worked_on);
        let running = Running::start(parts, threads.as_ref(), node_secret, metrics).await?;
        if let Some(kept) = kept {
            running.keep(kept);
        }
        if let Err(error) = announce(running.addresses()) {
            running.stop(Duration::ZERO, String::new()).await;
            return Err(error);
        }
        let ending = running.wait(&mut signals).await;
        tracing::info!(?ending, "node is leaving");
        // A second signal means now, whatever is still open.
        let code = tokio::select! {
            code = running.end(ending) => code,
            () = signals.end() => ExitCode::from(INTERRUPTED),
        };
        upkeep.shutdown(Duration::from_secs(1)).await;
        Ok(code)
    });
    // In order they have nothing left to do; otherwise this is the end of it.
    if let Some(threads) = threads
        && !runtime.block_on(threads.end(SHUTDOWN))
    {
        tracing::warn!("a thread of workers has not ended in time");
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(telemetry);
    code
}

/// Those of workers and shards; `None` for a node without clients, whose shards need none.
pub(crate) fn start_threads(config: &Config) -> Result<Option<Threads>> {
    let threads = config.clients.as_ref().map(|clients| Threads::start(clients.workers));
    threads.transpose().context("cannot start the threads of workers")
}

/// Redis, if there is one, which is looked after from now on; given to whoever keeps pages there.
fn connect_redis(config: &mut Config, upkeep: &Tasks) -> Result<Option<RedisStore>> {
    let Some(cluster) = &mut config.cluster else { return Ok(None) };
    let Some(redis) = cluster.redis.take() else { return Ok(None) };
    let redis = open_redis(redis)?;
    cluster.volatile = Some(redis.stores());
    let shared = config.pages_in_redis.then(|| redis.clone());
    upkeep.spawn("redis", watch_redis(upkeep.clone(), redis));
    Ok(shared)
}

/// Puts before the stores what the core knows nothing of: an archive, caches of pages, what channels
/// keep.
fn put_in_front(
    config: &mut Config,
    stores: &mut Stores,
    shared: Option<RedisStore>,
) -> Result<Kept> {
    let is_shared = matches!(config.store, Some(StoreConfig::Sql(_)));
    let (archive, retention) = (config.archive.take(), config.retention.clone());
    let caches = |stores: &mut Stores| pages::put_in_front(stores, config.pages.as_ref(), shared);
    keeping::open(archive, retention, stores, is_shared, caches)
}
