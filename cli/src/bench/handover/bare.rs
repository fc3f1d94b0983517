//! The raw limits beside our clients: a raw server as a process of its own, with a subscriber over bare
//! quinn or a bare WebSocket. A stream of quinn goes on by itself; a WebSocket that breaks is opened
//! again at once and subscribes anew, and what was published meanwhile is lost to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use sterna_bench::client::Transport as Wire;
use sterna_bench::server::{START_DEADLINE, Server};
use sterna_bench::target::Prepared;
use sterna_bench_raw::client::Client;
use sterna_bench_raw::protocol::{DELIVERY, Message, SUBSCRIBED};
use sterna_client::{Position, Transport};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::bench::field;
use crate::bench::subscriber::Recorder;
use crate::bench::told::{Counts, Told, now_us};

/// All that is published goes there.
const CHANNEL: u32 = 1;

/// How long an attempt to connect may take, and when the next one follows one that fails.
const ATTEMPT: Duration = Duration::from_secs(3);
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Servers that are started before it is believed that none can be: somebody may take a port meanwhile.
const STARTS: u32 = 3;

/// A raw server; ends with this.
#[derive(Debug)]
pub(super) struct BareServer {
    _server: Server,
    _home: Option<TempDir>,
    pub(super) reach: Reach,
}

/// How its clients connect.
#[derive(Debug, Clone)]
pub(in crate::bench) struct Reach {
    transport: Transport,
    pub(in crate::bench) address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
}

impl BareServer {
    /// With a client that is connected.
    pub(super) async fn start(transport: Transport) -> Result<(Self, Client)> {
        let mut left = STARTS;
        loop {
            left -= 1;
            match Self::try_start(transport).await {
                Err(_) if left > 0 => {}
                outcome => return outcome,
            }
        }
    }

    async fn try_start(transport: Transport) -> Result<(Self, Client)> {
        let wire = match transport {
            Transport::Quic => Wire::Quic,
            Transport::WebSocket => Wire::Wss,
        };
        let Prepared { launch, tls, home, .. } = field::raw_server(wire, None)?;
        let mut server = Server::start(&launch)?;
        let reach = Reach { transport, address: launch.address, tls };
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            match reach.connect().await {
                Ok(client) => {
                    return Ok((Self { _server: server, _home: home, reach }, client));
                }
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context("a raw server lets nobody in"));
                }
                // An error when it has ended.
                Err(_) => server.usage().map(drop)?,
            }
            sleep(TRY_AGAIN).await;
        }
    }
}

impl Reach {
    /// By way of somebody who listens there.
    pub(in crate::bench) fn through(&self, address: SocketAddr) -> Self {
        Self { address, ..self.clone() }
    }

    async fn connect(&self) -> Result<Client> {
        let connecting = async {
            match self.transport {
                Transport::Quic => Client::quic(self.address, &self.tls).await,
                Transport::WebSocket => Client::wss(self.address, self.tls.clone()).await,
            }
        };
        timeout(ATTEMPT, connecting).await.context("no answer to a connect")?
    }

    async fn subscribe(&self) -> Result<Client> {
        let mut client = self.connect().await?;
        client.send(&Message::Subscribe(CHANNEL)).await?;
        Ok(client)
    }
}

/// What switches the network of a bare subscriber has of it.
#[derive(Debug)]
pub(in crate::bench) struct Bare {
    told: mpsc::Sender<()>,
    ends: watch::Receiver<u64>,
}

impl Bare {
    /// Also what is to run as a task: it tells the recorder what comes.
    pub(in crate::bench) async fn start(
        reach: Reach,
        recorder: Arc<Recorder>,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>)> {
        let client = reach.subscribe().await.context("a raw server cannot be reached")?;
        // Switches follow each other slowly.
        let (told, hears) = mpsc::channel(1);
        let (ended, ends) = watch::channel(0);
        let counts = Counts { transport: reach.transport.name().to_owned(), ..Counts::default() };
        recorder.record(Told::Counts(counts.clone()));
        let mut follower = Follower { reach, client, hears, ended, counts, recorder };
        let following = async move {
            if let Err(error) = follower.follow().await {
                follower.recorder.fail(format!("{error:#}"));
            }
        };
        Ok((Self { told, ends }, following))
    }

    pub(in crate::bench) async fn network_changed(&self) -> Result<()> {
        self.told.send(()).await.context("a bare client has ended")
    }

    /// Breaks its connection and waits until it has noticed.
    pub(in crate::bench) async fn broken_by(&mut self, cut: impl FnOnce()) -> Result<()> {
        self.ends.mark_unchanged();
        cut();
        self.ends.changed().await.context("a bare client has ended")
    }
}

struct Follower {
    reach: Reach,
    client: Client,
    hears: mpsc::Receiver<()>,
    ended: watch::Sender<u64>,
    counts: Counts,
    recorder: Arc<Recorder>,
}

impl Follower {
    /// Ends with an error only.
    async fn follow(&mut self) -> Result<()> {
        loop {
            tokio::select! {
                heard = self.client.next() => match heard {
                    Ok(message) => self.take(&message)?,
                    Err(error) if self.reach.transport == Transport::Quic => return Err(error),
                    Err(_) => self.come_again().await?,
                },
                Some(()) = self.hears.recv() => self.client.rebind()?,
            }
        }
    }

    fn take(&self, message: &[u8]) -> Result<()> {
        match message.split_first() {
            Some((&DELIVERY, payload)) => {
                let Position { epoch, offset } = position(payload)?;
                let (epoch, offset) = (epoch.0, offset.0);
                self.recorder.record(Told::Publication { at_us: now_us(), epoch, offset });
            }
            Some((&SUBSCRIBED, _)) => self.recorder.record(Told::Asked { anew: true }),
            _ => return Err(anyhow!("a raw server sent {message:?}")),
        }
        Ok(())
    }

    async fn come_again(&mut self) -> Result<()> {
        self.ended.send_modify(|ends| *ends += 1);
        let deadline = Instant::now() + START_DEADLINE;
        self.client = loop {
            match self.reach.subscribe().await {
                Ok(client) => break client,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(TRY_AGAIN).await,
            }
        };
        self.counts.reconnects += 1;
        self.recorder.record(Told::Counts(self.counts.clone()));
        Ok(())
    }
}

/// The publication that stands there: its number, and text behind it.
pub(in crate::bench) fn publication(position: Position, text: &[u8]) -> Message {
    let payload = [&position.offset.0.to_be_bytes()[..], text].concat();
    Message::Publish(CHANNEL, payload.into())
}

/// Publications are counted from one; there is a single epoch.
pub(in crate::bench) fn nth(count: u64) -> Position {
    Position::new(1, count)
}

fn position(payload: &[u8]) -> Result<Position> {
    let number = payload.first_chunk().context("a publication without a number")?;
    Ok(nth(u64::from_be_bytes(*number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_says_where_it_stands() {
        let Message::Publish(CHANNEL, payload) = publication(nth(7), b"text") else {
            panic!("nothing is published")
        };
        assert_eq!(position(&payload).unwrap(), nth(7));
        assert!(position(b"short").is_err());
    }
}
