//! Where bytes enter and leave: terminates client connections, checks access tokens, and carries
//! frames between transports and the core's sessions. Makes no decision about a publication.
//!
//! [`Edge`] starts workers, one on each thread. In a worker, the listeners accept and bound
//! connections, `connection` is the story of one of them, `transport` moves its frames (`http3` is
//! what browsers want around them), and `steer` lets a client that changes its address find its worker
//! again.

pub mod auth;
pub mod config;
pub mod error;
pub mod http;

mod aside;
mod connection;
#[doc(hidden)]
pub mod counted;
mod descriptors;
mod http3;
mod keys;
mod listen;
mod metrics;
mod outward;
mod path;
mod places;
mod quic;
mod sealing;
mod stall;
mod steer;
#[cfg(test)]
mod testing;
mod tls;
mod transport;
mod turnstile;
mod worker;

pub use auth::Authenticator;
pub use config::{EdgeConfig, EdgeLimits, TlsFiles};
pub use error::EdgeError;
pub use listen::Connections;
pub use steer::{IdFormat, MAX_WORKERS};

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna_core::{Node, Threads};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use keys::EdgeKeys;
use listen::{Admission, QuicConfigs, WorkerSockets};
use sealing::SharedTickets;
use steer::{ConnectionIds, Steering};
use tls::{Certificate, TlsConfigs};
use transport::http::Directory;
use worker::WorkerParts;

/// A running edge: its workers and their sockets. Dropping it closes all connections.
#[derive(Debug)]
pub struct Edge {
    address: SocketAddr,
    node: Node,
    admission: Admission,
    over_http: Directory,
    certificate: Arc<Certificate>,
    threads: Threads,
    /// Whether all connections of each had ended when it did.
    workers: Vec<oneshot::Receiver<bool>>,
    draining: CancellationToken,
    closing: CancellationToken,
    broken: CancellationToken,
}

impl Edge {
    /// Binds the UDP and TCP sockets of all workers and starts them, one on each thread, 1–32.
    pub async fn start(
        config: EdgeConfig,
        threads: &Threads,
        node: Node,
        auth: Arc<Authenticator>,
    ) -> Result<Self, EdgeError> {
        let plan = Plan::check(&config, threads.len())?;
        let certificate = Certificate::load(config.tls.clone())?;
        let shared = plan.keys.tickets.clone();
        let tickets = shared.map(|keys| SharedTickets::new(keys, node.clock().clone()));
        let tls = TlsConfigs::new(&certificate, tickets, config.early_data)?;
        let sockets = listen::bind(config.client_address, &plan.steering)?;
        let mut edge = Self {
            address: local_address(&sockets, config.client_address),
            node,
            admission: Admission::new(config.limits.clone(), Instant::now()),
            over_http: Directory::default(),
            certificate,
            threads: threads.clone(),
            workers: Vec::new(),
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
            broken: CancellationToken::new(),
        };
        let config = Arc::new(config);
        for (index, sockets) in (0..).zip(sockets) {
            let quic = plan.quic(index, &tls, &config.limits)?;
            let parts = edge.parts(index, &config, &auth, sockets, quic, &tls);
            let (started, serving) = oneshot::channel();
            let serve = || worker::serve(parts, started);
            edge.workers.push(edge.threads.begin(index.into(), "worker", serve).await);
            let gone = |_| Err(io::Error::other("the worker ended while it started"));
            let source = |source| EdgeError::Bind { address: edge.address, source };
            serving.await.unwrap_or_else(gone).map_err(source)?;
        }
        let workers = plan.steering.workers();
        tracing::info!(address = %edge.address, workers, "serving clients");
        Ok(edge)
    }

    /// Where clients connect, on UDP and TCP alike.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that are open, handshakes included.
    pub fn connection_count(&self) -> usize {
        self.admission.open()
    }

    /// The same, for whoever wants to know while the edge is being drained.
    pub fn connections(&self) -> Connections {
        Connections::of(&self.admission)
    }

    /// Whether all workers are there and take connections.
    pub fn is_serving(&self) -> bool {
        !self.draining.is_cancelled() && !self.broken.is_cancelled()
    }

