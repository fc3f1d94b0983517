//! An echo behind the listener's own TLS, upgrade and WebSocket settings. By itself the test sends
//! a few messages through it; with `STERNA_ECHO_ADDRESS` it serves whoever comes until its standard
//! input ends, which is how `tests/autobahn/run.sh` shows it to the Autobahn suite.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls_pki_types::ServerName;
use sterna_proto::version;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::*;
use crate::tls::testing::tls_over_tcp;
use crate::transport::End;
use crate::transport::websocket::WebSocket;
use crate::transport::wss::{close, end_of, socket};

#[tokio::test]
async fn what_is_sent_through_the_listener_comes_back() {
    let (acceptor, client) = tls_over_tcp();
    if let Ok(address) = std::env::var("STERNA_ECHO_ADDRESS") {
        let listener = TcpListener::bind(&address).await.unwrap();
        println!("echo on {}", listener.local_addr().unwrap());
        let (mut input, mut byte) = (tokio::io::stdin(), [0]);
        tokio::select! {
            () = serve_echo(listener, acceptor) => {}
            _ = input.read(&mut byte) => {}
        }
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::select! {
        () = serve_echo(listener, acceptor) => unreachable!("it serves for ever"),
        () = try_echo(address, client) => {}
    }
}

async fn serve_echo(listener: TcpListener, acceptor: Arc<ServerConfig>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(serve_one(stream, acceptor.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_one(stream: TcpStream, acceptor: Arc<ServerConfig>) -> Option<()> {
    set_options(&stream).ok()?;
    let mut stream = TlsStream::accept(acceptor, stream, async || {}).await.ok()?;
    let Asked::Upgrade(request, read_ahead) = read_request(&mut stream).await? else {
        return None;
    };
    match upgrade::decide(&request, &[]) {
        Ok(upgraded) => {
            stream.write_all(&upgraded.head).await.ok()?;
            stream.flush().await.ok()?;
            echo(socket(stream, read_ahead)).await;
        }
        Err(refused) => refuse(&mut stream, &refused).await,
    }
    Some(())
}

/// Ends as the connections of clients do.
async fn echo(mut socket: WebSocket) {
    let end = loop {
        match socket.next().await {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                if let Err(error) = send(&mut socket, message).await {
                    break end_of(&error);
                }
            }
            Some(Ok(Message::Close(_))) | None => break End::ByClient,
            Some(Ok(_)) => {}
            Some(Err(error)) => break end_of(&error),
        }
    };
    match end {
        End::Close(reason) => close(socket, reason).await,
        End::ByClient => close(socket, CloseReason::Normal).await,
        End::Idle | End::Lost => {}
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Error> {
    let mut message = Some(message);
    std::future::poll_fn(|cx| {
        std::task::ready!(socket.poll_ready(cx))?;
        message.take().map_or(Ok(()), |message| socket.write(cx, message))?;
        socket.poll_flush(cx)
    })
    .await
}

async fn try_echo(address: SocketAddr, tls: Arc<rustls::ClientConfig>) {
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(tls).connect(name, tcp).await.unwrap();
    let url = format!("wss://localhost{}", version::WEBSOCKET_PATH);
    let mut request = url.into_client_request().unwrap();
    let protocol = version::SUBPROTOCOL_PROTOBUF.parse().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let (mut client, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    for message in [
        Message::text("Hällo"),
        Message::binary(vec![0; 100_000]),
        Message::text(""),
        Message::text("x".repeat(sterna_proto::limits::FRAME_BYTES)),
    ] {
        client.send(message.clone()).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), message);
    }
    client.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong("are you there".into()));
    client.send(Message::binary(vec![0; sterna_proto::limits::FRAME_BYTES + 100])).await.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = client.next().await else { panic!("too large") };
    assert_eq!(u16::from(frame.code), CloseReason::WebSocketTooBig.code());
}
