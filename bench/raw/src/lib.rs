//! The raw limits that a gateway is held against: the least code that does the same work over the
//! same libraries. No sessions, no limits, no recovery, no storage unless it is asked for; a server here
//! trusts its only client, the load generator, and panics or stops at the first thing that is wrong.
//!
//! * [`quic`]: streams of bare quinn, written by one hub loop
//! * [`wss`]: rustls and tungstenite, written by one hub loop
//! * [`client`]: what connects to either, where the load generator's own clients do too much
//! * [`commit`]: a RocksDB group-commit loop
//! * [`sql`]: the transactions of the SQL store
//! * [`pack`]: zstd frames into one synced file
//!
//! One protocol over both transports: [`protocol`].

pub mod client;
pub mod commit;
mod committer;
mod hub;
pub mod pack;
pub mod protocol;
pub mod quic;
pub mod sql;
pub mod wss;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use committer::Committer;
pub use committer::Storage;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// What a raw server needs to know.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    pub address: SocketAddr,
    /// PEM.
    pub certificate: PathBuf,
    pub private_key: PathBuf,
    /// What is published is acknowledged once it is stored there; `None`: at once.
    pub storage: Option<Storage>,
}

impl ServerOptions {
    fn committer(&self) -> Result<Option<Committer>> {
        self.storage.as_ref().map(Committer::start).transpose()
    }
}

/// TLS 1.3 as a node has it.
fn tls(options: &ServerOptions, alpn: &[u8]) -> Result<rustls::ServerConfig> {
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain(&options.certificate)?, key(&options.private_key)?)?;
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 2;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .with_context(|| format!("no certificates in {}", file.display()))
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(file).with_context(|| format!("no key in {}", file.display()))
}
