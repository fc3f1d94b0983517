//! `sterna bench restart`: every node of a private cluster is drained and started again, one after
//! the other, while clients talk; what they feel is the longest silence in a steady talk. Exit code 1
//! when anything that was acknowledged is lost or comes twice.

mod talk;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use sterna_bench::progress::Progress;
use sterna_bench::report::{Column, Report, Row};
use sterna_bench::target::Part;

use super::cluster::Cluster;
use super::cluster_args::RestartArgs;
use super::databases::Databases;
use super::field;
use super::told::now_us;
use talk::Talk;

/// How long the cluster is left alone for comparison, and after each restart.
const QUIET: Duration = Duration::from_secs(3);

/// What a client may feel of a restart.
const GOAL_MS: f64 = 1000.0;

const COLUMNS: &[Column] = &[
    Column::new("took_s", "took s", 1),
    Column::new("gap_p50_ms", "gap p50 ms", 0),
    Column::new("gap_p90_ms", "p90 ms", 0),
    Column::new("gap_max_ms", "max ms", 0),
    Column::new("moved", "reconnects", 0),
];

pub(super) async fn run(args: &RestartArgs) -> Result<ExitCode> {
    let progress = args.shown.progress("rolling restart");
    let outcome = measure(args, &progress).await;
    let clean = outcome.as_ref().map_or(true, |(_, clean)| *clean);
    let shown = super::measure::show(&args.shown, outcome.map(|(report, _)| report), &progress)?;
    if !clean {
        bail!("publications that were acknowledged were lost or came twice");
    }
    Ok(shown)
}

async fn measure(args: &RestartArgs, progress: &Progress) -> Result<(Report, bool)> {
    let databases = args.cluster.database.as_deref().map(Databases::on).transpose()?;
    let shape = args.cluster.shape(databases.as_ref(), field::CONNECTIONS)?;
    let mut cluster = Cluster::start(&shape, args.cluster.directory.as_deref()).await?;
    let talk = Talk::start(&cluster, args).await?;
    let mut rows = Vec::new();
    progress.lasts("no restart".to_owned(), QUIET);
    let quiet = async || {
        tokio::time::sleep(QUIET).await;
        anyhow::Ok(())
    };
    rows.push(stage("none", &talk, quiet()).await?);
    for _ in 0..args.rounds {
        for name in cluster.names() {
            progress.next(format!("restarting {name}"), 0);
            let restart = async {
                cluster.restart(&name).await?;
                quiet().await
            };
            rows.push(stage(&name, &talk, restart).await?);
        }
    }
    let largest = rows.iter().skip(1).map(|row| row.values[3]).fold(0.0, f64::max);
    let verdict = talk.finish().await?;
    cluster.stop().await;
    let mut report = Report::new("restart", method(args), COLUMNS);
    report.rows = rows;
    report.notes.push(format!(
        "The longest silence that a client felt was {largest:.0} ms; the goal is {GOAL_MS:.0} ms."
    ));
    report.notes.push(format!(
        "{} publications acknowledged; {} lost, {} came twice or late.",
        verdict.acked, verdict.lost, verdict.duplicated
    ));
    report.facts.insert("largest_gap_ms".to_owned(), largest.into());
    report.facts.insert("goal_ms".to_owned(), GOAL_MS.into());
    report.facts.insert("acked".to_owned(), verdict.acked.into());
    report.facts.insert("lost".to_owned(), verdict.lost.into());
    report.facts.insert("duplicated".to_owned(), verdict.duplicated.into());
    Ok((report, verdict.lost == 0 && verdict.duplicated == 0))
}

fn method(args: &RestartArgs) -> String {
    let store = match args.cluster.database {
        Some(_) => "on one database",
        None => "with its store on this machine",
    };
    format!(
        "{} cores {store} and {} edges, each drained and started again in turn; {} channels \
         with {} publications a second, each with a subscriber on QUIC and one on wss; the gap is \
         the longest silence of a subscriber",
        args.cluster.cores(),
        args.cluster.edges,
        args.channels,
        args.rate
    )
}

/// What listeners felt while something was done.
async fn stage(name: &str, talk: &Talk, work: impl Future<Output = Result<()>>) -> Result<Row> {
    let (since_us, began, reconnects) = (now_us(), Instant::now(), talk.reconnects());
    work.await?;
    let mut gaps = talk.longest_silences(since_us, now_us());
    gaps.sort_unstable();
    let ms = |share: f64| {
        let at = ((gaps.len() as f64 * share).ceil() as usize).clamp(1, gaps.len().max(1)) - 1;
        gaps.get(at).map_or(0.0, |gap| gap.as_secs_f64() * 1000.0)
    };
    let moved = talk.reconnects().saturating_sub(reconnects);
    Ok(Row {
        name: name.to_owned(),
        part: Part::Sterna,
        transport: None,
        values: vec![began.elapsed().as_secs_f64(), ms(0.5), ms(0.9), ms(1.0), moved as f64],
        of_raw: None,
    })
}
