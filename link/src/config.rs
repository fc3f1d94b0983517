//! What links can be told.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig};
use sterna_proto::limits;

use crate::error::LinkError;

/// Settings of a node's links.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// UDP; port 0 picks one.
    pub address: SocketAddr,
    pub files: LinkFiles,
    /// Nodes to ask who else there is, `host:port`; needed where the store does not say it.
    pub seeds: Vec<String>,
    /// Silence after which a link is dead; a third of it passes between signs of life.
    pub idle_timeout: Duration,
}

/// PEM files.
#[derive(Debug, Clone)]
pub struct LinkFiles {
    /// The node's own certificate first. It says who the node is ([`crate::NodeIdentity`]).
    pub certificate_chain: PathBuf,
    pub private_key: PathBuf,
    /// Authorities whose certificates make a node of this cluster. Several while one takes over
    /// from another.
    pub authorities: PathBuf,
}

/// Nodes that have a connection to this one. Full: refused.
pub const LINK_CONNECTIONS: usize = 4096;

/// What may arrive unread on one lane: the credit of whoever sends there.
const STREAM_WINDOW: u32 = 8 * 1024 * 1024;

/// And on one link: lanes that are not read must not hold up the one for rosters, or a busy node would
/// be taken for dead.
const WINDOW: u32 = (limits::LINK_LANES as u32 + 1) * STREAM_WINDOW;

impl LinkConfig {
    /// The usual times.
    pub fn new(address: SocketAddr, files: LinkFiles) -> Self {
        Self { address, files, seeds: Vec::new(), idle_timeout: Duration::from_secs(3) }
    }

    pub(crate) fn bind(&self, mut server: ServerConfig) -> Result<Endpoint, LinkError> {
        server.transport_config(self.transport());
        let bind = |source| LinkError::Bind { address: self.address, source };
        let socket = UdpSocket::bind(self.address).map_err(bind)?;
        let runtime = Arc::new(TokioRuntime);
        Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime).map_err(bind)
    }

    pub(crate) fn transport(&self) -> Arc<TransportConfig> {
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams((limits::LINK_LANES as u32 + 1).into())
            .max_concurrent_uni_streams(0u32.into())
            .stream_receive_window(STREAM_WINDOW.into())
            .receive_window(WINDOW.into())
            .send_window(WINDOW.into())
            .keep_alive_interval(Some(self.idle_timeout / 3))
            // Longer than QUIC can say is never.
            .max_idle_timeout(self.idle_timeout.try_into().ok());
        Arc::new(transport)
    }
}
