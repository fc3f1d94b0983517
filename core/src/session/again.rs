//! Answers that wait for a slow reader (I11). Whoever was let into a channel hears when the right to
//! it ends, and what waits is refused then. Of a channel that it has only asked about a session hears
//! nothing: what has waited for long is asked for again when the reader is there at last, and goes out as it is
//! answered then.

use std::collections::VecDeque;
use std::time::Duration;

use sterna_proto::{ChannelId, ChannelKey, v1};
use tokio::time::Instant;

use crate::link::{LinkReply, Verb};
use crate::session::Lane;
use crate::session::outbox::Class;
use crate::session::session::{Call, Session};
use crate::session::subscription::Subscription;
use crate::session::{Outgoing, OutgoingBody};

/// How long an answer may wait and still go out.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// What was asked, to be asked again.
#[derive(Debug, Clone)]
pub(super) struct Question {
    channel: ChannelId,
    verb: Verb,
}

impl Question {
    /// `None`: the answer tells nothing that needs a right to the channel.
    pub fn new(channel: &ChannelId, verb: &Verb) -> Option<Box<Self>> {
        let tells = matches!(verb, Verb::History(_) | Verb::Presence | Verb::Members(_));
        tells.then(|| Box::new(Self { channel: channel.clone(), verb: verb.clone() }))
    }
}

/// The questions whose answers wait in the outbox, in the same order: bounded as answers there are (I12).
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: VecDeque<Waiting>,
    last: u32,
}

#[derive(Debug)]
struct Waiting {
    number: u32,
    /// Of the command.
    id: u32,
    question: Box<Question>,
    since: Instant,
    is_asked_again: bool,
}

impl Answers {
    fn add(&mut self, id: u32, question: Box<Question>) -> u32 {
        self.last = self.last.wrapping_add(1);
        let (number, since) = (self.last, Instant::now());
        self.waiting.push_back(Waiting { number, id, question, since, is_asked_again: false });
        number
    }

    fn find(&mut self, number: u32) -> Option<&mut Waiting> {
        self.waiting.iter_mut().find(|waiting| waiting.number == number)
    }

    /// An answer is the next to go out. False: not as it is.
    fn may_leave(&mut self, number: u32, hears_of: impl Fn(&ChannelKey) -> bool) -> bool {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.number == number) else {
            return true;
        };
        let waiting = &self.waiting[at];
        let is_good =
            waiting.since.elapsed() <= GOOD_FOR || hears_of(&waiting.question.channel.key());
        let leaves = is_good && !waiting.is_asked_again;
        if leaves {
            self.waiting.remove(at);
        }
        if self.waiting.is_empty() {
            // An idle session keeps no buffer.
            self.waiting = VecDeque::new();
        }
        leaves
    }

    pub fn clear(&mut self) {
        self.waiting = VecDeque::new();
    }
}

impl Session {
    /// Answers a question about a channel.
    pub(super) fn answer_question(
        &mut self,
        id: u32,
        question: Option<Box<Question>>,
        reply: LinkReply,
    ) {
        match (question, reply) {
            (Some(question), Ok(result)) if id > 0 => {
                let number = self.answers.add(id, question);
                self.control_as(v1::Frame::reply(id, result), Class::Answer { number });
            }
            (_, reply) => self.answer(id, reply),
        }
    }

    /// Moves frames to the connection, up to an answer that has waited for too long.
    pub(super) fn take_good(&mut self, out: &mut Vec<Outgoing>, max_bytes: usize) {
        let (answers, subscriptions) = (&mut self.answers, &self.subscriptions);
        let hears_of =
            |channel: &ChannelKey| subscriptions.get(channel).is_some_and(Subscription::is_let_in);
        let leaves = |number| answers.may_leave(number, hears_of);
        let Some(number) = self.outbox.take_while(out, max_bytes, leaves) else { return };
        let Some(waiting) = self.answers.find(number) else { return };
        if waiting.is_asked_again {
            return;
        }
        waiting.is_asked_again = true;
        let Question { channel, verb } = (*waiting.question).clone();
        metrics::counter!("sterna_core_answers_asked_again_total").increment(1);
        let call = Call::Again { number, key: channel.key(), refused: None };
        self.call(call, channel, verb);
    }

    /// What is told now goes out in place of what was.
    pub(super) fn handle_answer_again(&mut self, number: u32, reply: LinkReply) {
        let Some(waiting) = self.answers.find(number) else { return };
        waiting.since = Instant::now();
        waiting.is_asked_again = false;
        let result = reply.unwrap_or_else(v1::reply::Result::Error);
        let frame = Box::new(v1::Frame::reply(waiting.id, result));
        let outgoing = Outgoing { lane: Lane::Control, body: OutgoingBody::Own(frame) };
        self.outbox.replace_answer(number, outgoing, self.connection.encoding);
    }
}
