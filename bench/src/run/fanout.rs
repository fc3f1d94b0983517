//! What a delivery costs: publications to channels with many subscribers, either as fast as they
//! are delivered, or at a pace.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{DATAGRAMS_LOST, Window, peers_may_fail};
use crate::client::Client;
use crate::foreign::{Foreign, ORDER_MARGIN};
use crate::machine;
use crate::meter::Percentiles;
use crate::progress::Progress;
use crate::report::{ABSENT, Column, Report, Row};
use crate::target::{Running, Target};

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub channels: u32,
    /// Of each channel.
    pub subscribers: u32,
    pub payload_bytes: usize,
    pub pace: Pace,
    /// How long one round watches one target.
    pub duration: Duration,
    pub rounds: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many publications are on their way to their subscribers at any time.
    Saturated { in_flight: u32 },
    /// Publications a second, over all channels.
    Paced(f64),
}

/// What one target did in one round.
#[derive(Debug, Clone)]
struct Round {
    cpu_us: f64,
    per_second: f64,
    delivery: Percentiles,
    datagrams_lost: f64,
    /// Deliveries that a peer has given up, and how many were due; with us that fails.
    lost: (f64, f64),
}

pub async fn run(options: &Options, targets: &[Target], progress: &Progress) -> Result<Report> {
    let mut best: Vec<Option<Round>> = vec![None; targets.len()];
    let mut notes = Vec::new();
    for round in 1..=options.rounds {
        for (target, best) in targets.iter().zip(&mut best) {
            progress.next(
                format!("{} (round {round} of {})", target.name, options.rounds),
                u64::from(options.channels * options.subscribers),
            );
            let measured = measure(options, target, progress).await;
            let Some(measured) = peers_may_fail(target, measured, &mut notes)? else { continue };
            if best.as_ref().is_none_or(|best| measured.cpu_us < best.cpu_us) {
                *best = Some(measured);
            }
        }
    }
    let mut report = Report::new("fanout", method(options), COLUMNS);
    report.notes = notes;
    for (target, round) in targets.iter().zip(best) {
        let Some(round) = round else { continue };
        report.notes.extend(given_up(target, round.lost));
        report.rows.push(Row::new(
            target,
            &[
                1e6 / round.cpu_us,
                round.cpu_us,
                round.per_second,
                round.delivery.p50 / 1e3,
                round.delivery.p99 / 1e3,
                round.delivery.p999 / 1e3,
                round.datagrams_lost,
            ],
        ));
    }
    report.compare("deliveries_per_cpu_second");
    Ok(report)
}

fn given_up(target: &Target, (lost, due): (f64, f64)) -> Option<String> {
    (lost > 0.0).then(|| {
        let percent = lost / due * 100.0;
        format!("{} gave up {lost:.0} of {due:.0} deliveries ({percent:.2} %)", target.name)
    })
}

const COLUMNS: &[Column] = &[
    Column::new("deliveries_per_cpu_second", "deliveries / CPU s", 0),
    Column::new("cpu_us_per_delivery", "CPU µs", 2),
    Column::new("deliveries_per_second", "deliveries / s", 0),
    Column::new("delivery_ms_p50", "p50 ms", 2),
    Column::new("delivery_ms_p99", "p99 ms", 2),
    Column::new("delivery_ms_p999", "p99.9 ms", 2),
    DATAGRAMS_LOST,
];

fn method(options: &Options) -> String {
    let pace = match options.pace {
        Pace::Saturated { in_flight } => {
            format!("as fast as they are delivered, {in_flight} on their way at a time")
        }
        Pace::Paced(rate) => format!("{rate} publications a second in all"),
    };
    format!(
        "{} channels of {} subscribers, {} bytes, {pace}; best of {} rounds of {:?}; CPU time is the \
         server's alone",
        options.channels,
        options.subscribers,
        options.payload_bytes,
        options.rounds,
        options.duration
    )
}

