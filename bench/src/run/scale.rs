//! Whether a delivery costs more when there are more sessions: rooms of a few, the same number of
//! deliveries a second at every step.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::pace::Pace;
use super::{DATAGRAMS_LOST, Window, peers_may_fail};
use crate::client::Client;
use crate::meter::Percentiles;
use crate::progress::Progress;
use crate::report::{Column, Plot, Report, Row, Series};
use crate::target::{Part, Running, Target};

#[derive(Debug, Clone)]
pub struct Options {
    /// Sessions at which deliveries are measured, ascending.
    pub sessions: Vec<usize>,
    /// Subscribers of a channel.
    pub room: u32,
    pub payload_bytes: usize,
    /// Over all channels.
    pub deliveries_per_second: f64,
    /// How long a step is watched.
    pub duration: Duration,
    /// Over all targets, each time on fresh servers; the best of each step counts.
    pub rounds: u32,
}

/// One number of sessions.
#[derive(Debug, Clone)]
struct Step {
    sessions: usize,
    cpu_us: f64,
    per_second: f64,
    delivery: Percentiles,
    datagrams_lost: f64,
}

pub async fn run(options: &Options, targets: &[Target], progress: &Progress) -> Result<Report> {
    let mut report = Report::new("scale", method(options), COLUMNS);
    let mut plot = Plot::new("Cost of a delivery against sessions", "sessions", "CPU µs");
    let mut measured: Vec<(&Target, Vec<Step>)> =
        targets.iter().map(|target| (target, Vec::new())).collect();
    for round in 1..=options.rounds {
        for (target, best) in &mut measured {
            let steps = measure(options, target, round, progress).await;
            let Some(steps) = peers_may_fail(target, steps, &mut report.notes)? else { continue };
            keep(best, steps);
        }
    }
    measured.retain(|(_, steps)| !steps.is_empty());
    for (target, steps) in &measured {
        let first = steps.first().map_or(1.0, |step| step.cpu_us);
        for (at, step) in steps.iter().enumerate() {
            let mut row = Row::new(target, &values(step, first));
            row.name = format!("{}, {} sessions", target.name, step.sessions);
            row.of_raw = measured
                .iter()
                .find(|(raw, _)| raw.part == Part::Raw && raw.transport == target.transport)
                .and_then(|(_, raw)| Some(step.cpu_us / raw.get(at)?.cpu_us));
            report.rows.push(row);
        }
        let points = steps.iter().map(|step| (step.sessions as f64, step.cpu_us)).collect();
        plot.series.push(Series { name: target.name.clone(), points });
    }
    report.plots.push(plot);
    report.notes.push("`of first` is the cost against that of the first step".to_owned());
    Ok(report)
}

/// Of each step the cheaper one.
fn keep(best: &mut Vec<Step>, steps: Vec<Step>) {
    if best.is_empty() {
        *best = steps;
        return;
    }
    for (best, step) in best.iter_mut().zip(steps) {
        if step.cpu_us < best.cpu_us {
            *best = step;
        }
    }
}

fn values(step: &Step, first: f64) -> Vec<f64> {
    vec![
        step.sessions as f64,
        step.cpu_us,
        step.cpu_us / first,
        step.per_second,
        step.delivery.p50 / 1e3,
        step.delivery.p99 / 1e3,
        step.datagrams_lost,
    ]
}

const COLUMNS: &[Column] = &[
    Column::new("sessions", "sessions", 0),
    Column::new("cpu_us_per_delivery", "CPU µs", 2),
    Column::new("of_first", "of first", 2),
    Column::new("deliveries_per_second", "deliveries / s", 0),
    Column::new("delivery_ms_p50", "p50 ms", 2),
    Column::new("delivery_ms_p99", "p99 ms", 2),
    DATAGRAMS_LOST,
];

fn method(options: &Options) -> String {
    format!(
        "channels of {} subscribers, {} bytes, {} deliveries a second in all whatever the number of \
         sessions; best of {} rounds of {:?}; CPU time is the server's alone, and holds what silent \
         sessions cost",
        options.room,
        options.payload_bytes,
        options.deliveries_per_second,
        options.rounds,
        options.duration
    )
}

