//! The raw limit of durable publishing: a commit loop of `sterna_bench_raw`, over RocksDB or over a
//! database, in a process of its own on the core of the servers, so that it has what a node has.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use sterna_bench_raw::commit::{self, Committed, Load};
use sterna_bench_raw::sql;

use crate::machine;
use crate::server::on_the_core;

/// How to start a process that runs the loop. It is given `--directory` or `--database`, `--batch`,
/// `--bytes`, `--milliseconds` and, unless it syncs, `--unsynced`; it calls [`perform`] or
/// [`perform_sql`] and prints what comes.
#[derive(Debug, Clone)]
pub struct CommitLoop {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Where its files go for as long as it runs: the same disk as a node's.
    pub directory: PathBuf,
    /// The server of databases that takes the place of files; the process makes one for itself.
    pub database: Option<String>,
}

/// What the loop did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub records_per_second: f64,
    pub cpu_us_per_record: f64,
    /// How long a batch took, in microseconds.
    pub batch_us_p50: f64,
    pub batch_us_p99: f64,
    pub batch_us_p999: f64,
}

/// The loop itself.
pub fn perform(directory: &Path, load: &Load) -> Result<Outcome> {
    let this = std::process::id();
    let before = machine::usage(this)?.cpu;
    let done = commit::run(directory, load)?;
    Ok(outcome(&done, machine::usage(this)?.cpu.saturating_sub(before)))
}

/// The loop over a database, with `writers` transactions at a time.
pub async fn perform_sql(url: &str, load: &Load, writers: usize) -> Result<Outcome> {
    let this = std::process::id();
    let before = machine::usage(this)?.cpu;
    let done = sql::run(url, load, writers).await?;
    Ok(outcome(&done, machine::usage(this)?.cpu.saturating_sub(before)))
}

fn outcome(done: &Committed, cpu: Duration) -> Outcome {
    let batch_us = |share| done.quantile(share).as_secs_f64() * 1e6;
    Outcome {
        records_per_second: done.per_second(),
        cpu_us_per_record: cpu.as_secs_f64() * 1e6 / done.records.max(1) as f64,
        batch_us_p50: batch_us(0.5),
        batch_us_p99: batch_us(0.99),
        batch_us_p999: batch_us(0.999),
    }
}

impl CommitLoop {
    /// Runs it in a new directory that goes afterwards.
    pub(crate) async fn run(&self, load: &Load) -> Result<Outcome> {
        let home = tempfile::Builder::new().prefix("sterna-bench-").tempdir_in(&self.directory)?;
        let mut command = tokio::process::Command::from(on_the_core(&self.program));
        command.args(&self.arguments);
        match &self.database {
            Some(url) => command.arg(format!("--database={url}")),
            None => command.arg("--directory").arg(home.path()),
        };
        command
            .arg(format!("--batch={}", load.batch))
            .arg(format!("--bytes={}", load.bytes))
            .arg(format!("--milliseconds={}", load.duration.as_millis()))
            .args((!load.synced).then_some("--unsynced"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command.output().await.context("the raw commit loop cannot be started")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the raw commit loop failed: {}", complaint.trim());
        serde_json::from_slice(&output.stdout).context("the raw commit loop printed no outcome")
    }

    /// How long a sync of one record of this size takes that nobody else disturbs.
    pub(crate) async fn sync_us(&self, bytes: usize) -> Result<f64> {
        let load = Load { batch: 1, bytes, synced: true, duration: SYNCS };
        Ok(self.run(&load).await?.batch_us_p50)
    }
}

/// How long syncs are watched.
pub(super) const SYNCS: Duration = Duration::from_secs(1);
