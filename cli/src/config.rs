//! What a node runs with: complete, typed, checked. Made from [`RawConfig`] with all complaints at
//! once, or by `sterna dev`. Reads the files that keys point to, and changes nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sterna_core::CoreConfig;
use sterna_core::config::Rate;
use sterna_edge::auth::{AuthConfig, AuthKey, Authenticator, KeyAlgorithm};
use sterna_edge::http::{ApiKey, HttpConfig};
use sterna_edge::{EdgeLimits, TlsFiles};
use sterna_proto::{NodeId, v1};
use sterna_storage_rocks::Durability;

use crate::keys;
use crate::raw_config::{Complaint, Origin, RawConfig, RawTable, RawValue};

/// Everything that `serve` assembles a node from.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) node_number: u32,
    pub(crate) drain_deadline: Duration,
    pub(crate) core: CoreConfig,
    pub(crate) store: StoreConfig,
    pub(crate) client_address: SocketAddr,
    pub(crate) workers: usize,
    pub(crate) tls: TlsFiles,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) limits: EdgeLimits,
    pub(crate) auth: AuthConfig,
    pub(crate) http: HttpConfig,
    pub(crate) log: LogConfig,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreConfig {
    /// Forgets everything at the end of the process.
    Memory,
    Rocks {
        directory: PathBuf,
        durability: Durability,
        accept_truncated: bool,
    },
}

impl StoreConfig {
    pub(crate) fn durability(&self) -> v1::Durability {
        match self {
            Self::Memory => v1::Durability::Memory,
            Self::Rocks { durability: Durability::Fsync, .. } => v1::Durability::Fsync,
            Self::Rocks { durability: Durability::Os, .. } => v1::Durability::Os,
        }
    }
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

/// Turns values into types; what does not fit is a complaint and `None`.
struct Reader {
    raw: RawConfig,
}

impl Reader {
    fn config(&mut self) -> Option<Config> {
        let data_dir = self.path("node.data_dir").or_else(|| self.missing("node.data_dir"));
        let store = self.store(data_dir.as_deref());
        let core = self.core(store.as_ref());
        let client_address = self.address("client.address", "0.0.0.0:4443");
        let tls = self.tls();
        let limits = self.limits();
        let auth = self.auth();
        let http = self.http();
        let log = self.log();
        let node_number = self.integer("node.number", 1, 0..=0xff_ffff);
        let workers = self.integer("client.workers", 2, 1..=32);
        let drain_deadline = self.duration("node.drain_deadline", "10s", "1s", "1h");
        Some(Config {
            data_dir: data_dir?,
            node_number: node_number? as u32,
            drain_deadline: drain_deadline?,
            core: core?,
            store: store?,
            client_address: client_address?,
            workers: workers? as usize,
            tls: tls?,
            allowed_origins: self.texts("client.allowed_origins"),
            limits: limits?,
            auth: auth?,
            http: http?,
            log: log?,
        })
    }

    fn core(&mut self, store: Option<&StoreConfig>) -> Option<CoreConfig> {
        let name: Option<NodeId> = self.parsed("node.name", "node-1");
        let create_on_first_use = self.bool("channels.create_on_first_use", false);
        let shards = self.integer("channels.shards", 4, 1..=256);
        let resume_window = self.duration("sessions.resume_window", "120s", "1s", "1d");
        let debounce = self.duration("sessions.presence_debounce", "15s", "0s", "1h");
        let heartbeat = self.duration("sessions.heartbeat", "25s", "1s", "10m");
        let slow_after = self.duration("sessions.slow_after", "30s", "1s", "10m");
        let per_second = self.integer("sessions.publish_per_second", 1000, 1..=1_000_000);
        let burst = self.integer("sessions.publish_burst", 5000, 1..=1_000_000);
        let node_number = self.integer("node.number", 1, 0..=0xff_ffff);
        let mut core = CoreConfig::embedded(name?, store?.durability());
        core.id_worker = (node_number? % 1024) as u16;
        core.create_on_first_use = create_on_first_use?;
        core.shards = shards? as usize;
        core.resume_window = resume_window?;
        core.presence_debounce = debounce?;
        core.heartbeat = heartbeat?;
        core.slow_after = slow_after?;
        core.rates.publish = Rate { per_second: per_second? as u32, burst: burst? as u32 };
        Some(core)
    }

