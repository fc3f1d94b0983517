//! A QUIC connection: one control stream that the client opens, lanes that the server opens,
//! datagrams for ephemerals, a stream of its own for every long reply. Four loops run side by side
//! in the one task of [`run`]; whichever ends first ends the connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use sterna_proto::v1::{Frame, frame::Body};
use sterna_proto::{CloseReason, FrameDecoder, codec, limits, version};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

use super::addresses::connect_first;
use super::tls::{self, Tls};
use super::{
    LAST_WRITES, LinkEnd, LinkEnds, LinkEvent, Outgoing, Target, WRITE_BATCH, let_go, udp,
};
use crate::session::Route;

/// Establishes and serves a connection until either side is done.
pub(super) async fn run(
    target: &Target,
    tls: &Tls,
    ends: &mut LinkEnds,
    started: Instant,
) -> LinkEnd {
    let established = tokio::select! {
        established = connect_first(&target.address, |remote| connect(remote, target, tls)) => {
            established
        }
        end = released(ends) => Err(end),
    };
    let established = match established {
        Ok(established) => established,
        Err(end) => return end,
    };
    let end = serve(&established, ends, started).await;
    let Established { endpoint, connection, .. } = established;
    let code = if end == let_go() { CloseReason::Normal } else { CloseReason::ProtocolError };
    connection.close(u32::from(code.code()).into(), code.text().as_bytes());
    // The close frame has to leave before the socket goes; a dead path is not waited for.
    let _ = timeout(LAST_WRITES, endpoint.wait_idle()).await;
    end
}

/// Ends when the driver lets go before there is a connection; commands come only afterwards.
async fn released(ends: &mut LinkEnds) -> LinkEnd {
    match ends.outgoing.recv().await {
        None => let_go(),
        Some(_) => LinkEnd::broken("a command came before the connection"),
    }
}

/// Dropping it closes it: what has lost a race of addresses, that is.
struct Established {
    endpoint: Endpoint,
    connection: Connection,
    remote: SocketAddr,
    /// Rung by the guard of this endpoint's socket, and of no other that was tried.
    broken: Arc<Notify>,
}

async fn connect(remote: SocketAddr, target: &Target, tls: &Tls) -> Result<Established, LinkEnd> {
    let broken = Arc::new(Notify::new());
    let socket = udp::open(remote, broken.clone()).map_err(LinkEnd::broken)?;
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint =
        Endpoint::new_with_abstract_socket(quinn::EndpointConfig::default(), None, socket, runtime)
            .map_err(LinkEnd::broken)?;
    let mut config = quinn::ClientConfig::new(tls.quic.clone());
    config.transport_config(Arc::new(transport_config()));
    let connecting =
        endpoint.connect_with(config, remote, &target.server_name).map_err(LinkEnd::broken)?;
    let connection = connecting.await.map_err(ended)?;
    Ok(Established { endpoint, connection, remote, broken })
}

fn transport_config() -> quinn::TransportConfig {
    let mut config = quinn::TransportConfig::default();
    config
        .max_concurrent_uni_streams(LANES.into())
        .max_concurrent_bidi_streams(0u32.into())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IDLE_TIMEOUT_MS.into()))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER));
    config
}

async fn serve(established: &Established, ends: &mut LinkEnds, started: Instant) -> LinkEnd {
    let connection = &established.connection;
    let (control, replies) = match connection.open_bi().await {
        Ok(streams) => streams,
        Err(error) => return ended(error),
    };
    if !ends.pass(LinkEvent::Established { took: started.elapsed() }).await {
        return let_go();
    }
    let (bulk, bulk_replies) = mpsc::channel(BULK_STREAMS);
    let (sender, id, rebind) = (ends.events.clone(), ends.id, ends.rebind.clone());
    let reading = Reading { connection, events: sender, id };
    tokio::select! {
        end = write(connection, control, &mut ends.outgoing, bulk) => end,
        end = reading.streams(replies, bulk_replies) => end,
        end = reading.datagrams() => end,
        end = reading.rebinds(established, &rebind) => end,
        error = connection.closed() => ended(error),
    }
}

/// Writes commands as they come, many at once where many wait.
async fn write(
    connection: &Connection,
    mut control: SendStream,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    bulk: mpsc::Sender<RecvStream>,
) -> LinkEnd {
    let mut batch = Vec::with_capacity(WRITE_BATCH);
    let mut bytes = BytesMut::new();
    while outgoing.recv_many(&mut batch, WRITE_BATCH).await > 0 {
        for Outgoing { route, command } in batch.drain(..) {
            let frame = Frame { body: Some(Body::Command(command)) };
            match route {
                Route::Control => codec::encode(&frame, &mut bytes),
                Route::Datagram => {
                    let datagram = codec::encode_datagram(&frame);
                    if connection.send_datagram(datagram).is_err() {
                        codec::encode(&frame, &mut bytes);
                    }
                }
                Route::Bulk => match ask_bulk(connection, &frame).await {
                    Ok(Some(replies)) => drop(bulk.try_send(replies)),
                    Ok(None) => codec::encode(&frame, &mut bytes),
                    Err(end) => return end,
                },
            }
        }
        if let Err(error) = control.write_all(&bytes.split().freeze()).await {
            return match error {
                quinn::WriteError::ConnectionLost(error) => ended(error),
                error => LinkEnd::broken(error),
            };
        }
    }
    // What was handed over is written; let it arrive before the connection is closed.
    let _ = control.finish();
    let _ = timeout(LAST_WRITES, control.stopped()).await;
    let_go()
}

