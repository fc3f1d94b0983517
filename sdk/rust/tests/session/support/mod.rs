//! A node that does what the test says: one QUIC endpoint and one wss listener on the same port
//! number, one loop that answers commands from a script over a tiny log.

pub mod client;
mod log;
mod quic;
mod wss;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sterna_proto::version;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub use log::{Log, Say};

pub struct Node {
    pub address: SocketAddr,
    pub ca_pem: String,
    pub log: Arc<Log>,
    tasks: JoinSet<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Serve {
    Both,
    QuicOnly,
    WebSocketOnly,
}

impl Node {
    pub async fn start(serve: Serve) -> Self {
        Self::with_log(serve, Arc::new(Log::default()), &Certificate::new()).await
    }

    pub async fn with_log(serve: Serve, log: Arc<Log>, certificate: &Certificate) -> Self {
        Self::at(Ipv4Addr::LOCALHOST.into(), serve, log, certificate).await.unwrap()
    }

    /// Fails where the machine has no such address.
    pub async fn at(
        ip: IpAddr,
        serve: Serve,
        log: Arc<Log>,
        certificate: &Certificate,
    ) -> std::io::Result<Self> {
        let (tcp, udp) = ports(ip).await?;
        let address = tcp.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        if serve != Serve::WebSocketOnly {
            let mut tls = certificate.server_config();
            tls.alpn_protocols = vec![version::ALPN.to_vec()];
            let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
            let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
            let (endpoint, runtime) =
                (quinn::EndpointConfig::default(), Arc::new(quinn::TokioRuntime));
            let endpoint = quinn::Endpoint::new(endpoint, Some(config), udp, runtime)?;
            tasks.spawn(quic::serve_quic(endpoint, log.clone()));
        }
        if serve != Serve::QuicOnly {
            let acceptor = TlsAcceptor::from(Arc::new(certificate.server_config()));
            tasks.spawn(wss::serve_wss(tcp, acceptor, log.clone()));
        }
        Ok(Self { address, ca_pem: certificate.pem.clone(), log, tasks })
    }

    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// A port that is free for both: the kernel gives one of TCP without a look at UDP.
async fn ports(ip: IpAddr) -> std::io::Result<(TcpListener, UdpSocket)> {
    const TRIES: usize = 100;
    let mut tries = 0;
    loop {
        let tcp = TcpListener::bind((ip, 0)).await?;
        tries += 1;
        match UdpSocket::bind(tcp.local_addr()?) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && tries < TRIES => {}
            udp => return Ok((tcp, udp?)),
        }
    }
}

pub struct Certificate {
    pub pem: String,
    der: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    pub fn new() -> Self {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Self {
            pem: made.cert.pem(),
            der: made.cert.der().to_vec(),
            key: made.signing_key.serialize_der(),
        }
    }

    fn server_config(&self) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(self.der.clone())],
                PrivateKeyDer::try_from(self.key.clone()).unwrap(),
            )
            .unwrap()
    }
}
