//! A session while it has a connection.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use sterna_proto::{CloseReason, SessionId, v1};
use tokio::time::Instant;

use crate::cluster::balance::MOVE_WITHIN;
use crate::fanout::hub::{Interest, Slot};
use crate::identity::Identity;
use crate::link::{Answering, Calling, LinkReply};
use crate::session::{CallToken, Effect, Outgoing, Session};
use crate::vitals::journey::{Leg, Way};
use crate::vitals::trace::Step;
use crate::worker::Worker;
use crate::worker::wake::Wake;

/// Bytes given to the connection at once: enough to coalesce writes, little enough that control
/// frames do not wait long behind.
const BATCH_BYTES: usize = 64 * 1024;

/// Dropping it detaches the session, which stays resumable.
#[derive(Debug)]
pub struct Attachment {
    worker: Worker,
    slot: Slot,
    /// The client was asked to go to another edge.
    is_moving: bool,
    generation: u64,
    id: SessionId,
    wake: Rc<Wake>,
    calls: FuturesUnordered<Awaited>,
    /// A call for which the owner's mailbox has no room; no other starts before, so that commands
    /// keep their order.
    waiting: Option<WaitingCall>,
}

type SentCall = Result<Answering, v1::Error>;

/// An answer on its way, and the call that it is for. Every publication has one, so not boxed.
#[derive(Debug)]
struct Awaited {
    token: CallToken,
    answer: Answering,
}

impl Future for Awaited {
    type Output = (CallToken, LinkReply);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = Pin::new(&mut self.answer).poll(cx);
        reply.map(|reply| (self.token, reply))
    }
}

struct WaitingCall {
    token: CallToken,
    sent: BoxFuture<'static, SentCall>,
}

impl Attachment {
    pub(super) fn new(worker: Worker, slot: Slot, generation: u64, wake: Rc<Wake>) -> Self {
        let calls = FuturesUnordered::new();
        let (id, waiting, is_moving) = (SessionId(0), None, false);
        let mut attachment = Self { worker, slot, is_moving, generation, id, wake, calls, waiting };
        attachment.id = attachment.with_session(|session| session.id()).unwrap_or(SessionId(0));
        attachment.worker.inner.node.on_attached();
        attachment
    }

    /// Whether another command may be given: false while too many wait for an answer or the
    /// outbox is full, and then the connection must not be read.
    pub fn is_ready(&self) -> bool {
        self.waiting.is_none() && self.with_session(|session| session.is_ready()).unwrap_or(false)
    }

    /// Takes a command. Never waits; answers come out of [`next_batch`](Self::next_batch). An
    /// error is a violation of the protocol that ends the connection.
    pub fn handle(&mut self, command: v1::Command) -> Result<(), CloseReason> {
        if let Some(v1::command::Verb::Ping(ping)) = &command.verb {
            self.on_network(ping.network());
        }
        let unix_ms = self.worker.inner.node.clock().unix_ms();
        let handled =
            self.with_session(|session| session.handle_command(command, Instant::now(), unix_ms));
        self.pump();
        self.wake.notify();
        handled.unwrap_or(Err(CloseReason::Superseded))
    }

    /// Waits for frames and moves up to a batch of them into `out`. Also drives the session's
    /// commands, so it has to be polled all the time. Cancel-safe. `Ok` with nothing in `out`: it
    /// has become [ready](Self::is_ready). `Err`: close the connection with this reason after what
    /// is in `out` has been written.
    pub async fn next_batch(&mut self, out: &mut Vec<Outgoing>) -> Result<(), CloseReason> {
        let was_ready = self.is_ready();
        loop {
            self.pump();
            // Before frames are taken: an answer, and a push that came with it, are one write.
            self.take_replies().await;
            let taken = self.with_session(|session| {
                session.take_frames(out, BATCH_BYTES);
                session.close_reason()
            });
            match taken {
                None => return Err(CloseReason::Superseded),
                Some(_) if !out.is_empty() => return Ok(()),
                Some(Some(reason)) => return Err(reason),
                Some(None) => {}
            }
            if !was_ready && self.is_ready() {
                return Ok(());
            }
            if self.with_session(|session| session.has_effects()).unwrap_or(false)
                && self.waiting.is_none()
            {
                continue;
            }
            tokio::select! {
                Some((token, reply)) = self.calls.next(), if !self.calls.is_empty() => {
                    self.on_reply(token, reply);
                }
                (token, sent) = wait(&mut self.waiting) => self.on_sent(token, sent),
                () = self.wake.notified() => {}
            }
        }
    }

    /// Hands the session the answers that are here.
    async fn take_replies(&mut self) {
        poll_fn(|cx| {
            while let Poll::Ready(Some((token, reply))) = self.calls.poll_next_unpin(cx) {
                self.on_reply(token, reply);
            }
            Poll::Ready(())
        })
        .await;
    }

