//! What `sterna bench` measures and compares: nodes and raw servers that are made for it, each a
//! process of its own with files of its own.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sterna_bench::client::{Transport, tls};
use sterna_bench::dialect::{Dialect, Raw, Sterna};
use sterna_bench::server::{Launch, free_address};
use sterna_bench::target::{Part, Prepare, Prepared, Target};

use super::args::{FieldArgs, TargetName};
use super::cluster::{Files, NodeFiles, Shape, client_lines};
use super::databases::Databases;
use crate::keys::{self, DevKeys};
use crate::verbs::token::{self, Grant, Signing};

/// How a node under measurement stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// For what storage has no part in.
    Memory,
    Os,
    Fsync,
}

/// A node under measurement.
#[derive(Debug, Clone)]
pub(super) struct NodeSetup {
    pub(super) store: Store,
    /// Where it keeps everything in place of `store`.
    pub(super) databases: Option<Rc<Databases>>,
    /// Where its files lie; `None`: where the system puts temporary ones.
    pub(super) directory: Option<PathBuf>,
    /// It takes no more connections than these.
    pub(super) connections: u32,
}

impl From<Store> for NodeSetup {
    fn from(store: Store) -> Self {
        Self { store, databases: None, directory: None, connections: CONNECTIONS }
    }
}

impl NodeSetup {
    /// The lines of `[store]`, for one node or for those that share it.
    fn store_lines(&self) -> Result<String> {
        if let Some(databases) = &self.databases {
            return Ok(sql_lines(&databases.fresh()?));
        }
        let lines = match self.store {
            Store::Memory => "engine = \"memory\"",
            Store::Os => "engine = \"rocksdb\"\ndurability = \"os\"",
            Store::Fsync => "engine = \"rocksdb\"\ndurability = \"fsync\"",
        };
        Ok(lines.to_owned())
    }
}

/// The lines of `[store]` for a database.
pub(super) fn sql_lines(url: &str) -> String {
    format!("engine = \"sql\"\nurls = [{url:?}]")
}

/// What a raw server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RawWork {
    /// It passes on what it is sent.
    Carry,
    /// It commits that as a node would, too, and acknowledges it then.
    Store,
}

/// Our nodes and the raw servers, as far as they were asked for.
pub(super) fn targets(
    args: &FieldArgs,
    raw_work: RawWork,
    setup: impl Into<NodeSetup>,
) -> Vec<Target> {
    let setup = setup.into();
    OURS.into_iter()
        .filter(|(name, ..)| args.only.contains(name) || args.only.is_empty() && !is_cluster(*name))
        .map(|(target, name, part, transport)| {
            let prepare: PrepareNode = match part {
                Part::Sterna if is_cluster(target) => cluster,
                Part::Sterna => node,
                Part::Raw | Part::Peer => return raw(name, transport, raw_work, &setup),
            };
            ours(name, transport, prepare, &setup)
        })
        .collect()
}

/// One of our nodes, for what looks at no other server.
pub(super) fn our_node(setup: &NodeSetup) -> Target {
    ours("sterna", Transport::Quic, node, setup)
}

const OURS: [(TargetName, &str, Part, Transport); 6] = [
    (TargetName::RawQuic, "raw quinn", Part::Raw, Transport::Quic),
    (TargetName::SternaQuic, "sterna, QUIC", Part::Sterna, Transport::Quic),
    (TargetName::RawWss, "raw rustls + tungstenite", Part::Raw, Transport::Wss),
    (TargetName::SternaWss, "sterna, wss", Part::Sterna, Transport::Wss),
    (TargetName::ClusterQuic, "edge and core, QUIC", Part::Sterna, Transport::Quic),
    (TargetName::ClusterWss, "edge and core, wss", Part::Sterna, Transport::Wss),
];

/// Takes part only where it is named: most measurements are about one node.
fn is_cluster(name: TargetName) -> bool {
    matches!(name, TargetName::ClusterQuic | TargetName::ClusterWss)
}

pub(super) fn is_node(name: TargetName) -> bool {
    matches!(name, TargetName::SternaQuic | TargetName::SternaWss)
}

type PrepareNode = fn(&NodeSetup) -> Result<Prepared>;

fn ours(name: &str, transport: Transport, prepare: PrepareNode, setup: &NodeSetup) -> Target {
    let setup = setup.clone();
    let prepare = Prepare::Ours(Box::new(move || prepare(&setup)));
    Target { name: name.to_owned(), part: Part::Sterna, transport, prepare }
}

fn raw(name: &str, transport: Transport, work: RawWork, setup: &NodeSetup) -> Target {
    let setup = (work == RawWork::Store).then(|| setup.clone());
    let prepare = Prepare::Ours(Box::new(move || raw_server(transport, setup.as_ref())));
    Target { name: name.to_owned(), part: Part::Raw, transport, prepare }
}

