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

use super::handover::{Bare, Kind, Reach};
use super::journal::Journal;
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
    /// In this process, and none of ours: the raw limit.
    Bare(Bare),
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
        let (recorder, progress) = Recorder::new();
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

    /// The same over a bare connection to a raw server.
    pub(super) async fn start_bare(
        transport: Transport,
        server: &Reach,
        path: RelayConfig,
    ) -> Result<Self> {
        let path = RelayConfig { target: server.address, ..path };
        let relay = Relay::start(path).await.context("cannot start a relay")?;
        let (recorder, progress) = Recorder::new();
        let reach = server.through(relay.address());
        let (bare, following) = Bare::start(reach, Arc::clone(&recorder)).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(following);
        let mut subscriber =
            Self { transport, body: Body::Bare(bare), relay, recorder, progress, tasks };
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
        if kind == Kind::None {
            return Ok(());
        }
        if let Body::There(traveller) = &mut self.body {
            return traveller.network_changed().await;
        }
        switch_relay(&self.relay, kind).await?;
        let breaks = self.transport == Transport::WebSocket;
        if breaks {
            self.reset().await?;
        }
        self.relay.unblock();
        if breaks || kind == Kind::Hard {
            self.network_changed().await?;
        }
        Ok(())
    }

    /// TCP does not survive what QUIC does. Reset at once, the client need not find out by silence.
    async fn reset(&mut self) -> Result<()> {
        let noticed = async {
            match &mut self.body {
                Body::Here(client) => reset(&self.relay, client).await,
                Body::Bare(bare) => bare.broken_by(|| self.relay.cut_tcp()).await?,
                Body::There(_) => {}
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, noticed).await.context("a client did not notice that it was reset")?
    }

    async fn network_changed(&mut self) -> Result<()> {
        match &mut self.body {
            Body::Here(client) => client.network_changed(NetworkChange::Path),
            Body::Bare(bare) => bare.network_changed().await?,
            Body::There(traveller) => traveller.network_changed().await?,
        }
        Ok(())
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

/// Afterwards a hard switch is still dark.
async fn switch_relay(relay: &Relay, kind: Kind) -> Result<()> {
    match kind {
        Kind::None => {}
        Kind::Rebind => relay.rebind().await?,
        Kind::Address => relay.change_address().await?,
        Kind::Hard => {
            relay.block();
            relay.change_address().await?;
            tokio::time::sleep(DARKNESS).await;
        }
    }
    Ok(())
}

/// Breaks the connection and waits until the client has noticed.
async fn reset(relay: &Relay, client: &Client) {
    let reconnects = client.statistics().reconnects;
    let mut states = client.states();
    relay.cut_tcp();
    while let Some(state) = states.next().await {
        if !state.is_connected() || client.statistics().reconnects > reconnects {
            return;
        }
    }
}

/// Takes what a subscriber tells into its journal.
#[derive(Debug)]
pub(super) struct Recorder {
    journal: Mutex<Journal>,
    reports: watch::Sender<Progress>,
}

impl Recorder {
    fn new() -> (Arc<Self>, watch::Receiver<Progress>) {
        let (reports, progress) = watch::channel(Progress::default());
        (Arc::new(Self { journal: Mutex::default(), reports }), progress)
    }

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
