//! Frames on a QUIC connection. The client opens the control stream, lanes (unidirectional, marked
//! by their first byte) and bulk streams (one command each, answered on the same stream). Lanes to
//! the client come into being on first use. Ephemerals are datagrams where they fit.

use std::future::{Future as _, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ahash::AHashMap;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::FutureExt as _;
use quinn::{Chunk, Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError};
use sterna_core::session::OutgoingBody;
use sterna_core::{Encoding, Lane, Outgoing, TransportKind};
use sterna_proto::{CloseReason, FrameDecoder, codec, limits, v1, version};
use tokio::time::{Instant, sleep_until, timeout};

use super::{CLOSE_PATIENCE, COPY_BYTES, End, Received, Receiver, Sender, Transport};
use crate::listen::canonical;
use crate::metrics::{self, Meter};

/// Waits for the control stream.
pub(crate) async fn open(connection: Connection) -> Result<Transport, End> {
    let (control, commands) = connection.accept_bi().await.map_err(|error| end_of(&error))?;
    set_priority(&control, CONTROL_PRIORITY);
    Ok(Transport {
        kind: TransportKind::Quic,
        encoding: Encoding::Protobuf,
        receiver: Receiver::Quic(QuicReceiver::new(connection.clone(), commands)),
        sender: Sender::Quic(Box::new(QuicSender::new(connection, control))),
    })
}

/// The receiving half: all streams of the client and its datagrams.
#[derive(Debug)]
pub(crate) struct QuicReceiver {
    connection: Connection,
    streams: Vec<InStream>,
    /// The stream whose decoder may hold whole frames.
    draining: Option<usize>,
    /// Where the next look at the streams begins, so that a busy one does not starve the others.
    turn: usize,
    session_open: bool,
}

#[derive(Debug)]
struct InStream {
    stream: RecvStream,
    decoder: FrameDecoder,
    role: Role,
}

#[derive(Debug)]
enum Role {
    Control,
    /// Has to show its first byte until then.
    Unmarked {
        deadline: Instant,
    },
    Lane,
    /// Has to show its command until then.
    Bulk {
        reply_on: Option<SendStream>,
        deadline: Instant,
    },
}

enum Input {
    Read(usize, Result<Option<Chunk>, ReadError>),
    Lane(Result<RecvStream, ConnectionError>),
    Bulk(Result<(SendStream, RecvStream), ConnectionError>),
    Datagram(Result<Bytes, ConnectionError>),
    Late,
}

impl QuicReceiver {
    fn new(connection: Connection, control: RecvStream) -> Self {
        let control = InStream {
            stream: control,
            decoder: FrameDecoder::new(limits::HELLO_FRAME_BYTES),
            role: Role::Control,
        };
        Self { connection, streams: vec![control], draining: None, turn: 0, session_open: false }
    }

    pub(crate) fn on_session_open(&mut self) {
        self.session_open = true;
        self.streams.iter_mut().for_each(|each| each.decoder.set_limit(limits::FRAME_BYTES));
        self.connection.set_max_concurrent_bi_streams(BIDI_STREAMS.into());
        self.connection.set_max_concurrent_uni_streams((limits::LANES as u32).into());
    }

    pub(crate) fn has_datagrams(&self) -> bool {
        self.connection.max_datagram_size().is_some()
    }

    pub(crate) fn path(&self) -> (SocketAddr, Duration) {
        (canonical(self.connection.remote_address()), self.connection.rtt())
    }

    pub(crate) async fn receive(&mut self, meter: &Meter) -> Result<Received, End> {
        loop {
            if let Some(received) = self.take_received()? {
                return Ok(received);
            }
            let input = self.next_input().await;
            if let Some(received) = self.on_input(input, meter)? {
                return Ok(received);
            }
        }
    }

    pub(crate) fn take_received(&mut self) -> Result<Option<Received>, End> {
        let Some(at) = self.draining else { return Ok(None) };
        let from = &mut self.streams[at];
        let Some(frame) = from.decoder.next()? else {
            self.draining = None;
            return Ok(None);
        };
        let Role::Bulk { reply_on, .. } = &mut from.role else {
            return Ok(Some(Received { frame, reply_on: None }));
        };
        let reply_on = reply_on.take();
        self.remove(at);
        Ok(Some(Received { frame, reply_on }))
    }

    async fn next_input(&mut self) -> Input {
        let deadline = self.streams.iter().filter_map(|each| each.role.deadline()).min();
        let Self { connection, streams, turn, session_open, .. } = self;
        let open = *session_open;
        tokio::select! {
            (at, read) = poll_fn(|cx| poll_streams(streams, turn, cx)) => Input::Read(at, read),
            lane = connection.accept_uni(), if open => Input::Lane(lane),
            bulk = connection.accept_bi(), if open => Input::Bulk(bulk),
            datagram = connection.read_datagram(), if open => Input::Datagram(datagram),
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                Input::Late
            }
        }
    }

    fn on_input(&mut self, input: Input, meter: &Meter) -> Result<Option<Received>, End> {
        let lost = |error: ConnectionError| end_of(&error);
        match input {
            Input::Read(at, Ok(Some(chunk))) => {
                meter.bytes_in.increment(chunk.bytes.len() as u64);
                self.on_bytes(at, &chunk.bytes);
            }
            Input::Read(at, Ok(None)) => self.on_finished(at)?,
            Input::Read(at, Err(error)) => self.on_failed(at, &error)?,
            Input::Lane(stream) => {
                let deadline = Instant::now() + HEADER_DEADLINE;
                self.add(stream.map_err(lost)?, Role::Unmarked { deadline });
            }
            Input::Bulk(streams) => {
                let (reply_on, stream) = streams.map_err(lost)?;
                set_priority(&reply_on, BULK_PRIORITY);
                let deadline = Instant::now() + HEADER_DEADLINE;
                self.add(stream, Role::Bulk { reply_on: Some(reply_on), deadline });
            }
            Input::Datagram(datagram) => {
                return Ok(read_datagram(datagram.map_err(lost)?, meter));
            }
            Input::Late => self.stop_late(Instant::now()),
        }
        Ok(None)
    }

    fn on_bytes(&mut self, at: usize, mut bytes: &[u8]) {
        let from = &mut self.streams[at];
        if matches!(from.role, Role::Unmarked { .. }) {
            let Some((mark, rest)) = bytes.split_first() else { return };
            if *mark != version::LANE_STREAM {
                return self.remove(at);
            }
            from.role = Role::Lane;
            bytes = rest;
        }
        from.decoder.extend(bytes);
        self.draining = Some(at);
    }

    fn on_finished(&mut self, at: usize) -> Result<(), End> {
        let from = &self.streams[at];
        from.decoder.finish()?;
        if matches!(from.role, Role::Control) {
            return Err(End::ByClient);
        }
        self.remove(at);
        Ok(())
    }

    fn on_failed(&mut self, at: usize, error: &ReadError) -> Result<(), End> {
        match (error, &self.streams[at].role) {
            (ReadError::ConnectionLost(error), _) => Err(end_of(error)),
            (_, Role::Control) => Err(CloseReason::ProtocolError.into()),
            _ => {
                self.remove(at);
                Ok(())
            }
        }
    }

    fn add(&mut self, stream: RecvStream, role: Role) {
        let decoder = FrameDecoder::new(limits::FRAME_BYTES);
        self.streams.push(InStream { stream, decoder, role });
    }

    /// Dropping a stream that has not ended asks the client to stop sending.
    fn remove(&mut self, at: usize) {
        self.streams.swap_remove(at);
        self.draining = None;
    }

    fn stop_late(&mut self, now: Instant) {
        self.streams.retain(|each| each.role.deadline().is_none_or(|deadline| deadline > now));
        self.draining = None;
    }
}

