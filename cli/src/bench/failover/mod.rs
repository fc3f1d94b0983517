//! `sterna bench failover`: an edge with thousands of sessions is killed while publications go on;
//! how soon everybody is back at another edge, what that costs the nodes, and what is asked of
//! Redis. Exit code 1 when anything that was acknowledged did not come, or came twice.

mod crowd;
mod talk;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use sterna_bench::meter::Meter;
use sterna_bench::progress::Progress;
use sterna_bench::report::{Column, Report, Row};
use sterna_bench::run::node_metrics;
use sterna_bench::target::Part;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::cluster::Cluster;
use super::cluster_args::FailoverArgs;
use super::databases::Databases;
use super::field;
use crowd::{Crowd, Verdict};
use talk::Talk;

/// The edge that dies.
const VICTIM: &str = "e1";

/// Stages, one a row.
const COLUMNS: &[Column] = &[
    Column::new("seconds", "seconds", 2),
    Column::new("p50_ms", "p50 ms", 1),
    Column::new("p99_ms", "p99 ms", 1),
    Column::new("max_ms", "max ms", 0),
    Column::new("tries", "tries", 0),
    Column::new("cpu_ms_per_session", "CPU ms / session", 3),
    Column::new("cpu_us_per_publication", "CPU µs / publ.", 0),
    Column::new("redis_calls", "Redis calls", 0),
    Column::new("redis_per_session", "/ session", 2),
    Column::new("redis_per_publication", "/ publ.", 3),
];

pub(super) async fn run(args: &FailoverArgs) -> Result<ExitCode> {
    let progress = args.shown.progress("failover");
    let outcome = LocalSet::new().run_until(measure(args, &progress)).await;
    let clean = outcome.as_ref().map_or(true, |(_, verdict)| verdict.is_clean());
    let shown = super::measure::show(&args.shown, outcome.map(|(report, _)| report), &progress)?;
    if !clean {
        bail!("publications that were acknowledged did not come, or came twice");
    }
    Ok(shown)
}

async fn measure(args: &FailoverArgs, progress: &Progress) -> Result<(Report, Verdict)> {
    let databases = args.cluster.database.as_deref().map(Databases::on).transpose()?;
    let shape = args.cluster.shape(databases.as_ref(), field::CONNECTIONS)?;
    progress.next("starting a cluster".to_owned(), 0);
    let mut cluster = Cluster::start(&shape, args.cluster.directory.as_deref()).await?;
    let (sessions, calm) = (args.sessions, Duration::from_secs(args.seconds));
    let rooms = sessions.div_ceil(args.room);
    let meter = Rc::new(Meter::default());
    let talk = Talk::open(&cluster, rooms, &meter).await?;
    let crowd = Crowd::new(&cluster, args, &meter)?;
    let mut stages = Stages { rows: Vec::new(), sessions };

    progress.next(format!("{sessions} sessions come to {VICTIM}"), sessions.into());
    let watch = Watch::begin(&cluster).await?;
    crowd.come(progress).await?;
    let (times, tries) = crowd.arrivals();
    stages.add("connect and subscribe", &cluster, watch, times, tries, talk.take()).await?;

    progress.lasts("silence".to_owned(), calm);
    let watch = Watch::begin(&cluster).await?;
    sleep(calm).await;
    stages.add("silence", &cluster, watch, Vec::new(), 0, talk.take()).await?;

    progress.lasts("publications".to_owned(), calm);
    let watch = Watch::begin(&cluster).await?;
    talk.go_on(args.rate, calm).await?;
    let delays = crowd.delays();
    stages.add("publications", &cluster, watch, delays, 0, talk.take()).await?;

    progress.next(format!("{VICTIM} is killed"), sessions.into());
    // First, or who is back already would be timed from its own beginning.
    crowd.disaster();
    cluster.kill(VICTIM).await?;
    let watch = Watch::begin(&cluster).await?;
    let (back, talked) =
        tokio::join!(crowd.come_back(progress), talk.until(args.rate, crowd.back()));
    back?;
    talked?;
    let (times, tries) = crowd.arrivals();
    stages.add("an edge dies", &cluster, watch, times, tries, talk.take()).await?;

    progress.next("reading back".to_owned(), 0);
    let verdict = crowd.verdict(&talk.last().await?).await?;
    crowd.leave().await;
    cluster.stop().await;
    Ok((report(args, &stages, &verdict), verdict))
}

