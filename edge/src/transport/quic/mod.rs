//! Frames on a QUIC connection. The client opens the control stream, lanes (unidirectional, marked
//! by their first byte) and bulk streams (one command each, answered on the same stream). Lanes to
//! the client come into being on first use. Ephemerals are datagrams where they fit.

mod receiver;
mod sender;

use sterna_core::{Encoding, TransportKind};

pub(crate) use receiver::QuicReceiver;
pub(crate) use sender::QuicSender;

use super::{End, Receiver, Sender, Transport};
use crate::quic::{Connection, ConnectionError};

/// Waits for the control stream.
pub(crate) async fn open(connection: Connection) -> Result<Transport, End> {
    let (control, commands) = connection.accept_bi().await.map_err(|error| end_of(&error))?;
    control.set_priority(CONTROL_PRIORITY);
    Ok(Transport {
        kind: TransportKind::Quic,
        encoding: Encoding::Protobuf,
        // There is no request that could say something.
        affinity: None,
        receiver: Receiver::Quic(QuicReceiver::new(connection.clone(), commands)),
        sender: Sender::Quic(Box::new(QuicSender::new(connection, control))),
    })
}

fn end_of(error: &ConnectionError) -> End {
    match error {
        ConnectionError::TimedOut => End::Idle,
        ConnectionError::ApplicationClosed(_) => End::ByClient,
        _ => End::Lost,
    }
}

const CONTROL_PRIORITY: i32 = 100;
const LANE_PRIORITY: i32 = 10;
const BULK_PRIORITY: i32 = -10;
