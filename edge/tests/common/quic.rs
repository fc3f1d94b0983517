//! A QUIC client, one frame at a time.

use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use quinn::{TransportConfig, VarInt};
use sterna_proto::{CloseReason, FrameDecoder, codec, limits, v1, version};

use super::{TestEdge, client_tls, hello, ping, reply_to, within};

pub struct QuicClient {
    pub endpoint: Endpoint,
    pub connection: Connection,
    pub commands: SendStream,
    replies: RecvStream,
    decoder: FrameDecoder,
}

pub fn client_config(edge: &TestEdge, alpn: &[u8], transport: TransportConfig) -> ClientConfig {
    let tls = client_tls(&edge.certificate, alpn);
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(transport));
    config
}

pub async fn connect(edge: &TestEdge) -> Result<(Endpoint, Connection), ConnectionError> {
    connect_with(edge, TransportConfig::default()).await
}

pub async fn connect_with(
    edge: &TestEdge,
    transport: TransportConfig,
) -> Result<(Endpoint, Connection), ConnectionError> {
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(client_config(edge, version::ALPN, transport));
    let connecting = endpoint.connect(edge.edge.local_address(), "localhost").unwrap();
    let connection = within("a QUIC handshake", connecting).await?;
    Ok((endpoint, connection))
}

impl QuicClient {
    /// A connection with a session.
    pub async fn start(edge: &TestEdge, user: &str) -> Self {
        Self::start_with(edge, user, TransportConfig::default()).await
    }

    pub async fn start_with(edge: &TestEdge, user: &str, transport: TransportConfig) -> Self {
        let (endpoint, connection) = connect_with(edge, transport).await.unwrap();
        let mut client = Self::on(endpoint, connection).await;
        client.send(&hello(user)).await;
        let welcome = client.reply(1).await;
        assert!(matches!(welcome, v1::reply::Result::Welcome(_)), "{welcome:?}");
        client
    }

    /// A connection with a control stream.
    pub async fn on(endpoint: Endpoint, connection: Connection) -> Self {
        let (commands, replies) = connection.open_bi().await.unwrap();
        let decoder = FrameDecoder::new(limits::FRAME_BYTES);
        Self { endpoint, connection, commands, replies, decoder }
    }

    pub async fn send(&mut self, frame: &v1::Frame) {
        self.commands.write_all(&codec::encode_to_bytes(frame)).await.unwrap();
    }

    /// The next frame of the control stream.
    pub async fn receive(&mut self) -> v1::Frame {
        within("a frame", next_frame(&mut self.replies, &mut self.decoder)).await.unwrap()
    }

    pub async fn reply(&mut self, id: u32) -> v1::reply::Result {
        loop {
            let frame = self.receive().await;
            if let Some(result) = reply_to(&frame, id) {
                return result.clone();
            }
        }
    }

    pub async fn ping(&mut self, id: u32) {
        self.send(&ping(id)).await;
        let pong = self.reply(id).await;
        assert!(matches!(pong, v1::reply::Result::Pong(_)), "{pong:?}");
    }

    /// Why the edge has closed the connection.
    pub async fn closed(&self) -> CloseReason {
        close_reason(&self.connection).await
    }
}

/// `None` at the end of the stream.
pub async fn next_frame(stream: &mut RecvStream, decoder: &mut FrameDecoder) -> Option<v1::Frame> {
    loop {
        if let Some(frame) = decoder.next().unwrap() {
            return Some(frame);
        }
        let chunk = stream.read_chunk(usize::MAX, true).await.unwrap()?;
        decoder.extend(&chunk.bytes);
    }
}

pub async fn close_reason(connection: &Connection) -> CloseReason {
    match within("the end of a connection", connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => {
            let reason = CloseReason::from_code(VarInt::into_inner(close.error_code)).unwrap();
            assert_eq!(close.reason, reason.text().as_bytes());
            reason
        }
        other => panic!("ended by {other}"),
    }
}
