//! Both ends of TLS over TCP.

use std::sync::Arc;

use crate::config::TlsFiles;
use crate::tls::{Certificate, TlsConfigs};

/// The listener's own configuration, and that of a client who trusts its certificate.
pub(crate) fn tls_over_tcp() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let (certificate, client) = certificate();
    (TlsConfigs::new(&certificate, None, false).unwrap().tcp, client)
}

/// A certificate, and the configuration of a client who trusts it.
pub(crate) fn certificate() -> (Arc<Certificate>, Arc<rustls::ClientConfig>) {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate_chain: folder.path().join("chain.pem"),
        private_key: folder.path().join("key.pem"),
    };
    std::fs::write(&files.certificate_chain, made.cert.pem()).unwrap();
    std::fs::write(&files.private_key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Certificate::load(files).unwrap(), Arc::new(client))
}
