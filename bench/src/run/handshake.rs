//! What it costs to let a client in: connect, greet, leave, a few at a time; first with full
//! handshakes, then with resumed ones. A resumed handshake shows no certificate, and certificates are
//! counted: that is the proof.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::{DATAGRAMS_LOST, Window, peers_may_fail};
use crate::client::{Access, Client, quic, tls};
use crate::foreign::{Foreign, ORDER_MARGIN};
use crate::meter::{self, Percentiles};
use crate::progress::Progress;
use crate::report::{ABSENT, Column, Report, Row};
use crate::target::{Running, Target};

#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Connects at a time.
    pub concurrent: u32,
    /// How long a round watches each of both kinds on one target.
    pub duration: Duration,
    pub rounds: u32,
}

/// What one target did in one round with one kind of handshake.
#[derive(Debug, Clone)]
struct Half {
    cpu_us: f64,
    per_second: f64,
    connect: Percentiles,
    /// Of all handshakes.
    resumed: f64,
    datagrams_lost: f64,
}

pub async fn run(options: &Options, targets: &[Target], progress: &Progress) -> Result<Report> {
    let mut best: Vec<[Option<Half>; 2]> = vec![[None, None]; targets.len()];
    let mut notes = Vec::new();
    for round in 1..=options.rounds {
        for (target, best) in targets.iter().zip(&mut best) {
            let what = format!("{} (round {round} of {})", target.name, options.rounds);
            progress.lasts(what, 2 * (WARM_UP + options.duration));
            let measured = measure(options, target).await;
            let Some(halves) = peers_may_fail(target, measured, &mut notes)? else { continue };
            for (best, half) in best.iter_mut().zip(halves) {
                if best.as_ref().is_none_or(|best| half.cpu_us < best.cpu_us) {
                    *best = Some(half);
                }
            }
        }
    }
    let mut report = Report::new("handshake", method(options), COLUMNS);
    report.notes = notes;
    for (target, [full, resumed]) in targets.iter().zip(&best) {
        let (Some(full), Some(resumed)) = (full, resumed) else { continue };
        report.rows.push(Row::new(target, &values(full, resumed)));
    }
    report.compare("full_per_cpu_second");
    Ok(report)
}

fn values(full: &Half, resumed: &Half) -> Vec<f64> {
    vec![
        1e6 / full.cpu_us,
        full.cpu_us,
        full.per_second,
        full.connect.p50 / 1e3,
        full.connect.p99 / 1e3,
        1e6 / resumed.cpu_us,
        resumed.cpu_us,
        resumed.resumed * 100.0,
        full.datagrams_lost + resumed.datagrams_lost,
    ]
}

const COLUMNS: &[Column] = &[
    Column::new("full_per_cpu_second", "full / CPU s", 0),
    Column::new("cpu_us_full", "CPU µs", 1),
    Column::new("full_per_second", "full / s", 0),
    Column::new("connect_ms_p50", "p50 ms", 2),
    Column::new("connect_ms_p99", "p99 ms", 2),
    Column::new("resumed_per_cpu_second", "resumed / CPU s", 0),
    Column::new("cpu_us_resumed", "CPU µs", 1),
    Column::new("resumed_percent", "resumed %", 1),
    DATAGRAMS_LOST,
];

fn method(options: &Options) -> String {
    format!(
        "connect, greet, leave, {} at a time, TLS 1.3; best of {} rounds of {:?}; CPU time is the \
         server's alone; resumed: with tickets, and counted as such when the server showed no \
         certificate",
        options.concurrent, options.rounds, options.duration
    )
}

async fn measure(options: &Options, target: &Target) -> Result<[Half; 2]> {
    let work = ["connects".to_owned(), options.concurrent.to_string()];
    if let Some(foreign) = target.foreign(&work).await? {
        return measure_foreign(options, foreign).await;
    }
    let mut running = target.start().await?;
    let config = running.access.tls.clone();
    let full = access(&running, tls::forgetful(&config))?;
    connects(options, &full, WARM_UP).await?;
    let full = half(options, &mut running, &full).await?;
    let resumed = access(&running, tls::remembering(&config))?;
    // The first handshakes are full ones, and bring the tickets for the others.
    connects(options, &resumed, WARM_UP).await?;
    let resumed = half(options, &mut running, &resumed).await?;
    ensure!(
        full.resumed == 0.0,
        "{} resumed {:.1} % of connections whose client remembered nothing",
        target.name,
        full.resumed * 100.0
    );
    Ok([full, resumed])
}

/// Its own client resumes nothing as long as the authorities that it trusts are a file.
async fn measure_foreign(options: &Options, mut foreign: Foreign) -> Result<[Half; 2]> {
    let mut connect = async |duration: Duration| {
        foreign.order(duration.as_millis() as u64, duration + ORDER_MARGIN).await
    };
    connect(WARM_UP).await?;
    let done = connect(options.duration).await?;
    let count = done.number(&["count"])?;
    let full = Half {
        cpu_us: done.cpu_us(count),
        per_second: count / done.number(&["seconds"])?,
        connect: Percentiles {
            p50: done.number(&["connect_us", "p50"])?,
            p99: done.number(&["connect_us", "p99"])?,
            ..Percentiles::default()
        },
        resumed: 0.0,
        datagrams_lost: ABSENT,
    };
    let none = Half {
        cpu_us: ABSENT,
        per_second: ABSENT,
        connect: Percentiles::default(),
        resumed: ABSENT,
        datagrams_lost: ABSENT,
    };
    Ok([full, none])
}

/// The same server with another memory of it.
fn access(running: &Running, tls: Arc<rustls::ClientConfig>) -> Result<Access> {
    let access = running.access.clone();
    let quic = match access.quic {
        Some(_) => Some(quic::Endpoints::new(&tls, access.dialect.alpn())?),
        None => None,
    };
    Ok(Access { tls, quic, ..access })
}

async fn half(options: &Options, running: &mut Running, access: &Access) -> Result<Half> {
    let certificates = tls::certificates_shown();
    let (window, (count, times)) =
        Window::of(running, async |_| connects(options, access, options.duration).await).await?;
    let shown = tls::certificates_shown() - certificates;
    Ok(Half {
        cpu_us: window.cpu_us(count),
        per_second: window.per_second(count),
        connect: Percentiles::of(&times),
        resumed: 1.0 - shown as f64 / count.max(1) as f64,
        datagrams_lost: window.datagrams_lost(access.transport),
    })
}

/// Lets clients come and go for `duration`: how many, and how long each took to get in.
async fn connects(
    options: &Options,
    access: &Access,
    duration: Duration,
) -> Result<(u64, Histogram<u64>)> {
    let until = Instant::now() + duration;
    let count = Cell::new(0);
    let come_and_go = async |index: u32| -> Result<Histogram<u64>> {
        let mut times = meter::histogram();
        while Instant::now() < until {
            let began = Instant::now();
            let client = Client::connect(access, &format!("visitor-{index}")).await?;
            times.saturating_record(began.elapsed().as_nanos() as u64);
            client.leave().await?;
            count.set(count.get() + 1);
        }
        Ok(times)
    };
    let mut times = meter::histogram();
    for part in try_join_all((0..options.concurrent).map(come_and_go)).await? {
        times.add(part)?;
    }
    Ok((count.get(), times))
}

const WARM_UP: Duration = Duration::from_millis(500);
