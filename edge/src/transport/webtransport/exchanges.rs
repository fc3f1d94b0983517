//! Requests and their answers: the one that begins the session, and the few others that a client may
//! make on the same connection.

use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use sterna_proto::CloseReason;
use tokio::time::Instant;

use super::streams::CHUNK_BYTES;
use super::{Accepted, HEAD_DEADLINE, Rules};
use crate::http3::{Heard, Request, RequestStream, Verdict, Violation, code, decide, too_large};
use crate::metrics;
use crate::quic::{Read, RecvStream, SendStream};
use crate::transport::End;

#[derive(Debug)]
pub(super) struct Exchanges {
    rules: Rules,
    asking: Vec<Exchange>,
    /// Answers on their way, each on a stream that ends with it.
    answering: Vec<(SendStream, Bytes)>,
    /// How many there have been.
    begun: usize,
}

/// A request that has not been answered.
#[derive(Debug)]
struct Exchange {
    request: Reader,
    answers: SendStream,
    deadline: Instant,
    /// It can begin a session as soon as the client's settings are there.
    waits: Option<Verdict>,
}

/// The request stream of the session.
#[derive(Debug)]
pub(super) struct Session {
    request: Reader,
}

/// A request that has begun the session.
pub(super) struct NewSession {
    pub(super) session: Session,
    pub(super) accepted: Accepted,
}

/// What has become of an exchange.
enum Outcome {
    Waits(Exchange),
    Session(NewSession),
    Answer(SendStream, Bytes),
    /// Nothing will be said.
    Over,
}

impl Exchanges {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, asking: Vec::new(), answering: Vec::new(), begun: 0 }
    }

    /// A stream on which a request comes, of which `head` has been read.
    pub(super) fn begin(
        &mut self,
        stream: RecvStream,
        answers: SendStream,
        head: &[u8],
    ) -> Result<(), Violation> {
        self.begun += 1;
        if self.begun > REQUESTS {
            return Err(Violation::ExcessiveLoad);
        }
        let request = Reader {
            stream,
            parsed: RequestStream::default(),
            unread: Bytes::copy_from_slice(head),
        };
        let deadline = Instant::now() + HEAD_DEADLINE;
        self.asking.push(Exchange { request, answers, deadline, waits: None });
        Ok(())
    }

    /// Reads requests and decides about them. A session when one has begun.
    pub(super) fn look(
        &mut self,
        settled: bool,
        has_session: bool,
    ) -> Result<Option<NewSession>, Violation> {
        let mut begun = None;
        for exchange in std::mem::take(&mut self.asking) {
            let taken = has_session || begun.is_some();
            match exchange.look(&self.rules, settled, taken)? {
                Outcome::Waits(exchange) => self.asking.push(exchange),
                Outcome::Session(session) => begun = Some(session),
                Outcome::Answer(answers, bytes) => self.answering.push((answers, bytes)),
                Outcome::Over => {}
            }
        }
        Ok(begun)
    }

    /// Writes answers as far as there is room. Dropping a stream finishes it.
    pub(super) fn poll_answers(&mut self, cx: &mut Context<'_>) {
        self.answering.retain_mut(|(stream, bytes)| {
            loop {
                let mut chunks = [std::mem::take(bytes)];
                let written = stream.poll_write(cx, &mut chunks);
                [*bytes] = chunks;
                match written {
                    Poll::Ready(Ok(written)) if written.chunks == 0 => {}
                    Poll::Ready(_) => return false,
                    Poll::Pending => return true,
                }
            }
        });
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.asking.iter().map(|exchange| exchange.deadline).min()
    }

    pub(super) fn stop_late(&mut self, now: Instant) {
        for exchange in self.asking.extract_if(.., |exchange| exchange.deadline <= now) {
            exchange.reset(code::REQUEST_CANCELLED, "late");
        }
    }
}

