//! The asking end of one lane of a link, across its connections. Calls wait here until they are
//! sent, and stay until they are answered: what a connection takes with it is sent again on the
//! next one, or to another owner, in the same order and before anything newer. The owner
//! recognises what it had already done (I3), so nobody who waits for an answer notices.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sterna_proto::link::v1::{self as wire, frame::Body};
use sterna_proto::{ChannelKey, ErrorCode, v1};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::channel::shard::{Call, ShardCommand};
use crate::fanout::edge_rings::Held;
use crate::fanout::interests::Interests;
use crate::link::turns::{Turns, out_of_turn};
use crate::link::wire::{self as frames, BadFrame};
use crate::link::{LinkCommand, LinkReply, Verb};
use crate::vitals::tally::{HotRing, Tally};

/// What calls of one lane may weigh that have no answer yet: one for each, and one more for each
/// [`WEIGHT_BYTES`] of payload. Full: the asker waits, then hears BUSY.
pub const LANE_WEIGHT: usize = 4096;

/// Bytes of payload that weigh as much as a call.
pub const WEIGHT_BYTES: usize = 4096;

/// Detaches that wait for a connection. Full: they are forgotten; the owner goes on sending and is
/// told with the next push.
pub const LANE_DETACHES: usize = 65_536;

/// Calls written together.
const CALLS_PER_WRITE: usize = 256;

/// Why a lane's connection has ended.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    #[error("the connection ended: {0}")]
    Lost(String),
    #[error("a newer connection has taken its place")]
    Superseded,
    #[error(transparent)]
    BadFrame(#[from] BadFrame),
}

/// Writes frames to the other end of a lane.
pub trait FrameSender: Send {
    /// Takes all frames out and writes them together.
    fn send(
        &mut self,
        frames: &mut Vec<wire::Frame>,
    ) -> impl Future<Output = Result<(), LaneError>> + Send;
}

/// Reads frames from the other end of a lane.
pub trait FrameReceiver: Send {
    /// Waits for at least one frame. Cancel-safe.
    fn receive(
        &mut self,
        frames: &mut Vec<wire::Frame>,
    ) -> impl Future<Output = Result<(), LaneError>> + Send;
}

/// A call and where its answer goes.
#[derive(Debug)]
pub(super) struct Asked {
    pub command: LinkCommand,
    reply: oneshot::Sender<LinkReply>,
    room: OwnedSemaphorePermit,
    since: Instant,
    turns: Arc<Turns>,
    tally: Arc<Tally>,
    /// What this node has said that it holds of the answer.
    held: Option<Held>,
}

impl Asked {
    pub fn new(
        command: LinkCommand,
        room: OwnedSemaphorePermit,
        turns: Arc<Turns>,
        tally: Arc<Tally>,
    ) -> (Self, oneshot::Receiver<LinkReply>) {
        let (reply, answer) = oneshot::channel();
        (Self { command, reply, room, since: Instant::now(), turns, tally, held: None }, answer)
    }

    /// Of the answer's page this node holds some itself.
    pub fn holding(mut self, held: Option<Held>) -> Self {
        if let Verb::Attach { held_upto, .. } = &mut self.command.verb
            && held_upto.is_none()
        {
            *held_upto = held.as_ref().map(|held| held.upto);
            self.held = held;
        }
        self
    }

    /// Whether it may go its way: not behind one that was refused, and not without an asker.
    fn in_turn(self) -> Option<Self> {
        if self.is_void() {
            return None;
        }
        if self.turns.admits(&self.command) {
            return Some(self);
        }
        self.answer(Err(out_of_turn()));
        None
    }

    /// Nobody waits for the answer, and who has left must not come back by it.
    fn is_void(&self) -> bool {
        self.command.verb.interest().is_some() && self.reply.is_closed()
    }

    /// Puts the call into the mailbox of its shard on this node.
    pub fn carry_out(mut self, shards: &[mpsc::Sender<ShardCommand>]) {
        if let (Verb::Attach { held_upto, .. }, Some(_)) = (&mut self.command.verb, &self.held) {
            // The answer does not come by here.
            *held_upto = None;
        }
        let mailbox = crate::link::memory::mailbox(shards, self.command.key);
        let call = Call { link: None, command: self.command, reply: self.reply };
        if let Err(mpsc::error::TrySendError::Full(ShardCommand::Call(call))) =
            mailbox.try_send(ShardCommand::Call(call))
        {
            let refusal = Err(crate::link::memory::busy());
            self.turns.note(&call.command, &refusal);
            let _ = call.reply.send(refusal);
        }
    }

    pub fn answer(self, reply: LinkReply) {
        self.turns.note(&self.command, &reply);
        let reply = match &self.held {
            Some(held) => held.complete(reply, &self.tally),
            None => self.noting_miss(reply),
        };
        // Whoever asked may be gone.
        let _ = self.reply.send(reply);
        drop(self.room);
    }

    fn noting_miss(&self, reply: LinkReply) -> LinkReply {
        if let (Verb::Attach { held_upto: None, .. }, Ok(v1::reply::Result::Subscribed(page))) =
            (&self.command.verb, &reply)
            && !page.publications.is_empty()
        {
            self.tally.on_ring_lookup(HotRing::Edge, false);
        }
        reply
    }
}