    fn store(&mut self, data_dir: Option<&Path>) -> Option<StoreConfig> {
        let directory = self.path("store.directory");
        let durability = self
            .choice("store.durability", &[("fsync", Durability::Fsync), ("os", Durability::Os)]);
        let accept_truncated = self.bool("store.accept_truncated", false);
        match self.choice("store.engine", &[("rocksdb", true), ("memory", false)])? {
            true => Some(StoreConfig::Rocks {
                directory: directory.or_else(|| Some(data_dir?.join("store")))?,
                durability: durability?,
                accept_truncated: accept_truncated?,
            }),
            false => Some(StoreConfig::Memory),
        }
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

    fn limits(&mut self) -> Option<EdgeLimits> {
        let defaults = EdgeLimits::default();
        let connections =
            self.integer("client.connections", defaults.connections as u64, 1..=10_000_000);
        let per_second = self.integer(
            "client.address_connections_per_second",
            defaults.address_connections_per_second.into(),
            1..=1_000_000,
        );
        let burst = self.integer(
            "client.address_connection_burst",
            defaults.address_connection_burst.into(),
            1..=1_000_000,
        );
        let open = self.integer(
            "client.address_connections_open",
            defaults.address_connections_open.into(),
            1..=10_000_000,
        );
        let idle_timeout = self.duration("client.idle_timeout", "75s", "5s", "1h");
        Some(EdgeLimits {
            connections: connections? as usize,
            address_connections_per_second: per_second? as u32,
            address_connection_burst: burst? as u32,
            address_connections_open: open? as u32,
            idle_timeout: idle_timeout?,
            ..defaults
        })
    }

    fn auth(&mut self) -> Option<AuthConfig> {
        let leeway = self.duration("auth.leeway", "10s", "0s", "10m");
        let require_expiry = self.bool("auth.require_expiry", true);
        let tables = self.tables("auth.keys");
        if tables.is_empty() {
            return self.missing("auth.keys");
        }
        let found: Vec<AuthKey> = tables.iter().filter_map(|table| self.auth_key(table)).collect();
        if found.len() < tables.len() {
            return None;
        }
        let config = AuthConfig {
            audience: self.text("auth.audience"),
            issuer: self.text("auth.issuer"),
            leeway: leeway?,
            require_expiry: require_expiry?,
            ..AuthConfig::new(found)
        };
        match Authenticator::new(config.clone()) {
            Ok(_) => Some(config),
            Err(error) => self.refuse("auth.keys", error),
        }
    }

    fn auth_key(&mut self, table: &RawTable) -> Option<AuthKey> {
        let algorithm = self.entry(table, "auth.keys", "algorithm");
        let file = self.entry(table, "auth.keys", "file");
        let (origin, name) = algorithm?;
        let algorithm = match KeyAlgorithm::from_str(&name) {
            Ok(algorithm) => algorithm,
            Err(error) => {
                self.raw.complain(origin, format!("`auth.keys.algorithm`: {error}"));
                return None;
            }
        };
        let (origin, path) = file?;
        let read = match algorithm {
            KeyAlgorithm::Hs256 => keys::read_secret(Path::new(&path)).map(String::into_bytes),
            _ => std::fs::read(&path).map_err(|error| format!("cannot read {path}: {error}")),
        };
        match read {
            Ok(material) => {
                let kid = table.texts.get("kid").map(|(_, kid)| kid.clone());
                Some(AuthKey { kid, algorithm, material })
            }
            Err(text) => {
                self.raw.complain(origin, format!("`auth.keys.file`: {text}"));
                None
            }
        }
    }

    fn http(&mut self) -> Option<HttpConfig> {
        let address = self.address("http.address", "127.0.0.1:4480");
        let connections = self.integer("http.connections", 256, 1..=100_000);
        let request_deadline = self.duration("http.request_deadline", "30s", "1s", "10m");
        let tables = self.tables("http.api_keys");
        let found: Vec<ApiKey> = tables.iter().filter_map(|table| self.api_key(table)).collect();
        if found.len() < tables.len() {
            return None;
        }
        if let Err(error) = sterna_edge::http::check_api_keys(&found) {
            return self.refuse("http.api_keys", error);
        }
        Some(HttpConfig {
            connections: connections? as usize,
            request_deadline: request_deadline?,
            ..HttpConfig::new(address?, found)
        })
    }

    fn api_key(&mut self, table: &RawTable) -> Option<ApiKey> {
        let id = self.entry(table, "http.api_keys", "id");
        let file = self.entry(table, "http.api_keys", "secret_file");
        let ((_, id), (origin, path)) = (id?, file?);
        match keys::read_secret(Path::new(&path)) {
            Ok(secret) => Some(ApiKey { id, secret }),
            Err(text) => {
                self.raw.complain(origin, format!("`http.api_keys.secret_file`: {text}"));
                None
            }
        }
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
            && !endpoint.starts_with("https://")
        {
            return self.refuse("log.otlp_endpoint", "write http://host:port or https://host:port");
        }
        Some(LogConfig { format: format?, filter, otlp_endpoint })
    }
}

/// Values by type. A key that is not given takes its default.
impl Reader {
    fn missing<T>(&mut self, path: &str) -> Option<T> {
        // A value that was there but of the wrong type has complained already.
        let origin = self.raw.origin(path);
        self.raw.complain(origin, format!("`{path}` is missing and has no default"));
        None
    }