fn node(setup: &NodeSetup) -> Result<Prepared> {
    let home = home(setup.directory.as_deref())?;
    let keys = DevKeys::ensure(home.path())?;
    let (address, http) = (free_address()?, free_address()?);
    // Limits that one machine does not reach by itself.
    let config = format!(
        "[node]\ndata_dir = {home:?}\n\
         [http]\naddress = \"{http}\"\n\
         [[auth.keys]]\nalgorithm = \"HS256\"\nfile = {secret:?}\n\
         [store]\n{store}\n\
         [channels]\ncreate_on_first_use = true\n\
         [log]\nfilter = \"warn\"\n{client}",
        home = home.path(),
        secret = keys.token_secret,
        store = setup.store_lines()?,
        client = client_lines(address, &keys, setup.connections)?,
    );
    let file = home.path().join("sterna.toml");
    std::fs::write(&file, config)?;
    let dialect = Arc::new(Sterna { token: token_of("bench", &keys)? });
    let launch = Launch { program: program()?, arguments: serve(&file), address };
    Ok(Prepared { metrics: Some(http), ..prepared(home, &keys, dialect, launch)? })
}

/// An edge for clients, and the core behind it.
fn cluster(setup: &NodeSetup) -> Result<Prepared> {
    let home = home(setup.directory.as_deref())?;
    let shape = Shape {
        cores: 1,
        edges: 1,
        store: setup.store_lines()?,
        redis: None,
        connections: setup.connections,
    };
    let files = Files::write(home.path(), &shape)?;
    let launch = |node: &NodeFiles| {
        Ok(Launch { program: program()?, arguments: serve(&node.config), address: node.client })
    };
    let behind = files.of("core").map(launch).collect::<Result<Vec<_>>>()?;
    let edge = files.of("edge").next().context("a cluster has an edge")?;
    let dialect = Arc::new(Sterna { token: token_of("bench", &files.keys)? });
    Ok(Prepared {
        behind,
        ready: files.nodes.iter().map(|node| node.http).collect(),
        metrics: files.of("core").next().map(|core| core.http),
        ..prepared(home, &files.keys, dialect, launch(edge)?)?
    })
}

fn serve(config: &Path) -> Vec<String> {
    vec!["serve".into(), "--config".into(), config.to_string_lossy().into()]
}

/// Allows a user everything.
pub(super) fn token_of(user: &str, keys: &DevKeys) -> Result<String> {
    let secret = keys::read_secret(&keys.token_secret).map_err(anyhow::Error::msg)?;
    token::sign(&Grant::everything(user, TOKEN_LIFE), &Signing::new(&secret))
}

/// `storing`: it stores what a node of this kind would.
pub(super) fn raw_server(transport: Transport, storing: Option<&NodeSetup>) -> Result<Prepared> {
    let home = home(storing.and_then(|setup| setup.directory.as_deref()))?;
    let keys = DevKeys::ensure(home.path())?;
    let address = free_address()?;
    let is_quic = transport == Transport::Quic;
    let words = ["bench", "raw-server", "--transport", if is_quic { "quic" } else { "wss" }];
    let mut arguments: Vec<String> = words.map(str::to_owned).to_vec();
    arguments.push(format!("--address={address}"));
    arguments.push(format!("--certificate={}", keys.tls.certificate_chain.display()));
    arguments.push(format!("--private-key={}", keys.tls.private_key.display()));
    if let Some(setup) = storing.filter(|setup| setup.store != Store::Memory) {
        arguments.push(format!("--directory={}", home.path().join("log").display()));
        arguments.extend((setup.store == Store::Os).then(|| "--unsynced".to_owned()));
    }
    let dialect = Arc::new(Raw { framed: is_quic });
    prepared(home, &keys, dialect, Launch { program: program()?, arguments, address })
}

pub(super) fn prepared(
    home: tempfile::TempDir,
    keys: &DevKeys,
    dialect: Arc<dyn Dialect>,
    launch: Launch,
) -> Result<Prepared> {
    Ok(Prepared {
        launch,
        behind: Vec::new(),
        ready: Vec::new(),
        dialect,
        tls: trusting(&keys.ca)?,
        metrics: None,
        home: Some(home),
    })
}

/// A new directory in `parent`, or where the system puts temporary ones.
pub(super) fn home(parent: Option<&Path>) -> Result<tempfile::TempDir> {
    let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
    let made = tempfile::Builder::new().prefix("sterna-bench-").tempdir_in(&parent);
    made.with_context(|| format!("cannot make a directory in {}", parent.display()))
}

pub(super) fn program() -> Result<PathBuf> {
    std::env::current_exe().context("this program does not know where it lies")
}

/// Believes what this authority has signed.
pub(super) fn trusting(ca: &Path) -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    tls::trusting(roots)
}

/// More than one machine opens.
pub(super) const CONNECTIONS: u32 = 60_000;

const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