fn report(args: &FailoverArgs, stages: &Stages, verdict: &Verdict) -> Report {
    let mut report = Report::new("failover", method(args), COLUMNS);
    report.rows.clone_from(&stages.rows);
    report.notes.push(format!(
        "{} publications were acknowledged, {} deliveries due: {} did not come, {} came twice.",
        verdict.published, verdict.due, verdict.missing, verdict.repeated
    ));
    for (name, value) in [
        ("published", verdict.published),
        ("due", verdict.due),
        ("missing", verdict.missing),
        ("repeated", verdict.repeated),
    ] {
        report.facts.insert(name.to_owned(), value.into());
    }
    report
}

fn method(args: &FailoverArgs) -> String {
    let store = match args.cluster.database {
        Some(_) => "on one database",
        None => "with its store on this machine",
    };
    let redis = if args.cluster.redis.is_some() { "with" } else { "without" };
    format!(
        "{} cores {store} and {} edges, {redis} Redis; {} sessions on wss in rooms of {}, of a user \
         each, {} publications a second; times are those of a client until it is subscribed, and of a \
         delivery; after the death, which WebSockets notice at once, each client waits up to {:?}",
        args.cluster.cores(),
        args.cluster.edges,
        args.sessions,
        args.room,
        args.rate,
        args.jitter,
    )
}

/// What was counted before a stage.
struct Watch {
    began: Instant,
    cpu: Duration,
    redis: f64,
}

impl Watch {
    async fn begin(cluster: &Cluster) -> Result<Self> {
        let (cpu, redis) = (cluster.usage()?.cpu, redis_calls(&cluster.http()).await?);
        Ok(Self { began: Instant::now(), cpu, redis })
    }
}

struct Stages {
    rows: Vec<Row>,
    sessions: u32,
}

impl Stages {
    async fn add(
        &mut self,
        name: &str,
        cluster: &Cluster,
        watch: Watch,
        mut times: Vec<Duration>,
        tries: u64,
        publications: u64,
    ) -> Result<()> {
        let took = watch.began.elapsed();
        let cpu = cluster.usage()?.cpu.saturating_sub(watch.cpu).as_secs_f64();
        let redis = redis_calls(&cluster.http()).await? - watch.redis;
        ensure!(redis >= 0.0, "a node counts fewer calls to Redis than before");
        times.sort_unstable();
        let ms = |share: f64| {
            let at = (times.len().saturating_sub(1) as f64 * share).round() as usize;
            times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        let each = |sum: f64, of: f64| if of > 0.0 { sum / of } else { 0.0 };
        let (sessions, publications) = (f64::from(self.sessions), publications as f64);
        self.rows.push(Row {
            name: name.to_owned(),
            part: Part::Sterna,
            transport: None,
            values: vec![
                took.as_secs_f64(),
                ms(0.5),
                ms(0.99),
                ms(1.0),
                tries as f64,
                each(cpu * 1e3, sessions),
                each(cpu * 1e6, publications),
                redis,
                each(redis, sessions),
                each(redis, publications),
            ],
            of_raw: None,
        });
        Ok(())
    }
}

/// What nodes have asked Redis so far, of those that run.
async fn redis_calls(nodes: &[SocketAddr]) -> Result<f64> {
    let mut sum = 0.0;
    for node in nodes {
        sum += node_metrics::read(*node).await?.sum("sterna_storage_redis_calls_total", "");
    }
    Ok(sum)
}
