//! One session. Pure: commands ([`commands`](super::commands)), answers and pushes
//! ([`deliver`](super::deliver)) go in; effects and frames come out. The [worker](crate::worker)
//! carries effects out and gives frames to the connection.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ahash::RandomState;
use sterna_proto::{
    ChannelId, ChannelKey, ClientId, CloseReason, ErrorCode, Position, SessionId, limits, v1,
};
use tokio::time::Instant;

use crate::config::CoreConfig;
use crate::identity::Identity;
use crate::limit::TokenBucket;
use crate::link::{Caller, LinkCommand, LinkReply, Verb};
use crate::order::OrderGate;
use crate::push::SharedPush;
use crate::session::again::{Answers, Question};
use crate::session::inbox::InboxWatch;
use crate::session::outbox::{Class, Outbox};
use crate::session::pages::{PageCommand, ReplyTo};
use crate::session::presence::OwnPresence;
use crate::session::reattach::Ends;
use crate::session::recovering::Recovering;
use crate::session::report::KnownNetwork;
use crate::session::subscription::Subscription;
use crate::session::{ConnectionInfo, Lane, Outgoing, OutgoingBody, ResumeTicket};
use crate::vitals::inspect::Pace;
use crate::volatile::Volatile;

/// Names one call of a session until its answer.
pub type CallToken = u32;

/// What the worker has to do.
#[derive(Debug)]
pub enum Effect {
    Call {
        token: CallToken,
        command: LinkCommand,
    },
    /// Nobody waits for the answer, and it is sent even if the session's connection ends first.
    Background(LinkCommand),
    /// Also when the channel is joined already: it is to be followed in this way from here on.
    Join(ChannelKey, v1::Activity),
    Leave(ChannelKey),
    /// What a resume has interrupted goes on; so many publications could not be recovered.
    Recovered {
        lost: u64,
    },
}

/// A call whose answer has not come.
#[derive(Debug)]
pub(super) enum Call {
    Plain {
        id: u32,
        question: Option<Box<Question>>,
    },
    /// `client_seq` is 0 unless the client wants its order kept.
    Publish {
        id: u32,
        key: ChannelKey,
        client_seq: u64,
    },
    Page {
        id: u32,
        key: ChannelKey,
        question: Option<Box<Question>>,
        /// The right ended while the answer was on its way (I11).
        refused: Option<v1::Error>,
    },
    /// For an answer that has waited for too long.
    Again {
        number: u32,
        key: ChannelKey,
        /// As with a page.
        refused: Option<v1::Error>,
    },
    Attach {
        reply_to: ReplyTo,
        channel: ChannelId,
        /// Asked in the background: the owner only says where the channel ends, and the client
        /// stays here.
        stays_at: Option<Position>,
        /// As with a page.
        refused: Option<v1::Error>,
    },
    /// The session's own: the client knows nothing of it.
    Reattach {
        channel: ChannelId,
    },
    /// The same of the user's inbox.
    Rewatch,
}

#[derive(Debug)]
pub struct Session {
    pub(super) ticket: ResumeTicket,
    pub(super) caller: Arc<Caller>,
    pub(super) connection: ConnectionInfo,
    pub(super) config: Arc<CoreConfig>,
    pub(super) subscriptions: HashMap<ChannelKey, Subscription, RandomState>,
    pub(super) outbox: Outbox,
    pub(super) answers: Answers,
    pub(super) effects: VecDeque<Effect>,
    pub(super) calls: HashMap<CallToken, Call, RandomState>,
    next_token: CallToken,
    pub(super) waiting_pages: VecDeque<PageCommand>,
    pub(super) open_pages: usize,
    /// Channels with a publication that was refused for the moment.
    pub(super) order: OrderGate<ChannelKey>,
    /// Channels to attach to again: their owner did not answer.
    pub(super) unattached: Vec<ChannelKey>,
    pub(super) ends: Ends,
    /// The channel of the last publication: mostly the next one's, whose key need not be hashed then.
    published_to: Option<(ChannelId, ChannelKey)>,
    pub(super) publish_rate: TokenBucket,
    pub(super) command_rate: TokenBucket,
    pub(super) ephemeral_rate: TokenBucket,
    pub(super) sync_rate: TokenBucket,
    pub(super) inbox: InboxWatch,
    /// Where what the user may publish is counted, with other sessions.
    pub(super) user_rate: Option<Arc<Volatile>>,
    close: Option<CloseReason>,
    pub(super) forget: bool,
    pub(super) presence: OwnPresence,
    pub(super) pace: Pace,
    pub(super) network: KnownNetwork,
    /// Boxed: few sessions are recovering at any moment.
    pub(super) recovering: Option<Box<Recovering>>,
}

