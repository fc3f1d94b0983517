//! Clients that talk without a pause, spread over the edges, and what each of them heard. Their
//! tasks end with [`Talk::finish`], or at once when dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use sterna_client::{ChannelId, Client, Position, Subscribe};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::args::TransportArg;
use crate::bench::cluster::Cluster;
use crate::bench::cluster_args::RestartArgs;
use crate::bench::journal::Journal;
use crate::bench::publisher::Publisher;
use crate::bench::told::{self, Told};
use crate::verbs::connect;

/// Longer than any recovery takes; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Talk {
    parts: Vec<Part>,
    tasks: JoinSet<Result<()>>,
}

/// One channel: who speaks in it, and who listens.
struct Part {
    speaking: Client,
    publisher: Publisher,
    made: Position,
    listeners: Vec<Listener>,
}

struct Listener {
    client: Client,
    journal: Arc<Mutex<Journal>>,
}

/// What became of all that was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) acked: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
}

impl Talk {
    pub(super) async fn start(cluster: &Cluster, args: &RestartArgs) -> Result<Self> {
        let mut tasks = JoinSet::new();
        let mut parts = Vec::new();
        for n in 0..args.channels as usize {
            parts.push(Part::start(cluster, n, args.rate, &mut tasks).await?);
        }
        Ok(Self { parts, tasks })
    }

    /// Of each listener, in a window of time.
    pub(super) fn longest_silences(&self, from_us: u64, to_us: u64) -> Vec<Duration> {
        self.listeners().map(|it| it.journal().longest_silence(from_us, to_us)).collect()
    }

    /// Of everybody so far.
    pub(super) fn reconnects(&self) -> u64 {
        let clients = self.listeners().map(|listener| &listener.client);
        clients
            .chain(self.parts.iter().map(|part| &part.speaking))
            .map(|client| client.statistics().reconnects + client.statistics().handovers)
            .sum()
    }

    /// Ends the talk when everybody has heard everything.
    pub(super) async fn finish(mut self) -> Result<Verdict> {
        let mut verdict = Verdict::default();
        for mut part in self.parts {
            let acked = part.publisher.stop().await?;
            let last = acked.iter().max().copied().unwrap_or_default();
            for listener in &part.listeners {
                timeout(PATIENCE, listener.reach(last))
                    .await
                    .map_err(|_| anyhow!("a subscriber has not heard everything in time"))?;
                let judged = listener.journal().judge(&acked, part.made, last);
                verdict.lost += judged.lost;
                verdict.duplicated += judged.duplicated;
                connect::close(&listener.client).await;
            }
            verdict.acked += acked.len() as u64;
            connect::close(&part.speaking).await;
        }
        self.tasks.shutdown().await;
        Ok(verdict)
    }

    fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.parts.iter().flat_map(|part| &part.listeners)
    }
}

impl Part {
    async fn start(
        cluster: &Cluster,
        n: usize,
        rate: u32,
        tasks: &mut JoinSet<Result<()>>,
    ) -> Result<Self> {
        let channel = ChannelId::new(&format!("bench:restart-{n}"))?;
        let transport = if n.is_multiple_of(2) { TransportArg::Quic } else { TransportArg::Wss };
        let speaking = connect::client(&cluster.connect_args(n)?, transport)?;
        speaking.connect();
        speaking.ready(PATIENCE).await.context("the cluster cannot be reached")?;
        // Makes the channel, so that there is something to subscribe to.
        let made = speaking.publish(&channel, "made for a bench").await?.position;
        let mut listeners = Vec::new();
        for (at, transport) in [TransportArg::Quic, TransportArg::Wss].into_iter().enumerate() {
            let client = connect::client(&cluster.connect_args(n + at)?, transport)?;
            listeners.push(Listener::start(client, &channel, tasks).await?);
        }
        let publisher = Publisher::start(speaking.clone(), channel, rate);
        Ok(Self { speaking, publisher, made, listeners })
    }
}

impl Listener {
    async fn start(
        client: Client,
        channel: &ChannelId,
        tasks: &mut JoinSet<Result<()>>,
    ) -> Result<Self> {
        let subscription = client.subscribe(channel, Subscribe::latest())?;
        let journal = Arc::new(Mutex::new(Journal::default()));
        let listener = Self { client: client.clone(), journal: Arc::clone(&journal) };
        tasks.spawn(told::tell(client.clone(), subscription, move |told| {
            let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            match told {
                Told::Publication { at_us, epoch, offset } => {
                    journal.on_publication(at_us, Position::new(epoch, offset));
                }
                Told::Asked { .. } => journal.on_asked(),
                Told::Counts(counts) => journal.on_counts(counts),
                Told::Error(error) => return Err(anyhow!("a subscription has ended: {error}")),
            }
            Ok(())
        }));
        client.connect();
        client.ready(PATIENCE).await.context("the cluster cannot be reached")?;
        while listener.journal().asked() == 0 {
            sleep(LOOK_AGAIN).await;
        }
        Ok(listener)
    }

    async fn reach(&self, position: Position) {
        while self.journal().last().is_none_or(|last| last < position) {
            sleep(LOOK_AGAIN).await;
        }
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(20);
