//! Commands that a caller waits for and that may be asked again on another connection. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use sterna_proto::v1::{command::Verb, reply};
use tokio::sync::oneshot;

use crate::Error;

/// What a caller gets to wait for.
pub(crate) type Answer = Result<reply::Result, Error>;

#[derive(Debug, Default)]
pub(crate) struct Calls {
    next_serial: u64,
    waiting: BTreeMap<u64, Call>,
    unsent: VecDeque<u64>,
    in_flight: usize,
}

#[derive(Debug)]
struct Call {
    verb: Verb,
    caller: oneshot::Sender<Answer>,
    deadline: Instant,
    sent: bool,
}

impl Calls {
    /// Takes a command; refuses when too many wait already.
    pub(crate) fn push(
        &mut self,
        verb: Verb,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Answer>, Error> {
        if self.waiting.len() >= WAITING_CALLS {
            return Err(Error::QueueFull);
        }
        let (caller, answer) = oneshot::channel();
        let serial = self.next_serial;
        self.next_serial += 1;
        self.waiting.insert(serial, Call { verb, caller, deadline, sent: false });
        self.unsent.push_back(serial);
        Ok(answer)
    }

    /// The next command to send.
    pub(crate) fn poll_send(&mut self) -> Option<(u64, Verb)> {
        while self.in_flight < IN_FLIGHT_CALLS {
            let serial = self.unsent.pop_front()?;
            if let Some(call) = self.waiting.get_mut(&serial) {
                call.sent = true;
                self.in_flight += 1;
                return Some((serial, call.verb.clone()));
            }
        }
        None
    }

    pub(crate) fn handle_answer(&mut self, serial: u64, answer: Answer) {
        if let Some(call) = self.take(serial) {
            // The caller may have gone; then nobody wants the answer.
            drop(call.caller.send(answer));
        }
    }

    /// Every call is asked again on the next connection: all verbs are idempotent.
    pub(crate) fn handle_disconnected(&mut self) {
        self.in_flight = 0;
        self.waiting.values_mut().for_each(|call| call.sent = false);
        self.unsent = self.waiting.keys().copied().collect();
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let late: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, call)| call.deadline <= now || call.caller.is_closed())
            .map(|(serial, _)| *serial)
            .collect();
        late.into_iter().for_each(|serial| self.handle_answer(serial, Err(Error::Timeout)));
    }

    pub(crate) fn fail_all(&mut self, error: &Error) {
        let serials: Vec<u64> = self.waiting.keys().copied().collect();
        for serial in serials {
            self.handle_answer(serial, Err(error.clone()));
        }
        self.unsent.clear();
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|call| call.deadline).min()
    }

    fn take(&mut self, serial: u64) -> Option<Call> {
        let call = self.waiting.remove(&serial)?;
        if call.sent {
            self.in_flight -= 1;
        }
        Some(call)
    }
}

/// Callers beyond this many are refused: the server answers 64 at a time.
const WAITING_CALLS: usize = 1024;
/// With 40 publications this stays below the 64 commands that a server takes at a time.
const IN_FLIGHT_CALLS: usize = 16;