    /// The client's address changed and the new path is validated: tells the client, counts.
    /// `silence`: at most how long nothing was heard of it.
    pub fn on_path_changed(&mut self, remote: SocketAddr, silence: Duration) {
        let moved = self.with_session(|session| {
            let (from, transport) = (session.remote(), session.transport());
            session.on_path_changed(remote);
            (from, transport.name(), session.take_leg())
        });
        let node = &self.worker.inner.node;
        if let Some((from, transport, (from_network, to_network))) = moved {
            let (unix_ms, way) = (node.clock().unix_ms(), Way::PathChanged);
            let (from, to, silence) = (Some(from), remote, Some(silence));
            // The connection goes on: QUIC sends again what was on its way.
            let lost = Some(0);
            let leg =
                Leg { unix_ms, way, from, to, transport, silence, from_network, to_network, lost };
            node.note_leg(self.id, leg);
        }
        self.worker.inner.node.tally().on_path_changed();
        self.wake.notify();
    }

    /// What the client says that it is connected through: before the node has noticed that it moved,
    /// or after.
    fn on_network(&self, network: v1::Network) {
        let is_new = self.with_session(|session| session.on_network(network)).unwrap_or(false);
        if is_new && self.worker.inner.node.tell_network(self.id, network) {
            self.with_session(|session| session.take_leg());
        }
    }

    /// A fresh token of the same user was checked.
    pub fn refresh(&mut self, id: u32, identity: Identity) -> Result<(), CloseReason> {
        let refreshed = self.with_session(|session| session.refresh(id, identity));
        self.wake.notify();
        refreshed.unwrap_or(Err(CloseReason::Superseded))
    }

    /// Answers command `id` with an error found by the edge.
    pub fn reject(&mut self, id: u32, error: v1::Error) {
        self.with_session(|session| session.reply_error(id, error));
        self.wake.notify();
    }

    /// Asks the client to go to another edge before long. Nothing ends if it does not.
    pub fn move_to(&mut self, successor: String) {
        self.is_moving = true;
        let deadline_ms = u32::try_from(MOVE_WITHIN.as_millis()).unwrap_or(u32::MAX);
        let reason = "another edge is to have this session".into();
        let go_away = v1::GoAway { deadline_ms, successor, reason };
        self.with_session(|session| session.go_away(&go_away));
        self.wake.notify();
    }

    /// The client has ended the connection itself. One that was asked to go to another edge has
    /// gone there, and has a session there.
    pub fn on_left(&self) {
        if self.is_moving {
            self.forget();
        }
    }

    /// Nothing is kept of the session once this is dropped.
    pub fn forget(&self) {
        self.with_session(Session::forget);
    }

    /// Why the connection has to end, whatever is still unwritten.
    pub fn closing(&self) -> Option<CloseReason> {
        self.with_session(|session| session.close_reason()).unwrap_or(Some(CloseReason::Superseded))
    }

    /// For logs.
    pub fn session_id(&self) -> SessionId {
        self.id
    }

    /// Carries out what the session has decided.
    fn pump(&mut self) {
        while self.waiting.is_none() {
            let Some(effect) = self.with_session(|session| session.poll_effect()).flatten() else {
                return;
            };
            match effect {
                Effect::Join(channel, activity) => {
                    self.worker.inner.table.borrow_mut().join(channel, self.slot, activity);
                }
                Effect::Leave(channel) => {
                    let interest = self.worker.inner.table.borrow_mut().leave(channel, self.slot);
                    if interest == Interest::Lost {
                        self.worker.inner.link.detach(channel);
                    }
                }
                Effect::Recovered { lost } => {
                    self.worker.inner.node.note_recovered(self.id, lost);
                }
                Effect::Background(command) => {
                    self.worker.inner.table.borrow_mut().push_background(command);
                }
                Effect::Call { token, command } => {
                    let inner = &self.worker.inner;
                    inner.node.traces().note_command(&command, Step::Received);
                    match inner.link.call(command) {
                        Calling::Sent(answer) => self.expect(token, answer),
                        Calling::Waiting(sent) => self.waiting = Some(WaitingCall { token, sent }),
                    }
                }
            }
        }
    }

    fn expect(&self, token: CallToken, answer: Answering) {
        self.calls.push(Awaited { token, answer });
    }

    fn on_sent(&mut self, token: CallToken, sent: SentCall) {
        self.waiting = None;
        match sent {
            Ok(answer) => self.expect(token, answer),
            Err(error) => self.on_reply(token, Err(error)),
        }
    }

    fn on_reply(&mut self, token: CallToken, reply: LinkReply) {
        self.with_session(|session| {
            session.handle_reply(token, reply);
            // Otherwise the next sweep does.
            if session.has_ends() && !self.worker.inner.gives() {
                session.conclude_from_ends();
            }
        });
    }

    /// `None` when the session has been taken over by another connection.
    fn with_session<T>(&self, act: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let mut table = self.worker.inner.table.borrow_mut();
        table.session(self.slot, self.generation).map(act)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let inner = &self.worker.inner;
        inner.node.on_detached();
        let (lost, ended) =
            inner.table.borrow_mut().detach(self.slot, self.generation, Instant::now());
        lost.into_iter().for_each(|channel| inner.link.detach(channel));
        if let Some(session) = ended {
            inner.node.on_session_ended(session, inner.index);
        }
    }
}

impl std::fmt::Debug for WaitingCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WaitingCall").field("token", &self.token).finish_non_exhaustive()
    }
}

/// Never completes while no call waits.
async fn wait(waiting: &mut Option<WaitingCall>) -> (CallToken, SentCall) {
    match waiting {
        Some(call) => (call.token, (&mut call.sent).await),
        None => std::future::pending().await,
    }
}
