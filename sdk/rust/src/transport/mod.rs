//! One connection to an edge. [`run`] establishes it, moves frames both ways and ends when the
//! driver lets go of the handle or the connection dies; it decides nothing. The driver owns the
//! task. Both directions are bounded: a driver that is slow stops the reading, a path that is slow
//! fills `outgoing`.

pub(crate) mod addresses;
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

use crate::Error;
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
    Name {
        host: String,
        port: u16,
    },
    /// What the name resolves to, as far as the application says so.
    Sockets(Vec<SocketAddr>),
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
    /// The server showed a certificate that is not trusted.
    pub(crate) untrusted: bool,
}

impl LinkEnd {
    pub(crate) fn broken(reason: impl std::fmt::Display) -> Self {
        Self { code: None, reason: reason.to_string(), untrusted: false }
    }

    pub(crate) fn closed(code: u64, reason: impl Into<String>) -> Self {
        Self { code: Some(code), reason: reason.into(), untrusted: false }
    }

    pub(crate) fn untrusted(reason: impl std::fmt::Display) -> Self {
        Self { untrusted: true, ..Self::broken(reason) }
    }

    /// The newer end, unless only the older one says what the user can put right.
    pub(crate) fn or_untrusted(self, newer: Self) -> Self {
        if self.untrusted && newer.code.is_none() { self } else { newer }
    }
}

impl From<LinkEnd> for Error {
    fn from(end: LinkEnd) -> Self {
        let LinkEnd { code, reason, untrusted } = end;
        if untrusted { Self::Untrusted(reason) } else { Self::Disconnected { code, reason } }
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

/// The end that a client asks for by dropping its handle.
pub(crate) fn let_go() -> LinkEnd {
    LinkEnd::closed(CloseReason::Normal.code().into(), CloseReason::Normal.text())
}

/// Commands on their way to the path; above the window of the session, so that it seldom fills.
const OUTGOING_COMMANDS: usize = 128;
/// Commands written at once.
pub(crate) const WRITE_BATCH: usize = 64;
/// How long a connection that was let go of may take to write what it still has.
pub(crate) const LAST_WRITES: Duration = Duration::from_secs(1);
