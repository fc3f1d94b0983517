//! The connection behind all calls: to one server, or to all nodes of a Cluster. Made when it is
//! first needed, and made again after it was lost, by the client library.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    ProtocolVersion, PushInfo, PushKind, RedisResult, TlsCertificates, Value,
};

use crate::RedisConfig;

/// How connections are made; shared by all kinds of them.
#[derive(Debug)]
pub(crate) struct Connector {
    /// The first is the single server.
    infos: Vec<ConnectionInfo>,
    config: RedisConfig,
}

/// A connection; clones share it.
#[derive(Clone)]
pub(crate) enum Link {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Connector {
    pub(crate) fn new(config: RedisConfig) -> RedisResult<Self> {
        let infos: RedisResult<Vec<_>> = config.urls.iter().map(|url| info(url, &config)).collect();
        let connector = Self { infos: infos?, config };
        if connector.infos.iter().any(is_tls) {
            // Whoever came first has chosen the same: there is one cryptography in this process.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        Ok(connector)
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// A connection that is made by the first call.
    pub(crate) fn link(&self) -> RedisResult<Link> {
        if self.config.cluster { self.cluster_link() } else { self.single_link() }
    }

    fn single_link(&self) -> RedisResult<Link> {
        let info = self.first().clone();
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(self.config.connect_timeout))
            // Calls have a timeout of their own, which covers the way to the connection, too.
            .set_response_timeout(None)
            // So few that their failure is told within a call's time; the next call begins anew.
            .set_number_of_retries(CONNECT_RETRIES)
            .set_min_delay(RETRY_FROM)
            .set_max_delay(RETRY_TO)
            .set_push_sender(count_losses);
        let manager = ConnectionManager::new_lazy_with_config(self.client(info)?, config)?;
        Ok(Link::Single(manager))
    }

    fn cluster_link(&self) -> RedisResult<Link> {
        let mut builder = ClusterClient::builder(self.infos.clone())
            .use_protocol(ProtocolVersion::RESP3)
            .retries(CLUSTER_RETRIES)
            .min_retry_wait(millis(RETRY_FROM))
            .max_retry_wait(millis(RETRY_TO))
            .connection_timeout(self.config.connect_timeout)
            .response_timeout(self.config.call_timeout)
            .push_sender(count_losses);
        if let Some(user) = &self.config.user {
            builder = builder.username(user);
        }
        if let Some(password) = &self.config.password {
            builder = builder.password(password);
        }
        if self.infos.iter().any(is_tls) {
            builder = builder.certs(self.certificates());
        }
        let client = builder.build()?;
        Ok(Link::Cluster(client.get_pending_async_connection_with_config(ClusterConfig::default())))
    }

    /// A connection of its own to one node, with what it pushes.
    pub(crate) async fn connect_node(
        &self,
        (host, port): (&str, u16),
        pushes: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> RedisResult<MultiplexedConnection> {
        let host = host.to_owned();
        let address = match is_tls(self.first()) {
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host, port),
        };
        let client = self.client(self.first().clone().set_addr(address))?;
        let pushes = move |info: PushInfo| {
            pushes(info);
            Ok::<(), std::convert::Infallible>(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.config.connect_timeout))
            .set_response_timeout(Some(self.config.call_timeout))
            .set_push_sender(pushes);
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Host and port of the first server that was named.
    pub(crate) fn first_address(&self) -> (String, u16) {
        match self.first().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                (host.clone(), *port)
            }
            other => (other.to_string(), 0),
        }
    }

    fn first(&self) -> &ConnectionInfo {
        &self.infos[0]
    }

    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        if is_tls(&info) {
            return Client::build_with_tls(info, self.certificates());
        }
        Client::open(info)
    }

    fn certificates(&self) -> TlsCertificates {
        TlsCertificates { client_tls: None, root_cert: self.config.tls_ca_pem.clone() }
    }
}

impl Link {
    pub(crate) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        match self.clone() {
            Self::Single(mut manager) => command.query_async(&mut manager).await,
            Self::Cluster(mut cluster) => command.query_async(&mut cluster).await,
        }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Single(_) => "Link::Single",
            Self::Cluster(_) => "Link::Cluster",
        })
    }
}

fn info(url: &str, config: &RedisConfig) -> RedisResult<ConnectionInfo> {
    let info = url.into_connection_info()?;
    let mut settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    if let Some(user) = &config.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &config.password {
        settings = settings.set_password(password);
    }
    if let ConnectionAddr::Unix(_) = info.addr() {
        let what = "a server is reached over TCP, as redis://host:port";
        return Err((redis::ErrorKind::InvalidClientConfig, what).into());
    }
    Ok(info.set_redis_settings(settings))
}

fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

/// Every connection that was lost is made again.
fn count_losses(info: PushInfo) -> Result<(), std::convert::Infallible> {
    if info.kind == PushKind::Disconnection {
        on_reconnect("calls");
    }
    Ok(())
}

/// Counts a connection that was lost or given up and is made again.
pub(crate) fn on_reconnect(purpose: &'static str) {
    metrics::counter!("sterna_storage_redis_reconnects_total", "purpose" => purpose).increment(1);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Shared by whoever makes connections.
pub(crate) type SharedConnector = Arc<Connector>;

/// Delays between attempts grow from here, each drawn at random up to its bound.
pub(crate) const RETRY_FROM: Duration = Duration::from_millis(50);

pub(crate) const RETRY_TO: Duration = Duration::from_secs(2);

const CONNECT_RETRIES: usize = 3;

/// Redirections and refusals that one call follows within its time.
const CLUSTER_RETRIES: u32 = 16;
