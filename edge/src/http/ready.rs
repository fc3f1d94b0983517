//! Readiness seen from outside: a QUIC handshake with the node's own client port.
//!
//! A process can be alive while its workers are stuck or its certificate has expired; only a
//! handshake proves that a client would get in. What counts is the certificate that is shown, not
//! the file: that may have been replaced a moment ago. At most one runs at a time and its verdict serves everybody for a second, so that
//! impatient balancers cost nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sterna_proto::{CloseReason, version};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// How long a verdict holds.
const VERDICT: Duration = Duration::from_secs(1);

/// Where the node itself can be reached.
#[derive(Debug, Clone)]
pub struct ReadyProbe {
    /// As bound: an unspecified address is probed on loopback. `None` for a node without clients.
    pub client_address: Option<SocketAddr>,
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
        let Some(client_address) = self.client_address else { return Ok(()) };
        let config = client_config()?;
        let target = loopback(client_address);
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
        let shown = shown_certificate(&connection);
        connection.close(u32::from(CloseReason::Normal.code()).into(), b"probe");
        check_validity(&shown?, UnixTime::now())
    }
}

fn shown_certificate(connection: &quinn::Connection) -> Result<CertificateDer<'static>, String> {
    let chain = connection.peer_identity().and_then(|it| it.downcast::<Vec<_>>().ok());
    let first = chain.and_then(|chain: Box<Vec<CertificateDer<'static>>>| chain.first().cloned());
    first.ok_or_else(|| "the handshake showed no certificate".to_owned())
}

/// What every client checks, and what changes without anybody doing anything.
fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|error| format!("the certificate is damaged: {error}"))?;
    let validity = parsed.validity();
    let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if validity.not_before.timestamp() > now_s {
        return Err(format!("the certificate is valid only from {}", validity.not_before));
    }
    if validity.not_after.timestamp() < now_s {
        return Err(format!("the certificate expired on {}", validity.not_after));
    }
    Ok(())
}

fn loopback(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn client_config() -> Result<quinn::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyCertificate { provider: Arc::clone(&provider) });
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

/// Trusts whoever signed: the probe asks whether this node answers, not who it is, and looks at
/// the certificate afterwards.
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for AnyCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyCertificate")
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_valid_between_its_dates_only() {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let on = |date: i64| {
            let since_epoch = Duration::from_secs(date.unsigned_abs());
            check_validity(certificate.der(), UnixTime::since_unix_epoch(since_epoch))
        };
        let (start, end) = (1_577_836_800, 1_609_459_200);
        assert!(on(start - 1).unwrap_err().contains("only from"));
        assert_eq!((on(start), on(end)), (Ok(()), Ok(())));
        assert!(on(end + 1).unwrap_err().contains("expired on"));
    }
}
