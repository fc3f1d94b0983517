//! Frames on a QUIC connection, or on a WebTransport session on one ([`Carrier`] tells them apart).
//! The client opens the control stream, lanes (unidirectional, marked
//! by their first byte) and bulk streams (one command each, answered on the same stream). Lanes to
//! the client come into being on first use. Ephemerals are datagrams where they fit.

mod carrier;
mod out_stream;
mod receiver;
mod sender;

use sterna_core::{Encoding, TransportKind};

pub(crate) use carrier::Carrier;
pub(in crate::transport) use out_stream::OutStream;
pub(crate) use receiver::QuicReceiver;
pub(crate) use sender::QuicSender;

use super::webtransport::{SessionSender, WebTransport};
use super::{End, Receiver, Sender, Transport};
use crate::quic::{Connection, ConnectionError, RecvStream, SendStream};

/// Waits for the control stream.
pub(crate) async fn open(connection: Connection) -> Result<Transport, End> {
    let (control, commands) = connection.accept_bi().await.map_err(|error| end_of(&error))?;
    control.set_priority(CONTROL_PRIORITY);
    Ok(Transport {
        kind: TransportKind::Quic,
        encoding: Encoding::Protobuf,
        // There is no request that could say something.
        affinity: None,
        receiver: Receiver::Quic(QuicReceiver::new(Carrier::Raw(connection.clone()), commands)),
        sender: Sender::Quic(Box::new(QuicSender::new(connection, control, None))),
    })
}

/// The same on a WebTransport session, whose control stream is there.
pub(super) fn on_session(
    session: Box<WebTransport>,
    sender: SessionSender,
    control: SendStream,
    commands: RecvStream,
) -> Transport {
    control.set_priority(CONTROL_PRIORITY);
    let connection = session.connection().clone();
    let carrier = Carrier::WebTransport(session);
    Transport {
        kind: TransportKind::WebTransport,
        encoding: Encoding::Protobuf,
        affinity: None,
        receiver: Receiver::Quic(QuicReceiver::new(carrier, commands)),
        sender: Sender::Quic(Box::new(QuicSender::new(connection, control, Some(sender)))),
    }
}

pub(super) fn end_of(error: &ConnectionError) -> End {
    match error {
        ConnectionError::TimedOut => End::Idle,
        ConnectionError::ApplicationClosed(_) => End::ByClient,
        _ => End::Lost,
    }
}

pub(super) const CONTROL_PRIORITY: i32 = 100;
const LANE_PRIORITY: i32 = 10;
const BULK_PRIORITY: i32 = -10;
