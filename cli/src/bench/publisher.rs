//! Publishes at a steady rate, straight to the node, and remembers what was acknowledged. One
//! task; it ends with [`Publisher::stop`], or at once when dropped.

use std::future::IntoFuture as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use sterna_client::{ChannelId, Client, Error, Position};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Publications that await their reply. Full: the next ones are left out.
const IN_FLIGHT: usize = 128;

/// As long as a short text.
const PAYLOAD: &[u8] = b"Are you still there? I am on the train, and the tunnel is coming.";

#[derive(Debug)]
pub(super) struct Publisher {
    acked: Arc<Mutex<Vec<Position>>>,
    stopped: CancellationToken,
    tasks: JoinSet<Result<(), Error>>,
}

impl Publisher {
    pub(super) fn start(client: Client, channel: ChannelId, rate: u32) -> Self {
        let acked = Arc::new(Mutex::new(Vec::new()));
        let stopped = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let every = Duration::from_secs(1) / rate;
        tasks.spawn(run(client, channel, every, Arc::clone(&acked), stopped.clone()));
        Self { acked, stopped, tasks }
    }

    /// The highest position that was acknowledged.
    pub(super) fn head(&self) -> Position {
        let acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        acked.iter().max().copied().unwrap_or_default()
    }

    /// Stops and gives every position that was acknowledged.
    pub(super) async fn stop(mut self) -> Result<Vec<Position>> {
        self.stopped.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended?.map_err(|error| anyhow!("a publication was refused: {error}"))?;
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
) -> Result<(), Error> {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut sends = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = stopped.cancelled() => break,
            Some(ack) = sends.next() => keep(&acked, ack?),
            _ = ticks.tick(), if sends.len() < IN_FLIGHT => {
                sends.push(client.publish(&channel, PAYLOAD).start().into_future());
            }
        }
    }
    while let Some(ack) = sends.next().await {
        keep(&acked, ack?);
    }
    Ok(())
}

fn keep(acked: &Mutex<Vec<Position>>, ack: sterna_client::Ack) {
    acked.lock().unwrap_or_else(PoisonError::into_inner).push(ack.position);
}
