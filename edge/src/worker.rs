//! One worker: sockets, a QUIC endpoint and a share of the sessions, on one thread. Nothing of a
//! connection ever leaves its worker. Started by [`Edge`](crate::Edge); ends after the edge has told it
//! to close, when its connections have ended or the deadline has passed.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sterna_core::{Identity, Node, Tasks, TransportKind, vital};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::auth::{AuthError, Authenticator};
use crate::config::EdgeConfig;
use crate::listen::{self, Admission, QuicConfigs, WorkerSockets};
use crate::metrics::Meter;
use crate::quic::Endpoint;
use crate::transport::http::Directory;
use crate::turnstile::Turnstile;

/// What a worker is made of; moves onto its thread.
#[derive(Debug)]
pub(crate) struct WorkerParts {
    pub(crate) index: u16,
    pub(crate) config: Arc<EdgeConfig>,
    pub(crate) node: Node,
    pub(crate) auth: Arc<Authenticator>,
    pub(crate) admission: Admission,
    pub(crate) over_http: Directory,
    pub(crate) sockets: WorkerSockets,
    pub(crate) quic: QuicConfigs,
    pub(crate) tls: Arc<rustls::ServerConfig>,
    /// New connections are refused.
    pub(crate) draining: CancellationToken,
    /// All connections end.
    pub(crate) closing: CancellationToken,
    /// Cancelled when the worker can serve no more.
    pub(crate) broken: CancellationToken,
}

/// What the connections of one worker share.
#[derive(Debug)]
pub(crate) struct WorkerContext {
    pub(crate) config: Arc<EdgeConfig>,
    pub(crate) node: Node,
    pub(crate) sessions: sterna_core::Worker,
    pub(crate) admission: Admission,
    pub(crate) turnstile: Turnstile,
    pub(crate) draining: CancellationToken,
    pub(crate) tasks: Tasks,
    pub(crate) quic: Meter,
    pub(crate) webtransport: Meter,
    pub(crate) wss: Meter,
    pub(crate) http: Meter,
    /// Connections over plain HTTP, of all workers.
    pub(crate) over_http: Directory,
    auth: Arc<Authenticator>,
}

impl WorkerContext {
    pub(crate) fn check(&self, access_token: &str) -> Result<Identity, AuthError> {
        self.auth.check(access_token, self.node.clock().unix_ms())
    }

    /// The same, for those who can wait for a key that was published a moment ago.
    pub(crate) async fn check_fresh(&self, access_token: &str) -> Result<Identity, AuthError> {
        self.auth.check_fresh(access_token, || self.node.clock().unix_ms()).await
    }

    /// `None`: the edge closes its connections and this has been dropped.
    pub(crate) async fn unless_closing<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.tasks.shutdown_started() => None,
        }
    }

    pub(crate) fn meter(&self, kind: TransportKind) -> &Meter {
        match kind {
            TransportKind::WebSocket => &self.wss,
            TransportKind::Quic => &self.quic,
            TransportKind::WebTransport => &self.webtransport,
            TransportKind::Http => &self.http,
        }
    }
}

/// The worker's work, until the edge closes and its connections have ended or the deadline has passed;
/// says whether they had. To be run on the worker's thread.
pub(crate) async fn serve(parts: WorkerParts, started: oneshot::Sender<io::Result<()>>) -> bool {
    let (endpoint, listener) = match open(parts.quic, parts.sockets) {
        Ok(opened) => opened,
        Err(error) => {
            let _ = started.send(Err(error));
            return false;
        }
    };
    let context = Rc::new(WorkerContext {
        sessions: sterna_core::Worker::new(&parts.node, parts.index),
        config: parts.config,
        node: parts.node,
        admission: parts.admission,
        turnstile: Turnstile::new(),
        draining: parts.draining,
        tasks: Tasks::new(),
        quic: Meter::new(TransportKind::Quic),
        webtransport: Meter::new(TransportKind::WebTransport),
        wss: Meter::new(TransportKind::WebSocket),
        http: Meter::new(TransportKind::Http),
        over_http: parts.over_http,
        auth: parts.auth,
    });
    // The listeners and the core's loop end with this function at the latest, not before the
    // connections do.
    let duties = Tasks::new();
    let (sessions, packets) = (context.sessions.clone(), endpoint.clone());
    let newcomers = context.clone();
    let sessions = until_end(duties.clone(), async move { sessions.run().await });
    let packets = until_end(duties.clone(), async move { packets.run().await });
    let newcomers = until_end(duties.clone(), async move { newcomers.turnstile.run().await });
    let quic = listen::accept_quic(context.clone(), endpoint.clone());
    let wss = listen::accept_wss(context.clone(), listener, parts.tls);
    let broken = parts.broken;
    duties.spawn_local("sessions", vital(broken.clone(), sessions));
    duties.spawn_local("quic packets", vital(broken.clone(), packets));
    duties.spawn_local("turnstile", vital(broken.clone(), newcomers));
    duties.spawn_local("quic listener", vital(broken.clone(), quic));
    duties.spawn_local("wss listener", vital(broken, wss));
    let _ = started.send(Ok(()));
    parts.closing.cancelled().await;
    let all_ended = context.tasks.shutdown(CLOSE_DEADLINE).await;
    endpoint.close(0, b"");
    let _ = tokio::time::timeout(CLOSE_DEADLINE, endpoint.wait_idle()).await;
    duties.shutdown(CLOSE_DEADLINE).await && all_ended
}

/// A duty that ends when `tasks` are asked to.
async fn until_end(tasks: Tasks, duty: impl Future<Output = ()>) {
    tokio::select! {
        () = duty => {}
        () = tasks.shutdown_started() => {}
    }
}

fn open(
    quic: QuicConfigs,
    sockets: WorkerSockets,
) -> io::Result<(Endpoint, tokio::net::TcpListener)> {
    Ok((quic.open(sockets.udp)?, tokio::net::TcpListener::from_std(sockets.tcp)?))
}

/// How long connections may take to say goodbye.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);
