//! Sessions: what a device is to the gateway, whatever connection it has at the moment.

use std::net::SocketAddr;

use bytes::Bytes;
use sterna_proto::v1;

use crate::push::SharedPush;

mod activity;
mod again;
mod commands;
mod deliver;
pub mod directory;
mod inbox;
pub mod outbox;
mod pages;
mod presence;
mod reattach;
mod recovering;
mod report;
mod rights;
#[allow(clippy::module_inception)]
mod session;
pub mod subscription;
mod ticket;
mod watching;

pub use crate::push::Encoding;
pub use activity::{MERGED_BYTES, MERGED_FRAMES};
pub use pages::PRESENCE_SUBSCRIPTIONS;
pub use presence::Departed;
pub use session::{CallToken, Effect, Session};
pub use ticket::ResumeTicket;

/// How a client is connected. Also the value of the metric label `transport`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransportKind {
    Quic,
    WebTransport,
    WebSocket,
    /// Plain HTTP: an answer of events, and requests.
    Http,
}

impl TransportKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::WebTransport => "webtransport",
            Self::WebSocket => "wss",
            Self::Http => "http",
        }
    }
}

/// What a session knows of its connection.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionInfo {
    pub transport: TransportKind,
    pub remote: SocketAddr,
    pub encoding: Encoding,
    /// Ephemerals go by datagram.
    pub datagrams: bool,
}

/// Ordering domain inside a connection: 0 is control, 1 and up carry channels. Transports that
/// have one stream ignore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    Control,
    /// Below [`sterna_proto::limits::LANES`].
    Channel(u8),
    Datagram,
}

/// A frame on its way to the client.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub lane: Lane,
    pub body: OutgoingBody,
}

/// Frames for one session are its own; pushes are shared and encoded once.
#[derive(Debug, Clone)]
pub enum OutgoingBody {
    Own(Box<v1::Frame>),
    Shared(SharedPush),
}

impl Outgoing {
    /// The bytes for a stream or a WebSocket message.
    pub fn encoded(&self, encoding: Encoding) -> Bytes {
        match &self.body {
            OutgoingBody::Own(frame) => match encoding {
                Encoding::Protobuf => sterna_proto::codec::encode_to_bytes(frame),
                Encoding::Json => sterna_proto::codec::encode_json(frame).into(),
            },
            OutgoingBody::Shared(push) => push.encoded(encoding).clone(),
        }
    }

    /// The bytes for a datagram.
    pub fn datagram(&self) -> Bytes {
        match &self.body {
            OutgoingBody::Own(frame) => sterna_proto::codec::encode_datagram(frame),
            OutgoingBody::Shared(push) => push.datagram(),
        }
    }
}
