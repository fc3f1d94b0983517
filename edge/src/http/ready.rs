//! Readiness seen from outside: a QUIC handshake with the node's own client port.
//!
//! A process can be alive while its workers are stuck; only a handshake proves that a client would
//! get in. At most one runs at a time and its verdict serves everybody for a second, so that
//! impatient balancers cost nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sterna_proto::{CloseReason, version};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// How long a verdict holds.
const VERDICT: Duration = Duration::from_secs(1);

/// Where the node itself can be reached, and the certificate it must show.
#[derive(Debug, Clone)]
pub struct ReadyProbe {
    /// As bound: an unspecified address is probed on loopback.
    pub client_address: SocketAddr,
    /// PEM; read for every probe, because it may have been renewed.
    pub certificate_chain: PathBuf,
}

/// The probe and its last verdict.
#[derive(Debug)]
pub(super) struct Readiness {
    probe: ReadyProbe,
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Readiness {
    pub(super) fn new(probe: ReadyProbe) -> Self {
        Self { probe, last: Mutex::new(None) }
    }

    /// Whether a client would get in; the text says why not.
    pub(super) async fn check(&self) -> Result<(), String> {
        let mut last = self.last.lock().await;
        if let Some((at, verdict)) = last.as_ref()
            && at.elapsed() < VERDICT
        {
            return verdict.clone();
        }
        let verdict = match tokio::time::timeout(HANDSHAKE, self.probe.handshake()).await {
            Ok(verdict) => verdict,
            Err(_) => Err(format!("no handshake within {} s", HANDSHAKE.as_secs())),
        };
        *last = Some((Instant::now(), verdict.clone()));
        verdict
    }
}

impl ReadyProbe {
    async fn handshake(&self) -> Result<(), String> {
        let pinned = self.pinned_certificate()?;
        let config = client_config(pinned)?;
        let target = loopback(self.client_address);
        let local: IpAddr = match target {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let endpoint = quinn::Endpoint::client(SocketAddr::new(local, 0))
            .map_err(|error| format!("no socket: {error}"))?;
        let connecting = endpoint
            .connect_with(config, target, "localhost")
            .map_err(|error| format!("cannot connect: {error}"))?;
        let connection = connecting.await.map_err(|error| format!("handshake failed: {error}"))?;
        connection.close(u32::from(CloseReason::Normal.code()).into(), b"probe");
        Ok(())
    }

    fn pinned_certificate(&self) -> Result<CertificateDer<'static>, String> {
        CertificateDer::from_pem_file(&self.certificate_chain)
            .map_err(|error| format!("cannot read {}: {error}", self.certificate_chain.display()))
    }
}

fn loopback(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn client_config(pinned: CertificateDer<'static>) -> Result<quinn::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(Pinned { certificate: pinned, provider: Arc::clone(&provider) });
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tls.alpn_protocols = vec![version::ALPN.to_vec()];
    let quic = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
    Ok(quinn::ClientConfig::new(Arc::new(quic)))
}

/// Trusts one certificate, whoever signed it and whatever it is called: the probe asks whether
/// this node answers, not who it is.
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("not the certificate of the configuration".into()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("QUIC is TLS 1.3".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
