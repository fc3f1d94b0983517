//! What `sterna bench` measures and compares: nodes and raw servers that are made for it, each a
//! process of its own with files of its own.

use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sterna_bench::client::Transport;
use sterna_bench::dialect::{Dialect, Raw, Sterna};
use sterna_bench::server::{Launch, free_address};
use sterna_bench::target::{Part, Prepared, Target};

use super::args::{FieldArgs, TargetName};
use crate::keys::{self, DevKeys};
use crate::verbs::token::{self, Grant};

/// The targets that were asked for.
pub(super) fn targets(args: &FieldArgs) -> Vec<Target> {
    let all =
        [TargetName::RawQuic, TargetName::SternaQuic, TargetName::RawWss, TargetName::SternaWss];
    all.into_iter()
        .filter(|name| args.only.is_empty() || args.only.contains(name))
        .map(target)
        .collect()
}

fn target(name: TargetName) -> Target {
    let (name, part, transport) = match name {
        TargetName::SternaQuic => ("sterna, QUIC", Part::Sterna, Transport::Quic),
        TargetName::SternaWss => ("sterna, wss", Part::Sterna, Transport::Wss),
        TargetName::RawQuic => ("raw quinn", Part::Raw, Transport::Quic),
        TargetName::RawWss => ("raw rustls + tungstenite", Part::Raw, Transport::Wss),
    };
    let prepare: Box<dyn Fn() -> Result<Prepared>> = match part {
        Part::Sterna => Box::new(node),
        Part::Raw | Part::Peer => Box::new(move || raw_server(transport)),
    };
    Target { name: name.to_owned(), part, transport, prepare }
}

fn node() -> Result<Prepared> {
    let home = home()?;
    let keys = DevKeys::ensure(home.path())?;
    let (address, http) = (free_address()?, free_address()?);
    let mut config = String::new();
    // Limits that one machine does not reach by itself.
    write!(
        config,
        "[node]\ndata_dir = {home:?}\n\
         [client]\naddress = \"{address}\"\nworkers = 1\ncertificate = {certificate:?}\n\
         private_key = {key:?}\nconnections = 60000\naddress_connections_per_second = 100000\n\
         address_connection_burst = 100000\naddress_connections_open = 60000\n\
         [http]\naddress = \"{http}\"\n\
         [[auth.keys]]\nalgorithm = \"HS256\"\nfile = {secret:?}\n\
         [store]\nengine = \"memory\"\n\
         [channels]\ncreate_on_first_use = true\n\
         [sessions]\npublish_per_second = 1000000\npublish_burst = 1000000\n\
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
    prepared(home, &keys, dialect, Launch { program: program()?, arguments, address })
}

fn raw_server(transport: Transport) -> Result<Prepared> {
    let home = home()?;
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

fn prepared(
    home: tempfile::TempDir,
    keys: &DevKeys,
    dialect: Rc<dyn Dialect>,
    launch: Launch,
) -> Result<Prepared> {
    Ok(Prepared { launch, dialect, tls: trusting(&keys.ca)?, home: Some(home) })
}

fn home() -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("sterna-bench-").tempdir()?)
}

fn program() -> Result<std::path::PathBuf> {
    std::env::current_exe().context("this program does not know where it lies")
}

/// Believes what this authority has signed.
fn trusting(ca: &Path) -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
