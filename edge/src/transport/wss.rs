//! Frames on a WebSocket over TLS. Lanes share the one stream. Binary messages hold one or more
//! length-delimited frames (`sterna.v1.protobuf`), text messages one frame (`sterna.v1.json`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use sterna_core::session::OutgoingBody;
use sterna_core::{Encoding, Outgoing, SharedPush, TransportKind};
use sterna_proto::{CloseReason, codec, limits, v1};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

use super::websocket::{MessageKind, WebSocket};
use super::{CLOSE_PATIENCE, End, Received, Receiver, Sender, Transport};
use crate::metrics::Meter;
use crate::tls::TlsStream;

/// After the upgrade was answered. `read_ahead`: bytes that came behind the client's request.
pub(crate) fn open(
    stream: TlsStream,
    read_ahead: Vec<u8>,
    remote: SocketAddr,
    encoding: Encoding,
) -> Transport {
    let socket = Rc::new(RefCell::new(socket(stream, read_ahead)));
    Transport {
        kind: TransportKind::WebSocket,
        encoding,
        affinity: None,
        receiver: Receiver::Wss(WssReceiver::new(socket.clone(), remote, encoding)),
        sender: Sender::Wss(WssSender::new(socket, encoding)),
    }
}

/// A WebSocket with the settings of all connections.
pub(crate) fn socket<S>(stream: S, read_ahead: Vec<u8>) -> WebSocket<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    WebSocket::new(stream, read_ahead, config())
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        // What goes by way of it is written at once.
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(limits::FRAME_BYTES + LENGTH_BYTES))
        .max_frame_size(Some(limits::FRAME_BYTES + LENGTH_BYTES))
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct WssReceiver<S = TlsStream> {
    socket: Rc<RefCell<WebSocket<S>>>,
    remote: SocketAddr,
    encoding: Encoding,
    /// What is left of the last message.
    message: Bytes,
    limit: usize,
    last_heard: Instant,
    control_frames: ControlFrames,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WssReceiver<S> {
    fn new(socket: Rc<RefCell<WebSocket<S>>>, remote: SocketAddr, encoding: Encoding) -> Self {
        let (limit, now) = (limits::HELLO_FRAME_BYTES, Instant::now());
        Self {
            socket,
            remote,
            encoding,
            message: Bytes::new(),
            limit,
            last_heard: now,
            control_frames: ControlFrames::new(now),
        }
    }

    pub(crate) fn on_session_open(&mut self) {
        self.limit = limits::FRAME_BYTES;
    }

    pub(crate) fn path(&self) -> (SocketAddr, Duration) {
        (self.remote, Duration::ZERO)
    }

    pub(crate) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    pub(crate) async fn receive(&mut self, meter: &Meter) -> Result<Received, End> {
        loop {
            if let Some(received) = self.take_received()? {
                return Ok(received);
            }
            let message = poll_fn(|cx| self.socket.borrow_mut().poll_next(cx)).await;
            self.last_heard = Instant::now();
            match (message.ok_or(End::ByClient)?, self.encoding) {
                (Ok(Message::Binary(bytes)), Encoding::Protobuf) => {
                    meter.bytes_in.increment(bytes.len() as u64);
                    self.message = bytes;
                }
                (Ok(Message::Text(text)), Encoding::Json) => {
                    meter.bytes_in.increment(text.len() as u64);
                    return Ok(received(codec::decode_json(&text, self.limit)?));
                }
                (Ok(Message::Ping(_) | Message::Pong(_)), _) => {
                    self.control_frames.check(self.last_heard)?;
                }
                (Ok(Message::Close(_)), _) => return Err(End::ByClient),
                (Ok(_), _) => return Err(CloseReason::ProtocolError.into()),
                (Err(error), _) => return Err(end_of(&error)),
            }
        }
    }

    pub(crate) fn take_received(&mut self) -> Result<Option<Received>, End> {
        // Frames do not reach across messages.
        let frame = codec::cut(&mut self.message, self.limit)?;
        if self.message.is_empty() {
            // Nothing of what was read is kept alive.
            self.message = Bytes::new();
        }
        Ok(frame.map(received))
    }
}

fn received(frame: v1::Frame) -> Received {
    Received { frame, reply_on: None }
}

/// Pings and pongs of the client: answered, but not at any rate.
#[derive(Debug)]
struct ControlFrames {
    tokens: u32,
    refilled_at: Instant,
}

impl ControlFrames {
    fn new(now: Instant) -> Self {
        Self { tokens: CONTROL_FRAME_BURST, refilled_at: now }
    }

    fn check(&mut self, now: Instant) -> Result<(), End> {
        let seconds = now.duration_since(self.refilled_at).as_secs();
        if seconds > 0 {
            self.refilled_at = now;
            self.tokens = CONTROL_FRAME_BURST;
        }
        self.tokens = self.tokens.checked_sub(1).ok_or(CloseReason::ProtocolError)?;
        Ok(())
    }
}

/// A frame that waits to be written. What many wait for is not taken out of their hands before that.
#[derive(Debug)]
enum Queued {
    Own(Bytes),
    Shared(SharedPush),
}

impl Queued {
    fn new(outgoing: Outgoing, encoding: Encoding) -> Self {
        match outgoing.body {
            OutgoingBody::Shared(push) => Self::Shared(push),
            OutgoingBody::Own(_) => Self::Own(outgoing.encoded(encoding)),
        }
    }

    fn bytes(&self, encoding: Encoding) -> &Bytes {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(push) => push.encoded(encoding),
        }
    }
}