/// Sends a command on a stream of its own; `None` when the server allows no more of them now.
async fn ask_bulk(connection: &Connection, frame: &Frame) -> Result<Option<RecvStream>, LinkEnd> {
    let opened = futures_util::FutureExt::now_or_never(connection.open_bi());
    let Some(opened) = opened else { return Ok(None) };
    let (mut asking, replies) = opened.map_err(ended)?;
    asking.write_all(&codec::encode_to_bytes(frame)).await.map_err(LinkEnd::broken)?;
    let _ = asking.finish();
    Ok(Some(replies))
}

struct Reading<'a> {
    connection: &'a Connection,
    events: mpsc::Sender<(super::LinkId, LinkEvent)>,
    id: super::LinkId,
}

/// What a stream is to the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Control,
    Lane,
    Bulk,
}

impl Reading<'_> {
    /// Reads the control stream, the lanes and the bulk replies, side by side.
    async fn streams(&self, control: RecvStream, mut bulk: mpsc::Receiver<RecvStream>) -> LinkEnd {
        let mut streams = FuturesUnordered::new();
        streams.push(self.stream(control, Kind::Control));
        loop {
            tokio::select! {
                lane = self.connection.accept_uni() => match lane {
                    Ok(lane) => streams.push(self.stream(lane, Kind::Lane)),
                    Err(error) => return ended(error),
                },
                Some(replies) = bulk.recv() => streams.push(self.stream(replies, Kind::Bulk)),
                // Matches a clean end too: a pattern that does not would stop the polling of all.
                Some(ended) = streams.next() => if let Err(end) = ended { return end },
            }
        }
    }

    /// Reads one stream to its end. A lane or a bulk reply may end; the control stream may not.
    async fn stream(&self, mut stream: RecvStream, kind: Kind) -> Result<(), LinkEnd> {
        let mut decoder = FrameDecoder::new(limits::FRAME_BYTES);
        let mut marked = kind != Kind::Lane;
        loop {
            let chunk = match stream.read_chunk(READ_BYTES, true).await {
                Ok(Some(chunk)) => chunk.bytes,
                Ok(None) if kind == Kind::Control => {
                    return Err(LinkEnd::broken("the server ended the control stream"));
                }
                Ok(None) => return decoder.finish().map_err(LinkEnd::from),
                Err(quinn::ReadError::ConnectionLost(error)) => return Err(ended(error)),
                Err(_) if kind != Kind::Control => return Ok(()),
                Err(error) => return Err(LinkEnd::broken(error)),
            };
            let mut bytes = &chunk[..];
            if !marked {
                match bytes.split_first() {
                    Some((&version::LANE_STREAM, rest)) => bytes = rest,
                    // A kind of stream that a newer server may open.
                    Some(_) => return Ok(()),
                    None => continue,
                }
                marked = true;
            }
            decoder.extend(bytes);
            while let Some(frame) = decoder.next()? {
                self.pass(LinkEvent::Frame(frame)).await;
            }
        }
    }

    async fn datagrams(&self) -> LinkEnd {
        loop {
            match self.connection.read_datagram().await {
                Ok(bytes) => {
                    // A datagram is not worth a connection: what is no frame is dropped.
                    if let Ok(frame) = codec::decode_datagram(bytes) {
                        self.pass(LinkEvent::Frame(frame)).await;
                    }
                }
                Err(error) => return ended(error),
            }
        }
    }

    /// Moves to a fresh socket whenever the driver or the guard asks for it.
    async fn rebinds(&self, established: &Established, wished: &Notify) -> LinkEnd {
        let Established { endpoint, remote, broken, .. } = established;
        loop {
            tokio::select! {
                () = wished.notified() => {}
                () = broken.notified() => {}
            }
            let fresh = udp::open(*remote, broken.clone());
            match fresh.and_then(|socket| endpoint.rebind_abstract(socket)) {
                Ok(()) => {
                    self.pass(LinkEvent::Rebound).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "no fresh UDP socket yet");
                    broken.notify_one();
                }
            }
            // A socket that breaks at once must not turn this into a hot loop.
            tokio::time::sleep(REBIND_PAUSE).await;
        }
    }

    async fn pass(&self, event: LinkEvent) {
        // Without a driver the connection is about to be dropped.
        let _ = self.events.send((self.id, event)).await;
    }
}

fn ended(error: ConnectionError) -> LinkEnd {
    match error {
        ConnectionError::ApplicationClosed(close) => LinkEnd::closed(
            close.error_code.into_inner(),
            String::from_utf8_lossy(&close.reason).into_owned(),
        ),
        ConnectionError::TransportError(error) if tls::is_distrust(u64::from(error.code)) => {
            LinkEnd::untrusted(error.reason)
        }
        error => LinkEnd::broken(error),
    }
}

const LANES: u32 = limits::LANES as u32;
/// The client keeps the NAT open, every 25 s in the foreground.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
const IDLE_TIMEOUT_MS: quinn::VarInt = quinn::VarInt::from_u32(75_000);
const DATAGRAM_BUFFER: usize = 64 * 1024;
const READ_BYTES: usize = 64 * 1024;
/// Bulk replies between being asked for and being read; the session asks for fewer at a time.
const BULK_STREAMS: usize = 64;
const REBIND_PAUSE: Duration = Duration::from_millis(100);
