//! The measurements. Each brings up its targets one after the other, in rounds, so that what the
//! machine does meanwhile meets all of them; the best round of each counts, as it is the least
//! disturbed.

pub mod commit;
mod failure;
pub mod fanout;
pub mod handshake;
pub mod idle;
pub mod latency;
mod listeners;
pub mod load;
pub mod node_metrics;
mod pace;
pub mod publish;
pub mod scale;
pub mod stalls;
pub mod storm;

use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use crate::client::Transport;
use crate::machine;
use crate::meter::Counts;
use crate::report::{ABSENT, Column};
use crate::target::{Part, Running, Target};

/// What happened in a stretch of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) took: Duration,
    /// Processor time of the server, with all its processes.
    pub(crate) cpu: Duration,
    /// Of this process, which is the load generator.
    pub(crate) own_cpu: Duration,
    /// UDP datagrams that sockets had no room for, here or at the server.
    datagrams_lost: Option<u64>,
    pub(crate) counts: Counts,
}

impl Window {
    /// Watches a server while `work` goes on.
    pub(crate) async fn of<T>(
        running: &mut Running,
        work: impl AsyncFnOnce(&Running) -> Result<T>,
    ) -> Result<(Self, T)> {
        let own = || machine::usage(std::process::id()).map(|usage| usage.cpu);
        let (before, counts, began) = (running.usage()?, running.meter().counts(), Instant::now());
        let (own_before, lost) = (own()?, machine::datagrams_lost());
        let outcome = work(running).await?;
        let (after, now) = (running.usage()?, running.meter().counts());
        let window = Self {
            took: began.elapsed(),
            cpu: after.cpu.saturating_sub(before.cpu),
            own_cpu: own()?.saturating_sub(own_before),
            datagrams_lost: machine::datagrams_lost_since(lost),
            counts: Counts {
                published: now.published - counts.published,
                acked: now.acked - counts.acked,
                delivered: now.delivered - counts.delivered,
                refused: now.refused - counts.refused,
                ended: now.ended - counts.ended,
            },
        };
        Ok((window, outcome))
    }

    /// Microseconds of the server's processor time for each of `count`.
    pub(crate) fn cpu_us(&self, count: u64) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / count.max(1) as f64
    }

    /// A figure of those on QUIC.
    pub(crate) fn datagrams_lost(&self, transport: Transport) -> f64 {
        let lost = self.datagrams_lost.filter(|_| transport == Transport::Quic);
        lost.map_or(ABSENT, |count| count as f64)
    }

    /// Of one processor.
    pub(crate) fn percent(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() / self.took.as_secs_f64() * 100.0
    }

    pub(crate) fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.took.as_secs_f64()
    }
}

/// With QUIC whoever sent a datagram that is lost sends it again and pays for that, and whoever loses an
/// acknowledgement saves what it would have cost: with either, figures say little of the server.
pub(crate) const DATAGRAMS_LOST: Column = Column::new("datagrams_lost", "datagrams lost", 0);

/// A peer that fails is left out, and the report says why; anybody else's failure ends the
/// measurement.
pub(crate) fn peers_may_fail<T>(
    target: &Target,
    outcome: Result<T>,
    notes: &mut Vec<String>,
) -> Result<Option<T>> {
    match outcome {
        Ok(measured) => Ok(Some(measured)),
        Err(error) if target.part == Part::Peer => {
            let note = format!("{} could not be measured: {error:#}", target.name);
            if !notes.contains(&note) {
                notes.push(note);
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
