//! The client's streams by what they are: those of HTTP/3 itself, which are read here; requests,
//! which go to the [`Exchanges`]; and those of the session, which wait here to be taken.

use tokio::time::Instant;

use super::HEAD_DEADLINE;
use super::exchanges::Exchanges;
use crate::http3::{
    BidiHead, Control, Settings, StreamHead, UniHead, Violation, check_encoder, code,
};
use crate::metrics;
use crate::quic::{Connection, Read, RecvStream, SendStream};

#[derive(Debug, Default)]
pub(super) struct Streams {
    newcomers: Vec<Newcomer>,
    control: Option<(RecvStream, Control)>,
    encoder: Option<RecvStream>,
    decoder: Option<RecvStream>,
    settings: Option<Settings>,
    /// Of the session, or of one that there may be.
    held: Vec<Held>,
}

/// A stream that has not shown what it is.
#[derive(Debug)]
struct Newcomer {
    stream: RecvStream,
    /// There if it is bidirectional.
    answers: Option<SendStream>,
    head: StreamHead,
    deadline: Instant,
}

/// A stream of a session that nobody has taken.
#[derive(Debug)]
struct Held {
    session: u64,
    stream: RecvStream,
    answers: Option<SendStream>,
}

/// What a newcomer has turned out to be.
enum Turn {
    Uni(UniHead),
    Bidi(BidiHead),
    /// More has to come.
    Waits,
    /// It ended before it said anything.
    Gone,
}

impl Streams {
    /// Takes what the client has opened, and reads what is not for others.
    pub(super) fn look(
        &mut self,
        connection: &Connection,
        session: Option<u64>,
        exchanges: &mut Exchanges,
    ) -> Result<(), Violation> {
        while let Some(stream) = connection.take_uni() {
            self.newcomers.push(Newcomer::new(stream, None));
        }
        while let Some((answers, stream)) = connection.take_bi() {
            self.newcomers.push(Newcomer::new(stream, Some(answers)));
        }
        for mut newcomer in std::mem::take(&mut self.newcomers) {
            match newcomer.turn()? {
                Turn::Waits => self.newcomers.push(newcomer),
                Turn::Gone => {}
                Turn::Uni(UniHead::OfSession(id)) | Turn::Bidi(BidiHead::OfSession(id)) => {
                    self.hold(id, session, newcomer);
                }
                Turn::Bidi(BidiHead::Request) => {
                    let Newcomer { stream, answers, head, .. } = newcomer;
                    if let Some(answers) = answers {
                        exchanges.begin(stream, answers, head.as_slice())?;
                    }
                }
                Turn::Uni(head) => self.keep(head, newcomer.stream)?,
            }
        }
        self.read_own()
    }

    /// The session that there is now; streams of others have no place.
    pub(super) fn on_session(&mut self, session: u64) {
        for held in std::mem::take(&mut self.held) {
            match held.session == session {
                true => self.held.push(held),
                false => held.reject(),
            }
        }
    }

    pub(super) fn take_bi(&mut self) -> Option<(SendStream, RecvStream)> {
        let at = self.held.iter().position(|held| held.answers.is_some())?;
        let Held { stream, answers, .. } = self.held.remove(at);
        answers.map(|answers| (answers, stream))
    }

    pub(super) fn take_uni(&mut self) -> Option<RecvStream> {
        let at = self.held.iter().position(|held| held.answers.is_none())?;
        Some(self.held.remove(at).stream)
    }

    /// Whether the client has said its settings; no session begins before.
    pub(super) fn are_settled(&self) -> bool {
        self.settings.is_some()
    }

    pub(super) fn has_datagrams(&self) -> bool {
        self.settings.is_some_and(|settings| settings.datagrams)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.newcomers.iter().map(|newcomer| newcomer.deadline).min()
    }

