//! `sterna dev`: the node of `serve` with everything chosen: loopback, keys of its own, RocksDB
//! with fsync, channels made by use. Leaves `dev.json` in its directory so that the other verbs
//! find it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sterna_core::CoreConfig;
use sterna_edge::EdgeLimits;
use sterna_edge::auth::{AuthConfig, AuthKey, KeyAlgorithm};
use sterna_edge::http::{ApiKey, HttpConfig, Role};
use sterna_proto::{NodeId, v1};
use sterna_storage_rocks::Durability;

use crate::args::DevArgs;
use crate::config::{
    BackupSettings, ClientsConfig, Config, LogConfig, LogFormat, StoreConfig, processors,
};
use crate::console;
use crate::keys::{self, DevKeys};
use crate::output;
use crate::running::Addresses;
use crate::serve;
use crate::try_it;
use crate::verbs::token::{self, Grant, Signing};

/// How long the printed token is valid.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// What the other verbs read.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DevNode {
    /// `host:port` for clients, UDP and TCP.
    pub(crate) client: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) ca: PathBuf,
    /// SHA-256 of the certificate in base64, for the `serverCertificateHashes` of a browser.
    #[serde(default)]
    pub(crate) certificate_hash: String,
    pub(crate) pid: u32,
}

impl DevNode {
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("dev.json")
    }

    /// The dev node of this directory, running or not.
    pub(crate) fn find(data_dir: &Path) -> Result<Self> {
        let path = Self::path(data_dir);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "there is no dev node in {}: run `sterna dev --data-dir {0}`, or name a node with \
                 --server",
                data_dir.display()
            )
        })?;
        serde_json::from_str(&text).with_context(|| {
            format!("{} is damaged; remove it and run `sterna dev` again", path.display())
        })
    }
}

pub(crate) fn run(args: &DevArgs) -> Result<ExitCode> {
    std::fs::create_dir_all(&args.data_dir)
        .with_context(|| format!("cannot make {}", args.data_dir.display()))?;
    let keys = DevKeys::ensure(&args.data_dir)?;
    let config = config(args, &keys)?;
    serve::run(config, args.store, |addresses| announce(args, &keys, addresses))
}

pub(crate) fn config(args: &DevArgs, keys: &DevKeys) -> Result<Config> {
    let secret = |path: &Path| keys::read_secret(path).map_err(anyhow::Error::msg);
    let store = StoreConfig::Rocks {
        directory: args.data_dir.join("store"),
        durability: Durability::Fsync,
        accept_truncated: false,
    };
    let token_key = AuthKey {
        kid: None,
        algorithm: KeyAlgorithm::Hs256,
        material: secret(&keys.token_secret)?.into_bytes(),
    };
    let api_key = ApiKey { id: "dev".into(), secret: secret(&keys.api_key)?, role: Role::Operator };
    let mut http =
        HttpConfig::new((Ipv4Addr::LOCALHOST, args.http_port).into(), vec![api_key.clone()]);
    try_it::add_to(&mut http, keys)?;
    console::add_to_dev(&mut http, &api_key.secret);
    Ok(Config {
        data_dir: args.data_dir.clone(),
        node_number: 1,
        drain_deadline: Duration::from_secs(5),
        core: CoreConfig::embedded(NodeId::new("dev")?, v1::Durability::Fsync),
        store: Some(store),
        archive: None,
        backup: BackupSettings::of(&args.data_dir),
        pages: None,
        pages_in_redis: false,
        retention: sterna_storage_keeping::RetentionConfig::default(),
        clients: Some(ClientsConfig {
            address: SocketAddr::new(args.client_ip, args.client_port),
            advertise: String::new(),
            workers: args.workers.unwrap_or_else(processors).into(),
            tls: keys.tls.clone(),
            allowed_origins: vec!["*".into()],
            early_data: false,
            connection_ids: None,
            cluster_secrets: Vec::new(),
            limits: loopback_limits(),
        }),
        cluster: None,
        auth: AuthConfig::new(vec![token_key]),
        http,
        log: LogConfig { format: LogFormat::Human, filter: args.log.clone(), otlp_endpoint: None },
    })
}

