//! Runs the measurements of `sterna_bench` and shows their reports.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sterna_bench::progress::Progress;
use sterna_bench::report::Report;
use sterna_bench::run::{fanout, idle};
use sterna_bench_raw::{ServerOptions, quic, wss};
use tokio::task::LocalSet;

use super::args::{FanoutArgs, FieldArgs, IdleArgs, RawServerArgs, RawTransport};
use super::field;
use crate::output;

pub(super) async fn fanout(args: &FanoutArgs) -> Result<ExitCode> {
    let pace = match args.rate {
        Some(rate) => fanout::Pace::Paced(rate.into()),
        None => fanout::Pace::Saturated { in_flight: args.in_flight },
    };
    let options = fanout::Options {
        channels: args.channels,
        subscribers: args.subscribers,
        payload_bytes: args.payload as usize,
        pace,
        duration: Duration::from_secs(args.seconds),
        rounds: args.rounds,
    };
    let targets = field::targets(&args.field);
    let progress = Progress::new("fan-out", 0);
    show(&args.field, on_one_thread(fanout::run(&options, &targets, &progress)).await, &progress)
}

pub(super) async fn idle(args: &IdleArgs) -> Result<ExitCode> {
    let all = args.sessions as usize;
    let options = idle::Options { sessions: (1..=4).map(|part| all * part / 4).collect() };
    let targets = field::targets(&args.field);
    let progress = Progress::new("idle sessions", 0);
    show(&args.field, on_one_thread(idle::run(&options, &targets, &progress)).await, &progress)
}

/// Serves until it is killed.
pub(super) async fn raw_server(args: &RawServerArgs) -> Result<ExitCode> {
    let options = ServerOptions {
        address: args.address,
        certificate: args.certificate.clone(),
        private_key: args.private_key.clone(),
    };
    on_one_thread(async {
        match args.transport {
            RawTransport::Quic => quic::serve(&options, true).await,
            RawTransport::Wss => wss::serve(&options).await,
        }
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// The clients of a measurement, and a raw server, live on one thread.
async fn on_one_thread<T>(work: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(work).await
}

fn show(args: &FieldArgs, outcome: Result<Report>, progress: &Progress) -> Result<ExitCode> {
    progress.done();
    let report = outcome?;
    if let Some(file) = &args.report {
        std::fs::write(file, report.html())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if args.json {
        output::line(&report.json().to_string())?;
    } else {
        output::line(&report.table())?;
    }
    Ok(ExitCode::SUCCESS)
}
