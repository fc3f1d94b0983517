//! What an acknowledged publication costs: many clients, each with a few publications that are not
//! acknowledged yet. The raw limit is a loop that commits as many records at a time as clients wait. It
//! has no clients: what they cost alone, to be read from and answered, bare servers show, which do that
//! and commit as the loop does.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use sterna_bench_raw::commit::Load;
use tokio::time::Instant;

use super::commit::CommitLoop;
use super::node_metrics;
use super::{DATAGRAMS_LOST, Window, peers_may_fail};
use crate::client::Client;
use crate::meter::Percentiles;
use crate::progress::Progress;
use crate::report::{ABSENT, Column, Report, Row};
use crate::target::{Part, Running, Target};

#[derive(Debug, Clone)]
pub struct Options {
    pub clients: u32,
    /// Publications of each client that are not acknowledged yet.
    pub in_flight: u32,
    /// What they publish to, in turn.
    pub channels: u32,
    pub payload_bytes: usize,
    pub durability: Durability,
    /// The limit, for as long as `durability` has a disk.
    pub commits: CommitLoop,
    pub duration: Duration,
    pub rounds: u32,
}

/// What an acknowledgement proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    Memory,
    Os,
    Fsync,
    /// Committed by a database.
    Database,
}

/// What one target did in one round.
#[derive(Debug, Clone)]
struct Round {
    per_second: f64,
    cpu_us: f64,
    /// In milliseconds: p50, p99, p99.9.
    ack: [f64; 3],
    batch: f64,
    datagrams_lost: f64,
}

pub async fn run(options: &Options, targets: &[Target], progress: &Progress) -> Result<Report> {
    let mut limit: Option<Round> = None;
    let mut notes = Vec::new();
    let mut best: Vec<Option<Round>> = vec![None; targets.len()];
    let keep = |best: &mut Option<Round>, round: Round| {
        if best.as_ref().is_none_or(|best| round.per_second > best.per_second) {
            *best = Some(round);
        }
    };
    for round in 1..=options.rounds {
        if options.durability != Durability::Memory {
            let what = format!("raw commits (round {round} of {})", options.rounds);
            progress.lasts(what, options.duration);
            keep(&mut limit, raw(options).await?);
        }
        for (target, best) in targets.iter().zip(&mut best) {
            let what = format!("{} (round {round} of {})", target.name, options.rounds);
            progress.next(what, options.clients.into());
            let measured = measure(options, target, progress).await;
            if let Some(round) = peers_may_fail(target, measured, &mut notes)? {
                keep(best, round);
            }
        }
    }
    let mut report = report(options, targets, limit.as_ref(), &best);
    report.notes = notes;
    Ok(report)
}

fn report(
    options: &Options,
    targets: &[Target],
    limit: Option<&Round>,
    best: &[Option<Round>],
) -> Report {
    let mut report = Report::new("publish", method(options), COLUMNS);
    if let Some(limit) = limit {
        report.rows.push(Row {
            name: match options.durability {
                Durability::Database => "bare transactions".to_owned(),
                _ => "raw RocksDB commits".to_owned(),
            },
            part: Part::Raw,
            transport: None,
            values: values(limit),
            of_raw: Some(1.0),
        });
    }
    let bare = |transport| {
        let mut rounds = targets.iter().zip(best);
        let server = rounds.find(|(it, _)| it.part == Part::Raw && it.transport == transport);
        server.and_then(|(_, round)| Some(round.as_ref()?.per_second))
    };
    for (target, round) in targets.iter().zip(best) {
        let Some(round) = round else { continue };
        let mut values = values(round);
        if let Some(bare) = bare(target.transport).filter(|_| target.part != Part::Raw) {
            values[OF_SERVER] = 100.0 * round.per_second / bare;
        }
        let mut row = Row::new(target, &values);
        row.of_raw = limit.map(|limit| round.per_second / limit.per_second);
        report.rows.push(row);
    }
    report
}

fn values(round: &Round) -> Vec<f64> {
    let [p50, p99, p999] = round.ack;
    vec![round.per_second, p50, p99, p999, round.cpu_us, round.batch, round.datagrams_lost, ABSENT]
}

