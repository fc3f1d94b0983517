//! Publishes at a steady rate, straight to the node, and remembers what was acknowledged. One
//! task; it ends with [`Publisher::stop`], or at once when dropped.

use std::future::IntoFuture as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use sterna_bench_raw::client::Client as BareClient;
use sterna_client::{Ack, ChannelId, Client, Error, Position};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::handover::{nth, publication};

/// Publications that await their reply. Full: the next ones are left out.
const IN_FLIGHT: usize = 128;

/// As long as a short text.
const PAYLOAD: &[u8] = b"Are you still there? I am on the train, and the tunnel is coming.";

#[derive(Debug)]
pub(super) struct Publisher {
    acked: Arc<Mutex<Vec<Position>>>,
    stopped: CancellationToken,
    tasks: JoinSet<Result<()>>,
}

impl Publisher {
    pub(super) fn start(client: Client, channel: ChannelId, rate: u32) -> Self {
        Self::with(|acked, stopped| run(client, channel, every(rate), acked, stopped))
    }

    /// The same to a raw server.
    pub(super) fn start_bare(client: BareClient, rate: u32) -> Self {
        Self::with(|acked, stopped| run_bare(client, every(rate), acked, stopped))
    }

    fn with<F>(run: impl FnOnce(Arc<Mutex<Vec<Position>>>, CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let acked = Arc::new(Mutex::new(Vec::new()));
        let stopped = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(run(Arc::clone(&acked), stopped.clone()));
        Self { acked, stopped, tasks }
    }

    /// The highest position that was acknowledged.
    pub(super) fn head(&self) -> Position {
        let acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        acked.iter().max().copied().unwrap_or_default()
    }

    /// Stops and gives every position that was acknowledged.
    pub(super) async fn stop(&mut self) -> Result<Vec<Position>> {
        self.stopped.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended?.context("a publication was refused")?;
        }
        Ok(std::mem::take(&mut *self.acked.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

async fn run(
    client: Client,
    channel: ChannelId,
    every: Duration,
    acked: Arc<Mutex<Vec<Position>>>,
    stopped: CancellationToken,
) -> Result<()> {
    let mut ticks = ticks(every);
    let mut sends = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = stopped.cancelled() => break,
            Some(ack) = sends.next() => {
                let ack: Result<Ack, Error> = ack;
                keep(&acked, ack?.position);
            }
            _ = ticks.tick(), if sends.len() < IN_FLIGHT => {
                sends.push(client.publish(&channel, PAYLOAD).start().into_future());
            }
        }
    }
    while let Some(ack) = sends.next().await {
        keep(&acked, ack?.position);
    }
    Ok(())
}

/// A raw server acknowledges in the order in which it was told.
async fn run_bare(
    mut client: BareClient,
    every: Duration,
    acked: Arc<Mutex<Vec<Position>>>,
    stopped: CancellationToken,
) -> Result<()> {
    let mut ticks = ticks(every);
    let (mut sent, mut answered) = (0, 0);
    while sent > answered || !stopped.is_cancelled() {
        let goes_on = !stopped.is_cancelled();
        tokio::select! {
            () = stopped.cancelled(), if goes_on => {}
            answer = client.next() => {
                answer?;
                answered += 1;
                keep(&acked, nth(answered));
            }
            _ = ticks.tick(), if goes_on && sent - answered < IN_FLIGHT as u64 => {
                sent += 1;
                client.send(&publication(nth(sent), PAYLOAD)).await?;
            }
        }
    }
    Ok(())
}

fn every(rate: u32) -> Duration {
    Duration::from_secs(1) / rate
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

fn keep(acked: &Mutex<Vec<Position>>, position: Position) {
    acked.lock().unwrap_or_else(PoisonError::into_inner).push(position);
}
