//! Runs the measurements of `sterna_bench` and shows their reports.

use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use sterna_bench::client::Transport;
use sterna_bench::progress::Progress;
use sterna_bench::report::Report;
use sterna_bench::run::commit::{self, CommitLoop};
use sterna_bench::run::stalls::{self, StallLoop};
use sterna_bench::run::{fanout, handshake, idle, latency, load, publish, scale, storm};
use sterna_bench::target::{Part, Target};
use sterna_bench_raw::commit::Load;
use sterna_bench_raw::{ServerOptions, Storage, quic, wss};
use sterna_storage_sql::{SqlConfig, SqlStore};
use tokio::task::LocalSet;

use super::args::{
    DiskArgs, DurabilityArg, FanoutArgs, FieldArgs, HandshakeArgs, IdleArgs, LatencyArgs, LoadArgs,
    LoadTransport, PublishArgs, RawCommitArgs, RawServerArgs, RawStallsArgs, RawTransport,
    ScaleArgs, ShownArgs, StormArgs,
};
use super::databases::Databases;
use super::field::{self, NodeSetup, RawWork, Store};
use super::peers::{self, Work};
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
    let targets = everybody(&args.field, Work::Count, Store::Memory.into())?;
    let progress = args.field.shown.progress("fan-out");
    show(
        &args.field.shown,
        on_one_thread(fanout::run(&options, &targets, &progress)).await,
        &progress,
    )
}

pub(super) async fn idle(args: &IdleArgs) -> Result<ExitCode> {
    let all = args.sessions as usize;
    let options = idle::Options { sessions: (1..=4).map(|part| all * part / 4).collect() };
    let targets = everybody(&args.field, Work::Count, Store::Memory.into())?;
    let progress = args.field.shown.progress("idle sessions");
    show(
        &args.field.shown,
        on_one_thread(idle::run(&options, &targets, &progress)).await,
        &progress,
    )
}

pub(super) async fn publish(args: &PublishArgs) -> Result<ExitCode> {
    let options = publish::Options {
        clients: args.clients,
        in_flight: args.in_flight,
        channels: args.channels,
        payload_bytes: args.payload as usize,
        durability: match args.disk.durability {
            _ if args.disk.database.is_some() => publish::Durability::Database,
            DurabilityArg::Memory => publish::Durability::Memory,
            DurabilityArg::Os => publish::Durability::Os,
            DurabilityArg::Fsync => publish::Durability::Fsync,
        },
        commits: commit_loop(&args.disk)?,
        duration: Duration::from_secs(args.seconds),
        rounds: args.rounds,
    };
    let setup = on_disk(&args.disk)?;
    // What a peer has stored is nothing that compares with a database.
    let mut targets = match &setup.databases {
        Some(_) => Vec::new(),
        None => {
            let work = Work::Acknowledge(setup.store);
            peers::targets(&args.field, work, setup.directory.as_deref())?
        }
    };
    // Without a disk there is nothing that a bare server would have to do before it answers.
    let stores = options.durability == publish::Durability::Os
        || options.durability == publish::Durability::Fsync;
    let ours: &[Part] = if stores { &[Part::Raw, Part::Sterna] } else { &[Part::Sterna] };
    let mut nodes = field::targets(&args.field, RawWork::Store, setup);
    nodes.retain(|target| ours.contains(&target.part));
    targets.splice(..0, nodes);
    let progress = args.field.shown.progress("durable publications");
    show(
        &args.field.shown,
        on_one_thread(publish::run(&options, &targets, &progress)).await,
        &progress,
    )
}

pub(super) async fn latency(args: &LatencyArgs) -> Result<ExitCode> {
    let syncs = args.disk.durability == DurabilityArg::Fsync && args.disk.database.is_none();
    let options = latency::Options {
        clients: args.clients,
        payload_bytes: args.payload as usize,
        rate: args.rate.map(f64::from),
        stalls: StallLoop {
            program: field::program()?,
            arguments: ["bench", "raw-stalls"].map(str::to_owned).to_vec(),
        },
        syncs: syncs.then(|| commit_loop(&args.disk)).transpose()?,
        duration: Duration::from_secs(args.seconds),
        rounds: args.rounds,
    };
    // What a peer has stored when it delivers is nothing that compares with a sync.
    let targets = match args.disk.durability {
        DurabilityArg::Memory => everybody(&args.field, Work::Deliver, on_disk(&args.disk)?)?,
        DurabilityArg::Os | DurabilityArg::Fsync => ours(&args.field, on_disk(&args.disk)?)?,
    };
    let progress = args.field.shown.progress("latency");
    show(
        &args.field.shown,
        on_one_thread(latency::run(&options, &targets, &progress)).await,
        &progress,
    )
}

