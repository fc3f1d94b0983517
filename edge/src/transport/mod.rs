//! Frames on and off a connection, the same for every transport: [`quic`], [`wss`] and [`http`]
//! mirror each other, and [`webtransport`] carries what [`quic`] does. A transport has a receiving and a sending half, so that a client that does not read is
//! still listened to. Knows frames and lanes, never what a command means.

pub(crate) mod http;
pub(crate) mod quic;
pub(crate) mod websocket;
pub(crate) mod webtransport;
pub(crate) mod wss;

use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use sterna_core::{AffinityKey, Encoding, Outgoing, TransportKind};
use sterna_proto::{CloseReason, DecodeError, v1};
use tokio::time::Instant;

use crate::metrics::Meter;
use crate::quic::SendStream;
use http::{HttpReceiver, HttpSender};
use quic::{QuicReceiver, QuicSender};
use wss::{WssReceiver, WssSender};

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By us; the client is told why.
    Close(CloseReason),
    /// By the client.
    ByClient,
    /// Nothing was heard for too long; the path is dead.
    Idle,
    /// The transport broke.
    Lost,
}

impl End {
    /// Value of the metric label `reason`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Close(reason) => reason.text(),
            Self::ByClient => "by client",
            Self::Idle => CloseReason::IdleTimeout.text(),
            Self::Lost => "lost",
        }
    }
}

impl From<CloseReason> for End {
    fn from(reason: CloseReason) -> Self {
        Self::Close(reason)
    }
}

impl From<DecodeError> for End {
    fn from(error: DecodeError) -> Self {
        tracing::debug!(%error, "the client sent no frame");
        Self::Close(match error {
            DecodeError::TooLarge { .. } => CloseReason::FrameTooLarge,
            _ => CloseReason::ProtocolError,
        })
    }
}

/// A frame, and where its reply is to go if not to the control stream.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) frame: v1::Frame,
    pub(crate) reply_on: Option<SendStream>,
}

/// A connection after its handshake.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) kind: TransportKind,
    pub(crate) encoding: Encoding,
    /// What its request says about where it belongs.
    pub(crate) affinity: Option<AffinityKey>,
    pub(crate) receiver: Receiver,
    pub(crate) sender: Sender,
}

impl Transport {
    /// Whether small frames can go by datagram.
    pub(crate) fn has_datagrams(&self) -> bool {
        match &self.receiver {
            Receiver::Quic(receiver) => receiver.has_datagrams(),
            Receiver::Wss(_) | Receiver::Http(_) => false,
        }
    }

    /// Writes what is queued if that goes quickly, and ends the connection.
    pub(crate) async fn close(self, reason: CloseReason) {
        match (self.receiver, self.sender) {
            // Streams of HTTP/3 have to stay open until the client knows.
            (Receiver::Quic(receiver), Sender::Quic(sender)) => {
                sender.close(reason, receiver.into_carrier()).await;
            }
            (receiver, Sender::Wss(sender)) => {
                drop(receiver);
                sender.close(reason).await;
            }
            (receiver, Sender::Http(sender)) => {
                // Nobody finds it any more.
                drop(receiver);
                sender.close(reason).await;
            }
            (Receiver::Wss(_) | Receiver::Http(_), Sender::Quic(_)) => {
                unreachable!("the halves are of one kind")
            }
        }
    }
}

#[derive(Debug)]
pub(crate) enum Receiver {
    Quic(QuicReceiver),
    Wss(WssReceiver),
    Http(HttpReceiver),
}

impl Receiver {
    /// The next frame of any stream. Cancel-safe.
    pub(crate) async fn receive(&mut self, meter: &Meter) -> Result<Received, End> {
        match self {
            Self::Quic(receiver) => receiver.receive(meter).await,
            Self::Wss(receiver) => receiver.receive(meter).await,
            Self::Http(receiver) => receiver.receive(meter).await,
        }
    }

    /// Whether what wakes a reader stays with the waker it was given, also when the sender is polled
    /// with another one.
    pub(crate) fn has_wakers_apart(&self) -> bool {
        matches!(self, Self::Wss(_) | Self::Http(_))
    }

    /// A frame whose bytes are here already.
    pub(crate) fn take_received(&mut self) -> Result<Option<Received>, End> {
        match self {
            Self::Quic(receiver) => receiver.take_received(),
            Self::Wss(receiver) => receiver.take_received(),
            Self::Http(receiver) => receiver.take_received(),
        }
    }

    /// The client is known: larger frames, and on QUIC lanes, bulk streams and datagrams.
    pub(crate) fn on_session_open(&mut self) {
        match self {
            Self::Quic(receiver) => receiver.on_session_open(),
            Self::Wss(receiver) => receiver.on_session_open(),
            Self::Http(receiver) => receiver.on_session_open(),
        }
    }

    /// Where the client is now, and how long a round trip takes.
    pub(crate) fn path(&self) -> (SocketAddr, Duration) {
        match self {
            Self::Quic(receiver) => receiver.path(),
            Self::Wss(receiver) => receiver.path(),
            Self::Http(receiver) => receiver.path(),
        }
    }

    /// When the client was last heard of, where the transport does not watch that itself.
    pub(crate) fn last_heard(&self) -> Option<Instant> {
        match self {
            Self::Quic(_) => None,
            Self::Wss(receiver) => Some(receiver.last_heard()),
            Self::Http(receiver) => Some(receiver.last_heard()),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Sender {
    Quic(Box<QuicSender>),
    Wss(WssSender),
    Http(HttpSender),
}

impl Sender {
    /// Takes frames, leaving `batch` empty. They are written by [`flush`](Self::flush).
    pub(crate) fn queue(&mut self, batch: &mut Vec<Outgoing>, meter: &Meter) {
        meter.frames_out.increment(batch.len() as u64);
        let bytes = match self {
            Self::Quic(sender) => sender.queue(batch),
            Self::Wss(sender) => sender.queue(batch),
            Self::Http(sender) => sender.queue(batch),
        };
        meter.bytes_out.increment(bytes as u64);
    }

    /// The reply to command `id` goes onto a stream of its own.
    pub(crate) fn expect_bulk_reply(&mut self, id: u32, stream: SendStream) {
        match self {
            Self::Quic(sender) => sender.expect_bulk_reply(id, stream),
            Self::Wss(_) | Self::Http(_) => unreachable!("it has one stream"),
        }
    }

    /// Writes what was queued; goes on where it was when called again.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        match self {
            Self::Quic(sender) => sender.poll_flush(cx),
            Self::Wss(sender) => sender.poll_flush(cx),
            Self::Http(sender) => sender.poll_flush(cx),
        }
    }

    /// Bytes that were queued and have not been written.
    pub(crate) fn pending_bytes(&self) -> usize {
        match self {
            Self::Quic(sender) => sender.pending_bytes(),
            Self::Wss(sender) => sender.pending_bytes(),
            Self::Http(sender) => sender.pending_bytes(),
        }
    }
}

/// How long a closing connection may take to write its last frames and to hear why it ends.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// From here on, frames are not copied to be written together with others.
const COPY_BYTES: usize = 4096;
