//! How long a publication takes to its subscriber at half of what a server stands. First a short run
//! finds what it stands; then publications come at half that rate. The raw limit is the least that can
//! pass a publication on, over the same transport at the same rate, twice, and one sync of the disk.
//!
//! Publishers live on the thread of the load generator, subscribers on one of their own, both off the
//! servers' core; what the generator may have added itself is shown beside the times.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use tokio::time::Instant;

use super::commit::{self, CommitLoop};
use super::listeners::{Heard, Listeners};
use super::pace::Pace;
use super::stalls::{self, StallLoop, Stalls};
use super::{DATAGRAMS_LOST, Window, peers_may_fail};
use crate::client::{Client, Transport};
use crate::machine;
use crate::meter::{self, Percentiles};
use crate::progress::Progress;
use crate::report::{Column, Plot, Report, Row, Series};
use crate::target::{Part, Running, Target};

#[derive(Debug, Clone)]
pub struct Options {
    /// Each publishes to a channel of its own, which another client has subscribed to.
    pub clients: u32,
    pub payload_bytes: usize,
    /// Publications a second over all clients; `None`: half of what the node stands.
    pub rate: Option<f64>,
    /// How long a sync takes is part of the limit; `None` where nothing is synced.
    pub syncs: Option<CommitLoop>,
    /// What the machine itself takes is part of every latency.
    pub stalls: StallLoop,
    pub duration: Duration,
    pub rounds: u32,
}

/// What one target did in one round.
#[derive(Debug, Clone)]
struct Round {
    asked: f64,
    per_second: f64,
    delivery: Percentiles,
    ack: Percentiles,
    /// How late publications were sent, after they should have been.
    late: Percentiles,
    /// How long the subscribers' thread had work without a pause.
    busy: Percentiles,
    datagrams_lost: f64,
}

pub async fn run(options: &Options, targets: &[Target], progress: &Progress) -> Result<Report> {
    machine::leave_the_servers_core()?;
    let mut best: Vec<Option<Round>> = vec![None; targets.len()];
    let mut sync_ms = f64::INFINITY;
    let mut rates = Rates(Vec::new());
    let (mut notes, mut stalls) = (Vec::new(), Stalls::default());
    for round in 1..=options.rounds {
        let what = format!("the machine (round {round} of {})", options.rounds);
        progress.lasts(what, stalls::WATCHED);
        stalls.add(&options.stalls.run().await?);
        for (target, best) in targets.iter().zip(&mut best) {
            let rate = rates.of(target.transport, options, targets, progress).await?;
            let what = format!("{} (round {round} of {})", target.name, options.rounds);
            progress.next(what, options.clients.into());
            let measured = measure(options, target, rate, progress).await;
            let Some(measured) = peers_may_fail(target, measured, &mut notes)? else { continue };
            if best.as_ref().is_none_or(|best| measured.delivery.p99 < best.delivery.p99) {
                *best = Some(measured);
            }
        }
        if let Some(syncs) = &options.syncs {
            progress.lasts(format!("syncs (round {round} of {})", options.rounds), commit::SYNCS);
            sync_ms = sync_ms.min(syncs.sync_us(options.payload_bytes).await? / 1e3);
        }
    }
    if options.syncs.is_none() {
        sync_ms = 0.0;
    }
    let rounds = targets.iter().zip(best).filter_map(|(target, best)| Some((target, best?)));
    let mut report = report(options, &rounds.collect::<Vec<_>>(), sync_ms);
    report.notes.push(stalls.text());
    report.facts.insert("stalls".to_owned(), json!(stalls));
    report.notes.extend(notes);
    Ok(report)
}

/// At what rate each transport is measured.
struct Rates(Vec<(Transport, f64)>);

impl Rates {
    async fn of(
        &mut self,
        transport: Transport,
        options: &Options,
        targets: &[Target],
        progress: &Progress,
    ) -> Result<f64> {
        if let Some(rate) = options.rate {
            return Ok(rate);
        }
        if let Some((_, rate)) = self.0.iter().find(|(known, _)| *known == transport) {
            return Ok(*rate);
        }
        let node = targets.iter().find(|it| it.part == Part::Sterna && it.transport == transport);
        let node =
            node.context("half of what? Measure the node of that transport too, or --rate")?;
        progress.next(format!("{}: what it stands", node.name), options.clients.into());
        let rate = (saturate(options, node, progress).await? / 2.0).max(1.0);
        self.0.push((transport, rate));
        Ok(rate)
    }
}