    pub(super) fn stop_late(&mut self, now: Instant) {
        for newcomer in self.newcomers.extract_if(.., |newcomer| newcomer.deadline <= now) {
            if let Some(answers) = newcomer.answers {
                answers.reset(code::REQUEST_CANCELLED);
            }
            newcomer.stream.stop(code::REQUEST_CANCELLED);
        }
    }

    /// Nothing of it is read before somebody takes it, so that it costs its client's window.
    fn hold(&mut self, id: u64, session: Option<u64>, newcomer: Newcomer) {
        let held = Held { session: id, stream: newcomer.stream, answers: newcomer.answers };
        let has_place = match session {
            Some(session) => session == id && self.held.len() < HELD_STREAMS,
            None => self.held.len() < EARLY_STREAMS,
        };
        if has_place { self.held.push(held) } else { held.reject() }
    }

    fn keep(&mut self, head: UniHead, stream: RecvStream) -> Result<(), Violation> {
        let twice = match head {
            UniHead::Control => self.control.replace((stream, Control::default())).is_some(),
            UniHead::QpackEncoder => self.encoder.replace(stream).is_some(),
            UniHead::QpackDecoder => self.decoder.replace(stream).is_some(),
            UniHead::OfSession(_) | UniHead::Unknown => {
                stream.stop(code::STREAM_CREATION_ERROR);
                false
            }
        };
        (!twice).then_some(()).ok_or(Violation::StreamCreation)
    }

    /// The three that have to stay open for as long as the connection is.
    fn read_own(&mut self) -> Result<(), Violation> {
        if let Some((stream, control)) = &mut self.control {
            while let Some(bytes) = read_critical(stream)? {
                if let Some(settings) = control.read(&bytes)? {
                    self.settings = Some(settings);
                }
            }
        }
        if let Some(stream) = &mut self.encoder {
            while let Some(bytes) = read_critical(stream)? {
                check_encoder(&bytes)?;
            }
        }
        if let Some(stream) = &mut self.decoder {
            // There is no table that these acknowledgements could be about.
            while read_critical(stream)?.is_some() {}
        }
        Ok(())
    }
}

impl Newcomer {
    fn new(stream: RecvStream, answers: Option<SendStream>) -> Self {
        let deadline = Instant::now() + HEAD_DEADLINE;
        Self { stream, answers, head: StreamHead::default(), deadline }
    }

    /// Reads no octet more than it takes to know.
    fn turn(&mut self) -> Result<Turn, Violation> {
        loop {
            let known = match self.answers {
                None => self.head.uni()?.map(Turn::Uni),
                Some(_) => self.head.bidi()?.map(Turn::Bidi),
            };
            if let Some(known) = known {
                return Ok(known);
            }
            match self.stream.read(1) {
                Read::Bytes(octet) => octet.iter().for_each(|octet| self.head.push(*octet)),
                Read::Blocked => return Ok(Turn::Waits),
                Read::Finished | Read::Reset => return Ok(Turn::Gone),
            }
        }
    }
}

impl Held {
    fn reject(self) {
        metrics::http3_stream_rejected();
        if let Some(answers) = self.answers {
            answers.reset(code::BUFFERED_STREAM_REJECTED);
        }
        self.stream.stop(code::BUFFERED_STREAM_REJECTED);
    }
}

fn read_critical(stream: &mut RecvStream) -> Result<Option<bytes::Bytes>, Violation> {
    match stream.read(CHUNK_BYTES) {
        Read::Bytes(bytes) => Ok(Some(bytes)),
        Read::Blocked => Ok(None),
        Read::Finished | Read::Reset => Err(Violation::ClosedCriticalStream),
    }
}

/// Streams of a session that wait for the answer to its request.
const EARLY_STREAMS: usize = 3;

/// Streams of the session that wait to be taken: as many as the client may have open, and some that
/// are over already.
const HELD_STREAMS: usize = 16;

/// Most bytes taken from a stream of HTTP/3 at a time.
pub(super) const CHUNK_BYTES: usize = 4 * 1024;
