//! A subscriber whose network can be changed, with the relay that is its way to the node and the
//! journal of what arrives. One task records; it ends with [`Subscriber::close`], or at once when
//! dropped.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use sterna_client::{ChannelId, Client, NetworkChange, Position, Subscribe, Transport};
use sterna_relay::{Relay, RelayConfig};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::journal::Journal;
use super::report::Kind;
use super::told::{self, Told};
use super::traveller::{self, Traveller};
use super::uplinks::Uplinks;
use crate::args::{ConnectArgs, TransportArg, TravellerArgs};
use crate::verbs::connect;

/// How long a hard switch leaves a client without any network.
pub(super) const DARKNESS: Duration = Duration::from_millis(100);

/// Longer than any recovery takes; reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Subscriber {
    transport: Transport,
    body: Body,
    relay: Relay,
    recorder: Arc<Recorder>,
    progress: watch::Receiver<Progress>,
    tasks: JoinSet<()>,
}

/// Where the client is.
#[derive(Debug)]
enum Body {
    /// In this process; its relay changes the network.
    Here(Client),
    /// In a network of its own, which changes.
    There(Box<Traveller>),
}

/// How far a subscription has come.
#[derive(Debug, Clone, Default)]
struct Progress {
    live: bool,
    position: Position,
    error: Option<String>,
}

impl Subscriber {
    /// Connects through a relay of its own and waits until the subscription is live.
    pub(super) async fn start(
        transport: Transport,
        channel: &ChannelId,
        args: &ConnectArgs,
        path: RelayConfig,
        uplinks: Option<&Uplinks>,
    ) -> Result<Self> {
        let relay = Relay::start(path).await.context("cannot start a relay")?;
        let (reports, progress) = watch::channel(Progress::default());
        let recorder = Arc::new(Recorder { journal: Mutex::default(), reports });
        let mut tasks = JoinSet::new();
        let address = relay.address();
        let body = match uplinks {
            None => start_here(transport, channel, args, address, &recorder, &mut tasks)?,
            Some(uplinks) => {
                let args = traveller_args(transport, channel, args, address)?;
                let (traveller, output) = Traveller::start(uplinks.command(), &args)?;
                tasks.spawn(traveller::record(output, Arc::clone(&recorder)));
                Body::There(Box::new(traveller))
            }
        };
        let mut subscriber = Self { transport, body, relay, recorder, progress, tasks };
        subscriber.wait(|progress| progress.live).await?;
        Ok(subscriber)
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.recorder.journal()
    }

    /// Waits until a publication at or after `position` has arrived.
    pub(super) async fn reach(&mut self, position: Position) -> Result<()> {
        self.wait(|progress| progress.position >= position).await
    }

    /// Changes the network under a client in this process; one in a network of its own is told
    /// that its network has changed.
    pub(super) async fn switch(&mut self, kind: Kind) -> Result<()> {
        match &mut self.body {
            Body::Here(client) => switch_relay(&self.relay, client, self.transport, kind).await,
            Body::There(_) if kind == Kind::None => Ok(()),
            Body::There(traveller) => traveller.network_changed().await,
        }
    }

    pub(super) async fn close(mut self) {
        if let Body::Here(client) = &self.body {
            connect::close(client).await;
        }
        self.tasks.shutdown().await;
        self.relay.shutdown().await;
    }

    async fn wait(&mut self, reached: impl Fn(&Progress) -> bool) -> Result<()> {
        let name = self.transport.name();
        let wait = self.progress.wait_for(|progress| reached(progress) || progress.error.is_some());
        let found = match timeout(PATIENCE, wait).await {
            Ok(Ok(progress)) => progress.clone(),
            Ok(Err(_)) => return Err(anyhow!("the subscription on {name} has ended")),
            Err(_) => return Err(anyhow!("nothing arrives on {name} for {PATIENCE:?}")),
        };
        match found.error {
            None => Ok(()),
            Some(error) => Err(anyhow!("the subscription on {name} has ended: {error}")),
        }
    }
}

fn transport_arg(transport: Transport) -> TransportArg {
    match transport {
        Transport::Quic => TransportArg::Quic,
        Transport::WebSocket => TransportArg::Wss,
    }
}

fn start_here(
    transport: Transport,
    channel: &ChannelId,
    args: &ConnectArgs,
    address: SocketAddr,
    recorder: &Arc<Recorder>,
    tasks: &mut JoinSet<()>,
) -> Result<Body> {
    let builder = connect::builder(args, transport_arg(transport))?.connect_to(address);
    let client = builder.build()?;
    let subscription = client.subscribe(channel, Subscribe::latest())?;
    let (telling, recorder) = (client.clone(), Arc::clone(recorder));
    tasks.spawn(async move {
        let record = |told| {
            recorder.record(told);
            Ok(())
        };
        if let Err(error) = told::tell(telling, subscription, record).await {
            recorder.fail(error.to_string());
        }
    });
    client.connect();
    Ok(Body::Here(client))
}

fn traveller_args(
    transport: Transport,
    channel: &ChannelId,
    args: &ConnectArgs,
    connect_to: SocketAddr,
) -> Result<TravellerArgs> {
    Ok(TravellerArgs {
        server: connect::Target::find(args)?.server,
        connect_to,
        channel: channel.clone(),
        transport: transport_arg(transport),
        data_dir: args.data_dir.clone(),
    })
}

async fn switch_relay(
    relay: &Relay,
    client: &Client,
    transport: Transport,
    kind: Kind,
) -> Result<()> {
    match kind {
        Kind::None => return Ok(()),
        Kind::Rebind => relay.rebind().await?,
        Kind::Address => relay.change_address().await?,
        Kind::Hard => {
            relay.block();
            relay.change_address().await?;
            tokio::time::sleep(DARKNESS).await;
        }
    }
    if transport == Transport::WebSocket {
        reset(relay, client).await?;
    }
    relay.unblock();
    if transport == Transport::WebSocket || kind == Kind::Hard {
        client.network_changed(NetworkChange::Path);
    }
    Ok(())
}

/// TCP does not survive what QUIC does. Reset at once, the client need not find out by silence.
async fn reset(relay: &Relay, client: &Client) -> Result<()> {
    let reconnects = client.statistics().reconnects;
    let mut states = client.states();
    relay.cut_tcp();
    let noticed = async {
        while let Some(state) = states.next().await {
            if !state.is_connected() || client.statistics().reconnects > reconnects {
                return;
            }
        }
    };
    timeout(PATIENCE, noticed).await.context("a client did not notice that it was reset")
}

/// Takes what a subscriber tells into its journal.
#[derive(Debug)]
pub(super) struct Recorder {
    journal: Mutex<Journal>,
    reports: watch::Sender<Progress>,
}

impl Recorder {
    pub(super) fn record(&self, told: Told) {
        match told {
            Told::Publication { at_us, epoch, offset } => {
                let position = Position::new(epoch, offset);
                self.journal().on_publication(at_us, position);
                self.reports.send_modify(|progress| {
                    progress.position = progress.position.max(position);
                });
            }
            Told::Asked { anew } => {
                self.journal().on_asked();
                self.reports.send_modify(|progress| progress.live |= anew);
            }
            Told::Counts(counts) => self.journal().on_counts(counts),
            Told::Error(error) => self.fail(error),
        }
    }

    pub(super) fn fail(&self, error: String) {
        self.reports.send_modify(|progress| progress.error = Some(error));
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
