//! The scripted node on WebSocket.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use sterna_proto::v1::{Frame, frame::Body};
use sterna_proto::{FrameDecoder, codec, limits, version};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use super::log::{Log, Say, close, open};

pub(super) async fn serve_wss(listener: TcpListener, acceptor: TlsAcceptor, log: Arc<Log>) {
    let mut tasks = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let (log, acceptor) = (log.clone(), acceptor.clone());
        tasks.spawn(async move {
            let Ok(stream) = acceptor.accept(tcp).await else { return };
            let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, upgrade).await else {
                return;
            };
            let (id, says) = open(&log);
            wss_connection(socket, says, &log).await;
            close(&log, id);
        });
    }
}

#[allow(clippy::result_large_err, clippy::unnecessary_wraps)]
fn upgrade(
    request: &Request,
    mut response: Response,
) -> Result<Response, tokio_tungstenite::tungstenite::handshake::server::ErrorResponse> {
    assert_eq!(request.uri().path(), version::WEBSOCKET_PATH);
    let protocol = request.headers()["sec-websocket-protocol"].clone();
    assert_eq!(protocol, version::SUBPROTOCOL_PROTOBUF);
    response.headers_mut().insert("sec-websocket-protocol", protocol);
    Ok(response)
}

async fn wss_connection<S>(
    mut socket: tokio_tungstenite::WebSocketStream<S>,
    mut says: mpsc::Receiver<Say>,
    log: &Log,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        tokio::select! {
            message = socket.next() => {
                let Some(Ok(Message::Binary(bytes))) = message else { return };
                let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
                decoder.extend(&bytes);
                while let Some(frame) = decoder.next().unwrap() {
                    let Some(Body::Command(command)) = frame.body else { continue };
                    for frame in log.change(|state| state.answer(command, "websocket")) {
                        let bytes = codec::encode_to_bytes(&frame);
                        if socket.send(Message::Binary(bytes)).await.is_err() { return }
                    }
                }
            }
            say = says.recv() => match say {
                Some(Say::Push(event)) => {
                    let bytes = codec::encode_to_bytes(&Frame::push(event));
                    if socket.send(Message::Binary(bytes)).await.is_err() { return }
                }
                Some(Say::Close(reason)) => {
                    let code = reason.code().into();
                    let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame {
                        code,
                        reason: reason.text().into(),
                    };
                    let _ = socket.close(Some(frame)).await;
                    return;
                }
                Some(Say::Cut) | None => return,
            }
        }
    }
}
