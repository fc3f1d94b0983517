//! Bare clients of the raw servers: a stream of quinn, or rustls and tungstenite. Nothing is recovered
//! and nobody connects again: whoever has one of these does that by himself.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures_util::sink::SinkExt as _;
use futures_util::stream::StreamExt as _;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, RecvStream, SendStream, TransportConfig};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::protocol::{Cutter, Message, framed};
use crate::quic::ALPN;

/// One connection. Dropping it closes it.
#[derive(Debug)]
pub enum Client {
    Quic(Box<Quic>),
    Wss(Box<WebSocketStream<TlsStream<TcpStream>>>),
}

#[derive(Debug)]
pub struct Quic {
    endpoint: Endpoint,
    send: SendStream,
    recv: RecvStream,
    cutter: Cutter,
}

impl Client {
    pub async fn quic(address: SocketAddr, tls: &rustls::ClientConfig) -> Result<Self> {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(KEEP_ALIVE));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
        let connection = endpoint.connect_with(config, address, SERVER_NAME)?.await?;
        let (send, recv) = connection.open_bi().await?;
        Ok(Self::Quic(Box::new(Quic { endpoint, send, recv, cutter: Cutter::default() })))
    }

    pub async fn wss(address: SocketAddr, tls: Arc<rustls::ClientConfig>) -> Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(SERVER_NAME)?;
        let tls = TlsConnector::from(tls).connect(name, tcp).await?;
        let (socket, _) = client_async(format!("wss://{SERVER_NAME}/"), tls).await?;
        Ok(Self::Wss(Box::new(socket)))
    }

    pub async fn send(&mut self, message: &Message) -> Result<()> {
        let bytes = message.encode();
        match self {
            Self::Quic(quic) => Ok(quic.send.write_chunk(framed(&bytes)).await?),
            Self::Wss(socket) => Ok(socket.send(Frame::Binary(bytes)).await?),
        }
    }

    /// The next message of the server; an error when the connection has ended. May be dropped before it
    /// is done.
    pub async fn next(&mut self) -> Result<Bytes> {
        match self {
            Self::Quic(quic) => loop {
                if let Some(message) = quic.cutter.cut() {
                    return Ok(message);
                }
                let chunk = quic.recv.read_chunk(CHUNK_BYTES, true).await?;
                quic.cutter.extend(&chunk.context("the stream has ended")?.bytes);
            },
            Self::Wss(socket) => loop {
                match socket.next().await.context("the WebSocket has ended")?? {
                    Frame::Binary(bytes) => return Ok(bytes),
                    Frame::Close(_) => bail!("the WebSocket was closed"),
                    _ => {}
                }
            },
        }
    }

    /// Goes on from a new socket, as quinn does it when it is told of another network. A WebSocket cannot.
    pub fn rebind(&self) -> Result<()> {
        if let Self::Quic(quic) = self {
            quic.endpoint.rebind(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?)?;
        }
        Ok(())
    }
}

/// As certificates for development name the server.
const SERVER_NAME: &str = "localhost";

/// A client that only reads has nothing to say from another address, unless acknowledgements are on
/// their way already.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

const CHUNK_BYTES: usize = 16 * 1024;