const COLUMNS: &[Column] = &[
    Column::new("acks_per_second", "acks / s", 0),
    Column::new("ack_ms_p50", "p50 ms", 2),
    Column::new("ack_ms_p99", "p99 ms", 2),
    Column::new("ack_ms_p999", "p99.9 ms", 2),
    Column::new("cpu_us_per_publication", "CPU µs", 2),
    Column::new("publications_per_commit", "in a commit", 1),
    DATAGRAMS_LOST,
    Column::new("percent_of_bare_server", "% of bare server", 0),
];

/// The last column.
const OF_SERVER: usize = COLUMNS.len() - 1;

fn method(options: &Options) -> String {
    let durability = match options.durability {
        Durability::Memory => "acknowledged from memory".to_owned(),
        Durability::Os => format!("handed to the operating system ({})", disk(options)),
        Durability::Fsync => format!("synced ({})", disk(options)),
        Durability::Database => "committed by one database".to_owned(),
    };
    format!(
        "{} clients with {} publications on their way each, {} bytes, to {} channels, {durability}; \
         best of {} rounds of {:?}; CPU time is the server's alone",
        options.clients,
        options.in_flight,
        options.payload_bytes,
        options.channels,
        options.rounds,
        options.duration,
    )
}

fn disk(options: &Options) -> String {
    let directory = &options.commits.directory;
    format!("{} on {}", directory.display(), crate::machine::file_system(directory))
}

async fn raw(options: &Options) -> Result<Round> {
    let batch = (options.clients * options.in_flight) as usize;
    let synced = options.durability != Durability::Os;
    let (bytes, duration) = (options.payload_bytes, options.duration);
    let outcome = options.commits.run(&Load { batch, bytes, synced, duration }).await?;
    let ack = [outcome.batch_us_p50, outcome.batch_us_p99, outcome.batch_us_p999];
    Ok(Round {
        per_second: outcome.records_per_second,
        cpu_us: outcome.cpu_us_per_record,
        ack: ack.map(|us| us / 1e3),
        batch: batch as f64,
        datagrams_lost: ABSENT,
    })
}

async fn measure(options: &Options, target: &Target, progress: &Progress) -> Result<Round> {
    let mut running = target.start().await?;
    let clients = running.gather(options.clients as usize, |_| None, progress).await?;
    drive(options, &running, &clients, WARM_UP).await?;
    running.meter().take_times();
    let before = commits(&running).await?;
    let (window, ()) = Window::of(&mut running, async |running| {
        drive(options, running, &clients, options.duration).await
    })
    .await?;
    let after = commits(&running).await?;
    let (_, ack) = running.meter().take_times();
    let counts = window.counts;
    ensure!(
        counts.refused == 0 && counts.ended == 0 && counts.acked == counts.published,
        "{} refused {} publications and ended {} connections: {}",
        target.name,
        counts.refused,
        counts.ended,
        running.meter().last_refusal(),
    );
    let commits = after - before;
    Ok(Round {
        per_second: window.per_second(counts.acked),
        cpu_us: window.cpu_us(counts.acked),
        ack: in_ms(&ack),
        batch: match target.part {
            // Nobody counts them.
            Part::Raw => ABSENT,
            _ if commits > 0.0 => counts.acked as f64 / commits,
            _ => 0.0,
        },
        datagrams_lost: window.datagrams_lost(target.transport),
    })
}

fn in_ms(times: &Percentiles) -> [f64; 3] {
    [times.p50, times.p99, times.p999].map(|us| us / 1e3)
}

/// How often the node has committed.
async fn commits(running: &Running) -> Result<f64> {
    let Some(address) = running.metrics else { return Ok(0.0) };
    let samples = node_metrics::read(address).await?;
    let files = samples.count("sterna_storage_commit_seconds");
    // Among them the few of leases and heartbeats.
    Ok(files + samples.sum("sterna_storage_sql_commits_total", ""))
}

/// Every client publishes for `duration`, and then waits until all is acknowledged.
async fn drive(
    options: &Options,
    running: &Running,
    clients: &[Client],
    duration: Duration,
) -> Result<()> {
    let until = Instant::now() + duration;
    let publish = async |index: usize, client: &Client| -> Result<()> {
        let channel = index as u32 % options.channels;
        while Instant::now() < until {
            client.publish(channel, &running.meter().payload(options.payload_bytes)).await?;
            client.answered_but(u64::from(options.in_flight) - 1).await?;
        }
        client.answered_but(0).await
    };
    try_join_all(clients.iter().enumerate().map(|(index, client)| publish(index, client))).await?;
    Ok(())
}

const WARM_UP: Duration = Duration::from_millis(700);