async fn measure(options: &Options, target: &Target, progress: &Progress) -> Result<Round> {
    if let Some(foreign) = target.foreign(&foreign_work(options)).await? {
        return measure_foreign(options, foreign).await;
    }
    let mut running = target.start().await?;
    let count = (options.channels * options.subscribers) as usize;
    let channel = |index: usize| Some(index as u32 % options.channels);
    let subscribers = running.gather(count, channel, progress).await?;
    let publishers =
        running.gather(options.channels.min(PUBLISHERS) as usize, |_| None, progress).await?;
    drive(options, &running, &publishers, WARM_UP).await?;
    running.meter().take_times();
    let (window, ()) = Window::of(&mut running, async |running| {
        drive(options, running, &publishers, options.duration).await
    })
    .await?;
    let (delivery, _) = running.meter().take_times();
    let counts = window.counts;
    ensure!(
        counts.refused == 0 && counts.ended == 0,
        "{} refused {} times and ended {} connections: {}",
        target.name,
        counts.refused,
        counts.ended,
        running.meter().last_refusal(),
    );
    drop(subscribers);
    Ok(Round {
        cpu_us: window.cpu_us(counts.delivered),
        per_second: window.per_second(counts.delivered),
        delivery,
        datagrams_lost: window.datagrams_lost(target.transport),
        lost: (0.0, 0.0),
    })
}

/// The same, as the program of a peer's clients understands it.
fn foreign_work(options: &Options) -> Vec<String> {
    let Options { channels, subscribers, payload_bytes, pace, .. } = options;
    let mut words = vec!["fanout".to_owned()];
    words.extend([channels, subscribers].map(ToString::to_string));
    words.push(payload_bytes.to_string());
    words.extend(match pace {
        Pace::Saturated { in_flight } => ["flight".to_owned(), in_flight.to_string()],
        Pace::Paced(rate) => ["rate".to_owned(), rate.to_string()],
    });
    words
}

async fn measure_foreign(options: &Options, mut foreign: Foreign) -> Result<Round> {
    let mut publish = async |duration: Duration| {
        foreign.order(duration.as_millis() as u64, duration + ORDER_MARGIN).await
    };
    publish(WARM_UP).await?;
    let before = machine::datagrams_lost();
    let done = publish(options.duration).await?;
    let datagrams_lost = machine::datagrams_lost_since(before).map_or(ABSENT, |it| it as f64);
    let (delivered, lost) = (done.number(&["delivered"])?, done.number(&["lost"])?);
    let time = |name| done.number(&["delivery_us", name]);
    Ok(Round {
        cpu_us: done.cpu_us(delivered),
        per_second: delivered / done.number(&["seconds"])?,
        delivery: Percentiles {
            p50: time("p50")?,
            p99: time("p99")?,
            p999: time("p999")?,
            ..Percentiles::default()
        },
        datagrams_lost,
        lost: (lost, done.number(&["published"])? * f64::from(options.subscribers)),
    })
}

async fn drive(
    options: &Options,
    running: &Running,
    publishers: &[Client],
    duration: Duration,
) -> Result<()> {
    let meter = running.meter();
    let fan = u64::from(options.subscribers);
    let until = Instant::now() + duration;
    let before = meter.counts().delivered;
    let mut published = 0;
    let mut ticks = ticks(options.pace);
    while Instant::now() < until {
        let in_flight = match (&options.pace, &mut ticks) {
            (Pace::Saturated { in_flight }, _) => u64::from(*in_flight),
            (Pace::Paced(_), Some(ticks)) => {
                ticks.tick().await;
                u64::MAX
            }
            (Pace::Paced(_), None) => unreachable!("a pace has ticks"),
        };
        let payload = meter.payload(options.payload_bytes);
        let channel = (published % u64::from(options.channels)) as u32;
        // Always the same client: some peers deliver to whoever else may publish.
        publishers[channel as usize % publishers.len()].publish(channel, &payload).await?;
        published += 1;
        let arrived = before + published.saturating_sub(in_flight) * fan;
        timeout(DELIVERY_DEADLINE, meter.delivered(arrived)).await?;
    }
    // The window ends with the last delivery, so that no work is counted without its result.
    timeout(DELIVERY_DEADLINE, meter.delivered(before + published * fan)).await?;
    Ok(())
}

fn ticks(pace: Pace) -> Option<tokio::time::Interval> {
    let Pace::Paced(rate) = pace else { return None };
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    Some(ticks)
}

/// Connections that publish and do not subscribe.
const PUBLISHERS: u32 = 16;
const WARM_UP: Duration = Duration::from_millis(700);
const DELIVERY_DEADLINE: Duration = Duration::from_secs(30);
