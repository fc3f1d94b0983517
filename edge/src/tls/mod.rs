//! TLS 1.3 for both kinds of sockets: the certificate that can be exchanged while serving, and the
//! two configurations that all workers share. [`stream`] is TLS over TCP, with [`machine`] inside;
//! QUIC brings its own.

#[cfg(test)]
mod fuzz_tests;
mod machine;
mod sessions;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod ticket_tests;

pub(crate) use stream::{TlsStream, WRITE_BYTES};

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use sterna_proto::version;

use crate::config::TlsFiles;
use crate::error::EdgeError;
use crate::sealing::SharedTickets;
use sessions::Sessions;

/// The certificate and key that handshakes use from now on.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: TlsFiles,
    current: ArcSwap<CertifiedKey>,
}

impl Certificate {
    pub(crate) fn load(files: TlsFiles) -> Result<Arc<Self>, EdgeError> {
        let current = ArcSwap::from_pointee(read(&files)?);
        Ok(Arc::new(Self { files, current }))
    }

    /// Reads the files again. On an error the old certificate stays, as it does when the new one has
    /// come too early, or this machine's clock is behind: no client would believe it yet.
    pub(crate) fn reload(&self) -> Result<(), EdgeError> {
        let fresh = read(&self.files)?;
        check_begun(&fresh.cert[0], UnixTime::now())?;
        self.current.store(Arc::new(fresh));
        Ok(())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// The configurations of QUIC and of TCP.
#[derive(Debug, Clone)]
pub(crate) struct TlsConfigs {
    pub(crate) quic: Arc<rustls::ServerConfig>,
    pub(crate) tcp: Arc<rustls::ServerConfig>,
}

impl TlsConfigs {
    /// `tickets`: those that other edges accept too; without them tickets are for this process.
    /// `early_data`: of QUIC clients.
    pub(crate) fn new(
        certificate: &Arc<Certificate>,
        tickets: Option<SharedTickets>,
        early_data: bool,
    ) -> Result<Self, EdgeError> {
        let tickets: Arc<dyn ProducesTickets> = match tickets {
            Some(tickets) => Arc::new(tickets),
            None => aws_lc_rs::Ticketer::new().map_err(|error| {
                EdgeError::Certificate(format!("no session ticket key: {error}"))
            })?,
        };
        let mut quic = server_config(certificate, &tickets, &[version::ALPN, version::HTTP3_ALPN])?;
        if early_data {
            accept_early_data(&mut quic);
        }
        let tcp = server_config(certificate, &tickets, &[b"http/1.1"])?;
        Ok(Self { quic: Arc::new(quic), tcp: Arc::new(tcp) })
    }
}

/// Tickets become references to sessions that are kept here.
fn accept_early_data(config: &mut rustls::ServerConfig) {
    config.ticketer = Arc::new(NoTickets);
    config.session_storage = Arc::new(Sessions::new(SESSIONS_KEPT));
    // All or nothing, says RFC 9001, section 4.6.1; QUIC's own limits bound it.
    config.max_early_data_size = u32::MAX;
}

/// Resumption is stateless: an encrypted ticket costs this process no memory, and all workers
/// accept it.
fn server_config(
    certificate: &Arc<Certificate>,
    tickets: &Arc<dyn ProducesTickets>,
    alpn: &[&[u8]],
) -> Result<rustls::ServerConfig, EdgeError> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| EdgeError::Certificate(error.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(certificate.clone());
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.ticketer = tickets.clone();
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 0;
    Ok(config)
}

/// Where sessions are kept there are no tickets that hold one.
#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _cipher: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Named explicitly: a dependency may enable another one and make the default ambiguous.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn read(files: &TlsFiles) -> Result<CertifiedKey, EdgeError> {
    let chain = CertificateDer::pem_file_iter(&files.certificate_chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| cannot_read(&files.certificate_chain, error))?;
    if chain.is_empty() {
        let path = files.certificate_chain.display();
        return Err(EdgeError::Certificate(format!("{path} holds no certificate")));
    }
    let key = PrivateKeyDer::from_pem_file(&files.private_key)
        .map_err(|error| cannot_read(&files.private_key, error))?;
    CertifiedKey::from_der(chain, key, &provider())
        .map_err(|error| EdgeError::Certificate(error.to_string()))
}

fn check_begun(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), EdgeError> {
    let parsed = match x509_parser::parse_x509_certificate(certificate) {
        Ok((_, parsed)) => parsed,
        Err(error) => {
            // A start would take it, and clients may.
            tracing::warn!(%error, "it is not known from when the certificate is valid");
            return Ok(());
        }
    };
    let from = parsed.validity().not_before;
    let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if from.timestamp() > now_s {
        return Err(EdgeError::Certificate(format!("the certificate is valid only from {from}")));
    }
    Ok(())
}

fn cannot_read(path: &Path, error: pem::Error) -> EdgeError {
    match error {
        pem::Error::Io(source) => EdgeError::Read { path: path.to_owned(), source },
        other => EdgeError::Certificate(format!("{}: {other}", path.display())),
    }
}

/// Tickets whose sessions are kept with early data; some 500 bytes each.
const SESSIONS_KEPT: usize = 32 * 1024;