/// On one machine all clients have one address, so a limit per address would be a limit for all.
fn loopback_limits() -> EdgeLimits {
    EdgeLimits {
        address_connections_per_second: 10_000,
        address_connection_burst: 10_000,
        address_connections_open: 16_384,
        ..EdgeLimits::default()
    }
}

fn announce(args: &DevArgs, keys: &DevKeys, addresses: Addresses) -> Result<()> {
    let client = addresses.client.context("a dev node has clients")?;
    let node = DevNode {
        client,
        http: addresses.http,
        ca: std::path::absolute(&keys.ca)?,
        certificate_hash: keys::certificate_hash(&keys.tls.certificate_chain)
            .map_err(anyhow::Error::msg)?,
        pid: std::process::id(),
    };
    keys::replace(&DevNode::path(&args.data_dir), &serde_json::to_string_pretty(&node)?, 0o644)?;
    let secret = keys::read_secret(&keys.token_secret).map_err(anyhow::Error::msg)?;
    let token = token::sign(&Grant::everything("dev", TOKEN_LIFE), &Signing::new(&secret))?;
    for line in banner(&args.data_dir, &node, &token) {
        output::line(&line)?;
    }
    Ok(())
}

/// Ten lines or fewer: the next commands must stay in sight.
fn banner(data_dir: &Path, node: &DevNode, token: &str) -> Vec<String> {
    let flag = match data_dir == Path::new(".sterna") {
        true => String::new(),
        false => format!(" --data-dir {}", data_dir.display()),
    };
    let program = program();
    vec![
        format!("Sterna {} is up. Ctrl-C ends it.", env!("CARGO_PKG_VERSION")),
        format!(
            "  clients  {} (QUIC; WebTransport and wss on localhost:{}/v1/connect)",
            node.client,
            node.client.port()
        ),
        format!("  HTTP     http://{}/api/v1/openapi.json", node.http),
        format!(
            "  browser  http://localhost:{0}{1} to try it, http://localhost:{0}{2} to look inside",
            node.http.port(),
            try_it::PATH,
            console::PATH
        ),
        format!("  CA       {}", node.ca.display()),
        format!("  SHA-256  {} (for serverCertificateHashes)", node.certificate_hash),
        format!("  token    {token}"),
        "Now type, in two other terminals:".to_owned(),
        format!("  {program} sub room:1{flag} --from earliest"),
        format!("  {program} pub room:1 'Hello'{flag}"),
    ]
}

/// How this program was called, so that the next commands can be typed as they are printed.
fn program() -> String {
    let called = std::env::args().next();
    called.filter(|name| !name.is_empty()).unwrap_or_else(|| "sterna".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_has_ten_lines_at_most_and_says_what_to_type() {
        let node = DevNode {
            client: "127.0.0.1:4443".parse().unwrap(),
            http: "127.0.0.1:4480".parse().unwrap(),
            ca: "/tmp/x/ca.pem".into(),
            certificate_hash: "aGFzaA==".into(),
            pid: 7,
        };
        let lines = banner(Path::new("elsewhere"), &node, "a.b.c");
        assert!(lines.len() <= 10, "{lines:#?}");
        assert!(lines.iter().all(|line| !line.contains('\n')));
        let text = lines.join("\n");
        for needed in [
            "127.0.0.1:4443",
            "127.0.0.1:4480",
            "localhost:4480/try/",
            "localhost:4480/console/",
            "a.b.c",
            "aGFzaA==",
            "--data-dir elsewhere",
        ] {
            assert!(text.contains(needed), "{needed} is missing in\n{text}");
        }
        assert!(!banner(Path::new(".sterna"), &node, "t").join(" ").contains("--data-dir"));
    }
}
