//! Links that this node dials: one to every node that its router wants to ask.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rand::Rng as _;
use sterna_core::Tasks;
use sterna_core::link::lane::LaneError;
use sterna_core::link::router::PeerAddress;
use sterna_core::link::serve;
use sterna_proto::link::v1::{Open, frame::Body};
use sterna_proto::{NodeId, limits, version};
use tokio_util::sync::CancellationToken;

use crate::{NodeIdentity, Shared, frames, tls};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);

/// Pause before a node is dialled again: doubled each time, between these two, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A link that has lasted this long was not refused.
const STEADY: Duration = Duration::from_secs(1);

/// How often seeds are asked while no way leads to an owner, and for how long each.
const SEED_PAUSE: Duration = Duration::from_millis(500);

/// Keeps a link to every peer that is wanted, until the node shuts down.
pub(crate) async fn run(shared: Arc<Shared>, tasks: Tasks) {
    let mut links: HashMap<NodeId, (PeerAddress, CancellationToken)> = HashMap::new();
    let mut beats = shared.router.beats();
    loop {
        let wanted = shared.router.wanted_peers();
        links.retain(|_, (address, unwanted)| {
            let keep = wanted.contains(address);
            if !keep {
                unwanted.cancel();
            }
            keep
        });
        for peer in wanted {
            links.entry(peer.name.clone()).or_insert_with(|| {
                let unwanted = CancellationToken::new();
                let (shared, end, until) = (shared.clone(), tasks.clone(), unwanted.clone());
                let address = peer.clone();
                tasks.spawn("link out", async move {
                    tokio::select! {
                        () = keep_link(&shared, &address) => {}
                        () = until.cancelled() => {}
                        () = end.shutdown_started() => {}
                    }
                });
                (peer, unwanted)
            });
        }
        metrics::gauge!("sterna_link_peers_count").set(links.len() as f64);
        tokio::select! {
            changed = beats.changed() => if changed.is_err() { return },
            () = tasks.shutdown_started() => return,
        }
    }
}

/// Dials a peer again and again.
async fn keep_link(shared: &Shared, peer: &PeerAddress) {
    let mut pause = FIRST_PAUSE;
    loop {
        let ended = match connect(shared, &peer.address, Some(peer)).await {
            Ok((connection, identity)) => {
                tracing::info!(peer = %peer.name, address = peer.address, "link opened");
                metrics::counter!("sterna_link_opened_total").increment(1);
                let since = Instant::now();
                let ended = run_lanes(shared, peer, &identity, &connection).await;
                connection.close(frames::GOODBYE.into(), b"");
                if since.elapsed() > STEADY {
                    // It was lost, and may be back at once.
                    pause = FIRST_PAUSE;
                    tracing::warn!(peer = %peer.name, reason = %ended, "link lost");
                    continue;
                }
                // In TLS 1.3 the peer judges this node after the handshake: it was refused, perhaps.
                ended.to_string()
            }
            Err(reason) => reason,
        };
        tracing::warn!(peer = %peer.name, address = peer.address, reason = ended, "no link");
        shared.router.on_unreachable(&peer.name);
        tokio::time::sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Between half of a pause and the whole, so that not everybody comes at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.0))
}

/// Connects to a node; `expected`: no other will do.
async fn connect(
    shared: &Shared,
    address: &str,
    expected: Option<&PeerAddress>,
) -> Result<(quinn::Connection, NodeIdentity), String> {
    let connecting = async {
        let remote = resolve(address, shared.config.address).await?;
        let mut config = shared.tls.load().client().map_err(|error| error.to_string())?;
        config.transport_config(shared.config.transport());
        // Not looked at: nodes have names of their own.
        let connecting = shared.endpoint.connect_with(config, remote, "node");
        connecting.map_err(|error| error.to_string())?.await.map_err(|error| error.to_string())
    };
    let connection = tokio::time::timeout(CONNECT, connecting)
        .await
        .map_err(|_| "no connection in time".to_owned())??;
    let checked = tls::peer(&connection).and_then(|found| {
        if found.cluster != shared.own.cluster {
            return Err(format!("the node there is of cluster `{}`", found.cluster));
        }
        match expected {
            Some(peer) if peer.name != found.name => {
                Err(format!("the node there is `{}`", found.name))
            }
            // A node that may have clients alone is asked nothing about channels it would own.
            Some(peer) if peer.core && !found.core => {
                Err(format!("the certificate of `{}` does not make it a core", found.name))
            }
            _ => Ok(found),
        }
    });
    if let Err(reason) = &checked {
        connection.close(frames::REFUSED.into(), reason.as_bytes());
    }
    checked.map(|found| (connection, found))
}

