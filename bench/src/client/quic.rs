//! QUIC connections of the load generator, over a few sockets for all of them.

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, RecvStream, SendStream};
use sterna_bench_raw::quic::udp_socket;
use tokio::task::JoinHandle;

use super::{Access, Seen};
use crate::dialect::Reader;

/// What connections to one server leave from, in turn.
///
/// With one socket for ten thousand clients what comes to all of them at a time does not fit into its
/// buffer, whose size the kernel bounds. A server then pays for packets that it sends again.
#[derive(Debug, Clone)]
pub struct Endpoints(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    all: Vec<Endpoint>,
    next: Cell<usize>,
}

impl Endpoints {
    pub fn new(tls: &rustls::ClientConfig, alpn: &[u8]) -> Result<Self> {
        let config = config(tls, alpn)?;
        let all = (0..SOCKETS).map(|_| endpoint(&config)).collect::<Result<_>>()?;
        Ok(Self(Rc::new(Inner { all, next: Cell::new(0) })))
    }

    fn next(&self) -> &Endpoint {
        let Inner { all, next } = &*self.0;
        let at = next.get();
        next.set((at + 1) % all.len());
        &all[at]
    }
}

/// One for all sockets: what a server has given to a client, the next one has, whatever it leaves from.
fn config(tls: &rustls::ClientConfig, alpn: &[u8]) -> Result<ClientConfig> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![alpn.to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_concurrent_uni_streams(LANES.into())
        .max_concurrent_bidi_streams(0u32.into())
        .keep_alive_interval(Some(KEEP_ALIVE));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn endpoint(config: &ClientConfig) -> Result<Endpoint> {
    let runtime = quinn::default_runtime().context("no runtime for a QUIC endpoint")?;
    let socket = udp_socket((Ipv4Addr::LOCALHOST, 0).into())?;
    let mut endpoint = Endpoint::new(quinn::EndpointConfig::default(), None, socket, runtime)?;
    endpoint.set_default_client_config(config.clone());
    Ok(endpoint)
}

pub(super) async fn connect(
    access: &Access,
    seen: Rc<Seen>,
) -> Result<(SendStream, JoinHandle<()>)> {
    let endpoints = access.quic.as_ref().context("no QUIC endpoint for this server")?;
    let connection = endpoints.next().connect(access.address, SERVER_NAME)?.await?;
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
const SOCKETS: usize = 16;
const KEEP_ALIVE: Duration = Duration::from_secs(25);
const CHUNK_BYTES: usize = 16 * 1024;
