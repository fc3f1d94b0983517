//! WebSockets of the load generator.

use std::rc::Rc;

use anyhow::Result;
use futures_util::sink::SinkExt as _;
use futures_util::stream::{SplitSink, SplitStream, StreamExt as _};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message as Frame, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::quic::SERVER_NAME;
use super::{Access, Seen, Transport};
use crate::dialect::{Message, Reader};

/// With TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug> Stream for S {}

type Socket = WebSocketStream<Box<dyn Stream>>;

pub(super) type Sink = SplitSink<Socket, Frame>;

pub(super) async fn connect(access: &Access, seen: Rc<Seen>) -> Result<(Sink, JoinHandle<()>)> {
    let tcp = TcpStream::connect(access.address).await?;
    tcp.set_nodelay(true)?;
    let (scheme, stream): (_, Box<dyn Stream>) = if access.transport == Transport::Ws {
        ("ws", Box::new(tcp))
    } else {
        let name = ServerName::try_from(SERVER_NAME)?;
        let connector = TlsConnector::from(access.tls.clone());
        ("wss", Box::new(connector.connect(name, tcp).await?))
    };
    let uri = format!("{scheme}://{SERVER_NAME}{}", access.dialect.path());
    let mut request = uri.into_client_request()?;
    if let Some(subprotocol) = access.dialect.subprotocol() {
        let value = HeaderValue::from_static(subprotocol);
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
    let (sink, stream) = socket.split();
    let reader = access.dialect.reader(false);
    let reading = tokio::task::spawn_local(async move {
        let why = match read(stream, reader, &seen).await {
            Ok(()) => "closed by the server".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        seen.end(&why);
    });
    Ok((sink, reading))
}

async fn read(
    mut stream: SplitStream<Socket>,
    mut reader: Box<dyn Reader>,
    seen: &Seen,
) -> Result<()> {
    while let Some(frame) = stream.next().await {
        match frame? {
            Frame::Binary(bytes) => reader.read(&bytes, &mut |event| seen.on(event))?,
            Frame::Text(text) => reader.read(text.as_bytes(), &mut |event| seen.on(event))?,
            _ => {}
        }
    }
    Ok(())
}

pub(super) async fn send(sink: &mut Sink, message: Message) -> Result<()> {
    Ok(sink
        .send(match message {
            Message::Binary(bytes) => Frame::Binary(bytes),
            Message::Text(text) => Frame::Text(Utf8Bytes::from(text)),
        })
        .await?)
}

const READ_BUFFER_BYTES: usize = 4096;
