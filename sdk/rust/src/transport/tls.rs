//! TLS 1.3 for both transports, from one set of roots. Session tickets are shared by all
//! connections of a client.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use sterna_proto::version;

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