impl Session {
    /// A session on its first or next connection. Call [`welcome`](Self::welcome), then
    /// [`handle_hello`](Self::handle_hello).
    pub fn new(
        ticket: ResumeTicket,
        identity: Identity,
        client_id: ClientId,
        connection: ConnectionInfo,
        config: Arc<CoreConfig>,
        now: Instant,
    ) -> Self {
        let (queues, rates) = (&config.queues, &config.rates);
        let identity = Arc::new(identity);
        let caller = Caller::new(identity, client_id, ticket.session, config.incarnation);
        Self {
            ticket,
            caller: Arc::new(caller),
            connection,
            subscriptions: HashMap::default(),
            outbox: Outbox::new(queues.outbox_frames, queues.outbox_bytes),
            answers: Answers::default(),
            effects: VecDeque::new(),
            calls: HashMap::default(),
            next_token: 0,
            waiting_pages: VecDeque::new(),
            open_pages: 0,
            order: OrderGate::default(),
            unattached: Vec::new(),
            ends: Ends::default(),
            published_to: None,
            publish_rate: TokenBucket::new(rates.publish, now),
            command_rate: TokenBucket::new(rates.command, now),
            ephemeral_rate: TokenBucket::new(rates.ephemeral, now),
            sync_rate: TokenBucket::new(rates.sync, now),
            inbox: InboxWatch::No,
            user_rate: None,
            close: None,
            forget: false,
            presence: OwnPresence::default(),
            pace: Pace::default(),
            network: KnownNetwork::default(),
            recovering: None,
            config,
        }
    }

    /// What its user may publish is shared with the user's other sessions.
    pub fn share_rate(&mut self, volatile: Arc<Volatile>) {
        self.user_rate = Some(volatile);
    }

    pub fn id(&self) -> SessionId {
        self.ticket.session
    }

    pub fn identity(&self) -> &Arc<Identity> {
        &self.caller.identity
    }

    pub fn client_id(&self) -> &ClientId {
        &self.caller.client_id
    }