pub(crate) async fn resolve(address: &str, own: SocketAddr) -> Result<SocketAddr, String> {
    let found = tokio::net::lookup_host(address).await;
    let mut found = found.map_err(|error| format!("cannot resolve {address}: {error}"))?;
    // The socket has one family.
    found
        .find(|remote| remote.is_ipv4() == own.is_ipv4())
        .ok_or_else(|| format!("{address} has no address of the family of {own}"))
}

/// Opens all lanes and drives them until the first ends.
async fn run_lanes(
    shared: &Shared,
    peer: &PeerAddress,
    identity: &NodeIdentity,
    connection: &quinn::Connection,
) -> LaneError {
    let mut lanes: FuturesUnordered<BoxFuture<'_, LaneError>> = FuturesUnordered::new();
    for lane in 0..limits::LINK_LANES {
        lanes.push(run_lane(shared, peer, connection, lane).boxed());
    }
    lanes.push(run_rosters(shared, identity, connection).boxed());
    let ended = lanes.next().await;
    ended.unwrap_or_else(|| LaneError::Lost("a link without lanes".into()))
}

async fn run_lane(
    shared: &Shared,
    peer: &PeerAddress,
    connection: &quinn::Connection,
    lane: usize,
) -> LaneError {
    match open_lane(shared, connection, lane).await {
        Ok((mut sender, mut receiver)) => {
            shared.router.run_lane(&peer.name, lane, &mut sender, &mut receiver).await
        }
        Err(error) => error,
    }
}

async fn run_rosters(
    shared: &Shared,
    identity: &NodeIdentity,
    connection: &quinn::Connection,
) -> LaneError {
    match open_lane(shared, connection, limits::LINK_LANES).await {
        Ok((mut sender, mut receiver)) => {
            let peer = identity.speaker();
            serve::exchange_rosters(&shared.router, &peer, &mut sender, &mut receiver).await
        }
        Err(error) => error,
    }
}

async fn open_lane(
    shared: &Shared,
    connection: &quinn::Connection,
    lane: usize,
) -> Result<(frames::Sender, frames::Receiver), LaneError> {
    let streams = connection.open_bi().await;
    let streams = streams.map_err(|error| LaneError::Lost(error.to_string()))?;
    let (mut sender, mut receiver) = frames::lane(streams);
    let open = Open {
        lane: lane as u32,
        lanes: limits::LINK_LANES as u32,
        incarnation: shared.router.own().incarnation.0,
        version: version::LINK_VERSION,
    };
    sender.say(Body::Open(open)).await?;
    receiver.opened().await?;
    Ok((sender, receiver))
}

/// Asks the seeds who there is, for as long as no way leads to an owner.
pub(crate) async fn ask_seeds(shared: Arc<Shared>, tasks: Tasks) {
    let ask = async {
        loop {
            for seed in &shared.config.seeds {
                if shared.router.is_connected() {
                    break;
                }
                if let Err(reason) = ask_seed(&shared, seed).await {
                    tracing::warn!(seed, reason, "a seed does not answer");
                }
            }
            tokio::time::sleep(jittered(SEED_PAUSE)).await;
        }
    };
    tokio::select! {
        () = ask => {}
        () = tasks.shutdown_started() => {}
    }
}

async fn ask_seed(shared: &Shared, seed: &str) -> Result<(), String> {
    let (connection, identity) = connect(shared, seed, None).await?;
    // Both sides tell what they know at once; the links that follow from it do the rest.
    let exchange = run_rosters(shared, &identity, &connection);
    let ended = tokio::time::timeout(SEED_PAUSE, exchange).await;
    connection.close(frames::GOODBYE.into(), b"");
    match ended {
        Ok(ended) => Err(ended.to_string()),
        Err(_) => Ok(()),
    }
}