pub(super) async fn handshake(args: &HandshakeArgs) -> Result<ExitCode> {
    let options = handshake::Options {
        concurrent: args.concurrent,
        duration: Duration::from_secs(args.seconds),
        rounds: args.rounds,
    };
    let targets = everybody(&args.field, Work::Count, Store::Memory.into())?;
    let progress = args.field.shown.progress("handshakes");
    show(
        &args.field.shown,
        on_one_thread(handshake::run(&options, &targets, &progress)).await,
        &progress,
    )
}

pub(super) async fn storm(args: &StormArgs) -> Result<ExitCode> {
    let options = storm::Options {
        clients: args.clients,
        room: args.room.unwrap_or(args.clients.div_ceil(2)),
        patience: Duration::from_secs(args.patience),
    };
    let setup = NodeSetup { connections: options.room, ..Store::Memory.into() };
    let targets = everybody(&args.field, Work::Deliver, setup)?;
    let progress = args.field.shown.progress("storm");
    show(
        &args.field.shown,
        on_one_thread(storm::run(&options, &targets, &progress)).await,
        &progress,
    )
}

pub(super) async fn scale(args: &ScaleArgs) -> Result<ExitCode> {
    let sessions: Vec<_> = args.sessions_steps.iter().map(|&step| step as usize).collect();
    ensure!(sessions.is_sorted(), "--sessions-steps only grow: sessions are added step by step");
    let options = scale::Options {
        sessions,
        room: args.room,
        payload_bytes: args.payload as usize,
        deliveries_per_second: args.rate.into(),
        duration: Duration::from_secs(args.seconds),
        rounds: args.rounds,
    };
    let targets = everybody(&args.field, Work::Deliver, Store::Memory.into())?;
    let progress = args.field.shown.progress("scale");
    show(
        &args.field.shown,
        on_one_thread(scale::run(&options, &targets, &progress)).await,
        &progress,
    )
}

/// Exit code 1 when a publication that was acknowledged is missing, or there twice.
pub(super) async fn load(args: &LoadArgs) -> Result<ExitCode> {
    let disk = commit_loop(&args.disk)?.directory;
    let storage = match args.disk.durability {
        _ if args.disk.database.is_some() => "committed by one database".to_owned(),
        DurabilityArg::Memory => "stored in memory".to_owned(),
        DurabilityArg::Os => "handed to the operating system".to_owned(),
        DurabilityArg::Fsync => {
            format!("synced on {}", sterna_bench::machine::file_system(&disk))
        }
    };
    let options = load::Options {
        habits: load::Habits {
            lifetime: args.lifetime,
            heartbeat: args.heartbeat,
            publish_every: args.publish_every,
            payload_bytes: args.payload as usize,
        },
        transports: match args.transport {
            LoadTransport::Quic => vec![Transport::Quic],
            LoadTransport::Wss => vec![Transport::Wss],
            LoadTransport::Both => vec![Transport::Quic, Transport::Wss],
        },
        baseline: args.baseline.into(),
        peak: args.peak.into(),
        room: args.room,
        watch: Duration::from_secs(args.seconds),
        seed: args.seed,
        syncs: args.disk.durability == DurabilityArg::Fsync && args.disk.database.is_none(),
        storage,
    };
    let targets = visited(args)?;
    let progress = args.field.shown.progress("load");
    let outcome = on_one_thread(load::run(&options, &targets, &progress)).await;
    let (report, holds) = outcome.inspect_err(|_| progress.done())?;
    let code = show(&args.field.shown, Ok(report), &progress)?;
    Ok(if holds { code } else { ExitCode::FAILURE })
}

