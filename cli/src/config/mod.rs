//! What a node runs with: complete, typed, checked. Made from [`RawConfig`] with all complaints at
//! once, or by `sterna dev`. Reads the files that keys point to, and changes nothing.

mod access;
mod archive;
mod backup;
mod balance;
mod cluster;
mod limits;
mod redis;
mod retention;
mod scylla;
mod store;
mod values;

#[cfg(test)]
mod balance_tests;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sterna_core::CoreConfig;
use sterna_core::config::{Activities, Rate, Rates};
use sterna_edge::auth::AuthConfig;
use sterna_edge::http::HttpConfig;
use sterna_edge::{EdgeLimits, IdFormat, MAX_WORKERS, TlsFiles};
use sterna_proto::{NodeId, v1};
use sterna_storage_keeping::RetentionConfig;

pub(crate) use archive::{ArchiveSettings, place_of};
pub(crate) use backup::BackupSettings;
pub(crate) use cluster::ClusterSettings;
pub(crate) use retention::parse_retention;
pub(crate) use store::{DatabaseConfig, StoreConfig};

use crate::keys;
use crate::pages::PageSettings;
use crate::raw_config::{Complaint, RawConfig};

/// Everything that `serve` assembles a node from.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) node_number: u32,
    pub(crate) drain_deadline: Duration,
    pub(crate) core: CoreConfig,
    /// `None` on a node that owns no channels.
    pub(crate) store: Option<StoreConfig>,
    /// `None`: no pages of the store are kept on this machine.
    pub(crate) pages: Option<PageSettings>,
    /// Pages are kept in Redis for a while.
    pub(crate) pages_in_redis: bool,
    /// `None`: everything stays in the store.
    pub(crate) archive: Option<ArchiveSettings>,
    pub(crate) backup: BackupSettings,
    pub(crate) retention: RetentionConfig,
    /// `None` on a node without clients.
    pub(crate) clients: Option<ClientsConfig>,
    /// `None` for a node that is alone.
    pub(crate) cluster: Option<ClusterSettings>,
    pub(crate) auth: AuthConfig,
    pub(crate) http: HttpConfig,
    pub(crate) log: LogConfig,
}

/// The side of the clients.
#[derive(Debug)]
pub(crate) struct ClientsConfig {
    pub(crate) address: SocketAddr,
    /// Where clients reach the node from outside; empty: at its address.
    pub(crate) advertise: String,
    pub(crate) workers: usize,
    pub(crate) tls: TlsFiles,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) early_data: bool,
    /// What balancers read in connection ids.
    pub(crate) connection_ids: Option<IdFormat>,
    /// What all edges share.
    pub(crate) cluster_secrets: Vec<[u8; 32]>,
    pub(crate) limits: EdgeLimits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Human,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogConfig {
    pub(crate) format: LogFormat,
    pub(crate) filter: String,
    /// Where spans go (OTLP over HTTP); `None`: nowhere.
    pub(crate) otlp_endpoint: Option<String>,
}

/// Processors of this process, as far as they can be used by workers: 1–32.
pub(crate) fn processors() -> u8 {
    let most = u8::try_from(MAX_WORKERS).unwrap_or(u8::MAX);
    let here = std::thread::available_parallelism().map_or(1, usize::from);
    u8::try_from(here).unwrap_or(most).min(most)
}

impl Config {
    /// Everything that is wrong, or a configuration that can be served.
    pub(crate) fn from_raw(raw: RawConfig) -> Result<Self, Vec<Complaint>> {
        let mut reader = Reader { raw };
        let config = reader.config();
        reader.raw.finish()?;
        match config {
            Some(config) => Ok(config),
            None => unreachable!("a missing part has complained"),
        }
    }
}

/// Where clients come to, unless something else is set.
const CLIENT_ADDRESS: &str = "0.0.0.0:4443";

/// Turns values into types; what does not fit is a complaint and `None`.
struct Reader {
    raw: RawConfig,
}

impl Reader {
    fn config(&mut self) -> Option<Config> {
        let data_dir = self.path("node.data_dir").or_else(|| self.missing("node.data_dir"));
        let roles = self.roles()?;
        let store = self.store_of(roles, data_dir.as_deref());
        let durability = store.as_ref().map(|store| store.as_ref().map(StoreConfig::durability));
        // What clients of a node without a store are promised is promised by its cores.
        let durability = durability.map(|it| it.unwrap_or(v1::Durability::External));
        let has_store = store.as_ref().is_none_or(Option::is_some);
        let archive = self.archive(has_store);
        let backup = self.backup(data_dir.as_deref());
        let pages = store.as_ref().map_or(Some(None), |store| self.pages(store.as_ref()));
        let pages_in_redis = self.pages_in_redis();
        let retention = self.retention();
        let core = self.core(durability);
        let clients = if roles.edge { Some(self.clients()) } else { None };
        let cluster = self.cluster(roles);
        let auth = self.auth();
        let http = self.http();
        let log = self.log();
        let node_number = self.integer("node.number", 1, 0..=0xff_ffff);
        let drain_deadline = self.duration("node.drain_deadline", "10s", "1s", "1h");
        Some(Config {
            data_dir: data_dir?,
            node_number: node_number? as u32,
            drain_deadline: drain_deadline?,
            core: core?,
            store: store?,
            archive: archive?,
            backup: backup?,
            pages: pages?,
            pages_in_redis: pages_in_redis?,
            retention: retention?,
            clients: match clients {
                Some(clients) => Some(clients?),
                None => None,
            },
            cluster: cluster?,
            auth: auth?,
            http: http?,
            log: log?,
        })
    }

