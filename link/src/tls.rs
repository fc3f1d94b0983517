//! TLS 1.3 with certificates on both sides (RFC 8446). Both ends ask for one that an authority of
//! the cluster has signed; neither looks at names of hosts.

use std::path::Path;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use sterna_proto::{NodeId, version};

use crate::config::LinkFiles;
use crate::error::LinkError;
use crate::identity::NodeIdentity;

/// What both ends of links are made of, read from files.
#[derive(Debug)]
pub(crate) struct LinkTls {
    files: LinkFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl LinkTls {
    pub(crate) fn read(files: &LinkFiles) -> Result<Self, LinkError> {
        let chain = certificates(&files.certificate_chain)?;
        let key = PrivateKeyDer::from_pem_file(&files.private_key)
            .map_err(|error| unreadable(&files.private_key, error))?;
        let mut authorities = RootCertStore::empty();
        for authority in certificates(&files.authorities)? {
            authorities.add(authority).map_err(|error| unreadable(&files.authorities, error))?;
        }
        Ok(Self {
            files: files.clone(),
            chain,
            key,
            authorities: Arc::new(authorities),
            provider: Arc::new(aws_lc_rs::default_provider()),
        })
    }

    /// The identity of this node's own certificate.
    pub(crate) fn own(&self, wanted: &NodeId) -> Result<NodeIdentity, LinkError> {
        let path = || self.files.certificate_chain.clone();
        let own = NodeIdentity::from_certificate(&self.chain[0])
            .map_err(|source| LinkError::Identity { path: path(), source })?;
        if own.name != *wanted {
            let (found, wanted) = (own.name.to_string(), wanted.to_string());
            return Err(LinkError::OtherNode { path: path(), found, wanted });
        }
        Ok(own)
    }

    /// Checks the own certificate as others do who have the same authorities.
    pub(crate) fn check_own(&self) -> Result<NodeIdentity, LinkError> {
        let unusable = |error: rustls::Error| LinkError::Certificate(error.to_string());
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(&self.chain[0]).map_err(unusable)?,
            &self.authorities,
            &self.chain[1..],
            UnixTime::now(),
            self.provider.signature_verification_algorithms.all,
        )
        .map_err(unusable)?;
        let path = self.files.certificate_chain.clone();
        NodeIdentity::from_certificate(&self.chain[0])
            .map_err(|source| LinkError::Identity { path, source })
    }

    pub(crate) fn server(&self) -> Result<quinn::ServerConfig, LinkError> {
        let unusable = |error: &dyn std::fmt::Display| LinkError::Certificate(error.to_string());
        let verifier = WebPkiClientVerifier::builder_with_provider(
            self.authorities.clone(),
            self.provider.clone(),
        )
        .build()
        .map_err(|error| unusable(&error))?;
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| unusable(&error))?;
        config.alpn_protocols = vec![version::LINK_ALPN.to_vec()];
        // A resumed handshake would let a certificate outlive its end.
        config.send_tls13_tickets = 0;
        let quic = QuicServerConfig::try_from(config).map_err(|error| unusable(&error))?;
        Ok(quinn::ServerConfig::with_crypto(Arc::new(quic)))
    }

    pub(crate) fn client(&self) -> Result<quinn::ClientConfig, LinkError> {
        let unusable = |error: &dyn std::fmt::Display| LinkError::Certificate(error.to_string());
        let verifier =
            NodeVerifier { authorities: self.authorities.clone(), provider: self.provider.clone() };
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| unusable(&error))?;
        config.alpn_protocols = vec![version::LINK_ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        let quic = QuicClientConfig::try_from(config).map_err(|error| unusable(&error))?;
        Ok(quinn::ClientConfig::new(Arc::new(quic)))
    }
}

/// Accepts what an authority of the cluster has signed. Whose certificate it is, the caller asks
/// afterwards ([`peer`]): nodes have names of their own.
#[derive(Debug)]
struct NodeVerifier {
    authorities: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.authorities,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

/// Who is at the other end of a connection.
pub(crate) fn peer(connection: &quinn::Connection) -> Result<NodeIdentity, String> {
    let chain = connection.peer_identity().ok_or("the peer has shown no certificate")?;
    let chain = chain
        .downcast::<Vec<CertificateDer<'static>>>()
        .map_err(|_| "the peer's certificate is of an unknown kind")?;
    let own = chain.first().ok_or("the peer has shown no certificate")?;
    NodeIdentity::from_certificate(own).map_err(|error| format!("the peer's certificate: {error}"))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, error))?.collect();
    let found = found.map_err(|error| unreadable(path, error))?;
    if found.is_empty() {
        return Err(unreadable(path, "there is no certificate in it"));
    }
    Ok(found)
}

fn unreadable(path: &Path, reason: impl ToString) -> LinkError {
    LinkError::File { path: path.to_owned(), reason: reason.to_string() }
}