fn report(options: &Options, rounds: &[(&Target, Round)], sync_ms: f64) -> Report {
    let mut report = Report::new("latency", method(options), COLUMNS);
    let mut plot = Plot::new(
        "Delivery against percentile",
        "nines: 1 is 90 %, 2 is 99 %, 3 is 99.9 %",
        "milliseconds",
    );
    for (target, round) in rounds {
        let mut row = Row::new(target, &values(round, sync_ms));
        let raw = rounds.iter().find(|(raw, _)| {
            raw.part == Part::Raw && target.part != Part::Raw && raw.transport == target.transport
        });
        row.of_raw =
            raw.map(|(_, raw)| round.delivery.p99 / 1e3 / (2.0 * raw.delivery.p99 / 1e3 + sync_ms));
        report.rows.push(row);
        plot.series.push(Series { name: target.name.clone(), points: points(&round.delivery) });
    }
    report.plots.push(plot);
    report.notes.push(
        "`of raw` is p99 against twice the raw p99 and one sync: at most 100 % is the goal"
            .to_owned(),
    );
    report.notes.push(
        "`sent late`: publications that the load generator sent after they were due, which is no part \
         of their times; `reader`: how long its thread of subscribers had work without a pause, which \
         is the most that it can have added"
            .to_owned(),
    );
    report
}

fn values(round: &Round, sync_ms: f64) -> Vec<f64> {
    let Percentiles { p50, p90, p99, p999, .. } = round.delivery;
    let [p50, p90, p99, p999] = [p50, p90, p99, p999].map(|us| us / 1e3);
    let [ack, late] = [&round.ack, &round.late].map(|it| it.p99 / 1e3);
    let [busy, busiest] = [round.busy.p99, round.busy.max].map(|us| us / 1e3);
    let lost = round.datagrams_lost;
    vec![
        round.asked,
        round.per_second,
        p50,
        p90,
        p99,
        p999,
        ack,
        sync_ms,
        late,
        busy,
        busiest,
        lost,
    ]
}

fn points(times: &Percentiles) -> Vec<(f64, f64)> {
    let shares = [(0.5, times.p50), (0.9, times.p90), (0.95, times.p95)];
    let tail = [(0.99, times.p99), (0.999, times.p999)];
    let nines = |share: f64| -(1.0 - share).log10();
    shares.into_iter().chain(tail).map(|(share, us)| (nines(share), us / 1e3)).collect()
}

const COLUMNS: &[Column] = &[
    Column::new("asked_per_second", "asked / s", 0),
    Column::new("deliveries_per_second", "deliveries / s", 0),
    Column::new("delivery_ms_p50", "p50 ms", 3),
    Column::new("delivery_ms_p90", "p90 ms", 3),
    Column::new("delivery_ms_p99", "p99 ms", 3),
    Column::new("delivery_ms_p999", "p99.9 ms", 3),
    Column::new("ack_ms_p99", "ack p99 ms", 3),
    Column::new("sync_ms_p50", "a sync ms", 3),
    Column::new("sent_late_ms_p99", "sent late p99 ms", 3),
    Column::new("reader_ms_p99", "reader p99 ms", 3),
    Column::new("reader_ms_max", "reader max ms", 3),
    DATAGRAMS_LOST,
];

fn method(options: &Options) -> String {
    let rate = match options.rate {
        Some(rate) => format!("{rate} publications a second"),
        None => {
            "half of what the node stands with one publication of each client on its way".into()
        }
    };
    let disk = options.syncs.as_ref().map_or_else(
        || "acknowledged from memory".to_owned(),
        |it| format!("synced on {}", machine::file_system(&it.directory)),
    );
    format!(
        "{} publishers with a channel and a subscriber of their own each, {} bytes, {rate}, {disk}; \
         from the moment a publication is sent until its subscriber has it; raw: the same without a \
         node; best of {} rounds of {:?}",
        options.clients, options.payload_bytes, options.rounds, options.duration
    )
}

