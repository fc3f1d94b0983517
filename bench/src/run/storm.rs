//! Far more clients than a server takes, all at the same moment: how many get in and how soon, what
//! the others hear, what it costs, and whether the server serves afterwards.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::failure::{self, Failures};
use super::node_metrics;
use super::{DATAGRAMS_LOST, Window, peers_may_fail};
use crate::client::Client;
use crate::meter::{self, Percentiles};
use crate::progress::Progress;
use crate::report::{Column, Report, Row};
use crate::target::{Running, Target};

#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// That connect at the same moment.
    pub clients: u32,
    /// As many as a node may take; others have no such bound.
    pub room: u32,
    /// How long a client tries.
    pub patience: Duration,
}

/// What became of them.
#[derive(Debug)]
struct Outcome {
    inside: Vec<Client>,
    connect: Percentiles,
    failures: Failures,
}

pub async fn run(options: &Options, targets: &[Target], progress: &Progress) -> Result<Report> {
    let mut report = Report::new("storm", method(options), COLUMNS);
    for target in targets {
        progress.next(target.name.clone(), options.clients.into());
        let measured = measure(options, target, progress).await;
        let Some((values, note)) = peers_may_fail(target, measured, &mut report.notes)? else {
            continue;
        };
        report.rows.push(Row::new(target, &values));
        report.notes.push(note);
    }
    report.compare("in_per_cpu_second");
    Ok(report)
}

const COLUMNS: &[Column] = &[
    Column::new("clients", "clients", 0),
    Column::new("inside", "in", 0),
    Column::new("refused", "refused", 0),
    Column::new("timed_out", "timed out", 0),
    Column::new("other", "other", 0),
    Column::new("seconds", "seconds", 2),
    Column::new("connect_ms_p50", "p50 ms", 0),
    Column::new("connect_ms_p99", "p99 ms", 0),
    Column::new("in_per_cpu_second", "in / CPU s", 0),
    Column::new("grown_mib", "MiB grown", 1),
    Column::new("again_ms", "again after ms", 0),
    DATAGRAMS_LOST,
];

fn method(options: &Options) -> String {
    format!(
        "{} clients connect at the same moment, each trying for {:?}, to a node that takes {} and to \
         others that take all; afterwards all leave, and `again after ms` is how long it takes \
         until a newcomer gets in",
        options.clients, options.patience, options.room
    )
}

async fn measure(
    options: &Options,
    target: &Target,
    progress: &Progress,
) -> Result<(Vec<f64>, String)> {
    let mut running = target.start().await?;
    until_empty(&running).await?;
    let before = running.server.usage()?.resident;
    let (window, outcome) =
        Window::of(&mut running, async |running| Ok(storm(options, running, progress).await))
            .await?;
    let grown = running.server.usage()?.resident.saturating_sub(before);
    let Outcome { inside, connect, failures } = outcome;
    let count = inside.len() as u64;
    let note = match running.metrics {
        Some(address) => note(&target.name, &failures, &node_metrics::read(address).await?),
        None => format!("{}: failures of clients: {}", target.name, failures.text()),
    };
    drop(inside);
    let again = serves_again(&running).await.with_context(|| target.name.clone())?;
    let (refused, timed_out) = (failures.of(failure::REFUSED), failures.of(failure::TIMED_OUT));
    let other = failures.total() - refused - timed_out;
    ensure!(
        count + failures.total() == u64::from(options.clients),
        "clients are unaccounted for: {count} in, {}",
        failures.text()
    );
    let [all, count, refused, timed_out, other] =
        [options.clients.into(), count, refused, timed_out, other].map(|count| count as f64);
    let values = vec![
        all,
        count,
        refused,
        timed_out,
        other,
        window.took.as_secs_f64(),
        connect.p50 / 1e3,
        connect.p99 / 1e3,
        count / window.cpu.as_secs_f64().max(f64::EPSILON),
        grown as f64 / MIB,
        again.as_secs_f64() * 1e3,
        window.datagrams_lost(target.transport),
    ];
    Ok((values, note))
}

async fn storm(options: &Options, running: &Running, progress: &Progress) -> Outcome {
    let connect = async |index: u32| {
        let began = Instant::now();
        let name = format!("storm-{index}");
        let connecting = timeout(options.patience, Client::connect(&running.access, &name));
        let outcome = match connecting.await {
            Ok(outcome) => outcome,
            Err(elapsed) => Err(elapsed.into()),
        };
        progress.step();
        outcome.map(|client| (client, began.elapsed()))
    };
    let mut times = meter::histogram();
    let (mut inside, mut failures) = (Vec::new(), Failures::default());
    for outcome in join_all((0..options.clients).map(connect)).await {
        match outcome {
            Ok((client, took)) => {
                times.saturating_record(took.as_nanos() as u64);
                inside.push(client);
            }
            Err(error) => failures.add(failure::kind(&error)),
        }
    }
    Outcome { inside, connect: Percentiles::of(&times), failures }
}

/// Waits until the client that tried whether the server serves has gone.
async fn until_empty(running: &Running) -> Result<()> {
    let Some(address) = running.metrics else { return Ok(()) };
    let emptied = async {
        while node_metrics::read(address).await?.sum("sterna_edge_connections_active", "") > 0.0 {
            sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    };
    timeout(AGAIN, emptied).await.context("the first client does not go")?
}

fn note(name: &str, failures: &Failures, after: &node_metrics::Samples) -> String {
    let count = |metric: &str, label: &str| after.sum(metric, label);
    format!(
        "{name}: failures of clients: {}; the node counts {:.0} refused ({:.0} without a word, for too \
         many handshakes), {:.0} asked to prove their address, {:.0} handshakes that failed",
        failures.text(),
        count("sterna_edge_refused_total", ""),
        count("sterna_edge_refused_total", "reason=\"handshakes\""),
        count("sterna_edge_retries_total", ""),
        count("sterna_edge_handshakes_total", "result=\"failed\"")
            + count("sterna_edge_handshakes_total", "result=\"timeout\""),
    )
}

/// How long it takes until somebody gets in once all have left.
async fn serves_again(running: &Running) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let newcomer = timeout(AGAIN, Client::connect(&running.access, "newcomer"));
        match newcomer.await {
            Ok(Ok(_)) => return Ok(began.elapsed()),
            Ok(Err(error)) if began.elapsed() > AGAIN => {
                return Err(error.context("nobody gets in after the storm"));
            }
            Err(elapsed) => return Err(elapsed).context("no answer after the storm"),
            Ok(Err(_)) => sleep(Duration::from_millis(10)).await,
        }
    }
}

const AGAIN: Duration = Duration::from_secs(30);
const MIB: f64 = 1024.0 * 1024.0;
