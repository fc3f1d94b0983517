//! What `sterna bench` measures and compares: nodes and raw servers that are made for it, each a
//! process of its own with files of its own.

use std::fmt::Write as _;
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
use sterna_bench::target::{Part, Prepared, Target};

use super::args::{FieldArgs, TargetName};
use crate::keys::{self, DevKeys};
use crate::verbs::token::{self, Grant};

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
    /// Where its files lie; `None`: where the system puts temporary ones.
    pub(super) directory: Option<PathBuf>,
    /// It takes no more connections than these.
    pub(super) connections: u32,
}

impl From<Store> for NodeSetup {
    fn from(store: Store) -> Self {
        Self { store, directory: None, connections: CONNECTIONS }
    }
}

/// Our nodes and the raw servers, as far as they were asked for.
pub(super) fn targets(args: &FieldArgs, setup: impl Into<NodeSetup>) -> Vec<Target> {
    let setup = setup.into();
    OURS.into_iter()
        .filter(|(name, ..)| args.only.is_empty() || args.only.contains(name))
        .map(|(_, name, part, transport)| target(name, part, transport, &setup))
        .collect()
}

/// One of our nodes, for what looks at no other server.
pub(super) fn our_node(setup: &NodeSetup) -> Target {
    target("sterna", Part::Sterna, Transport::Quic, setup)
}

const OURS: [(TargetName, &str, Part, Transport); 4] = [
    (TargetName::RawQuic, "raw quinn", Part::Raw, Transport::Quic),
    (TargetName::SternaQuic, "sterna, QUIC", Part::Sterna, Transport::Quic),
    (TargetName::RawWss, "raw rustls + tungstenite", Part::Raw, Transport::Wss),
    (TargetName::SternaWss, "sterna, wss", Part::Sterna, Transport::Wss),
];

fn target(name: &str, part: Part, transport: Transport, setup: &NodeSetup) -> Target {
    let prepare: Box<dyn Fn() -> Result<Prepared>> = match part {
        Part::Sterna => {
            let setup = setup.clone();
            Box::new(move || node(&setup))
        }
        Part::Raw | Part::Peer => Box::new(move || raw_server(transport)),
    };
    Target { name: name.to_owned(), part, transport, prepare }
}

fn node(setup: &NodeSetup) -> Result<Prepared> {
    let home = home(setup.directory.as_deref())?;
    let keys = DevKeys::ensure(home.path())?;
    let (address, http) = (free_address()?, free_address()?);
    let connections = setup.connections;
    let engine = match setup.store {
        Store::Memory => "engine = \"memory\"",
        Store::Os => "engine = \"rocksdb\"\ndurability = \"os\"",
        Store::Fsync => "engine = \"rocksdb\"\ndurability = \"fsync\"",
    };
    let mut config = String::new();
    // Limits that one machine does not reach by itself.
    write!(
        config,
        "[node]\ndata_dir = {home:?}\n\
         [client]\naddress = \"{address}\"\nworkers = 1\ncertificate = {certificate:?}\n\
         private_key = {key:?}\nconnections = {connections}\naddress_connections_per_second = 100000\n\
         address_connection_burst = 100000\naddress_connections_open = 60000\n\
         [http]\naddress = \"{http}\"\n\
         [[auth.keys]]\nalgorithm = \"HS256\"\nfile = {secret:?}\n\
         [store]\n{engine}\n\
         [channels]\ncreate_on_first_use = true\n\
         [sessions]\npublish_per_second = 1000000\npublish_burst = 1000000\n\
         commands_per_second = 1000000\ncommand_burst = 1000000\n\
         [log]\nfilter = \"warn\"\n",
        home = home.path(),
        certificate = keys.tls.certificate_chain,
        key = keys.tls.private_key,
        secret = keys.token_secret,
    )?;
    let file = home.path().join("sterna.toml");
    std::fs::write(&file, config)?;
    let secret = keys::read_secret(&keys.token_secret).map_err(anyhow::Error::msg)?;
    let token = token::sign(&Grant::everything("bench", TOKEN_LIFE), secret.as_bytes(), None)?;
    let arguments = vec!["serve".into(), "--config".into(), file.to_string_lossy().into()];
    let dialect = Rc::new(Sterna { token });
    let launch = Launch { program: program()?, arguments, address };
    Ok(Prepared { metrics: Some(http), ..prepared(home, &keys, dialect, launch)? })
}

fn raw_server(transport: Transport) -> Result<Prepared> {
    let home = home(None)?;
    let keys = DevKeys::ensure(home.path())?;
    let address = free_address()?;
    let is_quic = transport == Transport::Quic;
    let words = ["bench", "raw-server", "--transport", if is_quic { "quic" } else { "wss" }];
    let mut arguments: Vec<String> = words.map(str::to_owned).to_vec();
    arguments.push(format!("--address={address}"));
    arguments.push(format!("--certificate={}", keys.tls.certificate_chain.display()));
    arguments.push(format!("--private-key={}", keys.tls.private_key.display()));
    let dialect = Rc::new(Raw { framed: is_quic });
    prepared(home, &keys, dialect, Launch { program: program()?, arguments, address })
}

pub(super) fn prepared(
    home: tempfile::TempDir,
    keys: &DevKeys,
    dialect: Rc<dyn Dialect>,
    launch: Launch,
) -> Result<Prepared> {
    Ok(Prepared { launch, dialect, tls: trusting(&keys.ca)?, metrics: None, home: Some(home) })
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
fn trusting(ca: &Path) -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    tls::trusting(roots)
}

/// More than one machine opens.
const CONNECTIONS: u32 = 60_000;

const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