/// The node, unless others alone are named, and the peers that are.
fn visited(args: &LoadArgs) -> Result<Vec<Target>> {
    let (only, setup) = (&args.field.only, on_disk(&args.disk)?);
    let mut targets = Vec::new();
    if only.is_empty() || only.iter().any(|it| field::is_node(*it)) {
        targets.push(field::our_node(&setup));
    }
    if !only.is_empty() && setup.databases.is_none() {
        let work = Work::Visit(setup.store);
        targets.extend(peers::targets(&args.field, work, setup.directory.as_deref())?);
    }
    ensure!(!targets.is_empty(), "none of those that --only names can be visited so");
    Ok(targets)
}

/// Our nodes and the raw servers, for what peers have no part in.
fn ours(args: &FieldArgs, setup: NodeSetup) -> Result<Vec<Target>> {
    let targets = only(&[Part::Raw, Part::Sterna], args, setup);
    ensure!(!targets.is_empty(), "this compares nodes and raw servers only; --only names none");
    Ok(targets)
}

/// The targets that a measurement is about, of those that were asked for.
fn only(parts: &[Part], args: &FieldArgs, setup: NodeSetup) -> Vec<Target> {
    let mut targets = field::targets(args, RawWork::Carry, setup);
    targets.retain(|target| parts.contains(&target.part));
    targets
}

fn on_disk(args: &DiskArgs) -> Result<NodeSetup> {
    let store = match args.durability {
        DurabilityArg::Memory => Store::Memory,
        DurabilityArg::Os => Store::Os,
        DurabilityArg::Fsync => Store::Fsync,
    };
    let databases = args.database.as_deref().map(Databases::on).transpose()?.map(Rc::new);
    Ok(NodeSetup { databases, directory: args.directory.clone(), ..store.into() })
}

fn commit_loop(args: &DiskArgs) -> Result<CommitLoop> {
    let directory = args.directory.clone().unwrap_or_else(std::env::temp_dir);
    ensure!(
        args.durability != DurabilityArg::Fsync
            || args.database.is_some()
            || !sterna_bench::machine::is_memory(&directory),
        "{} is in memory, where a sync costs nothing; name one on a disk with --directory",
        directory.display()
    );
    let arguments = ["bench", "raw-commit"].map(str::to_owned).to_vec();
    let database = args.database.clone();
    Ok(CommitLoop { program: field::program()?, arguments, directory, database })
}

/// Transactions at a time, as many as a core has shards.
const RAW_WRITERS: usize = 4;

/// Commits for a while and prints what came of it.
pub(super) async fn raw_commit(args: &RawCommitArgs) -> Result<ExitCode> {
    let load = Load {
        batch: args.batch,
        bytes: args.bytes,
        synced: !args.unsynced,
        duration: Duration::from_millis(args.milliseconds),
    };
    let outcome = match (&args.database, &args.directory) {
        (Some(server), _) => {
            let databases = Databases::on(server)?;
            let url = databases.fresh()?;
            // Makes the tables.
            drop(SqlStore::connect(SqlConfig::new(&url)).await?);
            commit::perform_sql(&url, &load, RAW_WRITERS).await?
        }
        (None, Some(directory)) => commit::perform(directory, &load)?,
        (None, None) => bail!("--directory or --database"),
    };
    output::line(&serde_json::to_string(&outcome)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Watches the clock for a while and prints what came of it.
pub(super) fn raw_stalls(args: &RawStallsArgs) -> Result<ExitCode> {
    let stalls = stalls::watch(Duration::from_millis(args.milliseconds));
    output::line(&serde_json::to_string(&stalls)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Our own, and peers, which store nothing.
fn everybody(args: &FieldArgs, work: Work, setup: NodeSetup) -> Result<Vec<Target>> {
    let mut targets = field::targets(args, RawWork::Carry, setup);
    targets.extend(peers::targets(args, work, None)?);
    Ok(targets)
}

/// Serves until it is killed.
pub(super) async fn raw_server(args: &RawServerArgs) -> Result<ExitCode> {
    let options = ServerOptions {
        address: args.address,
        certificate: args.certificate.clone(),
        private_key: args.private_key.clone(),
        storage: args
            .directory
            .clone()
            .map(|directory| Storage { directory, synced: !args.unsynced }),
    };
    on_one_thread(async {
        match args.transport {
            RawTransport::Quic => quic::serve(&options).await,
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

/// Prints the report, and writes its page if one is wanted.
pub(super) fn show(
    args: &ShownArgs,
    outcome: Result<Report>,
    progress: &Progress,
) -> Result<ExitCode> {
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
