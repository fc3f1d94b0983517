//! What the composition root says about Redis.

use std::fmt;
use std::time::Duration;

use sterna_storage::volatile::Partitions;

/// How Redis is reached. Every limit has a default that serves a node of a few cores.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://host:port`, or `rediss://host:port` for TLS. A single server has one; of a Cluster
    /// a few nodes are enough, the rest is learnt from them.
    pub urls: Vec<String>,
    /// The servers are nodes of a Cluster.
    pub cluster: bool,
    /// ACL user; the server's default user without it.
    pub user: Option<String>,
    pub password: Option<String>,
    /// Certificates of the authorities to trust, in PEM; the machine's own without it.
    pub tls_ca_pem: Option<Vec<u8>>,
    /// For one attempt to connect.
    pub connect_timeout: Duration,
    /// For one call with all its redirections; then it is `Unavailable`.
    pub call_timeout: Duration,
    /// Calls on their way; more are refused as `Unavailable`.
    pub calls_in_flight: usize,
    /// Before every key, so that others may use the same servers. Without braces.
    pub prefix: String,
    /// Has to be the same on all nodes.
    pub partitions: Partitions,
}

impl RedisConfig {
    /// A single server.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            cluster: false,
            user: None,
            password: None,
            tls_ca_pem: None,
            connect_timeout: Duration::from_secs(1),
            call_timeout: Duration::from_secs(1),
            calls_in_flight: CALLS_IN_FLIGHT,
            prefix: "sterna:".to_owned(),
            partitions: Partitions::default(),
        }
    }

    /// A Cluster, reached by any of these nodes.
    pub fn cluster(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let urls = urls.into_iter().map(Into::into).collect();
        Self { urls, cluster: true, ..Self::new("") }
    }
}

/// Without the password and the addresses, which may hold one.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("urls", &self.urls.len())
            .field("cluster", &self.cluster)
            .field("user", &self.user)
            .field("call_timeout", &self.call_timeout)
            .field("calls_in_flight", &self.calls_in_flight)
            .field("prefix", &self.prefix)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

/// Calls on their way, unless configured otherwise.
const CALLS_IN_FLIGHT: usize = 4096;
