//! What a session costs that does nothing: memory of the server's process for each, and what the
//! kernel keeps for its socket.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::peers_may_fail;
use crate::foreign::{Foreign, ORDER_MARGIN};
use crate::machine;
use crate::progress::Progress;
use crate::report::{Column, Plot, Report, Row, Series};
use crate::target::Target;

#[derive(Debug, Clone)]
pub struct Options {
    /// Sessions at which memory is read, ascending.
    pub sessions: Vec<usize>,
}

struct Reading {
    sessions: usize,
    resident: u64,
    sockets: u64,
}

pub async fn run(options: &Options, targets: &[Target], progress: &Progress) -> Result<Report> {
    let method = format!(
        "sessions that have greeted the server, exchanged one message and then say nothing; resident \
         memory of the server's process above that with none, read at {:?} sessions; socket buffers \
         of the kernel, both ends, apart",
        options.sessions
    );
    let mut report = Report::new("idle", method, COLUMNS);
    let mut plot = Plot::new("Memory against sessions", "sessions", "MiB above an empty server");
    for target in targets {
        let readings = measure(options, target, progress).await;
        let Some(readings) = peers_may_fail(target, readings, &mut report.notes)? else { continue };
        let Some((last, base)) = readings.last().zip(readings.first()) else { continue };
        let sessions = (last.sessions - base.sessions).max(1) as f64;
        let per_session = (last.resident.saturating_sub(base.resident)) as f64 / sessions;
        let sockets = last.sockets.saturating_sub(base.sockets) as f64 / sessions;
        let base_mib = base.resident as f64 / MIB;
        report.rows.push(Row::new(target, &[last.sessions as f64, per_session, sockets, base_mib]));
        let points = readings
            .iter()
            .map(|it| (it.sessions as f64, it.resident.saturating_sub(base.resident) as f64 / MIB));
        plot.series.push(Series { name: target.name.clone(), points: points.collect() });
    }
    report.plots.push(plot);
    report.compare("bytes_per_session");
    Ok(report)
}

const COLUMNS: &[Column] = &[
    Column::new("sessions", "sessions", 0),
    Column::new("bytes_per_session", "bytes / session", 0),
    Column::new("kernel_bytes_per_session", "kernel bytes", 0),
    Column::new("base_mib", "empty MiB", 1),
];

async fn measure(options: &Options, target: &Target, progress: &Progress) -> Result<Vec<Reading>> {
    if let Some(foreign) = target.foreign(&["idle".to_owned()]).await? {
        return measure_foreign(options, target, foreign, progress).await;
    }
    let mut running = target.start().await?;
    let mut clients = Vec::new();
    let mut readings = Vec::new();
    // The first few make the server load what all of them share.
    for &wanted in std::iter::once(&FIRST).chain(&options.sessions) {
        let more = wanted.saturating_sub(clients.len());
        progress.next(target.name.clone(), more as u64);
        clients.extend(running.gather(more, |_| None, progress).await?);
        sleep(SETTLE).await;
        let resident = running.server.usage()?.resident;
        readings.push(Reading {
            sessions: clients.len(),
            resident,
            sockets: machine::socket_bytes(),
        });
    }
    let ended = running.meter().counts().ended;
    ensure!(ended == 0, "{} ended {ended} of its sessions", target.name);
    Ok(readings)
}

async fn measure_foreign(
    options: &Options,
    target: &Target,
    mut foreign: Foreign,
    progress: &Progress,
) -> Result<Vec<Reading>> {
    let mut readings = Vec::new();
    for &wanted in std::iter::once(&FIRST).chain(&options.sessions) {
        progress.next(target.name.clone(), wanted as u64);
        foreign.order(wanted as u64, ORDER_MARGIN).await?;
        sleep(SETTLE).await;
        // Asked again: how many there are now.
        let done = foreign.order(wanted as u64, ORDER_MARGIN).await?;
        let ended = done.number(&["ended"])?;
        ensure!(ended == 0.0, "{} ended {ended} of its sessions", target.name);
        readings.push(Reading {
            sessions: done.number(&["sessions"])? as usize,
            resident: foreign.usage()?.resident,
            sockets: machine::socket_bytes(),
        });
    }
    Ok(readings)
}

const FIRST: usize = 50;

/// Acknowledgements that are still on their way, buffers that are given back.
const SETTLE: Duration = Duration::from_secs(2);

const MIB: f64 = 1024.0 * 1024.0;
