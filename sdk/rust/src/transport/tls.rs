//! TLS 1.3 for both transports, from one set of roots. Session tickets are shared by all
//! connections of a client. Says which failures are a matter of trust.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use sterna_proto::version;

use super::LinkEnd;
use crate::Error;

#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) quic: Arc<quinn::crypto::rustls::QuicClientConfig>,
    pub(crate) websocket: Arc<ClientConfig>,
}

impl Tls {
    pub(crate) fn new(roots: RootCertStore) -> Result<Self, Error> {
        let roots = Arc::new(roots);
        let mut quic = client_config(roots.clone())?;
        quic.alpn_protocols = vec![version::ALPN.to_vec()];
        let mut websocket = client_config(roots)?;
        websocket.alpn_protocols = vec![b"http/1.1".to_vec()];
        let quic = quinn::crypto::rustls::QuicClientConfig::try_from(quic)
            .map_err(|error| Error::Config(error.to_string()))?;
        Ok(Self { quic: Arc::new(quic), websocket: Arc::new(websocket) })
    }
}

fn client_config(roots: Arc<RootCertStore>) -> Result<ClientConfig, Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Error::Config(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// Authorities for a client that was told none: those of the platform, or, where it keeps none (a
/// container, say), the ones that Mozilla trusts, as of the version of `webpki-roots`.
pub(crate) fn default_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a source of the platform's certificate authorities is unusable");
    }
    platform_or_bundled(found.certs)
}

fn platform_or_bundled(platform: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let (_, unusable) = roots.add_parsable_certificates(platform);
    if unusable > 0 {
        tracing::debug!(unusable, "certificate authorities of the platform that are not usable");
    }
    if roots.is_empty() {
        tracing::debug!("the platform has no certificate authorities; taking the bundled ones");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// How a TLS handshake over TCP failed.
pub(super) fn handshake_end(error: &std::io::Error) -> LinkEnd {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(_)) => LinkEnd::untrusted(error),
        _ => LinkEnd::broken(error),
    }
}

/// Whether a QUIC connection was ended, with this code, over the peer's certificate: the TLS
/// alerts from bad_certificate (42) to certificate_unknown (46), unknown_ca (48), and
/// decrypt_error (51), which is what a wrong signature is called.
pub(super) fn is_distrust(code: u64) -> bool {
    matches!(code.checked_sub(QUIC_CRYPTO_ERRORS), Some(42..=46 | 48 | 51))
}

/// A TLS alert is this much larger as a QUIC error code (RFC 9001 section 4.8).
const QUIC_CRYPTO_ERRORS: u64 = 0x100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_without_authorities_gets_the_bundled_ones_and_one_with_some_gets_those() {
        assert_eq!(platform_or_bundled(vec![]).len(), webpki_roots::TLS_SERVER_ROOTS.len());
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let garbage = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!(platform_or_bundled(vec![garbage, made.cert.der().clone()]).len(), 1);
        assert!(!default_roots().is_empty());
    }

    #[test]
    fn only_alerts_about_certificates_are_distrust() {
        for code in [0x100 + 42, 0x100 + 45, 0x100 + 48, 0x100 + 51] {
            assert!(is_distrust(code), "{code}");
        }
        // handshake_failure, no_application_protocol, and no crypto errors at all.
        for code in [0x100 + 40, 0x100 + 120, 0x100 + 47, 42, 0] {
            assert!(!is_distrust(code), "{code}");
        }
    }
}
