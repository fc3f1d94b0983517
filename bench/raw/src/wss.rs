//! rustls and tungstenite: one WebSocket a client.

use std::rc::Rc;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use futures_util::sink::SinkExt as _;
use futures_util::stream::{SplitSink, SplitStream, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

use crate::ServerOptions;
use crate::hub::{self, Order, Sink};
use crate::protocol::Message;

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Serves until the process ends. To be run in a `LocalSet`.
pub async fn serve(options: &ServerOptions) -> Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(crate::tls(options, b"http/1.1")?));
    let listener = TcpListener::bind(options.address).await?;
    let (orders, inbox) = mpsc::channel(hub::QUEUE);
    let mut connections = JoinSet::new();
    connections.spawn_local(hub::run::<Writer>(
        inbox,
        Bytes::copy_from_slice,
        options.committer()?,
    ));
    loop {
        let (tcp, _) = listener.accept().await?;
        let (acceptor, orders) = (acceptor.clone(), orders.clone());
        connections.spawn_local(async move {
            // A connection that breaks ends; the load generator counts what it misses.
            let Ok(socket) = Box::pin(open(acceptor, tcp)).await else { return };
            let (sink, stream) = socket.split();
            read(stream, Rc::new(Writer(Mutex::new(sink))), &orders).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn open(acceptor: TlsAcceptor, tcp: TcpStream) -> Result<Socket> {
    tcp.set_nodelay(true)?;
    let tls = acceptor.accept(tcp).await?;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    Ok(accept_async_with_config(tls, Some(config)).await?)
}

struct Writer(Mutex<SplitSink<Socket, Frame>>);

impl Sink for Writer {
    async fn write(&self, messages: &[Bytes]) {
        let mut sink = self.0.lock().await;
        for message in messages {
            // Whoever has gone is missed by the load generator.
            if sink.feed(Frame::Binary(message.clone())).await.is_err() {
                return;
            }
        }
        drop(sink.flush().await);
    }
}

async fn read(
    mut stream: SplitStream<Socket>,
    sink: Rc<Writer>,
    orders: &mpsc::Sender<Order<Writer>>,
) {
    while let Some(Ok(frame)) = stream.next().await {
        let Frame::Binary(bytes) = frame else { continue };
        let Some(message) = Message::decode(&bytes) else { return };
        let sink = sink.clone();
        let order = match message {
            Message::Subscribe(channel) => Order::Subscribe(channel, sink),
            Message::Publish(channel, payload) => Order::Publish(channel, payload, sink),
            Message::Echo(payload) => Order::Echo(payload, sink),
        };
        if orders.send(order).await.is_err() {
            return;
        }
    }
}

/// The smallest that tungstenite reads well with.
const READ_BUFFER_BYTES: usize = 256;
