//! The receiving half of a QUIC connection: which streams there are, and frames off them.

use std::future::{Future as _, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use quinn::{Chunk, Connection, ConnectionError, ReadError, RecvStream, SendStream};
use sterna_proto::{CloseReason, FrameDecoder, codec, limits, version};
use tokio::time::{Instant, sleep_until};

use super::{BULK_PRIORITY, end_of, set_priority};
use crate::listen::canonical;
use crate::metrics::{self, Meter};
use crate::transport::{End, Received};

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
    pub(super) fn new(connection: Connection, control: RecvStream) -> Self {
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

/// The control stream and 7 bulk commands at a time.
const BIDI_STREAMS: u32 = 8;

/// How long a new stream may hide what it is.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);

/// Most bytes taken from a stream at a time.
const CHUNK_BYTES: usize = 16 * 1024;
