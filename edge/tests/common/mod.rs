//! An edge on a node of its own, and clients that speak to it frame by frame.

// Each test binary uses a part of this; clippy sees test helpers outside #[test] as plain code.
#![allow(dead_code, clippy::unwrap_used)]

pub mod http;
pub mod quic;
pub mod webtransport;
pub mod wss;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use sterna_core::{Clock, CoreConfig, Node, SystemClock, Threads};
use sterna_edge::auth::{AuthConfig, AuthKey, KeyAlgorithm};
use sterna_edge::{Authenticator, Edge, EdgeConfig, EdgeError, EdgeLimits, TlsFiles};
use sterna_proto::{NodeId, v1};
use sterna_storage::memory::MemoryStore;
use tempfile::TempDir;

const TOKEN_SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// What a test can change before the edge starts.
pub struct Settings {
    pub workers: usize,
    /// Whether shards share the workers' threads, as they do in a node.
    pub shards_on_workers: bool,
    pub edge: EdgeConfig,
    pub core: CoreConfig,
    pub clock: Arc<dyn Clock>,
}

pub struct TestEdge {
    pub edge: Edge,
    pub node: Node,
    pub auth: Arc<Authenticator>,
    pub certificate: CertificateDer<'static>,
    pub config: EdgeConfig,
    files: TempDir,
}

impl TestEdge {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::try_start_with(change).await.unwrap()
    }

    pub async fn try_start_with(change: impl FnOnce(&mut Settings)) -> Result<Self, EdgeError> {
        let files = TempDir::new().unwrap();
        let certificate = write_certificate(&files);
        let mut settings = settings(&files);
        change(&mut settings);
        let stores = MemoryStore::new().stores();
        let threads = Threads::start(settings.workers).unwrap();
        let shared = settings.shards_on_workers.then(|| threads.clone());
        let core = CoreConfig { threads: shared, ..settings.core };
        let node = Node::start(core, stores, settings.clock).await.unwrap();
        let auth = Arc::new(authenticator().sharing(node.revocations().clone()));
        let edge = Edge::start(settings.edge.clone(), &threads, node.clone(), auth.clone()).await?;
        Ok(Self { edge, node, auth, certificate, config: settings.edge, files })
    }

    /// Puts another certificate in place of the files, without telling the edge.
    pub fn exchange_certificate(&mut self) {
        self.certificate = write_certificate(&self.files);
    }
}

fn settings(files: &TempDir) -> Settings {
    let core = CoreConfig::embedded(NodeId::new("test").unwrap(), v1::Durability::Memory);
    let edge = EdgeConfig {
        client_address: "127.0.0.1:0".parse().unwrap(),
        tls: tls_files(files),
        allowed_origins: vec!["https://app.example.com".into()],
        early_data: false,
        node_secret: [7; 32],
        cluster_secrets: Vec::new(),
        connection_ids: None,
        node_number: 1,
        limits: EdgeLimits {
            address_connections_per_second: 1000,
            address_connection_burst: 1000,
            path_changes_per_minute: 1000,
            ..EdgeLimits::default()
        },
    };
    Settings { workers: 2, shards_on_workers: true, edge, core, clock: Arc::new(SystemClock) }
}

fn tls_files(files: &TempDir) -> TlsFiles {
    let path = |name: &str| -> PathBuf { files.path().join(name) };
    TlsFiles { certificate_chain: path("chain.pem"), private_key: path("key.pem") }
}

fn write_certificate(files: &TempDir) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = tls_files(files);
    std::fs::write(tls.certificate_chain, made.cert.pem()).unwrap();
    std::fs::write(tls.private_key, made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn authenticator() -> Authenticator {
    let material = TOKEN_SECRET.to_vec();
    let key = AuthKey { kid: None, algorithm: KeyAlgorithm::Hs256, material };
    Authenticator::new(AuthConfig::new(vec![key])).unwrap()
}

pub fn token(user: &str) -> String {
    let exp = jsonwebtoken::get_current_timestamp() + 600;
    let claims = json!({ "sub": user, "exp": exp, "channels": ["*"] });
    let key = EncodingKey::from_secret(TOKEN_SECRET);
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

/// A TLS client that trusts `certificate` alone.
pub fn client_tls(certificate: &CertificateDer<'static>, alpn: &[u8]) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

pub fn hello(user: &str) -> v1::Frame {
    v1::Frame::command(
        1,
        v1::command::Verb::Hello(v1::Hello {
            access_token: token(user),
            client_id: format!("{user}-device"),
            ..Default::default()
        }),
    )
}

pub fn ping(id: u32) -> v1::Frame {
    v1::Frame::command(
        id,
        v1::command::Verb::Ping(v1::Ping { client_time_ms: u64::from(id), ..Default::default() }),
    )
}

pub fn subscribe(id: u32, channel: &str) -> v1::Frame {
    let subscribe = v1::Subscribe { channel: channel.into(), ..Default::default() };
    v1::Frame::command(id, v1::command::Verb::Subscribe(subscribe))
}

pub fn publish(id: u32, channel: &str, payload: Vec<u8>) -> v1::Frame {
    let publish =
        v1::Publish { channel: channel.into(), payload: payload.into(), ..Default::default() };
    v1::Frame::command(id, v1::command::Verb::Publish(publish))
}

/// The reply to command `id`, if that is what the frame is.
pub fn reply_to(frame: &v1::Frame, id: u32) -> Option<&v1::reply::Result> {
    match &frame.body {
        Some(v1::frame::Body::Reply(reply)) if reply.id == id => reply.result.as_ref(),
        _ => None,
    }
}

/// Fails the test when `future` takes so long that something is stuck.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("{what} takes for ever"))
}