/// The publishers, and the subscribers to their channels.
async fn gather(
    options: &Options,
    running: &Running,
    progress: &Progress,
) -> Result<(Vec<Client>, Listeners)> {
    let listeners = Listeners::gather(running, options.clients).await?;
    let publishers = running.gather(options.clients as usize, |_| None, progress).await?;
    Ok((publishers, listeners))
}

/// Deliveries a second when every client publishes as soon as its last publication was
/// acknowledged.
async fn saturate(options: &Options, target: &Target, progress: &Progress) -> Result<f64> {
    let mut running = target.start().await?;
    let (clients, _listeners) = gather(options, &running, progress).await?;
    let (window, ()) = Window::of(&mut running, async |running| {
        let until = Instant::now() + SATURATED;
        let publish = async |index: usize, client: &Client| -> Result<()> {
            while Instant::now() < until {
                let payload = running.meter().payload(options.payload_bytes);
                client.publish(index as u32, &payload).await?;
                client.answered_but(0).await?;
            }
            Ok(())
        };
        let publish = clients.iter().enumerate().map(|(index, client)| publish(index, client));
        try_join_all(publish).await?;
        Ok(())
    })
    .await?;
    Ok(window.per_second(window.counts.acked))
}

async fn measure(
    options: &Options,
    target: &Target,
    rate: f64,
    progress: &Progress,
) -> Result<Round> {
    let mut running = target.start().await?;
    let (publishers, listeners) = gather(options, &running, progress).await?;
    let driver = Driver { options, publishers: &publishers, listeners: &listeners, rate };
    driver.drive(&running, target.part, WARM_UP).await?;
    running.meter().take_times();
    listeners.heard().await?;
    let before = listeners.counts().await?;
    let (window, late) = Window::of(&mut running, async |running| {
        driver.drive(running, target.part, options.duration).await
    })
    .await?;
    let (_, ack) = running.meter().take_times();
    let Heard { delivery, busy } = listeners.heard().await?;
    let (counts, heard) = (window.counts, listeners.counts().await?);
    let delivered = heard.delivered - before.delivered;
    ensure!(
        counts.refused == 0 && counts.ended + heard.ended == 0 && delivered == counts.published,
        "{} delivered {delivered} of {} publications, refused {} and ended {} connections: {}",
        target.name,
        counts.published,
        counts.refused,
        counts.ended + heard.ended,
        running.meter().last_refusal(),
    );
    let per_second = window.per_second(delivered);
    let datagrams_lost = window.datagrams_lost(target.transport);
    Ok(Round { asked: rate, per_second, delivery, ack, late, busy, datagrams_lost })
}

struct Driver<'a> {
    options: &'a Options,
    publishers: &'a [Client],
    listeners: &'a Listeners,
    rate: f64,
}

impl Driver<'_> {
    /// Publishes at a rate, the clients in turn, and waits for the last delivery. Returns how late
    /// publications were sent.
    async fn drive(
        &self,
        running: &Running,
        part: Part,
        duration: Duration,
    ) -> Result<Percentiles> {
        let Self { options, publishers, listeners, rate } = *self;
        let meter = running.meter();
        let (before, published) = (listeners.counts().await?.delivered, meter.counts().published);
        let mut late = meter::histogram();
        let mut pace = Pace::begin(rate, duration).catching_up(CATCH_UP).precisely();
        while let Some(turn) = pace.next().await {
            late.saturating_record(pace.due().elapsed().as_nanos() as u64);
            let at = turn as usize % publishers.len();
            publishers[at].publish(at as u32, &meter.payload(options.payload_bytes)).await?;
            // Acknowledgements are read, and the subscribers' thread has the core, before the next.
            tokio::task::yield_now().await;
            std::thread::yield_now();
        }
        let due = before + meter.counts().published - published;
        tokio::time::timeout(DELIVERY_DEADLINE, listeners.delivered(due))
            .await
            .context("publications that were not delivered in 30 s")??;
        if part == Part::Sterna {
            // Not every peer acknowledges.
            try_join_all(publishers.iter().map(|client| client.answered_but(0))).await?;
        }
        Ok(Percentiles::of(&late))
    }
}

const SATURATED: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(700);
const DELIVERY_DEADLINE: Duration = Duration::from_secs(30);

/// What was held up comes at so many times the rate, which is three quarters of what the node stands.
const CATCH_UP: f64 = 1.5;
