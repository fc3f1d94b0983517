//! A WebSocket connection: frames with their length in binary messages, several in one where
//! several wait. One task reads and writes.

use bytes::BytesMut;
use futures_util::sink::SinkExt as _;
use futures_util::stream::{SplitSink, SplitStream, StreamExt as _};
use rustls_pki_types::ServerName;
use sterna_proto::v1::{Frame, frame::Body};
use sterna_proto::{CloseReason, FrameDecoder, codec, limits, version};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest as _};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::addresses::connect_first;
use super::tls::{self, Tls};
use super::{LAST_WRITES, LinkEnd, LinkEnds, LinkEvent, Outgoing, Target, WRITE_BATCH, let_go};

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Establishes and serves a connection until either side is done.
pub(super) async fn run(
    target: &Target,
    tls: &Tls,
    ends: &mut LinkEnds,
    started: Instant,
) -> LinkEnd {
    let established = tokio::select! {
        established = establish(target, tls) => established,
        _ = ends.outgoing.recv() => Err(let_go()),
    };
    let socket = match established {
        Ok(socket) => socket,
        Err(end) => return end,
    };
    if !ends.pass(LinkEvent::Established { took: started.elapsed() }).await {
        return let_go();
    }
    let (mut sink, stream) = socket.split();
    let (events, id) = (ends.events.clone(), ends.id);
    let end = tokio::select! {
        end = write(&mut sink, &mut ends.outgoing) => end,
        end = read(stream, |frame| {
            let events = &events;
            async move { events.send((id, LinkEvent::Frame(frame))).await.is_ok() }
        }) => end,
    };
    let code = if end == let_go() { CloseReason::Normal } else { CloseReason::ProtocolError };
    let close = CloseFrame { code: CloseCode::from(code.code()), reason: code.text().into() };
    let _ = timeout(LAST_WRITES, sink.send(Message::Close(Some(close)))).await;
    end
}

async fn establish(target: &Target, tls: &Tls) -> Result<Socket, LinkEnd> {
    connect_first(&target.address, |remote| connect(remote, &target.server_name, tls)).await
}

async fn connect(
    remote: std::net::SocketAddr,
    server_name: &str,
    tls: &Tls,
) -> Result<Socket, LinkEnd> {
    let tcp = TcpStream::connect(remote).await.map_err(LinkEnd::broken)?;
    tcp.set_nodelay(true).map_err(LinkEnd::broken)?;
    let name = ServerName::try_from(server_name.to_owned()).map_err(LinkEnd::broken)?;
    let stream = TlsConnector::from(tls.websocket.clone())
        .connect(name, tcp)
        .await
        .map_err(|error| tls::handshake_end(&error))?;
    let host =
        if server_name.contains(':') { format!("[{server_name}]") } else { server_name.to_owned() };
    let mut request = format!("wss://{host}{}", version::WEBSOCKET_PATH)
        .into_client_request()
        .map_err(LinkEnd::broken)?;
    request.headers_mut().insert(
        http::header::SEC_WEBSOCKET_PROTOCOL,
        http::HeaderValue::from_static(version::SUBPROTOCOL_PROTOBUF),
    );
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES))
        .read_buffer_size(16 * 1024);
    let (socket, _) =
        client_async_with_config(request, stream, Some(config)).await.map_err(LinkEnd::broken)?;
    Ok(socket)
}

async fn write(
    sink: &mut SplitSink<Socket, Message>,
    outgoing: &mut mpsc::Receiver<Outgoing>,
) -> LinkEnd {
    let mut batch = Vec::with_capacity(WRITE_BATCH);
    let mut bytes = BytesMut::new();
    while outgoing.recv_many(&mut batch, WRITE_BATCH).await > 0 {
        for Outgoing { command, .. } in batch.drain(..) {
            let frame = Frame { body: Some(Body::Command(command)) };
            codec::encode(&frame, &mut bytes);
            // A message stays within what a server takes at once.
            if bytes.len() > MESSAGE_SOFT_BYTES
                && let Err(error) = sink.feed(Message::Binary(bytes.split().freeze())).await
            {
                return ended(error);
            }
        }
        if !bytes.is_empty()
            && let Err(error) = sink.feed(Message::Binary(bytes.split().freeze())).await
        {
            return ended(error);
        }
        if let Err(error) = sink.flush().await {
            return ended(error);
        }
    }
    let_go()
}

async fn read<F: Future<Output = bool>>(
    mut stream: SplitStream<Socket>,
    pass: impl Fn(Frame) -> F,
) -> LinkEnd {
    let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
    loop {
        match stream.next().await {
            Some(Ok(Message::Binary(bytes))) => {
                decoder.extend(&bytes);
                loop {
                    match decoder.next() {
                        Ok(Some(frame)) => {
                            if !pass(frame).await {
                                return let_go();
                            }
                        }
                        Ok(None) => break,
                        Err(error) => return error.into(),
                    }
                }
                if let Err(error) = decoder.finish() {
                    return error.into();
                }
            }
            Some(Ok(Message::Close(Some(close)))) => {
                return LinkEnd::closed(u16::from(close.code).into(), close.reason.as_str());
            }
            Some(Ok(Message::Close(None))) | None => {
                return LinkEnd::broken("the server closed the connection");
            }
            Some(Ok(Message::Text(_))) => return LinkEnd::broken("the server sent a text message"),
            // Pings are answered by the library; raw frames are never read.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(error)) => return ended(error),
        }
    }
}

fn ended(error: tungstenite::Error) -> LinkEnd {
    LinkEnd::broken(error)
}

/// Several frames may share a message.
const MESSAGE_BYTES: usize = 4 * limits::FRAME_BYTES;
const MESSAGE_SOFT_BYTES: usize = limits::FRAME_BYTES / 2;
