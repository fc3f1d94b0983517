//! Bare quinn: a bidirectional stream opened by the client, everything on it.

use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, RecvStream, SendStream, ServerConfig, TransportConfig};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::ServerOptions;
use crate::hub::{self, Order, Sink};
use crate::protocol::{Cutter, Message, framed};

/// The application protocol of the raw server.
pub const ALPN: &[u8] = b"raw/1";

/// Serves until the process ends. To be run in a `LocalSet`.
pub async fn serve(options: &ServerOptions) -> Result<()> {
    let crypto = QuicServerConfig::try_from(crate::tls(options, ALPN)?)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    let runtime = quinn::default_runtime().context("no runtime for a QUIC endpoint")?;
    let (common, socket) = (EndpointConfig::default(), udp_socket(options.address)?);
    let endpoint = Endpoint::new(common, Some(config), socket, runtime)?;
    let (orders, inbox) = mpsc::channel(hub::QUEUE);
    let mut connections = JoinSet::new();
    connections.spawn_local(hub::run::<Stream>(inbox, framed, options.committer()?));
    while let Some(incoming) = endpoint.accept().await {
        let orders = orders.clone();
        connections.spawn_local(async move {
            // A connection that breaks ends; the load generator counts what it misses.
            let Ok(connection) = incoming.await else { return };
            while let Ok((send, recv)) = connection.accept_bi().await {
                read(recv, Rc::new(Stream(Mutex::new(send))), &orders).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
    Ok(())
}

/// With as much room as a node's has, for the raw server and for the clients of the load generator. With
/// the usual buffer a server loses many of the acknowledgements of a crowd, which it then need not look
/// at, and seems cheaper than it is.
pub fn udp_socket(address: SocketAddr) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // The kernel grants what its own limits allow.
    socket.set_recv_buffer_size(UDP_BUFFER_BYTES)?;
    socket.set_send_buffer_size(UDP_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

struct Stream(Mutex<SendStream>);

impl Sink for Stream {
    async fn write(&self, messages: &[Bytes]) {
        let mut stream = self.0.lock().await;
        let written = match messages {
            [one] => stream.write_all(one).await,
            // Small messages together: a chunk costs more than the copy.
            many => stream.write_chunk(many.concat().into()).await,
        };
        // Whoever has gone is missed by the load generator.
        drop(written);
    }
}

async fn read(mut recv: RecvStream, sink: Rc<Stream>, orders: &mpsc::Sender<Order<Stream>>) {
    let mut cutter = Cutter::default();
    while let Ok(Some(chunk)) = recv.read_chunk(16 * 1024, true).await {
        cutter.extend(&chunk.bytes);
        while let Some(message) = cutter.cut() {
            let Some(message) = Message::decode(&message) else { return };
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
}

/// The settings that make a connection small, as a node has them; idle connections stay.
fn transport() -> TransportConfig {
    let idle = IDLE_TIMEOUT.try_into().unwrap_or_else(|_| unreachable!("two minutes fit"));
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(idle))
        .max_concurrent_bidi_streams(1u32.into())
        .max_concurrent_uni_streams(0u32.into())
        .receive_window((1024u32 * 1024).into())
        .stream_receive_window((256u32 * 1024).into())
        .send_window(1024 * 1024)
        .crypto_buffer_size(16 * 1024)
        .initial_rtt(Duration::from_millis(200));
    config
}

const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
