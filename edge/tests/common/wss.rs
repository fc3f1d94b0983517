//! A WebSocket client, one message at a time.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls_pki_types::ServerName;
use sterna_proto::{CloseReason, FrameDecoder, codec, limits, v1, version};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{TestEdge, client_tls, hello, reply_to, within};

pub type Socket = WebSocketStream<TlsStream<TcpStream>>;

pub struct WssClient {
    pub socket: Socket,
    decoder: FrameDecoder,
}

pub async fn tls(edge: &TestEdge) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(edge.edge.local_address()).await?;
    let connector = TlsConnector::from(Arc::new(client_tls(&edge.certificate, b"http/1.1")));
    let name = ServerName::try_from("localhost").unwrap();
    within("a TLS handshake", connector.connect(name, tcp)).await
}

pub async fn upgrade(
    edge: &TestEdge,
    path: &str,
    fields: &[(&'static str, &str)],
) -> Result<Socket, Error> {
    let mut request = format!("wss://localhost{path}").into_client_request().unwrap();
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = tls(edge).await.map_err(Error::Io)?;
    let upgrade = tokio_tungstenite::client_async(request, stream);
    within("an upgrade", upgrade).await.map(|(socket, _)| socket)
}

pub async fn connect(edge: &TestEdge, subprotocol: &str) -> Socket {
    let fields = [("sec-websocket-protocol", subprotocol)];
    upgrade(edge, version::WEBSOCKET_PATH, &fields).await.unwrap()
}

impl WssClient {
    /// A connection with a session, in binary messages.
    pub async fn start(edge: &TestEdge, user: &str) -> Self {
        let socket = connect(edge, version::SUBPROTOCOL_PROTOBUF).await;
        let mut client = Self::on(socket);
        client.send(&[hello(user)]).await;
        let welcome = client.reply(1).await;
        assert!(matches!(welcome, v1::reply::Result::Welcome(_)), "{welcome:?}");
        client
    }

    pub fn on(socket: Socket) -> Self {
        Self { socket, decoder: FrameDecoder::new(limits::FRAME_BYTES) }
    }

    /// All frames in one message.
    pub async fn send(&mut self, frames: &[v1::Frame]) {
        let message: Vec<u8> = frames.iter().flat_map(codec::encode_to_bytes).collect();
        self.socket.send(Message::Binary(message.into())).await.unwrap();
    }

    pub async fn receive(&mut self) -> v1::Frame {
        loop {
            if let Some(frame) = self.decoder.next().unwrap() {
                return frame;
            }
            match within("a message", self.socket.next()).await {
                Some(Ok(Message::Binary(bytes))) => self.decoder.extend(&bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no frame but {other:?}"),
            }
        }
    }

    pub async fn reply(&mut self, id: u32) -> v1::reply::Result {
        loop {
            let frame = self.receive().await;
            if let Some(result) = reply_to(&frame, id) {
                return result.clone();
            }
        }
    }
}

/// Why the edge has closed the connection; what comes before is skipped.
pub async fn close_reason(socket: &mut Socket) -> CloseReason {
    loop {
        match within("the end of a connection", socket.next()).await {
            Some(Ok(Message::Close(Some(close)))) => {
                let reason = CloseReason::from_code(u16::from(close.code).into()).unwrap();
                assert_eq!(close.reason.as_str(), reason.text());
                return reason;
            }
            Some(Ok(_)) => {}
            other => panic!("ended by {other:?}"),
        }
    }
}