    /// Completes when a worker has lost what it cannot work without to a panic; the log says what.
    pub async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// Reads certificate and key again; connections go on with what they have.
    pub fn reload_certificate(&self) -> Result<(), EdgeError> {
        self.certificate.reload()
    }

    /// Refuses new connections, tells clients to move (GoAway), waits until they have left or the
    /// deadline has passed, closes the rest, waits for the workers. False: something did not end.
    pub async fn drain(mut self, deadline: Duration, successor: String) -> bool {
        self.draining.cancel();
        self.node.start_drain(deadline, successor).await;
        if tokio::time::timeout(deadline, self.admission.all_closed()).await.is_err() {
            let connections = self.admission.open();
            tracing::info!(connections, "closing connections that have not moved in time");
        }
        self.closing.cancel();
        let mut late = 0;
        for worker in std::mem::take(&mut self.workers) {
            // A worker's own deadlines bound this; one that has panicked has not ended well either.
            late += usize::from(!worker.await.unwrap_or(false));
        }
        if late > 0 {
            tracing::error!(workers = late, "workers ended with connections still open");
        }
        late == 0
    }

    fn parts(
        &self,
        index: u8,
        config: &Arc<EdgeConfig>,
        auth: &Arc<Authenticator>,
        sockets: WorkerSockets,
        quic: QuicConfigs,
        tls: &TlsConfigs,
    ) -> WorkerParts {
        WorkerParts {
            index: index.into(),
            config: config.clone(),
            node: self.node.clone(),
            auth: auth.clone(),
            admission: self.admission.clone(),
            over_http: self.over_http.clone(),
            sockets,
            quic,
            tls: tls.tcp.clone(),
            draining: self.draining.clone(),
            closing: self.closing.clone(),
            broken: self.broken.clone(),
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.draining.cancel();
        self.closing.cancel();
    }
}

/// Whether the kernel lets packets be steered to their workers: binds a group of sockets on loopback
/// and lets them go.
pub fn check_steering() -> Result<(), EdgeError> {
    // Any place and any key: nothing will be received.
    let steering = Steering::new(2, 1, [0; 8]);
    listen::bind((std::net::Ipv4Addr::LOCALHOST, 0).into(), &steering).map(drop)
}

/// What follows from the configuration alone.
struct Plan {
    ids: IdFormat,
    steering: Steering,
    keys: EdgeKeys,
}

impl Plan {
    fn check(config: &EdgeConfig, threads: usize) -> Result<Self, EdgeError> {
        let workers = u8::try_from(threads).ok();
        let workers = workers.filter(|count| (1..=MAX_WORKERS).contains(&usize::from(*count)));
        let workers = workers.ok_or_else(|| {
            EdgeError::Config(format!("workers is {threads}; it has to be 1–{MAX_WORKERS}"))
        })?;
        let number = config.node_number;
        if number >= 1 << 24 {
            let reason = format!("node_number is {number}; it has to be below 2^24");
            return Err(EdgeError::Config(reason));
        }
        let server_id = match &config.connection_ids {
            Some(format) => format.server_id.clone(),
            None => IdFormat::of_node(number, [0; 16]).server_id,
        };
        let keys = EdgeKeys::derive(&config.node_secret, &config.cluster_secrets, &server_id);
        let own = || IdFormat::of_node(number, keys.connection_id);
        let ids = config.connection_ids.clone().unwrap_or_else(own);
        ids.check().map_err(EdgeError::Config)?;
        Ok(Self { steering: ids.steering(workers, keys.steering), ids, keys })
    }

    fn quic(
        &self,
        worker: u8,
        tls: &TlsConfigs,
        limits: &EdgeLimits,
    ) -> Result<QuicConfigs, EdgeError> {
        let ids = ConnectionIds::new(self.ids.clone(), self.steering, worker);
        QuicConfigs::new(&self.keys, ids, tls, limits)
    }
}

fn local_address(sockets: &[WorkerSockets], wanted: SocketAddr) -> SocketAddr {
    sockets.first().and_then(|first| first.udp.local_addr().ok()).unwrap_or(wanted)
}