impl Exchange {
    fn look(
        mut self,
        rules: &Rules,
        settled: bool,
        has_session: bool,
    ) -> Result<Outcome, Violation> {
        let verdict = match self.waits.take() {
            Some(verdict) => verdict,
            None => match self.request.next()? {
                Step::Heard(Heard::Request(request)) => rules.decide(&request),
                Step::Heard(Heard::TooLarge) => too_large(),
                Step::Heard(Heard::Malformed | Heard::Closed) => {
                    return Ok(self.reset(code::MESSAGE_ERROR, "malformed"));
                }
                Step::Finished => return Ok(self.reset(code::REQUEST_INCOMPLETE, "incomplete")),
                Step::Reset => return Ok(Outcome::Over),
                Step::Blocked => return Ok(Outcome::Waits(self)),
            },
        };
        Ok(match verdict {
            Verdict::Answer { status, answer } => {
                metrics::http3_request(status_name(status));
                // Whoever has said all has not to be stopped.
                let read = self.request.stream.read(CHUNK_BYTES);
                if !matches!(read, Read::Finished | Read::Reset) {
                    self.request.stream.stop(code::NO_ERROR);
                }
                Outcome::Answer(self.answers, answer)
            }
            // Draft section 3.1: there may be as many as our settings say.
            Verdict::Session { .. } if has_session => {
                self.reset(code::REQUEST_REJECTED, "second session")
            }
            Verdict::Session { .. } if !settled => {
                self.waits = Some(verdict);
                Outcome::Waits(self)
            }
            Verdict::Session { answer, affinity } => {
                metrics::http3_request("session");
                let accepted = Accepted { request: self.answers, answer, affinity };
                Outcome::Session(NewSession {
                    session: Session { request: self.request },
                    accepted,
                })
            }
        })
    }

    fn reset(self, code: u64, result: &'static str) -> Outcome {
        metrics::http3_request(result);
        self.answers.reset(code);
        self.request.stream.stop(code);
        Outcome::Over
    }
}

impl Rules {
    fn decide(&self, request: &Request) -> Verdict {
        decide(request, &self.config.allowed_origins, self.affinity_field.as_deref())
    }
}

impl Session {
    pub(super) fn id(&self) -> u64 {
        self.request.stream.id()
    }

    /// Why the session is over, if it is.
    pub(super) fn look(&mut self) -> Result<Option<End>, Violation> {
        Ok(match self.request.next()? {
            Step::Blocked => None,
            Step::Heard(Heard::Closed) | Step::Finished => Some(End::ByClient),
            Step::Heard(_) => Some(CloseReason::ProtocolError.into()),
            Step::Reset => Some(End::Lost),
        })
    }
}

/// A request stream and what it has brought.
#[derive(Debug)]
struct Reader {
    stream: RecvStream,
    parsed: RequestStream,
    /// Bytes that have come and were not needed yet.
    unread: Bytes,
}

enum Step {
    Heard(Heard),
    Blocked,
    Finished,
    Reset,
}

impl Reader {
    fn next(&mut self) -> Result<Step, Violation> {
        loop {
            let mut input = &self.unread[..];
            let heard = self.parsed.read(&mut input)?;
            let left = input.len();
            self.unread.advance(self.unread.len() - left);
            if self.unread.is_empty() {
                // It may be the end of a large buffer, and the request of a session stays.
                self.unread = Bytes::new();
            }
            if let Some(heard) = heard {
                return Ok(Step::Heard(heard));
            }
            match self.stream.read(CHUNK_BYTES) {
                Read::Bytes(bytes) => self.unread = bytes,
                Read::Blocked => return Ok(Step::Blocked),
                Read::Finished => return self.parsed.finish().map(|()| Step::Finished),
                Read::Reset => return Ok(Step::Reset),
            }
        }
    }
}

/// Value of the metric label `result`: one of those that `http3` answers with.
fn status_name(status: http::StatusCode) -> &'static str {
    match status.as_u16() {
        200 => "200",
        400 => "400",
        403 => "403",
        404 => "404",
        405 => "405",
        431 => "431",
        501 => "501",
        _ => "other",
    }
}

/// Requests of one connection, the one of its session included. There is no use for more.
const REQUESTS: usize = 16;