/// The asking end of a lane.
#[derive(Debug)]
pub(super) struct Lane {
    state: Mutex<State>,
    added: Notify,
    room: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Asked>,
    /// Channels of which the owner is to send no more on this lane.
    detaches: VecDeque<ChannelKey>,
    sent: BTreeMap<u64, Asked>,
    last_id: u64,
    /// The newest connection.
    connection: u64,
    connected: bool,
}

impl Lane {
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            added: Notify::new(),
            room: Arc::new(Semaphore::new(LANE_WEIGHT)),
        }
    }

    /// What the calls without an answer weigh.
    pub fn taken(&self) -> usize {
        LANE_WEIGHT.saturating_sub(self.room.available_permits())
    }

    /// Room for a call, if there is some.
    pub fn try_room(&self, command: &LinkCommand) -> Option<OwnedSemaphorePermit> {
        self.room.clone().try_acquire_many_owned(weight(command)).ok()
    }

    /// Room for a call, as soon as there is some.
    pub async fn room(
        self: Arc<Self>,
        command: &LinkCommand,
        patience: Duration,
    ) -> Option<OwnedSemaphorePermit> {
        let wanted = self.room.clone().acquire_many_owned(weight(command));
        tokio::time::timeout(patience, wanted).await.ok()?.ok()
    }

    /// Puts a call behind the others.
    pub fn push(&self, asked: Asked) {
        self.state().waiting.push_back(asked);
        self.added.notify_one();
    }

    /// Nobody behind this node wants the channel any more, or its way does not begin here any more.
    pub fn detach(&self, channel: ChannelKey) {
        let mut state = self.state();
        // On a new connection the owner knows of no interest.
        if !state.connected {
            return;
        }
        if state.detaches.len() >= LANE_DETACHES {
            metrics::counter!("sterna_link_detaches_dropped_total").increment(1);
            return;
        }
        state.detaches.push_back(channel);
        drop(state);
        self.added.notify_one();
    }

    /// Takes calls away that go elsewhere now, in their order. Those that may have taken effect and
    /// cannot be recognised are answered.
    pub fn take(&self, moved: impl Fn(&ChannelKey) -> bool) -> Vec<Asked> {
        let mut state = self.state();
        let sent = std::mem::take(&mut state.sent);
        let mut taken = Vec::new();
        for (id, asked) in sent {
            if !moved(&asked.command.key) {
                state.sent.insert(id, asked);
            } else if let Some(asked) = repeatable(asked) {
                taken.extend(asked.in_turn());
            }
        }
        let waiting = std::mem::take(&mut state.waiting);
        for asked in waiting {
            if moved(&asked.command.key) {
                taken.extend(asked.in_turn());
            } else {
                state.waiting.push_back(asked);
            }
        }
        metrics::counter!("sterna_link_calls_resent_total").increment(taken.len() as u64);
        taken
    }

    /// Nothing waits or is on its way.
    pub fn is_empty(&self) -> bool {
        let state = self.state();
        state.waiting.is_empty() && state.sent.is_empty()
    }

    /// Answers calls that have waited for a connection for too long.
    pub fn expire(&self, now: Instant, patience: Duration) {
        let mut state = self.state();
        if state.connected {
            return;
        }
        let sent = std::mem::take(&mut state.sent).into_values().filter_map(repeatable);
        let all: Vec<Asked> = sent.chain(std::mem::take(&mut state.waiting)).collect();
        for asked in all {
            if now.saturating_duration_since(asked.since) < patience {
                state.waiting.push_back(asked);
            } else {
                asked.answer(Err(unreachable()));
            }
        }
    }

    /// Drives one connection of the lane until it ends, or until another one is driven: whoever is being
    /// replaced may not have heard of it, and must take nothing with it that the newer one is to send
    /// (I13). What comes down goes to `interests`. `leads`: the way to the channel's owner begins with this
    /// lane.
    pub async fn run<S: FrameSender, R: FrameReceiver>(
        &self,
        sender: &mut S,
        receiver: &mut R,
        interests: &Interests,
        leads: impl Fn(&ChannelKey) -> bool,
    ) -> LaneError {
        let connected = self.start();
        tokio::select! {
            Err(error) = self.send_all(connected.number, sender, interests, leads) => error,
            Err(error) = self.receive_all(connected.number, receiver, interests) => error,
        }
    }

    /// What an earlier connection has taken with it goes first.
    fn start(&self) -> Connected<'_> {
        let mut state = self.state();
        let lost = std::mem::take(&mut state.sent);
        let again = lost.into_values().filter_map(repeatable).filter_map(Asked::in_turn);
        let mut again: Vec<Asked> = again.collect();
        metrics::counter!("sterna_link_calls_resent_total").increment(again.len() as u64);
        if sterna_storage::planted!(CallsLostWithLink) {
            again.drain(..).for_each(std::mem::forget);
        }
        if sterna_storage::planted!(ResentOvertaken) {
            state.waiting.extend(again.drain(..));
        }
        for asked in again.into_iter().rev() {
            state.waiting.push_front(asked);
        }
        state.detaches.clear();
        state.connected = true;
        state.connection += 1;
        let number = state.connection;
        drop(state);
        self.added.notify_one();
        Connected { lane: self, number }
    }

    async fn send_all<S: FrameSender>(
        &self,
        connection: u64,
        sender: &mut S,
        interests: &Interests,
        leads: impl Fn(&ChannelKey) -> bool,
    ) -> Result<(), LaneError> {
        let mut out = Vec::new();
        loop {
            let leads =
                |channel: &ChannelKey| leads(channel) || sterna_storage::planted!(WayLeftUntold);
            let wanted = |channel: &ChannelKey| interests.wants(channel) && leads(channel);
            self.next_frames(connection, &mut out, wanted)?;
            if out.is_empty() {
                self.added.notified().await;
            } else {
                sender.send(&mut out).await?;
            }
        }
    }

    /// `wanted`: somebody has attached to the channel, by this lane, since it was to be detached. The
    /// owner must not hear of it then, since the attach may have gone out before.
    fn next_frames(
        &self,
        connection: u64,
        out: &mut Vec<wire::Frame>,
        wanted: impl Fn(&ChannelKey) -> bool,
    ) -> Result<(), LaneError> {
        // Before the calls of the same turn, and asked about without the lock: whoever changes ways
        // puts something onto lanes.
        let detaches = std::mem::take(&mut self.state_of(connection)?.detaches);
        let due = detaches.into_iter().filter(|channel| !wanted(channel));
        out.extend(due.map(frames::detach));
        let mut state = self.state_of(connection)?;
        while out.len() < CALLS_PER_WRITE {
            let Some(asked) = state.waiting.pop_front() else { break };
            // The owner may be another process than the one that has refused what was before.
            let Some(asked) = asked.in_turn() else { continue };
            state.last_id += 1;
            let id = state.last_id;
            out.push(frames::call(id, &asked.command));
            state.sent.insert(id, asked);
        }
        Ok(())
    }

    async fn receive_all<R: FrameReceiver>(
        &self,
        connection: u64,
        receiver: &mut R,
        interests: &Interests,
    ) -> Result<(), LaneError> {
        let mut received = Vec::new();
        loop {
            receiver.receive(&mut received).await?;
            for body in received.drain(..).filter_map(|frame| frame.body) {
                match body {
                    Body::Answer(answer) => {
                        // Under the lock: a refusal is remembered before what is behind it can be
                        // taken another way.
                        let mut state = self.state_of(connection)?;
                        if sterna_storage::planted!(AnswerToAnother)
                            && let Some((_, other)) = state.sent.pop_first()
                        {
                            other.answer(frames::reply(answer));
                        } else if let Some(asked) = state.sent.remove(&answer.id) {
                            asked.answer(frames::reply(answer));
                        }
                    }
                    other => {
                        let Some(push) = frames::link_push(other)? else { continue };
                        let channel = push.channel();
                        if !interests.spread(&push) {
                            self.detach(channel);
                        }
                    }
                }
            }
        }
    }

    /// The state, for the newest connection alone.
    fn state_of(&self, connection: u64) -> Result<MutexGuard<'_, State>, LaneError> {
        let state = self.state();
        if state.connection != connection {
            // It may have been woken in place of the newer one.
            self.added.notify_one();
            return Err(LaneError::Superseded);
        }
        Ok(state)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it is kept, the lane has a connection, if there is no newer one.
