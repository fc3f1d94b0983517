//! The receiving half of a QUIC connection or a session on one: which streams there are, and frames off them.

use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sterna_proto::{CloseReason, FrameDecoder, codec, limits, version};
use tokio::time::{Instant, sleep_until};

use super::{BULK_PRIORITY, Carrier};
use crate::metrics::{self, Meter};
use crate::quic::{Read, RecvStream, SendStream};
use crate::transport::{End, Received};

/// The receiving half: all streams of the client and its datagrams.
#[derive(Debug)]
pub(crate) struct QuicReceiver {
    carrier: Carrier,
    streams: Vec<InStream>,
    /// The stream whose decoder may hold whole frames.
    draining: Option<usize>,
    /// Where the next look at the streams begins, so that a busy one does not starve the others.
    turn: usize,
    /// Datagrams and streams go first in turn.
    datagrams_first: bool,
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
    /// Has shown it, and has to end: to stop it now would look like a failure to a browser that is
    /// about to do so.
    Spent {
        deadline: Instant,
    },
}

/// Something that has come.
enum Input {
    Read(usize, Read),
    Lane(RecvStream),
    Bulk(SendStream, RecvStream),
    Datagram(Bytes),
}

impl QuicReceiver {
    pub(super) fn new(carrier: Carrier, control: RecvStream) -> Self {
        let control = InStream {
            stream: control,
            decoder: FrameDecoder::new(limits::HELLO_FRAME_BYTES),
            role: Role::Control,
        };
        // Its first bytes may have come with it.
        carrier.look_again();
        Self {
            carrier,
            streams: vec![control],
            draining: None,
            turn: 0,
            datagrams_first: false,
            session_open: false,
        }
    }

    pub(crate) fn on_session_open(&mut self) {
        self.session_open = true;
        self.streams.iter_mut().for_each(|each| each.decoder.set_limit(limits::FRAME_BYTES));
        self.carrier.on_session_open();
    }

    /// The client's streams are not wanted any more; what carries them has to stay until the end.
    pub(crate) fn into_carrier(self) -> Carrier {
        self.carrier
    }

    pub(crate) fn has_datagrams(&self) -> bool {
        self.carrier.has_datagrams()
    }

    pub(crate) fn path(&self) -> (SocketAddr, Duration) {
        self.carrier.path()
    }

    pub(crate) async fn receive(&mut self, meter: &Meter) -> Result<Received, End> {
        loop {
            if let Some(received) = self.take_received()? {
                return Ok(received);
            }
            if let Some(input) = self.take_input() {
                self.carrier.look_again();
                if let Some(received) = self.on_input(input, meter)? {
                    return Ok(received);
                }
                continue;
            }
            let deadlines = self.streams.iter().filter_map(|each| each.role.deadline());
            let deadline = deadlines.chain(self.carrier.deadline()).min();
            let late = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                came = poll_fn(|cx| self.carrier.poll_input(cx)) => came?,
                () = late => self.stop_late(Instant::now()),
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
        let Role::Bulk { reply_on, deadline } = &mut from.role else {
            return Ok(Some(Received { frame, reply_on: None }));
        };
        let (reply_on, deadline) = (reply_on.take(), *deadline);
        match from.decoder.finish() {
            Ok(()) => from.role = Role::Spent { deadline },
            Err(_) => self.remove(at),
        }
        self.draining = None;
        Ok(Some(Received { frame, reply_on }))
    }

    fn take_input(&mut self) -> Option<Input> {
        self.carrier.look();
        if !self.session_open {
            return self.take_read();
        }
        if let Some(lane) = self.carrier.take_uni() {
            return Some(Input::Lane(lane));
        }
        if let Some((reply_on, stream)) = self.carrier.take_bi() {
            return Some(Input::Bulk(reply_on, stream));
        }
        self.datagrams_first = !self.datagrams_first;
        if self.datagrams_first {
            self.take_datagram().or_else(|| self.take_read())
        } else {
            self.take_read().or_else(|| self.take_datagram())
        }
    }

    fn take_datagram(&mut self) -> Option<Input> {
        self.carrier.take_datagram().map(Input::Datagram)
    }

    fn take_read(&mut self) -> Option<Input> {
        let count = self.streams.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            match self.streams[at].stream.read(CHUNK_BYTES) {
                Read::Blocked => {}
                read => {
                    self.turn = at + 1;
                    return Some(Input::Read(at, read));
                }
            }
        }
        None
    }

    fn on_input(&mut self, input: Input, meter: &Meter) -> Result<Option<Received>, End> {
        match input {
            Input::Read(at, Read::Bytes(bytes)) => {
                meter.bytes_in.increment(bytes.len() as u64);
                self.on_bytes(at, &bytes);
            }
            Input::Read(at, Read::Finished) => self.on_finished(at)?,
            Input::Read(at, Read::Reset) => self.on_reset(at)?,
            Input::Read(_, Read::Blocked) => {}
            Input::Lane(stream) => {
                let deadline = Instant::now() + HEADER_DEADLINE;
                self.add(stream, Role::Unmarked { deadline });
            }
            Input::Bulk(reply_on, stream) => {
                reply_on.set_priority(BULK_PRIORITY);
                let deadline = Instant::now() + HEADER_DEADLINE;
                self.add(stream, Role::Bulk { reply_on: Some(reply_on), deadline });
            }
            Input::Datagram(datagram) => return Ok(read_datagram(datagram, meter)),
        }
        Ok(None)
    }

    fn on_bytes(&mut self, at: usize, mut bytes: &[u8]) {
        let from = &mut self.streams[at];
        if matches!(from.role, Role::Spent { .. }) {
            return self.remove(at);
        }
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

    fn on_reset(&mut self, at: usize) -> Result<(), End> {
        if matches!(self.streams[at].role, Role::Control) {
            return Err(CloseReason::ProtocolError.into());
        }
        self.remove(at);
        Ok(())
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
        self.carrier.stop_late(now);
        self.streams.retain(|each| each.role.deadline().is_none_or(|deadline| deadline > now));
        self.draining = None;
    }
}

impl Role {
    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Control | Self::Lane => None,
            Self::Unmarked { deadline }
            | Self::Bulk { deadline, .. }
            | Self::Spent { deadline } => Some(*deadline),
        }
    }
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

/// How long a new stream may hide what it is.
const HEADER_DEADLINE: Duration = Duration::from_secs(5);

/// Most bytes taken from a stream at a time.
const CHUNK_BYTES: usize = 16 * 1024;
