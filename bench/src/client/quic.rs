//! QUIC connections of the load generator, all from one endpoint.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Endpoint, RecvStream, SendStream};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::JoinHandle;

use super::{Access, Seen};
use crate::dialect::Reader;

/// The endpoint that connections to one server leave from.
pub fn endpoint(tls: &rustls::ClientConfig, alpn: &[u8]) -> Result<Endpoint> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_concurrent_uni_streams(LANES.into())
        .max_concurrent_bidi_streams(0u32.into())
        .keep_alive_interval(Some(KEEP_ALIVE));
    config.transport_config(Arc::new(transport));
    let runtime = quinn::default_runtime().context("no runtime for a QUIC endpoint")?;
    let mut endpoint = Endpoint::new(quinn::EndpointConfig::default(), None, socket()?, runtime)?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

/// With room for what comes to all clients at a time: the usual buffer loses the answers to a crowd.
fn socket() -> Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // The kernel grants what its own limits allow.
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket.into())
}

/// As the edge has.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

pub(super) async fn connect(
    access: &Access,
    seen: Rc<Seen>,
) -> Result<(SendStream, JoinHandle<()>)> {
    let endpoint = access.quic.as_ref().context("no QUIC endpoint for this server")?;
    let connection = endpoint.connect(access.address, SERVER_NAME)?.await?;
    let (send, control) = connection.open_bi().await?;
    let dialect = access.dialect.clone();
    let reading = tokio::task::spawn_local(async move {
        let mut streams = FuturesUnordered::new();
        streams.push(read(control, dialect.reader(false), seen.clone()));
        let why = loop {
            tokio::select! {
                Some(ended) = streams.next() => if let Err(error) = ended { break error },
                opened = connection.accept_uni() => match opened {
                    Ok(lane) => streams.push(read(lane, dialect.reader(true), seen.clone())),
                    Err(error) => break error.into(),
                },
            }
        };
        seen.end(&format!("{why:#}"));
    });
    Ok((send, reading))
}

async fn read(mut stream: RecvStream, mut reader: Box<dyn Reader>, seen: Rc<Seen>) -> Result<()> {
    while let Some(chunk) = stream.read_chunk(CHUNK_BYTES, true).await? {
        reader.read(&chunk.bytes, &mut |event| seen.on(event))?;
    }
    Ok(())
}

/// As certificates for development name the node.
pub(super) const SERVER_NAME: &str = "localhost";

const LANES: u32 = 8;
const KEEP_ALIVE: Duration = Duration::from_secs(25);
const CHUNK_BYTES: usize = 16 * 1024;
