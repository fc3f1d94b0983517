//! The sending half of a QUIC connection: which stream a frame goes to, and bytes onto the streams.

use std::future::poll_fn;
use std::task::{Context, Poll};

use ahash::AHashMap;
use bytes::Bytes;
use sterna_core::session::OutgoingBody;
use sterna_core::{Encoding, Lane, Outgoing};
use sterna_proto::{CloseReason, limits, v1, version};
use tokio::time::timeout;

use super::{Carrier, LANE_PRIORITY, OutStream, end_of};
use crate::quic::{Connection, SendStream, WriteError};
use crate::transport::webtransport::SessionSender;
use crate::transport::{CLOSE_PATIENCE, End};

/// The sending half: control, lanes, and bulk replies on their way.
#[derive(Debug)]
pub(crate) struct QuicSender {
    connection: Connection,
    control: OutStream,
    lanes: [Option<OutStream>; limits::LANES],
    bulk: AHashMap<u32, OutStream>,
    /// There if all of it is on a WebTransport session.
    session: Option<Box<SessionSender>>,
}

impl QuicSender {
    pub(super) fn new(
        connection: Connection,
        control: SendStream,
        session: Option<SessionSender>,
    ) -> Self {
        Self {
            connection,
            control: OutStream::new(control),
            lanes: [const { None }; limits::LANES],
            bulk: AHashMap::new(),
            session: session.map(Box::new),
        }
    }

    pub(crate) fn expect_bulk_reply(&mut self, id: u32, stream: SendStream) {
        self.bulk.insert(id, OutStream::new(stream));
    }

    pub(crate) fn queue(&mut self, batch: &mut Vec<Outgoing>) -> usize {
        let mut bytes = 0;
        for outgoing in batch.drain(..) {
            if outgoing.lane == Lane::Datagram
                && let Some(sent) = self.try_datagram(&outgoing)
            {
                bytes += sent;
                continue;
            }
            let frame = outgoing.encoded(Encoding::Protobuf);
            bytes += frame.len();
            self.stream_for(&outgoing).push(frame);
            if let Some(session) = &mut self.session {
                session.note(&outgoing);
            }
        }
        self.streams_mut().for_each(OutStream::join_chunks);
        bytes
    }

    async fn flush(&mut self) -> Result<(), End> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        let lanes = self.lanes.iter().flatten().chain(self.bulk.values());
        std::iter::once(&self.control).chain(lanes).map(OutStream::pending_bytes).sum()
    }

    pub(crate) async fn close(mut self, reason: CloseReason, carrier: Carrier) {
        if reason != CloseReason::Slow {
            // Closing discards what the client has not acknowledged.
            let _ = timeout(CLOSE_PATIENCE, self.finish()).await;
        }
        match (self.session.take(), carrier) {
            (Some(sender), Carrier::WebTransport(session)) => sender.close(session, reason).await,
            _ => self.connection.close(reason.code().into(), reason.text().as_bytes()),
        }
    }

    async fn finish(&mut self) {
        if self.flush().await.is_err() {
            return;
        }
        for stream in self.streams_mut() {
            stream.finish();
            stream.settled().await;
        }
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let mut blocked = false;
        for stream in std::iter::once(&mut self.control).chain(self.lanes.iter_mut().flatten()) {
            match stream.poll_write(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(end_of_write(&error))),
                Poll::Pending => blocked = true,
            }
        }
        self.bulk.retain(|_, stream| {
            if stream.is_empty() {
                return true;
            }
            let poll = stream.poll_write(cx);
            blocked |= poll.is_pending();
            // Written whole: dropping the stream finishes it. An error: the client has cancelled.
            poll.is_pending()
        });
        if let Some(session) = &mut self.session {
            match session.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(end_of_write(&error))),
                Poll::Pending => blocked = true,
            }
        }
        if blocked { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// `None`: it does not go by datagram now.
    fn try_datagram(&self, outgoing: &Outgoing) -> Option<usize> {
        let mut datagram = outgoing.datagram();
        let bytes = datagram.len();
        if let Some(session) = &self.session {
            datagram = session.address(&datagram);
        }
        self.connection.send_datagram(datagram).then_some(bytes)
    }

    fn stream_for(&mut self, outgoing: &Outgoing) -> &mut OutStream {
        if let Some(id) = reply_id(outgoing)
            && self.bulk.contains_key(&id)
        {
            return self.bulk.entry(id).or_insert_with(|| unreachable!("it is contained"));
        }
        let at = match outgoing.lane {
            Lane::Control => return &mut self.control,
            Lane::Channel(lane) => usize::from(lane) % limits::LANES,
            Lane::Datagram => 0,
        };
        if self.lanes[at].is_none() {
            self.lanes[at] = self.open_lane();
        }
        self.lanes[at].as_mut().unwrap_or(&mut self.control)
    }

    /// `None` when the client allows no more streams: its frames then go to the control stream.
    /// Positions give the order, so a channel may change its lane.
    fn open_lane(&self) -> Option<OutStream> {
        let stream = self.connection.open_uni()?;
        stream.set_priority(LANE_PRIORITY);
        let mut lane = OutStream::new(stream);
        lane.push(match &self.session {
            Some(session) => session.lane_head(),
            None => Bytes::from_static(&[version::LANE_STREAM]),
        });
        Some(lane)
    }

    fn streams_mut(&mut self) -> impl Iterator<Item = &mut OutStream> {
        let lanes = self.lanes.iter_mut().flatten().chain(self.bulk.values_mut());
        std::iter::once(&mut self.control).chain(lanes)
    }
}

fn reply_id(outgoing: &Outgoing) -> Option<u32> {
    let OutgoingBody::Own(frame) = &outgoing.body else { return None };
    match &frame.body {
        Some(v1::frame::Body::Reply(reply)) => Some(reply.id),
        _ => None,
    }
}

fn end_of_write(error: &WriteError) -> End {
    match error {
        WriteError::ConnectionLost(error) => end_of(error),
        // The client refuses a stream that carries what it has subscribed to.
        WriteError::Stopped => CloseReason::ProtocolError.into(),
    }
}
