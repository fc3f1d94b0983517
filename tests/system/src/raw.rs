//! Clients that speak frame by frame, for what the SDK would never do. Each owns its socket and
//! ends with it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use sterna_proto::v1::{self, command::Verb, reply};
use sterna_proto::{CloseReason, FrameDecoder, codec, limits, version};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::node::{Node, PATIENCE};
use crate::sdk::{TOKEN_LIFE, token};

/// A QUIC connection with a control stream.
#[derive(Debug)]
pub struct QuicClient {
    pub connection: Connection,
    pub commands: SendStream,
    replies: RecvStream,
    decoder: FrameDecoder,
    _endpoint: Endpoint,
}

impl QuicClient {
    /// A connection with a session.
    pub async fn start(node: &Node, user: &str, transport: TransportConfig) -> Self {
        let mut client = Self::connect(node, transport).await;
        client.send(&hello(node, user)).await;
        client.reply(1).await;
        client
    }

    /// A connection that has not said a word.
    pub async fn connect(node: &Node, transport: TransportConfig) -> Self {
        Self::connect_to(node.client_address(), quic_config(node, transport)).await
    }

    /// The same to whoever listens there.
    pub async fn connect_to(remote: SocketAddr, config: ClientConfig) -> Self {
        let local = if remote.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" };
        let mut endpoint = Endpoint::client(local.parse().unwrap()).unwrap();
        endpoint.set_default_client_config(config);
        let connecting = endpoint.connect(remote, "localhost").unwrap();
        let connection = within("a QUIC handshake", connecting).await.unwrap();
        let (commands, replies) = connection.open_bi().await.unwrap();
        let decoder = FrameDecoder::new(limits::FRAME_BYTES);
        Self { connection, commands, replies, decoder, _endpoint: endpoint }
    }

    pub async fn send(&mut self, frame: &v1::Frame) {
        self.commands.write_all(&codec::encode_to_bytes(frame)).await.unwrap();
    }

    /// The reply to command `id`; what comes before is skipped.
    pub async fn reply(&mut self, id: u32) -> reply::Result {
        loop {
            while let Some(frame) = self.decoder.next().unwrap() {
                if let Some(result) = reply_to(frame, id) {
                    return result;
                }
            }
            let chunk = within("a frame", self.replies.read_chunk(usize::MAX, true)).await;
            self.decoder.extend(&chunk.unwrap().expect("the stream goes on").bytes);
        }
    }

    /// Why the node has closed the connection.
    pub async fn closed(&self) -> CloseReason {
        match within("the end of a connection", self.connection.closed()).await {
            ConnectionError::ApplicationClosed(close) => {
                CloseReason::from_code(close.error_code.into_inner()).unwrap()
            }
            other => panic!("ended by {other}"),
        }
    }
}

/// A WebSocket with binary messages.
#[derive(Debug)]
pub struct WssClient {
    pub socket: WebSocketStream<TlsStream<TcpStream>>,
    decoder: FrameDecoder,
}

impl WssClient {
    /// A connection with a session.
    pub async fn start(node: &Node, user: &str) -> Self {
        Self::start_on(tls(node).await.unwrap(), hello(node, user)).await
    }

    /// The same on what is there already.
    pub async fn start_on(stream: TlsStream<TcpStream>, hello: v1::Frame) -> Self {
        Self::start_as(stream, hello, &[]).await
    }

    /// The same with further headers in the request.
    pub async fn start_as(
        stream: TlsStream<TcpStream>,
        hello: v1::Frame,
        headers: &[(&'static str, &str)],
    ) -> Self {
        let url = format!("wss://localhost{}", version::WEBSOCKET_PATH);
        let mut request = url.into_client_request().unwrap();
        let subprotocol = version::SUBPROTOCOL_PROTOBUF.parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", subprotocol);
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let upgrade = tokio_tungstenite::client_async(request, stream);
        let (socket, _) = within("an upgrade", upgrade).await.unwrap();
        let mut client = Self { socket, decoder: FrameDecoder::new(limits::FRAME_BYTES) };
        client.send(&hello).await;
        client.reply(1).await;
        client
    }

    pub async fn send(&mut self, frame: &v1::Frame) {
        self.socket.send(Message::Binary(codec::encode_to_bytes(frame))).await.unwrap();
    }

    /// The reply to command `id`; what comes before is skipped.
    pub async fn reply(&mut self, id: u32) -> reply::Result {
        loop {
            while let Some(frame) = self.decoder.next().unwrap() {
                if let Some(result) = reply_to(frame, id) {
                    return result;
                }
            }
            match within("a message", self.socket.next()).await {
                Some(Ok(Message::Binary(bytes))) => self.decoder.extend(&bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no frame but {other:?}"),
            }
        }
    }

    /// Why the node has closed the connection; what comes before is skipped.
    pub async fn closed(&mut self) -> CloseReason {
        loop {
            match within("the end of a connection", self.socket.next()).await {
                Some(Ok(Message::Close(Some(close)))) => {
                    return CloseReason::from_code(u16::from(close.code).into()).unwrap();
                }
                Some(Ok(_)) => {}
                other => panic!("ended by {other:?}"),
            }
        }
    }
}

/// TCP and TLS, and nothing yet on top.
pub async fn tls(node: &Node) -> std::io::Result<TlsStream<TcpStream>> {
    tls_on(TcpStream::connect(node.client_address()).await?, node).await
}

/// TLS on what is there already.
pub async fn tls_on(tcp: TcpStream, node: &Node) -> std::io::Result<TlsStream<TcpStream>> {
    tls_by(tcp, &node.data_dir().join("keys/ca.pem")).await
}

/// The same with whom the authority in this file has signed.
pub async fn tls_by(tcp: TcpStream, authority: &Path) -> std::io::Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(tls_config(authority, b"http/1.1")));
    let name = ServerName::try_from("localhost").unwrap();
    within("a TLS handshake", connector.connect(name, tcp)).await
}

/// Trusts the node's own authority.
pub fn quic_config(node: &Node, transport: TransportConfig) -> ClientConfig {
    quic_config_for(&node.data_dir().join("keys/ca.pem"), transport)
}

/// Trusts the authority in this file.
pub fn quic_config_for(authority: &Path, transport: TransportConfig) -> ClientConfig {
    let tls = QuicClientConfig::try_from(tls_config(authority, version::ALPN)).unwrap();
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport));
    config
}

fn tls_config(authority: &Path, alpn: &[u8]) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(authority).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// Opens a session; its reply has the id 1.
pub fn hello(node: &Node, user: &str) -> v1::Frame {
    hello_with(token(node, user, TOKEN_LIFE), user)
}

/// The same with this access token.
pub fn hello_with(access_token: String, user: &str) -> v1::Frame {
    let hello =
        v1::Hello { access_token, client_id: format!("{user}-device"), ..Default::default() };
    v1::Frame::command(1, Verb::Hello(hello))
}

pub fn ping(id: u32) -> v1::Frame {
    v1::Frame::command(
        id,
        Verb::Ping(v1::Ping { client_time_ms: u64::from(id), ..Default::default() }),
    )
}

pub fn subscribe(id: u32, channel: &str) -> v1::Frame {
    let subscribe = v1::Subscribe { channel: channel.to_owned(), ..Default::default() };
    v1::Frame::command(id, Verb::Subscribe(subscribe))
}

fn reply_to(frame: v1::Frame, id: u32) -> Option<reply::Result> {
    match frame.body {
        Some(v1::frame::Body::Reply(reply)) if reply.id == id => reply.result,
        _ => None,
    }
}

/// Fails the test when `future` takes so long that something is stuck.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} takes for ever"))
}
