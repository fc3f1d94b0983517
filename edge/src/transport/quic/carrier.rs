//! What brings the client's streams and datagrams: the QUIC connection itself, or a WebTransport
//! session on it. Behind this nobody sees a difference.

use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use sterna_proto::limits;
use tokio::time::Instant;

use super::end_of;
use crate::listen::canonical;
use crate::quic::{Connection, RecvStream, SendStream};
use crate::transport::End;
use crate::transport::webtransport::WebTransport;

#[derive(Debug)]
pub(crate) enum Carrier {
    Raw(Connection),
    WebTransport(Box<WebTransport>),
}

impl Carrier {
    fn connection(&self) -> &Connection {
        match self {
            Self::Raw(connection) => connection,
            Self::WebTransport(session) => session.connection(),
        }
    }

    /// Does what has to be done for the carrier itself, before any of its streams is taken.
    pub(super) fn look(&mut self) {
        if let Self::WebTransport(session) = self {
            session.look();
        }
    }

    /// A bidirectional stream that the client has opened.
    pub(super) fn take_bi(&mut self) -> Option<(SendStream, RecvStream)> {
        match self {
            Self::Raw(connection) => connection.take_bi(),
            Self::WebTransport(session) => session.take_bi(),
        }
    }

    /// A unidirectional stream that the client has opened.
    pub(super) fn take_uni(&mut self) -> Option<RecvStream> {
        match self {
            Self::Raw(connection) => connection.take_uni(),
            Self::WebTransport(session) => session.take_uni(),
        }
    }

    pub(super) fn take_datagram(&mut self) -> Option<Bytes> {
        match self {
            Self::Raw(connection) => connection.take_datagram(),
            Self::WebTransport(session) => session.take_datagram(),
        }
    }

    /// `Ready`: there may be something to take or read, or it is over.
    pub(super) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        match self {
            Self::Raw(connection) => {
                connection.poll_input(cx).map(|came| came.map_err(|error| end_of(&error)))
            }
            Self::WebTransport(session) => session.poll_input(cx),
        }
    }

    /// Not everything has been looked at.
    pub(super) fn look_again(&self) {
        self.connection().look_again();
    }

    /// When a stream of the carrier has to have shown what it is.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Raw(_) => None,
            Self::WebTransport(session) => session.deadline(),
        }
    }

    pub(super) fn stop_late(&mut self, now: Instant) {
        if let Self::WebTransport(session) = self {
            session.stop_late(now);
        }
    }

    /// The client is known and gets room for the streams of a session.
    pub(super) fn on_session_open(&self) {
        let (bidirectional, unidirectional) = match self {
            Self::Raw(_) => (0, 0),
            Self::WebTransport(_) => WebTransport::OWN_STREAMS,
        };
        let unidirectional = unidirectional + limits::LANES as u32;
        let connection = self.connection();
        connection.set_room(bidirectional + BIDI_STREAMS, unidirectional, RECEIVE_WINDOW);
        connection.look_again();
    }

    pub(super) fn has_datagrams(&self) -> bool {
        match self {
            Self::Raw(connection) => connection.has_datagrams(),
            Self::WebTransport(session) => session.has_datagrams(),
        }
    }

    pub(super) fn path(&self) -> (SocketAddr, Duration) {
        let connection = self.connection();
        (canonical(connection.remote_address()), connection.rtt())
    }
}

/// The control stream and 7 bulk commands at a time.
const BIDI_STREAMS: u32 = 8;

/// What one connection may have on its way to us, once its client is known.
const RECEIVE_WINDOW: u32 = 1024 * 1024;
