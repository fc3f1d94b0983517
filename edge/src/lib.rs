//! Where bytes enter and leave: terminates client connections, checks access tokens, and carries
//! frames between transports and the core's sessions. Makes no decision about a publication.
//!
//! [`Edge`] starts workers, one thread each. In a worker, the listeners accept and bound
//! connections, `connection` is the story of one of them, `transport` moves its frames, and `steer`
//! lets a client that changes its address find its worker again.

pub mod auth;
pub mod config;
pub mod error;
pub mod http;

mod aside;
mod connection;
mod descriptors;
mod keys;
mod listen;
mod metrics;
mod outward;
mod path;
mod places;
mod quic;
mod stall;
mod steer;
#[cfg(test)]
mod testing;
mod tls;
mod transport;
mod worker;

pub use auth::Authenticator;
pub use config::{EdgeConfig, EdgeLimits, TlsFiles};
pub use error::EdgeError;
pub use steer::MAX_WORKERS;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sterna_core::Node;
use tokio_util::sync::CancellationToken;

use keys::NodeKeys;
use listen::{Admission, QuicConfigs, WorkerSockets};
use steer::{ConnectionIds, NodeNumber};
use tls::{Certificate, TlsConfigs};
use worker::WorkerParts;

/// A running edge: its workers and their sockets. Dropping it closes all connections.
#[derive(Debug)]
pub struct Edge {
    address: SocketAddr,
    node: Node,
    admission: Admission,
    certificate: Arc<Certificate>,
    workers: Vec<JoinHandle<bool>>,
    draining: CancellationToken,
    closing: CancellationToken,
    broken: CancellationToken,
}

impl Edge {
    /// Binds the UDP and TCP sockets of all workers and starts them.
    pub async fn start(
        config: EdgeConfig,
        node: Node,
        auth: Arc<Authenticator>,
    ) -> Result<Self, EdgeError> {
        let plan = Plan::check(&config)?;
        let certificate = Certificate::load(config.tls.clone())?;
        let tls = TlsConfigs::new(&certificate, config.early_data)?;
        let sockets = listen::bind(config.client_address, plan.workers)?;
        let mut edge = Self {
            address: local_address(&sockets, config.client_address),
            node,
            admission: Admission::new(config.limits.clone(), Instant::now()),
            certificate,
            workers: Vec::new(),
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
            broken: CancellationToken::new(),
        };
        let config = Arc::new(config);
        for (index, sockets) in (0..).zip(sockets) {
            let quic = plan.quic(index, &tls, &config.limits)?;
            let parts = edge.parts(index, &config, &auth, sockets, quic, &tls);
            let started = worker::start(parts).await;
            let source = |source| EdgeError::Bind { address: edge.address, source };
            edge.workers.push(started.map_err(source)?);
        }
        tracing::info!(address = %edge.address, workers = plan.workers, "serving clients");
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
    /// deadline has passed, closes the rest, joins the workers. False: something did not end.
    pub async fn drain(mut self, deadline: Duration, successor: String) -> bool {
        self.draining.cancel();
        self.node.start_drain(deadline, successor).await;
        if tokio::time::timeout(deadline, self.admission.all_closed()).await.is_err() {
            let connections = self.admission.open();
            tracing::info!(connections, "closing connections that have not moved in time");
        }
        self.closing.cancel();
        let workers = std::mem::take(&mut self.workers);
        // A worker's own deadlines bound this.
        let join = tokio::task::spawn_blocking(move || {
            workers.into_iter().map(JoinHandle::join).filter(|end| !matches!(end, Ok(true))).count()
        });
        match join.await {
            Ok(0) => true,
            Ok(workers) => {
                tracing::error!(workers, "workers ended with connections still open");
                false
            }
            Err(error) => {
                tracing::error!(%error, "cannot join the workers");
                false
            }
        }
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

/// What follows from the configuration alone.
struct Plan {
    workers: u8,
    node: NodeNumber,
    keys: NodeKeys,
}

impl Plan {
    fn check(config: &EdgeConfig) -> Result<Self, EdgeError> {
        let workers = u8::try_from(config.workers).ok();
        let workers = workers.filter(|count| (1..=MAX_WORKERS).contains(&usize::from(*count)));
        let workers = workers.ok_or_else(|| {
            EdgeError::Config(format!(
                "workers is {}; it has to be 1–{MAX_WORKERS}",
                config.workers
            ))
        })?;
        let node = NodeNumber::new(config.node_number).ok_or_else(|| {
            let number = config.node_number;
            EdgeError::Config(format!("node_number is {number}; it has to be below 2^24"))
        })?;
        Ok(Self { workers, node, keys: NodeKeys::derive(&config.node_secret) })
    }

    fn quic(
        &self,
        worker: u8,
        tls: &TlsConfigs,
        limits: &EdgeLimits,
    ) -> Result<QuicConfigs, EdgeError> {
        let key = self.keys.connection_id;
        let ids = ConnectionIds::new(key, self.node, worker, self.workers);
        QuicConfigs::new(&self.keys, ids, tls, limits)
    }
}

fn local_address(sockets: &[WorkerSockets], wanted: SocketAddr) -> SocketAddr {
    sockets.first().and_then(|first| first.udp.local_addr().ok()).unwrap_or(wanted)
}