/// The sending half.
#[derive(Debug)]
pub(crate) struct WssSender<S = TlsStream> {
    socket: Rc<RefCell<WebSocket<S>>>,
    encoding: Encoding,
    frames: VecDeque<Queued>,
    /// Bytes in `frames`, and those that the socket has taken but not yet written.
    queued_bytes: usize,
    unflushed_bytes: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WssSender<S> {
    fn new(socket: Rc<RefCell<WebSocket<S>>>, encoding: Encoding) -> Self {
        let (queued_bytes, unflushed_bytes) = (0, 0);
        Self { socket, encoding, frames: VecDeque::new(), queued_bytes, unflushed_bytes }
    }

    pub(crate) fn queue(&mut self, batch: &mut Vec<Outgoing>) -> usize {
        let before = self.queued_bytes;
        self.frames.reserve(batch.len());
        for outgoing in batch.drain(..) {
            let frame = Queued::new(outgoing, self.encoding);
            self.queued_bytes += frame.bytes(self.encoding).len();
            self.frames.push_back(frame);
        }
        self.queued_bytes - before
    }

    async fn flush(&mut self) -> Result<(), End> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let mut socket = self.socket.borrow_mut();
        let failed = |error: tungstenite::Error| end_of(&error);
        let kind = match self.encoding {
            Encoding::Protobuf => MessageKind::Binary,
            Encoding::Json => MessageKind::Text,
        };
        let encoding = self.encoding;
        while !self.frames.is_empty() {
            let frames = self.frames.iter().map(|frame| frame.bytes(encoding));
            let count = ready!(socket.poll_write_frames(cx, frames, kind)).map_err(failed)?;
            let taken = self.frames.drain(..count);
            let taken = taken.map(|frame| frame.bytes(encoding).len()).sum::<usize>();
            self.queued_bytes -= taken;
            // It has written all that it had taken before it takes more.
            self.unflushed_bytes = taken;
        }
        ready!(socket.poll_flush(cx)).map_err(failed)?;
        // An idle connection keeps no buffer.
        self.frames = VecDeque::new();
        self.unflushed_bytes = 0;
        Poll::Ready(Ok(()))
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.queued_bytes + self.unflushed_bytes
    }

    /// Says why and waits for the client's answer, or a reset might overtake what was said.
    pub(crate) async fn close(mut self, reason: CloseReason) {
        let goodbye = async move {
            if reason != CloseReason::Slow {
                // Fails where the client has closed: then its close is still to be answered.
                let _ = self.flush().await;
            }
            let Some(socket) = Rc::into_inner(self.socket) else { return };
            close(socket.into_inner(), reason).await;
        };
        let _ = timeout(CLOSE_PATIENCE, goodbye).await;
    }
}

/// Says why, or answers the client's own close, and ends the stream. Waits until the client has done
/// the same: what it has sent and nobody has read would make the kernel reset the connection, which
/// overtakes what was said.
pub(crate) async fn close<S>(mut socket: WebSocket<S>, reason: CloseReason)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let code = CloseCode::from(reason.code());
    let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason.text()) };
    if socket.close(frame).await.is_ok() {
        while let Some(Ok(_)) = socket.next().await {}
    } else {
        let _ = socket.flush().await;
    }
    let mut stream = socket.into_stream();
    if stream.shutdown().await.is_ok() {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
}

/// Whose fault it is that a WebSocket has failed. What breaks its RFC is closed with its codes.
pub(crate) fn end_of(error: &tungstenite::Error) -> End {
    use tungstenite::Error;
    use tungstenite::error::ProtocolError;
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => End::ByClient,
        Error::Capacity(_) => CloseReason::WebSocketTooBig.into(),
        Error::WriteBufferFull(_) => CloseReason::Slow.into(),
        Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake | ProtocolError::SendAfterClosing,
        ) => End::Lost,
        Error::Protocol(_) => CloseReason::WebSocketProtocol.into(),
        Error::Utf8(_) => CloseReason::WebSocketText.into(),
        _ => End::Lost,
    }
}

/// Allocated for every connection; the smallest that tungstenite reads well with.
const READ_BUFFER_BYTES: usize = 256;

/// Far above what is handed over before a flush; full means slow.
const WRITE_BUFFER_BYTES: usize = 1024 * 1024;

/// A frame's length in front of it.
const LENGTH_BYTES: usize = 5;

/// Pings and pongs of a client in a second.
const CONTROL_FRAME_BURST: u32 = 20;

#[cfg(test)]
#[path = "wss_fuzz_tests.rs"]
mod fuzz_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_capped_a_second() {
        let start = Instant::now();
        let mut frames = ControlFrames::new(start);
        (0..CONTROL_FRAME_BURST).for_each(|_| frames.check(start).unwrap());
        assert_eq!(frames.check(start), Err(End::Close(CloseReason::ProtocolError)));
        assert_eq!(frames.check(start + Duration::from_secs(1)), Ok(()));
    }
}
