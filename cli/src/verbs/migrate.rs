//! `sterna migrate`: brings the tables of a SQL store, and of a log beside it, up to date, before the nodes of a release that
//! needs them start.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use sterna_bench::progress::Progress;
use sterna_storage_scylla::ScyllaStore;
use sterna_storage_sql::SqlStore;

use crate::args::ConfigArgs;
use crate::config::{Config, DatabaseConfig, StoreConfig};
use crate::output;
use crate::raw_config::{RawConfig, environment};

pub(crate) fn run(args: &ConfigArgs) -> Result<ExitCode> {
    let raw = RawConfig::gather(&args.config, environment(), &args.overrides);
    let config = Config::from_raw(raw).map_err(|complaints| {
        complaints.iter().for_each(|it| output::complain(&anyhow::anyhow!("{it}")));
        anyhow::anyhow!("the configuration has {} errors; nothing was changed", complaints.len())
    })?;
    let Some(StoreConfig::Sql(database)) = config.store else {
        bail!("`store.engine` is not \"sql\": there is nothing to migrate");
    };
    let DatabaseConfig { mut sql, scylla } = *database;
    sql.migrate = true;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bar = Progress::new("databases are up to date", 0);
    let connecting = SqlStore::connect_watched(sql, |done, all| bar.reach(done.into(), all.into()));
    let connected = runtime.block_on(connecting);
    bar.done();
    connected.context("the store cannot be brought up to date")?;
    if let Some(mut scylla) = scylla {
        scylla.migrate = true;
        let connected = runtime.block_on(ScyllaStore::connect(&scylla));
        connected.context("the log in `scylla.nodes` cannot be brought up to date")?;
    }
    output::line("the tables are up to date")?;
    Ok(ExitCode::SUCCESS)
}