impl Role {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Control | Self::Lane => None,
            Self::Unmarked { deadline } | Self::Bulk { deadline, .. } => Some(*deadline),
        }
    }
}

fn poll_streams(
    streams: &mut [InStream],
    turn: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<(usize, Result<Option<Chunk>, ReadError>)> {
    let count = streams.len();
    for step in 0..count {
        let at = (*turn + step) % count;
        let read = pin!(streams[at].stream.read_chunk(CHUNK_BYTES, true)).poll(cx);
        if let Poll::Ready(read) = read {
            *turn = at + 1;
            return Poll::Ready((at, read));
        }
    }
    Poll::Pending
}

/// Datagrams are lost on the way all the time, so a bad one only counts.
fn read_datagram(datagram: Bytes, meter: &Meter) -> Option<Received> {
    meter.bytes_in.increment(datagram.len() as u64);
    match codec::decode_datagram(datagram) {
        Ok(frame) => Some(Received { frame, reply_on: None }),
        Err(_) => {
            metrics::datagram_dropped();
            None
        }
    }
}

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
    fn new(connection: Connection, control: SendStream) -> Self {
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

    pub(crate) async fn flush(&mut self) -> Result<(), End> {
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
        self.connection.close(u32::from(reason.code()).into(), reason.text().as_bytes());
    }

    async fn finish(&mut self) {
        if self.flush().await.is_err() {
            return;
        }
        for stream in self.streams_mut() {
            let _ = stream.stream.finish();
            let _ = stream.stream.stopped().await;
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
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
        self.connection.send_datagram(datagram).ok().map(|()| bytes)
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
            let write = pin!(self.stream.write_chunks(&mut self.chunks[self.written..]));
            self.written += ready!(write.poll(cx))?.chunks;
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
    let stream = connection.open_uni().now_or_never()?.ok()?;
    set_priority(&stream, LANE_PRIORITY);
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

fn set_priority(stream: &SendStream, priority: i32) {
    // Fails on a stream that is gone; the next write says so as well.
    let _ = stream.set_priority(priority);
}

fn end_of(error: &ConnectionError) -> End {
    match error {
        ConnectionError::TimedOut => End::Idle,
        ConnectionError::ApplicationClosed(_) => End::ByClient,
        _ => End::Lost,
    }
}

fn end_of_write(error: &WriteError) -> End {
    match error {
        WriteError::ConnectionLost(error) => end_of(error),
        // The client refuses a stream that carries what it has subscribed to.
        _ => CloseReason::ProtocolError.into(),
    }
}

const CONTROL_PRIORITY: i32 = 100;
const LANE_PRIORITY: i32 = 10;
const BULK_PRIORITY: i32 = -10;

/// The control stream and 7 bulk commands at a time.
const BIDI_STREAMS: u32 = 8;

/// How long a new stream may hide what it is.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);

/// Most bytes taken from a stream at a time.
const CHUNK_BYTES: usize = 16 * 1024;
