//! Order through refusals, for a whole node. A client has several publications on their way; one is
//! refused for the moment, and what follows it must not be stored before it comes again (I13). The
//! owner sees to that, but ways change: what was refused by one owner is unknown to the next. So
//! whoever passes calls on remembers it too.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sterna_proto::{ChannelKey, ClientId, ErrorCode, v1};
use tokio::time::Instant;

use crate::link::{LinkCommand, LinkReply, Verb};
use crate::order::OrderGate;

/// Refused publications that one part remembers. Full: those that were held for too long go, then
/// all.
pub const TURNS: usize = 16_384;

/// Parts with a lock of their own.
const PARTS: usize = 64;

/// A publication among others of its client.
#[derive(Debug, Clone)]
pub struct Turn {
    key: ChannelKey,
    client: ClientId,
    client_seq: u64,
}

/// Earliest refused publications, by channel and client.
#[derive(Debug)]
pub struct Turns {
    parts: Vec<Mutex<OrderGate<(ChannelKey, ClientId)>>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| Mutex::new(OrderGate::new(TURNS))).collect() }
    }
}

impl Turns {
    /// Whether it may go on: it is not behind a refused one.
    pub fn admits(&self, command: &LinkCommand) -> bool {
        let Verb::Publish(publish) = &command.verb else { return true };
        let Some((client, client_seq)) = turn(command) else { return true };
        let turn = (command.key, client.clone());
        let settled_below = publish.settled_below;
        self.part(&command.key).admits(&turn, client_seq, settled_below, Instant::now())
    }

    /// Remembers a command that is refused for the moment, and forgets one that is for good.
    pub fn note(&self, command: &LinkCommand, reply: &LinkReply) {
        if let (Some((client, client_seq)), Err(error)) = (turn(command), reply) {
            self.note_error(command.key, client, client_seq, error);
        }
    }

    /// The same for a publication of which no more is known.
    pub fn note_error(
        &self,
        key: ChannelKey,
        client: &ClientId,
        client_seq: u64,
        error: &v1::Error,
    ) {
        match error.retryable {
            true => self.note_refused(key, client, client_seq),
            false => self.settle(key, client, client_seq),
        }
    }

    /// It was stored after all.
    pub fn note_stored(&self, key: ChannelKey, client: &ClientId, client_seq: u64) {
        self.settle(key, client, client_seq);
    }

    /// Nothing waits for the command any more.
    pub fn note_settled(&self, command: &LinkCommand) {
        if let Some((client, client_seq)) = turn(command) {
            self.settle(command.key, client, client_seq);
        }
    }

    /// Whose turn a command is; `None` where order does not matter.
    pub fn turn_of(&self, command: &LinkCommand) -> Option<Turn> {
        let (client, client_seq) = turn(command)?;
        Some(Turn { key: command.key, client: client.clone(), client_seq })
    }

    /// Remembers that it was refused for the moment.
    pub fn note_turn(&self, turn: &Turn) {
        self.note_refused(turn.key, &turn.client, turn.client_seq);
    }

    fn settle(&self, key: ChannelKey, client: &ClientId, client_seq: u64) {
        self.part(&key).on_settled(&(key, client.clone()), client_seq, Instant::now());
    }

    fn note_refused(&self, key: ChannelKey, client: &ClientId, client_seq: u64) {
        if sterna_storage::planted!(TurnsForgotten) {
            return;
        }
        self.part(&key).on_refused((key, client.clone()), client_seq, Instant::now());
    }

    fn part(&self, key: &ChannelKey) -> MutexGuard<'_, OrderGate<(ChannelKey, ClientId)>> {
        let part = &self.parts[usize::from(key.0[13]) % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose turn it is, and which; `None` where order does not matter.
fn turn(command: &LinkCommand) -> Option<(&ClientId, u64)> {
    match &command.verb {
        Verb::Publish(publish) if publish.ordered && publish.client_seq > 0 => {
            Some((&command.caller.origin_id, publish.client_seq))
        }
        _ => None,
    }
}

/// The answer for a publication behind a refused one.
pub fn out_of_turn() -> v1::Error {
    let message = "an earlier publication of this client was refused; send that one first";
    v1::Error::new(ErrorCode::Busy, message).with_retry_after_ms(100)
}