struct Connected<'a> {
    lane: &'a Lane,
    number: u64,
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        let Ok(mut state) = self.lane.state_of(self.number) else { return };
        state.connected = false;
        let now = Instant::now();
        state.sent.values_mut().for_each(|asked| asked.since = now);
    }
}

/// A call that may have been carried out already can be asked again, if the owner recognises it or
/// if twice is like once. Any other is answered: only who asked can look what became of it.
fn repeatable(asked: Asked) -> Option<Asked> {
    let unsafe_twice = match &asked.command.verb {
        Verb::Publish(publish) => publish.client_seq == 0,
        Verb::CreateChannel(_) | Verb::SetMember(_) | Verb::RemoveMember(_) => true,
        _ if asked.is_void() => return None,
        _ => false,
    };
    if !unsafe_twice {
        return Some(asked);
    }
    let message =
        "the way to the channel's owner was lost; it may have been carried out, look first";
    asked.answer(Err(v1::Error::new(ErrorCode::Unavailable, message)));
    None
}

fn weight(command: &LinkCommand) -> u32 {
    let bytes = match &command.verb {
        Verb::Publish(publish) => publish.payload.len(),
        Verb::Ephemeral(ephemeral) => ephemeral.payload.len(),
        _ => 0,
    };
    u32::try_from(1 + bytes / WEIGHT_BYTES).unwrap_or(u32::MAX).min(LANE_WEIGHT as u32)
}

fn unreachable() -> v1::Error {
    let message = "no way leads to the channel's owner at the moment; try again";
    v1::Error::new(ErrorCode::Unavailable, message).with_retry_after_ms(500)
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
