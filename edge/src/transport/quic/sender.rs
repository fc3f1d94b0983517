//! The sending half of a QUIC connection: which stream a frame goes to, and bytes onto the streams.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use ahash::AHashMap;
use bytes::{BufMut as _, Bytes, BytesMut};
use sterna_core::session::OutgoingBody;
use sterna_core::{Encoding, Lane, Outgoing};
use sterna_proto::{CloseReason, limits, v1, version};
use tokio::time::timeout;

use super::{LANE_PRIORITY, end_of};
use crate::quic::{Connection, SendStream, WriteError};
use crate::transport::{CLOSE_PATIENCE, COPY_BYTES, End};

/// The sending half: control, lanes, and bulk replies on their way.
#[derive(Debug)]
pub(crate) struct QuicSender {
    connection: Connection,
    control: OutStream,
    lanes: [Option<OutStream>; limits::LANES],
    bulk: AHashMap<u32, OutStream>,
}

#[derive(Debug)]
struct OutStream {
    stream: SendStream,
    chunks: Vec<Bytes>,
    /// Chunks that are written whole.
    written: usize,
}

impl QuicSender {
    pub(super) fn new(connection: Connection, control: SendStream) -> Self {
        let control = OutStream::new(control);
        Self { connection, control, lanes: [const { None }; limits::LANES], bulk: AHashMap::new() }
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
            self.stream_for(&outgoing).chunks.push(frame);
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

    pub(crate) async fn close(mut self, reason: CloseReason) {
        if reason != CloseReason::Slow {
            // Closing discards what the client has not acknowledged.
            let _ = timeout(CLOSE_PATIENCE, self.finish()).await;
        }
        self.connection.close(reason.code().into(), reason.text().as_bytes());
    }

    async fn finish(&mut self) {
        if self.flush().await.is_err() {
            return;
        }
        for stream in self.streams_mut() {
            stream.stream.finish();
            stream.stream.settled().await;
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
            if stream.chunks.is_empty() {
                return true;
            }
            let poll = stream.poll_write(cx);
            blocked |= poll.is_pending();
            // Written whole: dropping the stream finishes it. An error: the client has cancelled.
            poll.is_pending()
        });
        if blocked { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// `None`: it does not go by datagram now.
    fn try_datagram(&self, outgoing: &Outgoing) -> Option<usize> {
        let datagram = outgoing.datagram();
        let bytes = datagram.len();
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
            self.lanes[at] = open_lane(&self.connection);
        }
        self.lanes[at].as_mut().unwrap_or(&mut self.control)
    }

    fn streams_mut(&mut self) -> impl Iterator<Item = &mut OutStream> {
        let lanes = self.lanes.iter_mut().flatten().chain(self.bulk.values_mut());
        std::iter::once(&mut self.control).chain(lanes)
    }
}

impl OutStream {
    fn new(stream: SendStream) -> Self {
        Self { stream, chunks: Vec::new(), written: 0 }
    }

    /// Puts small chunks together: one chunk costs more than copying it does.
    fn join_chunks(&mut self) {
        if self.chunks.len() - self.written < 2 {
            return;
        }
        let mut joined = Vec::new();
        let mut small = BytesMut::new();
        for chunk in self.chunks.drain(self.written..) {
            if chunk.len() < COPY_BYTES {
                small.put(chunk);
                continue;
            }
            if !small.is_empty() {
                joined.push(small.split().freeze());
            }
            joined.push(chunk);
        }
        if !small.is_empty() {
            joined.push(small.freeze());
        }
        self.chunks.append(&mut joined);
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        while self.written < self.chunks.len() {
            let chunks = &mut self.chunks[self.written..];
            self.written += ready!(self.stream.poll_write(cx, chunks))?.chunks;
        }
        // An idle stream keeps no buffer.
        self.chunks = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn pending_bytes(&self) -> usize {
        self.chunks[self.written..].iter().map(Bytes::len).sum()
    }
}

/// `None` when the client allows no more streams: its frames then go to the control stream.
/// Positions give the order, so a channel may change its lane.
fn open_lane(connection: &Connection) -> Option<OutStream> {
    let stream = connection.open_uni()?;
    stream.set_priority(LANE_PRIORITY);
    let mut lane = OutStream::new(stream);
    lane.chunks.push(Bytes::from_static(&[version::LANE_STREAM]));
    Some(lane)
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
