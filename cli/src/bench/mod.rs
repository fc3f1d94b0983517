//! `sterna bench`: measures a node the way its users feel it. Runs nothing that a node runs; ends
//! with its report, or at once when it is interrupted.

mod archive;
pub(crate) mod args;
mod cluster;
pub(crate) mod cluster_args;
mod databases;
mod failover;
mod field;
mod handover;
mod journal;
mod measure;
mod peers;
mod private_node;
mod publisher;
mod restart;
mod subscriber;
mod told;
mod traveller;
mod uplinks;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use sterna_proto::UserId;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{BenchArgs, BenchSubject, ConnectArgs, TransportArg};

/// As shells say it: ended by an interrupt.
const INTERRUPTED: u8 = 130;

/// How long a bench waits for its node.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    // Thousands of clients, or a raw server, are cheapest on one thread.
    let mut runtime = match &args.subject {
        BenchSubject::Archive(_)
        | BenchSubject::Handover(_)
        | BenchSubject::Restart(_)
        | BenchSubject::Traveller(_) => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build().context("cannot start the runtime")?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let outcome = async {
            match &args.subject {
                BenchSubject::Fanout(args) => measure::fanout(args).await,
                BenchSubject::Idle(args) => measure::idle(args).await,
                BenchSubject::Publish(args) => measure::publish(args).await,
                BenchSubject::Latency(args) => measure::latency(args).await,
                BenchSubject::Handshake(args) => measure::handshake(args).await,
                BenchSubject::Storm(args) => measure::storm(args).await,
                BenchSubject::Scale(args) => measure::scale(args).await,
                BenchSubject::Load(args) => measure::load(args).await,
                BenchSubject::Archive(args) => archive::run(args).await,
                BenchSubject::Restart(args) => restart::run(args).await,
                BenchSubject::Failover(args) => failover::run(args).await,
                BenchSubject::RawCommit(args) => measure::raw_commit(args).await,
                BenchSubject::RawServer(args) => measure::raw_server(args).await,
                BenchSubject::RawStalls(args) => measure::raw_stalls(args),
                BenchSubject::Handover(args) => handover::run(args).await,
                BenchSubject::Traveller(args) => traveller::run(args).await,
            }
        };
        tokio::select! {
            outcome = outcome => outcome,
            _ = terminate.recv() => Ok(ExitCode::from(INTERRUPTED)),
            _ = interrupt.recv() => Ok(ExitCode::from(INTERRUPTED)),
        }
    });
    // A read of standard input that nobody needs any more cannot be cancelled.
    runtime.shutdown_background();
    outcome
}

/// How the clients of a bench find their node: as the client verbs do.
fn connect_args(server: String, data_dir: PathBuf) -> Result<ConnectArgs> {
    Ok(ConnectArgs {
        server: Some(server),
        ca: None,
        token: None,
        user: UserId::new("bench")?,
        data_dir,
        transport: TransportArg::Auto,
        timeout: TIMEOUT,
    })
}
