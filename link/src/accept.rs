//! Links that other nodes have dialled.

use std::sync::Arc;
use std::time::Duration;

use sterna_core::Tasks;
use sterna_core::cluster::Incarnation;
use sterna_core::link::lane::LaneError;
use sterna_core::link::ports::LaneFrom;
use sterna_core::link::router::Router;
use sterna_core::link::serve;
use sterna_proto::link::v1::{Opened, frame::Body};
use sterna_proto::{NodeId, limits, version};
use tokio::sync::Semaphore;

use crate::config::LINK_CONNECTIONS;
use crate::{NodeIdentity, Shared, frames, tls};

/// How long a peer may take for its handshake, and for the first frame of a lane.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a lane waits for what the peer says of itself, while its calls wait.
const ROSTER_PATIENCE: Duration = Duration::from_secs(1);

/// Takes links until the endpoint is closed.
pub(crate) async fn run(shared: Arc<Shared>, tasks: Tasks) {
    let places = Arc::new(Semaphore::new(LINK_CONNECTIONS));
    while let Some(incoming) = shared.endpoint.accept().await {
        // Nobody takes a place with an address that is not its own.
        if !incoming.remote_address_validated() {
            if incoming.retry().is_err() {
                tracing::debug!("a first packet came with a token already");
            }
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let (shared, lanes) = (shared.clone(), tasks.clone());
        tasks.spawn("link in", async move {
            let remote = incoming.remote_address();
            if let Err(reason) = serve_connection(shared, incoming, lanes).await {
                metrics::counter!("sterna_link_refused_total").increment(1);
                tracing::warn!(%remote, reason, "a link was refused");
            }
            drop(place);
        });
    }
}

async fn serve_connection(
    shared: Arc<Shared>,
    incoming: quinn::Incoming,
    tasks: Tasks,
) -> Result<(), String> {
    let connecting = incoming.accept().map_err(|error| error.to_string())?;
    let connection = tokio::time::timeout(PATIENCE, connecting)
        .await
        .map_err(|_| "no handshake in time")?
        .map_err(|error| error.to_string())?;
    let peer = tls::peer(&connection).and_then(|peer| {
        // The authority may serve more than one cluster.
        if peer.cluster == shared.own.cluster {
            return Ok(peer);
        }
        Err(format!("the peer is of cluster `{}`", peer.cluster))
    });
    let peer = peer.inspect_err(|reason| {
        connection.close(frames::REFUSED.into(), reason.as_bytes());
    })?;
    tracing::info!(peer = %peer.name, remote = %connection.remote_address(), "link opened to here");
    while let Ok(streams) = connection.accept_bi().await {
        let (shared, connection, peer) = (shared.clone(), connection.clone(), peer.clone());
        tasks.spawn("lane in", async move {
            let name = &peer.name;
            let reason = match serve_lane(&shared, &peer, &connection, streams).await {
                LaneError::BadFrame(_) => {
                    tracing::error!(peer = %name, "the peer's frames make no sense; its link is closed");
                    return connection.close(frames::REFUSED.into(), b"frames that make no sense");
                }
                LaneError::Lost(reason) => reason,
                ended @ LaneError::Superseded => ended.to_string(),
            };
            tracing::debug!(peer = %name, reason, "lane ended");
            // One that cannot go on would leave its channels without a word.
            connection.close(frames::REFUSED.into(), reason.as_bytes());
        });
    }
    Ok(())
}

async fn serve_lane(
    shared: &Shared,
    peer: &NodeIdentity,
    connection: &quinn::Connection,
    streams: (quinn::SendStream, quinn::RecvStream),
) -> LaneError {
    let (mut sender, mut receiver) = frames::lane(streams);
    let open = match tokio::time::timeout(PATIENCE, receiver.open()).await {
        Ok(Ok(open)) => open,
        Ok(Err(error)) => return error,
        Err(_) => return LaneError::Lost("the peer has opened a lane and says nothing".into()),
    };
    let router = &shared.router;
    let opened = Opened { incarnation: router.own().incarnation.0, version: version::LINK_VERSION };
    if let Err(error) = sender.say(Body::Opened(opened)).await {
        return error;
    }
    if !frames::understands(open.version) {
        return LaneError::Lost(frames::other_version(open.version));
    }
    if open.lane == open.lanes {
        let speaker = peer.speaker();
        return serve::exchange_rosters(router, &speaker, &mut sender, &mut receiver).await;
    }
    if open.lane as usize >= limits::LINK_LANES {
        return LaneError::Lost("the peer has opened a lane too many".into());
    }
    let wide = tokio::select! {
        wide = is_far(router, &peer.name) => wide,
        error = connection.closed() => return LaneError::Lost(error.to_string()),
    };
    let incarnation = Incarnation(open.incarnation);
    let lane = open.lane as usize;
    let from = LaneFrom { node: peer.name.clone(), incarnation, lane, wide };
    serve::serve(router, from, &mut sender, &mut receiver).await
}

/// Whether the peer is in another region, for as long as the lane lasts. What it says of itself comes
/// by a lane of its own, often behind this one, and is waited for.
async fn is_far(router: &Router, peer: &NodeId) -> bool {
    let mut beats = router.beats();
    let known = async {
        loop {
            if let Some(node) = router.live().into_iter().find(|node| node.name == *peer) {
                return node.region != router.own().region;
            }
            // The router outlives its lanes.
            if beats.changed().await.is_err() {
                return false;
            }
        }
    };
    tokio::time::timeout(ROSTER_PATIENCE, known).await.unwrap_or(false)
}
