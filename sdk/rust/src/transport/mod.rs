//! One connection to an edge. [`run`] establishes it, moves frames both ways and ends when the
//! driver lets go of the handle or the connection dies; it decides nothing. The driver owns the
//! task. Both directions are bounded: a driver that is slow stops the reading, a path that is slow
//! fills `outgoing`.

pub(crate) mod quic;
pub(crate) mod tls;
pub(crate) mod udp;
pub(crate) mod wss;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sterna_proto::{CloseReason, DecodeError, v1};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::options::Transport;
use crate::session::Route;

/// Numbers the connections of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LinkId(pub(crate) u64);

/// Where to connect, and as whom to know the server.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// In the certificate.
    pub(crate) server_name: String,
    pub(crate) address: Address,
}

#[derive(Debug, Clone)]
pub(crate) enum Address {
    Name { host: String, port: u16 },
    Socket(SocketAddr),
}

/// What the driver holds of a connection. Dropping it closes the connection after everything that
/// was handed over has been written.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) transport: Transport,
    pub(crate) outgoing: mpsc::Sender<Outgoing>,
    /// Rung to move a QUIC connection to a fresh socket.
    pub(crate) rebind: Arc<Notify>,
}

/// The connection's ends of the same.
#[derive(Debug)]
pub(crate) struct LinkEnds {
    pub(crate) id: LinkId,
    pub(crate) outgoing: mpsc::Receiver<Outgoing>,
    pub(crate) rebind: Arc<Notify>,
    pub(crate) events: mpsc::Sender<(LinkId, LinkEvent)>,
}

#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) route: Route,
    pub(crate) command: v1::Command,
}

#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// Ready for the Hello.
    Established {
        took: Duration,
    },
    Frame(v1::Frame),
    Rebound,
    Ended(LinkEnd),
}

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkEnd {
    /// The close code, where the server gave one.
    pub(crate) code: Option<u64>,
    pub(crate) reason: String,
}

impl LinkEnd {
    pub(crate) fn broken(reason: impl std::fmt::Display) -> Self {
        Self { code: None, reason: reason.to_string() }
    }

    pub(crate) fn closed(code: u64, reason: impl Into<String>) -> Self {
        Self { code: Some(code), reason: reason.into() }
    }
}

impl From<DecodeError> for LinkEnd {
    fn from(error: DecodeError) -> Self {
        Self::broken(format!("the server sent what is no frame: {error}"))
    }
}

impl LinkEnds {
    /// Hands a frame to the driver, waiting for room. False: the driver is gone.
    pub(crate) async fn pass(&self, event: LinkEvent) -> bool {
        self.events.send((self.id, event)).await.is_ok()
    }
}

/// Makes both ends of a connection.
pub(crate) fn link(
    id: LinkId,
    transport: Transport,
    events: mpsc::Sender<(LinkId, LinkEvent)>,
) -> (Link, LinkEnds) {
    let (sender, outgoing) = mpsc::channel(OUTGOING_COMMANDS);
    let rebind = Arc::new(Notify::new());
    let handle = Link { id, transport, outgoing: sender, rebind: rebind.clone() };
    (handle, LinkEnds { id, outgoing, rebind, events })
}

/// Establishes and serves one connection; reports its end as the last event.
pub(crate) async fn run(transport: Transport, target: Target, tls: tls::Tls, mut ends: LinkEnds) {
    let started = Instant::now();
    let end = match transport {
        Transport::Quic => quic::run(&target, &tls, &mut ends, started).await,
        Transport::WebSocket => wss::run(&target, &tls, &mut ends, started).await,
    };
    ends.pass(LinkEvent::Ended(end)).await;
}

/// The addresses behind a target, in the order of the resolver.
pub(crate) async fn resolve(address: &Address) -> Result<Vec<SocketAddr>, LinkEnd> {
    match address {
        Address::Socket(address) => Ok(vec![*address]),
        Address::Name { host, port } => {
            let found = tokio::net::lookup_host((host.as_str(), *port)).await;
            let found =
                found.map_err(|e| LinkEnd::broken(format!("cannot resolve {host}: {e}")))?;
            Ok(found.take(ADDRESSES_TRIED).collect())
        }
    }
}

/// The end that a client asks for by dropping its handle.
pub(crate) fn let_go() -> LinkEnd {
    LinkEnd::closed(CloseReason::Normal.code().into(), CloseReason::Normal.text())
}

/// Commands on their way to the path; above the window of the session, so that it seldom fills.
const OUTGOING_COMMANDS: usize = 128;
/// Commands written at once.
pub(crate) const WRITE_BATCH: usize = 64;
/// One attempt at a connection, all its addresses together.
pub(crate) const ESTABLISH_TIMEOUT: Duration = Duration::from_secs(10);
/// Before the next address is tried.
pub(crate) const ADDRESS_TIMEOUT: Duration = Duration::from_secs(4);
const ADDRESSES_TRIED: usize = 4;
/// How long a connection that was let go of may take to write what it still has.
pub(crate) const LAST_WRITES: Duration = Duration::from_secs(1);