    fn clients(&mut self) -> Option<ClientsConfig> {
        let address = self.address("client.address", CLIENT_ADDRESS);
        let workers = self.integer("client.workers", processors().into(), 1..=32);
        let early_data = self.bool("client.early_data", false);
        let tls = self.tls();
        let limits = self.limits();
        let connection_ids = self.connection_ids();
        let cluster_secrets = self.cluster_secrets();
        Some(ClientsConfig {
            address: address?,
            advertise: self.text("client.advertise").unwrap_or_default(),
            workers: workers? as usize,
            tls: tls?,
            allowed_origins: self.texts("client.allowed_origins"),
            early_data: early_data?,
            connection_ids: connection_ids?,
            cluster_secrets: cluster_secrets?,
            limits: limits?,
        })
    }

    fn core(&mut self, durability: Option<v1::Durability>) -> Option<CoreConfig> {
        let name: Option<NodeId> = self.parsed("node.name", "node-1");
        let create_on_first_use = self.bool("channels.create_on_first_use", false);
        let shards = self.integer("channels.shards", processors().max(4).into(), 1..=256);
        let resume_window = self.duration("sessions.resume_window", "120s", "1s", "1d");
        let roaming_after = self.duration("sessions.roaming_after", "3s", "0s", "1h");
        let beacon_period = self.duration("channels.beacon_period", "5s", "1s", "1h");
        let debounce = self.duration("sessions.presence_debounce", "15s", "0s", "1h");
        let heartbeat = self.duration("sessions.heartbeat", "25s", "1s", "10m");
        let slow_after = self.duration("sessions.slow_after", "30s", "1s", "10m");
        let coalesce = self.duration("channels.inbox_coalesce", "5s", "0s", "1m");
        let activities = self.activities();
        let rates = self.rates();
        let queues = self.queues();
        let node_number = self.integer("node.number", 1, 0..=0xff_ffff);
        let mut core = CoreConfig::embedded(name?, durability?);
        core.id_worker = (node_number? % 1024) as u16;
        core.create_on_first_use = create_on_first_use?;
        core.shards = shards? as usize;
        core.resume_window = resume_window?;
        core.roaming_after = roaming_after?;
        core.presence_debounce = debounce?;
        core.beacon_period = beacon_period?;
        core.heartbeat = heartbeat?;
        core.slow_after = slow_after?;
        core.inbox.coalesce = coalesce?;
        core.activities = activities?;
        core.rates = rates?;
        core.queues = queues?;
        Some(core)
    }

    fn activities(&mut self) -> Option<Activities> {
        let linger = self.duration("sessions.foreground_linger", "250ms", "0s", "5s");
        let heads = self.duration("sessions.background_heads", "3s", "100ms", "1m");
        Some(Activities { foreground_linger: linger?, background_heads: heads? })
    }

    fn rates(&mut self) -> Option<Rates> {
        let defaults = Rates::default();
        let publish = self.rate("publish_per_second", "publish_burst", defaults.publish);
        let user = defaults.user_publish;
        let user = self.rate("user_publish_per_second", "user_publish_burst", user);
        let command = self.rate("commands_per_second", "command_burst", defaults.command);
        let ephemeral = self.rate("ephemerals_per_second", "ephemeral_burst", defaults.ephemeral);
        let sync = self.rate("syncs_per_second", "sync_burst", defaults.sync);
        Some(Rates {
            publish: publish?,
            user_publish: user?,
            command: command?,
            ephemeral: ephemeral?,
            sync: sync?,
        })
    }

    fn rate(&mut self, per_second: &str, burst: &str, default: Rate) -> Option<Rate> {
        const RANGE: std::ops::RangeInclusive<u64> = 1..=1_000_000;
        let steady =
            self.integer(&format!("sessions.{per_second}"), default.per_second.into(), RANGE);
        let burst = self.integer(&format!("sessions.{burst}"), default.burst.into(), RANGE);
        Some(Rate { per_second: steady? as u32, burst: burst? as u32 })
    }

    fn tls(&mut self) -> Option<TlsFiles> {
        let chain = self.path("client.certificate").or_else(|| self.missing("client.certificate"));
        let key = self.path("client.private_key").or_else(|| self.missing("client.private_key"));
        let (chain, key) = (chain?, key?);
        if let Err(text) = keys::check_pair(&chain, &key) {
            let origin = self.raw.origin("client.certificate");
            self.raw.complain(origin, text);
            return None;
        }
        Some(TlsFiles { certificate_chain: chain, private_key: key })
    }

    fn log(&mut self) -> Option<LogConfig> {
        let format =
            self.choice("log.format", &[("human", LogFormat::Human), ("json", LogFormat::Json)]);
        let filter = self.text("log.filter").unwrap_or_else(|| "info".to_owned());
        if let Err(error) = filter.parse::<tracing_subscriber::filter::Targets>() {
            return self.refuse("log.filter", error);
        }
        let otlp_endpoint = self.text("log.otlp_endpoint");
        if let Some(endpoint) = &otlp_endpoint
            && !endpoint.starts_with("http://")
        {
            let reason = "write http://host:port; for TLS, name a collector on this machine that \
                          forwards";
            return self.refuse("log.otlp_endpoint", reason);
        }
        Some(LogConfig { format: format?, filter, otlp_endpoint })
    }
}
