//! What an edge can be told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::steer::IdFormat;

/// Settings of an edge. Complete and typed; the composition root reads it from files.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// UDP and TCP, the same number on both. Port 0 picks a free one.
    pub client_address: SocketAddr,
    pub tls: TlsFiles,
    /// Origins of web pages that may connect by wss, WebTransport or plain HTTP, as in `https://app.example.com`; `*` allows all.
    /// Connections without an Origin header (not browsers) are not concerned.
    pub allowed_origins: Vec<String>,
    /// Whether a QUIC client that comes back may send its Hello with its first packet (0-RTT). Each
    /// of its tickets is good for once, so nothing can be replayed; in return tickets are kept here
    /// and are good for this process alone. Without it they hold everything themselves.
    pub early_data: bool,
    /// Secret of the node, from which its keys come.
    pub node_secret: [u8; 32],
    /// Secrets that all edges of a cluster share; the first is used, the others are still good.
    /// With one, each edge accepts the Retry tokens and TLS session tickets of all.
    pub cluster_secrets: Vec<[u8; 32]>,
    /// What balancers read in connection ids; `None`: nothing, there are none that could.
    pub connection_ids: Option<IdFormat>,
    /// Number of the node in connection ids that say nothing else, 24 bits.
    pub node_number: u32,
    pub limits: EdgeLimits,
}

/// PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub certificate_chain: PathBuf,
    pub private_key: PathBuf,
}

/// Bounds and deadlines.
#[derive(Debug, Clone)]
pub struct EdgeLimits {
    pub connections: usize,
    pub handshake_deadline: Duration,
    pub hello_deadline: Duration,
    /// New connections of one address (IPv4 /32, IPv6 /64), a second and on top. QUIC clients that
    /// have not proved their address have a budget of the same size for themselves.
    pub address_connections_per_second: u32,
    pub address_connection_burst: u32,
    pub address_connections_open: u32,
    /// Handshakes in progress on one worker from which on QUIC answers Retry; at four times this
    /// many (at least 16), nothing. 0: every client has to prove its address.
    pub handshakes_before_retry: usize,
    /// Path changes of one connection in a minute; above, it is closed.
    pub path_changes_per_minute: u32,
    pub idle_timeout: Duration,
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            handshake_deadline: Duration::from_secs(10),
            hello_deadline: Duration::from_secs(5),
            address_connections_per_second: 10,
            address_connection_burst: 50,
            address_connections_open: 2000,
            handshakes_before_retry: 256,
            path_changes_per_minute: 20,
            idle_timeout: Duration::from_secs(75),
        }
    }
}
