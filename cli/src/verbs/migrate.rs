//! `sterna migrate`: brings the tables of a SQL store up to date, before the nodes of a release that
//! needs them start.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use sterna_bench::progress::Progress;
use sterna_storage_sql::SqlStore;

use crate::args::ConfigArgs;
use crate::config::{Config, StoreConfig};
use crate::output;
use crate::raw_config::{RawConfig, environment};

pub(crate) fn run(args: &ConfigArgs) -> Result<ExitCode> {
    let raw = RawConfig::gather(&args.config, environment(), &args.overrides);
    let config = Config::from_raw(raw).map_err(|complaints| {
        complaints.iter().for_each(|it| output::complain(&anyhow::anyhow!("{it}")));
        anyhow::anyhow!("the configuration has {} errors; nothing was changed", complaints.len())
    })?;
    let Some(StoreConfig::Sql(mut sql)) = config.store else {
        bail!("`store.engine` is not \"sql\": there is nothing to migrate");
    };
    sql.migrate = true;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bar = Progress::new("databases are up to date", 0);
    let connecting = SqlStore::connect_watched(sql, |done, all| bar.reach(done.into(), all.into()));
    let connected = runtime.block_on(connecting);
    bar.done();
    connected.context("the store cannot be brought up to date")?;
    output::line("the tables are up to date")?;
    Ok(ExitCode::SUCCESS)
}