    fn refuse<T>(&mut self, path: &str, reason: impl std::fmt::Display) -> Option<T> {
        let origin = self.raw.origin(path);
        self.raw.complain(origin, format!("`{path}`: {reason}"));
        None
    }

    fn entry(&mut self, table: &RawTable, path: &str, name: &str) -> Option<(Origin, String)> {
        let found = table.texts.get(name).cloned();
        if found.is_none() {
            let text = format!("`{path}.{name}` is missing and has no default");
            self.raw.complain(table.origin.clone(), text);
        }
        found
    }

    fn text(&self, path: &str) -> Option<String> {
        match self.raw.get(path) {
            Some((_, RawValue::Text(text))) => Some(text.clone()),
            _ => None,
        }
    }

    fn texts(&self, path: &str) -> Vec<String> {
        match self.raw.get(path) {
            Some((_, RawValue::Texts(texts))) => texts.clone(),
            _ => Vec::new(),
        }
    }

    fn tables(&self, path: &str) -> Vec<RawTable> {
        match self.raw.get(path) {
            Some((_, RawValue::Tables(tables))) => tables.clone(),
            _ => Vec::new(),
        }
    }

    fn path(&self, path: &str) -> Option<PathBuf> {
        self.text(path).map(PathBuf::from)
    }

    fn bool(&self, path: &str, default: bool) -> Option<bool> {
        match self.raw.get(path) {
            Some((_, RawValue::Bool(value))) => Some(*value),
            _ => Some(default),
        }
    }

    fn integer(
        &mut self,
        path: &str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = match self.raw.get(path) {
            Some((_, RawValue::Integer(value))) => *value,
            _ => default,
        };
        if range.contains(&value) {
            return Some(value);
        }
        self.refuse(path, format!("{value} is not between {} and {}", range.start(), range.end()))
    }

    fn parsed<T: FromStr>(&mut self, path: &str, default: &str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let text = self.text(path).unwrap_or_else(|| default.to_owned());
        text.parse().map_or_else(|error| self.refuse(path, error), Some)
    }

    fn address(&mut self, path: &str, default: &str) -> Option<SocketAddr> {
        let text = self.text(path).unwrap_or_else(|| default.to_owned());
        match text.parse() {
            Ok(address) => Some(address),
            Err(_) => self.refuse(
                path,
                format!("`{text}` is not address:port; write 127.0.0.1:4443 or [::]:4443"),
            ),
        }
    }

    fn duration(&mut self, path: &str, default: &str, least: &str, most: &str) -> Option<Duration> {
        let text = self.text(path).unwrap_or_else(|| default.to_owned());
        let parse = crate::args::parse_duration;
        match (parse(&text), parse(least), parse(most)) {
            (Ok(value), Ok(low), Ok(high)) if (low..=high).contains(&value) => Some(value),
            (Ok(_), _, _) => self.refuse(path, format!("{text} is not between {least} and {most}")),
            (Err(error), _, _) => self.refuse(path, error),
        }
    }

    /// The first choice is the default.
    fn choice<T: Copy>(&mut self, path: &str, choices: &[(&str, T)]) -> Option<T> {
        let Some(text) = self.text(path) else { return choices.first().map(|(_, value)| *value) };
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, value)) => Some(*value),
            None => self.refuse(path, format!("`{text}` is none of {}", names.join(", "))),
        }
    }
}