    /// Why the connection has to end, once what is in the outbox has been written.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.close
    }

    /// The client said goodbye: nothing is kept for a resume.
    pub fn is_forgotten(&self) -> bool {
        self.forget
    }

    /// Whether another command may be given (I12).
    pub fn is_ready(&self) -> bool {
        self.calls.len() < self.config.queues.session_calls
            && self.waiting_pages.len() <= limits::SUBSCRIPTIONS
            && !self.outbox.is_full()
            && self.close.is_none()
    }

    /// Ends the connection with a reason; the first reason stays. Who has lost the right hears
    /// nothing more, not even what is queued (I11).
    pub fn start_close(&mut self, reason: CloseReason) {
        self.close.get_or_insert(reason);
        if matches!(reason, CloseReason::Revoked | CloseReason::TokenExpired) {
            self.close = Some(reason);
            self.clear();
        }
    }

    /// I11: nothing goes to who has lost the right, also not answers that were under way.
    fn is_silenced(&self) -> bool {
        matches!(self.close, Some(CloseReason::Revoked | CloseReason::TokenExpired))
    }

    /// The connection is gone: what was meant for it goes too (I12). Effects that others depend on
    /// are given out: channels left and commands.
    pub fn on_detached(&mut self) -> (Vec<ChannelKey>, Vec<LinkCommand>) {
        let mut left = (Vec::new(), Vec::new());
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Leave(channel) => left.0.push(channel),
                Effect::Background(command) => left.1.push(command),
                Effect::Call { .. } | Effect::Join(..) | Effect::Recovered { .. } => {}
            }
        }
        self.calls = HashMap::default();
        self.clear();
        left
    }

    fn clear(&mut self) {
        self.outbox.clear();
        self.answers.clear();
        self.waiting_pages = VecDeque::new();
        self.subscriptions.values_mut().for_each(Subscription::drop_held);
        self.forget_ends();
    }

    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Moves frames to the connection and uses the room for pages that wait.
    pub fn take_frames(&mut self, out: &mut Vec<Outgoing>, max_bytes: usize) {
        self.take_good(out, max_bytes);
        self.start_pages();
    }

    /// Queues the Welcome, the answer to command `id`.
    pub fn welcome(&mut self, id: u32, resumed: bool, unix_ms: u64) {
        let config = &self.config;
        let welcome = v1::Welcome {
            session_id: self.id().to_string(),
            resume_ticket: self.ticket.to_bytes().into(),
            resume_window_ms: millis(config.resume_window),
            user: self.identity().user.to_string(),
            observed_address: self.connection.remote.to_string(),
            heartbeat_ms: millis(config.heartbeat),
            limits: Some(v1::Limits {
                frame_bytes: limits::FRAME_BYTES as u32,
                payload_bytes: limits::PAYLOAD_BYTES as u32,
                subscriptions: limits::SUBSCRIPTIONS as u32,
                page_publications: limits::PAGE_PUBLICATIONS as u32,
                datagram_bytes: limits::DATAGRAM_BYTES as u32,
            }),
            durability: config.durability.into(),
            server_time_ms: unix_ms,
            resumed,
            node: config.node.to_string(),
            token_expires_at_ms: self.identity().expires_at_ms.unwrap_or(0),
        };
        self.control(v1::Frame::reply(id, v1::reply::Result::Welcome(welcome)));
    }

    /// Takes the answer to a call.
    pub fn handle_reply(&mut self, token: CallToken, reply: LinkReply) {
        match self.calls.remove(&token) {
            Some(Call::Plain { id, question }) => {
                self.note_listed(&reply);
                self.answer_question(id, question, reply);
            }
            Some(Call::Publish { mut id, key, client_seq }) => {
                if sterna_storage::planted!(RepliesSwapped)
                    && let Some(Call::Publish { id: other, .. }) = self.calls.values_mut().next()
                {
                    std::mem::swap(&mut id, other);
                }
                let again = reply.as_ref().is_err_and(|error| error.retryable);
                self.answer(id, reply);
                if again && client_seq > 0 {
                    self.hold_back(key, client_seq, Instant::now());
                }
            }
            Some(Call::Page { id, question, refused, .. }) => {
                self.open_pages -= 1;
                self.answer_question(id, question, refused.map_or(reply, Err));
            }
            Some(Call::Again { number, refused, .. }) => {
                self.handle_answer_again(number, refused.map_or(reply, Err));
            }
            Some(Call::Attach { reply_to, channel, refused: Some(error), .. }) => {
                self.open_pages -= 1;
                self.refuse_attach(reply_to, channel.to_string(), error);
            }
            Some(Call::Attach { reply_to, channel, stays_at, refused: None }) => {
                self.open_pages -= 1;
                self.handle_attached(token, reply_to, &channel, stays_at, reply);
            }
            Some(Call::Reattach { channel }) => self.handle_reattached(&channel, reply),
            Some(Call::Rewatch) => self.handle_rewatched(reply),
            None => {}
        }
        self.start_pages();
    }

    /// A fresh token of the same user was checked.
    pub fn refresh(&mut self, id: u32, identity: Identity) -> Result<(), CloseReason> {
        if identity.user != self.identity().user {
            return Err(CloseReason::Unauthorized);
        }
        self.caller = Arc::new(Caller { identity: Arc::new(identity), ..(*self.caller).clone() });
        self.reply(id, v1::reply::Result::Done(v1::Done {}));
        self.drop_what_is_not_permitted();
        Ok(())
    }

    /// Answers a command with an error.
    pub fn reply_error(&mut self, id: u32, error: v1::Error) {
        self.reply(id, v1::reply::Result::Error(error));
    }

    /// Frames or effects wait, or the connection has to end.
    pub fn has_output(&self) -> bool {
        !self.outbox.is_empty() || !self.effects.is_empty() || self.close.is_some()
    }

    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// Nothing is kept of the session once its connection ends.
    pub fn forget(&mut self) {
        self.forget = true;
    }

    pub fn resume_ticket(&self) -> &ResumeTicket {
        &self.ticket
    }

    /// Channels that the session is subscribed to, and the inbox that it looks at.
    pub fn channels(&self) -> impl Iterator<Item = ChannelKey> {
        self.subscriptions.keys().copied().chain(self.watched_inbox())
    }

    /// A command to the owner of `channel` on behalf of this session.
    pub fn command(&self, channel: ChannelId, key: ChannelKey, verb: Verb) -> LinkCommand {
        LinkCommand { caller: self.caller.clone(), channel, key, hops: 0, verb }
    }

    pub(super) fn push_own(&mut self, event: v1::push::Event) {
        self.control(v1::Frame::push(event));
    }

    pub(super) fn give(&mut self, push: &SharedPush, lane: Lane, class: Class) -> bool {
        if self.is_silenced() {
            return true;
        }
        let outgoing = Outgoing { lane, body: OutgoingBody::Shared(push.clone()) };
        self.outbox.push(outgoing, class, self.connection.encoding).is_ok()
    }

    pub(super) fn control(&mut self, frame: v1::Frame) {
        self.control_as(frame, Class::Control);
    }

    /// `class`: one that always fits.
    pub(super) fn control_as(&mut self, frame: v1::Frame, class: Class) {
        if self.is_silenced() {
            return;
        }
        let outgoing = Outgoing { lane: Lane::Control, body: OutgoingBody::Own(Box::new(frame)) };
        let _ = self.outbox.push(outgoing, class, self.connection.encoding);
    }

    pub(super) fn reply(&mut self, id: u32, result: v1::reply::Result) {
        if id > 0 {
            self.control(v1::Frame::reply(id, result));
        }
    }

    pub(super) fn answer(&mut self, id: u32, reply: LinkReply) {
        match reply {
            Ok(result) => self.reply(id, result),
            Err(error) => self.reply_error(id, error),
        }
    }

    pub(super) fn fail(&mut self, id: u32, code: ErrorCode, message: impl Into<String>) {
        self.reply_error(id, v1::Error::new(code, message));
    }

    /// The channel that a publication names.
    pub(super) fn addressee(&mut self, name: &str) -> Result<(ChannelId, ChannelKey), v1::Error> {
        match &self.published_to {
            Some(known) if known.0.as_str() == name => Ok(known.clone()),
            _ => {
                let channel = channel_id(name)?;
                let key = channel.key();
                Ok(self.published_to.insert((channel, key)).clone())
            }
        }
    }

    pub(super) fn call(&mut self, call: Call, channel: ChannelId, verb: Verb) -> CallToken {
        let key = channel.key();
        let command = self.command(channel, key, verb);
        self.start_call(call, command)
    }

    pub(super) fn start_call(&mut self, call: Call, command: LinkCommand) -> CallToken {
        let token = self.next_token;
        self.next_token = self.next_token.wrapping_add(1);
        self.calls.insert(token, call);
        self.effects.push_back(Effect::Call { token, command });
        token
    }
}

pub(super) fn channel_id(name: &str) -> Result<ChannelId, v1::Error> {
    ChannelId::new(name).map_err(|error| v1::Error::new(ErrorCode::BadRequest, error.to_string()))
}

pub(super) fn millis(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