async fn measure(
    options: &Options,
    target: &Target,
    round: u32,
    progress: &Progress,
) -> Result<Vec<Step>> {
    let mut running = target.start().await?;
    let publishers = running.gather(PUBLISHERS, |_| None, progress).await?;
    let mut subscribers: Vec<Client> = Vec::new();
    let mut steps = Vec::new();
    for &sessions in &options.sessions {
        let (have, room) = (subscribers.len(), options.room as usize);
        let more = sessions.saturating_sub(have) / room * room;
        let what =
            format!("{}, {sessions} sessions (round {round} of {})", target.name, options.rounds);
        progress.next(what, more as u64);
        let channel = |index: usize| Some(((have + index) / room) as u32);
        subscribers.extend(running.gather(more, channel, progress).await?);
        let channels = (subscribers.len() / room) as u64;
        ensure!(channels > 0, "{sessions} sessions are less than one channel of {room}");
        drive(options, &running, &publishers, channels, WARM_UP).await?;
        let step = watch(options, &mut running, &publishers, channels).await?;
        steps.push(Step { sessions: subscribers.len(), ..step });
    }
    Ok(steps)
}

async fn watch(
    options: &Options,
    running: &mut Running,
    publishers: &[Client],
    channels: u64,
) -> Result<Step> {
    running.meter().take_times();
    let (window, ()) = Window::of(running, async |running| {
        drive(options, running, publishers, channels, options.duration).await
    })
    .await?;
    let counts = window.counts;
    ensure!(
        counts.refused == 0 && counts.ended == 0,
        "the server refused {} times and ended {} connections: {}",
        counts.refused,
        counts.ended,
        running.meter().last_refusal(),
    );
    let (delivery, _) = running.meter().take_times();
    let per_second = window.per_second(counts.delivered);
    Ok(Step {
        sessions: 0,
        cpu_us: window.cpu_us(counts.delivered),
        per_second,
        delivery,
        datagrams_lost: window.datagrams_lost(running.access.transport),
    })
}

async fn drive(
    options: &Options,
    running: &Running,
    publishers: &[Client],
    channels: u64,
    duration: Duration,
) -> Result<()> {
    let meter = running.meter();
    let before = meter.counts().delivered;
    let mut pace = Pace::begin(options.deliveries_per_second / f64::from(options.room), duration);
    let mut published = 0;
    while let Some(turn) = pace.next().await {
        // Far apart one after the other, so that no two meet the same warm memory.
        let channel = turn.wrapping_mul(STRIDE) % channels;
        let publisher = &publishers[turn as usize % publishers.len()];
        publisher.publish(channel as u32, &meter.payload(options.payload_bytes)).await?;
        published += 1;
    }
    let wanted = before + published * u64::from(options.room);
    tokio::time::timeout(DELIVERY_DEADLINE, meter.delivered(wanted))
        .await
        .context("publications that were not delivered in 30 s")
}

/// A prime, so that all channels have their turn.
const STRIDE: u64 = 7919;

/// Connections that publish and do not subscribe.
const PUBLISHERS: usize = 16;
const WARM_UP: Duration = Duration::from_secs(1);
const DELIVERY_DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_step_the_cheapest_round_counts() {
        let round = |costs: [f64; 2]| {
            let step = |(at, cpu_us)| Step {
                sessions: at,
                cpu_us,
                per_second: 1.0,
                delivery: Percentiles::default(),
                datagrams_lost: 0.0,
            };
            costs.into_iter().enumerate().map(step).collect::<Vec<_>>()
        };
        let mut best = Vec::new();
        for costs in [[3.0, 5.0], [2.0, 6.0], [4.0, 4.5]] {
            keep(&mut best, round(costs));
        }
        let kept: Vec<_> = best.iter().map(|step| (step.sessions, step.cpu_us)).collect();
        assert_eq!(kept, [(0, 2.0), (1, 4.5)]);
    }
}
