//! The way of frames onto a WebSocket, for the instruction counts of `bench/instructions`. No part of the
//! API; connections of clients go the same way.

use std::future::poll_fn;
use std::io;

use sterna_core::{Encoding, Outgoing, TransportKind};
use tokio::net::TcpStream;

use crate::config::TlsFiles;
use crate::metrics::Meter;
use crate::tls::{Certificate, TlsConfigs, TlsStream};
use crate::transport::{self, Transport};

/// The server's end of a WebSocket over TLS, which has been upgraded without a word.
#[derive(Debug)]
pub struct WssWriter {
    transport: Transport,
    meter: Meter,
}

impl WssWriter {
    /// The server's part of the handshake.
    pub async fn accept(files: TlsFiles, socket: TcpStream) -> io::Result<Self> {
        let remote = socket.peer_addr()?;
        let certificate = Certificate::load(files).map_err(io::Error::other)?;
        let configs = TlsConfigs::new(&certificate, None, false).map_err(io::Error::other)?;
        let stream = TlsStream::accept(configs.tcp, socket, async || {}).await?;
        let transport = transport::wss::open(stream, Vec::new(), remote, Encoding::Protobuf);
        Ok(Self { transport, meter: Meter::new(TransportKind::WebSocket) })
    }

    /// Hands frames to the socket as a connection does with a batch of its session; whether it was open.
    pub async fn write(&mut self, batch: &mut Vec<Outgoing>) -> bool {
        let Self { transport, meter } = self;
        transport.sender.queue(batch, meter);
        poll_fn(|cx| transport.sender.poll_flush(cx)).await.is_ok()
    }
}
