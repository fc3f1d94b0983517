//! What a command means. Pure: commands, answers and pushes go in; effects and frames come out.
//! The [worker](crate::worker) carries effects out and gives frames to the connection.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ahash::RandomState;
use sterna_proto::v1::command::Verb as Command;
use sterna_proto::{
    ChannelId, ChannelKey, ClientId, CloseReason, ErrorCode, Offset, SessionId, limits, v1,
};
use tokio::time::Instant;

use crate::config::CoreConfig;
use crate::identity::{Action, Identity};
use crate::limit::TokenBucket;
use crate::link::{LinkCommand, LinkReply, Verb};
use crate::order::OrderGate;
use crate::push::SharedPush;
use crate::session::outbox::{Class, Outbox};
use crate::session::subscription::Subscription;
use crate::session::{ConnectionInfo, Lane, Outgoing, OutgoingBody, ResumeTicket};

/// Names one call of a session until its answer.
pub type CallToken = u32;

/// What the worker has to do.
#[derive(Debug)]
pub enum Effect {
    Call { token: CallToken, command: LinkCommand },
    Join(ChannelKey),
    Leave(ChannelKey),
}

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReplyTo {
    Command(u32),
    /// A subscription of the Hello: answered by a push.
    Hello,
}

#[derive(Debug)]
enum Call {
    Plain {
        id: u32,
    },
    /// `client_seq` is 0 unless the client wants its order kept.
    Publish {
        id: u32,
        key: ChannelKey,
        client_seq: u64,
    },
    Page {
        id: u32,
    },
    Attach {
        reply_to: ReplyTo,
        key: ChannelKey,
    },
}

/// A command whose answer is a page, waiting for its turn.
#[derive(Debug)]
enum PageCommand {
    Attach(ReplyTo, v1::Subscribe),
    History(u32, v1::History),
}

#[derive(Debug)]
pub struct Session {
    pub(super) ticket: ResumeTicket,
    pub(super) identity: Arc<Identity>,
    client_id: ClientId,
    pub(super) connection: ConnectionInfo,
    config: Arc<CoreConfig>,
    pub(super) subscriptions: HashMap<ChannelKey, Subscription, RandomState>,
    pub(super) outbox: Outbox,
    pub(super) effects: VecDeque<Effect>,
    calls: HashMap<CallToken, Call, RandomState>,
    next_token: CallToken,
    waiting_pages: VecDeque<PageCommand>,
    open_pages: usize,
    /// Channels with a publication that was refused for the moment.
    order: OrderGate<ChannelKey>,
    publish_rate: TokenBucket,
    command_rate: TokenBucket,
    ephemeral_rate: TokenBucket,
    close: Option<CloseReason>,
    forget: bool,
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
        Self {
            ticket,
            identity: Arc::new(identity),
            client_id,
            connection,
            subscriptions: HashMap::default(),
            outbox: Outbox::new(queues.outbox_frames, queues.outbox_bytes),
            effects: VecDeque::new(),
            calls: HashMap::default(),
            next_token: 0,
            waiting_pages: VecDeque::new(),
            open_pages: 0,
            order: OrderGate::default(),
            publish_rate: TokenBucket::new(rates.publish, now),
            command_rate: TokenBucket::new(rates.command, now),
            ephemeral_rate: TokenBucket::new(rates.ephemeral, now),
            close: None,
            forget: false,
            config,
        }
    }

    pub fn id(&self) -> SessionId {
        self.ticket.session
    }

    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    pub fn client_id(&self) -> &ClientId {
        &self.client_id
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

    /// The connection is gone: what was meant for it goes too (I12). Effects that others depend on
    /// are given out.
    pub fn on_detached(&mut self) -> Vec<ChannelKey> {
        let left = self.effects.iter().filter_map(|effect| match effect {
            Effect::Leave(channel) => Some(*channel),
            Effect::Call { .. } | Effect::Join(_) => None,
        });
        let left = left.collect();
        self.effects = VecDeque::new();
        self.calls = HashMap::default();
        self.clear();
        left
    }

    fn clear(&mut self) {
        self.outbox.clear();
        self.waiting_pages = VecDeque::new();
        self.subscriptions.values_mut().for_each(Subscription::drop_held);
    }

    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Moves frames to the connection and uses the room for pages that wait.
    pub fn take_frames(&mut self, out: &mut Vec<Outgoing>, max_bytes: usize) {
        self.outbox.take(out, max_bytes);
        self.start_pages();
    }

    /// Queues the Welcome, the answer to command `id`.
    pub fn welcome(&mut self, id: u32, resumed: bool, unix_ms: u64) {
        let config = &self.config;
        let welcome = v1::Welcome {
            session_id: self.id().to_string(),
            resume_ticket: self.ticket.to_bytes().into(),
            resume_window_ms: millis(config.resume_window),
            user: self.identity.user.to_string(),
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
            token_expires_at_ms: self.identity.expires_at_ms.unwrap_or(0),
        };
        self.control(v1::Frame::reply(id, v1::reply::Result::Welcome(welcome)));
    }

    /// Subscribes to what the Hello names.
    pub fn handle_hello(&mut self, subscriptions: Vec<v1::Subscribe>) {
        for subscribe in subscriptions.into_iter().take(limits::SUBSCRIPTIONS) {
            self.waiting_pages.push_back(PageCommand::Attach(ReplyTo::Hello, subscribe));
        }
        self.start_pages();
    }

    /// Takes a command.
    pub fn handle_command(
        &mut self,
        command: v1::Command,
        now: Instant,
        unix_ms: u64,
    ) -> Result<(), CloseReason> {
        let id = command.id;
        let Some(verb) = command.verb else {
            self.fail(id, ErrorCode::BadRequest, "this node does not know the command");
            return Ok(());
        };
        let charged = match &verb {
            Command::Publish(_) => Ok(()),
            other => self.charge(other, now),
        };
        if let Err(error) = charged {
            self.reply_error(id, error);
            return Ok(());
        }
        match verb {
            Command::Hello(_) => return Err(CloseReason::ProtocolError),
            Command::Goodbye(_) => {
                self.forget = true;
                self.start_close(CloseReason::Normal);
            }
            Command::Ping(ping) => self.pong(id, &ping, unix_ms),
            Command::Subscribe(subscribe) => {
                let wanted = PageCommand::Attach(ReplyTo::Command(id), subscribe);
                self.waiting_pages.push_back(wanted);
                self.start_pages();
            }
            Command::History(history) => {
                self.waiting_pages.push_back(PageCommand::History(id, history));
                self.start_pages();
            }
            Command::Unsubscribe(unsubscribe) => self.unsubscribe(id, &unsubscribe.channel),
            Command::Refresh(_) => {
                self.fail(id, ErrorCode::BadRequest, "a token is refreshed by the edge");
            }
            Command::Publish(publish) => self.publish(id, publish, now),
            other => self.forward(id, other),
        }
        Ok(())
    }

    /// Takes the answer to a call.
    pub fn handle_reply(&mut self, token: CallToken, reply: LinkReply) {
        match self.calls.remove(&token) {
            Some(Call::Plain { id }) => self.answer(id, reply),
            Some(Call::Publish { id, key, client_seq }) => {
                if client_seq > 0
                    && let Err(error) = &reply
                    && error.retryable
                {
                    self.order.on_refused(key, client_seq, Instant::now());
                }
                self.answer(id, reply);
            }
            Some(Call::Page { id }) => {
                self.open_pages -= 1;
                self.answer(id, reply);
            }
            Some(Call::Attach { reply_to, key }) => {
                self.open_pages -= 1;
                self.handle_attached(token, reply_to, key, reply);
            }
            None => {}
        }
        self.start_pages();
    }

    /// A fresh token of the same user was checked.
    pub fn refresh(&mut self, id: u32, identity: Identity) -> Result<(), CloseReason> {
        if identity.user != self.identity.user {
            return Err(CloseReason::Unauthorized);
        }
        self.identity = Arc::new(identity);
        self.reply(id, v1::reply::Result::Done(v1::Done {}));
        self.drop_what_is_not_permitted();
        Ok(())
    }

    /// I11: a narrower token ends the subscriptions that it does not cover.
    fn drop_what_is_not_permitted(&mut self) {
        let identity = self.identity.clone();
        let permits = |s: &Subscription, action| identity.permits(&s.channel, action);
        let ended: Vec<ChannelKey> = self
            .subscriptions
            .iter()
            .filter(|(_, s)| !permits(s, Action::Subscribe))
            .map(|(key, _)| *key)
            .collect();
        let message = "the new access token does not allow to subscribe here";
        let error = v1::Error::new(ErrorCode::PermissionDenied, message);
        for key in ended {
            self.handle_evict(key, &identity.user, &error);
        }
        let unseen: Vec<ChannelId> = self
            .subscriptions
            .values_mut()
            .filter(|s| s.presence && !permits(s, Action::Presence))
            .map(|s| {
                s.presence = false;
                s.channel.clone()
            })
            .collect();
        for channel in unseen {
            self.leave_presence(channel);
        }
    }

    pub(super) fn leave_presence(&mut self, channel: ChannelId) {
        let leave = Verb::SetPresence(v1::PresenceState::Offline);
        self.call(Call::Plain { id: 0 }, channel, leave);
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

    /// Channels that the session is subscribed to.
    pub fn channels(&self) -> impl Iterator<Item = ChannelKey> {
        self.subscriptions.keys().copied()
    }

    /// Channels in which the session is present.
    pub fn present_in(&self) -> impl Iterator<Item = &ChannelId> {
        self.subscriptions.values().filter(|s| s.presence).map(|s| &s.channel)
    }

    /// A command to the owner of `channel` on behalf of this session.
    pub fn command(&self, channel: ChannelId, key: ChannelKey, verb: Verb) -> LinkCommand {
        LinkCommand {
            identity: self.identity.clone(),
            client_id: self.client_id.clone(),
            session: self.id(),
            channel,
            key,
            verb,
        }
    }

    pub(super) fn push_own(&mut self, event: v1::push::Event) {
        self.control(v1::Frame::push(event));
    }

    pub(super) fn give(&mut self, push: &SharedPush, lane: Lane, class: Class) -> bool {
        let outgoing = Outgoing { lane, body: OutgoingBody::Shared(push.clone()) };
        self.outbox.push(outgoing, class, self.connection.encoding).is_ok()
    }

    fn control(&mut self, frame: v1::Frame) {
        let outgoing = Outgoing { lane: Lane::Control, body: OutgoingBody::Own(Box::new(frame)) };
        // Control frames always fit.
        let _ = self.outbox.push(outgoing, Class::Control, self.connection.encoding);
    }

    fn reply(&mut self, id: u32, result: v1::reply::Result) {
        if id > 0 {
            self.control(v1::Frame::reply(id, result));
        }
    }

    fn answer(&mut self, id: u32, reply: LinkReply) {
        match reply {
            Ok(result) => self.reply(id, result),
            Err(error) => self.reply_error(id, error),
        }
    }

    fn fail(&mut self, id: u32, code: ErrorCode, message: impl Into<String>) {
        self.reply_error(id, v1::Error::new(code, message));
    }

    fn pong(&mut self, id: u32, ping: &v1::Ping, unix_ms: u64) {
        let pong = v1::Pong {
            client_time_ms: ping.client_time_ms,
            server_time_ms: unix_ms,
            observed_address: self.connection.remote.to_string(),
        };
        self.reply(id, v1::reply::Result::Pong(pong));
    }

    fn charge(&mut self, verb: &Command, now: Instant) -> Result<(), v1::Error> {
        let bucket = match verb {
            Command::Ephemeral(_) => &mut self.ephemeral_rate,
            _ => &mut self.command_rate,
        };
        bucket.try_take(now).map_err(rate_limited)
    }

    fn publish(&mut self, id: u32, publish: v1::Publish, now: Instant) {
        let channel = match channel_id(&publish.channel).and_then(|channel| {
            check_len("payload", publish.payload.len(), limits::PAYLOAD_BYTES)?;
            Ok(channel)
        }) {
            Ok(channel) => channel,
            Err(error) => return self.reply_error(id, error),
        };
        let key = channel.key();
        let client_seq = if publish.ordered { publish.client_seq } else { 0 };
        let in_turn = client_seq == 0 || self.order.admits(&key, client_seq, now);
        let allowed = if in_turn {
            self.publish_rate.try_take(now).map_err(rate_limited)
        } else {
            let message = "an earlier publication was refused; send that one first";
            Err(v1::Error::new(ErrorCode::Busy, message).with_retry_after_ms(100))
        };
        match allowed {
            Ok(()) => {
                let call = Call::Publish { id, key, client_seq };
                self.call(call, channel, Verb::Publish(publish));
            }
            Err(error) => {
                if client_seq > 0 {
                    self.order.on_refused(key, client_seq, now);
                }
                self.reply_error(id, error);
            }
        }
    }

    /// Passes a command on to the owner of its channel.
    fn forward(&mut self, id: u32, verb: Command) {
        match route(verb).and_then(|(name, verb)| Ok((channel_id(&name)?, verb))) {
            Ok((channel, verb)) => {
                self.call(Call::Plain { id }, channel, verb);
            }
            Err(error) => self.reply_error(id, error),
        }
    }

    fn call(&mut self, call: Call, channel: ChannelId, verb: Verb) -> CallToken {
        let token = self.next_token;
        self.next_token = self.next_token.wrapping_add(1);
        self.calls.insert(token, call);
        let key = channel.key();
        let command = self.command(channel, key, verb);
        self.effects.push_back(Effect::Call { token, command });
        token
    }

    /// Starts waiting page commands while there is room for their answers.
    fn start_pages(&mut self) {
        while self.open_pages < self.config.queues.session_pages && !self.outbox.is_full() {
            match self.waiting_pages.pop_front() {
                Some(PageCommand::Attach(reply_to, subscribe)) => self.attach(reply_to, subscribe),
                Some(PageCommand::History(id, history)) => self.start_history(id, history),
                None => break,
            }
        }
    }

    fn start_history(&mut self, id: u32, history: v1::History) {
        match channel_id(&history.channel) {
            Ok(channel) => {
                self.open_pages += 1;
                self.call(Call::Page { id }, channel, Verb::History(history));
            }
            Err(error) => self.reply_error(id, error),
        }
    }

    fn attach(&mut self, reply_to: ReplyTo, subscribe: v1::Subscribe) {
        let channel = match channel_id(&subscribe.channel) {
            Ok(channel) => channel,
            Err(error) => return self.refuse_attach(reply_to, subscribe.channel, error),
        };
        let key = channel.key();
        let full = self.subscriptions.len() >= limits::SUBSCRIPTIONS;
        if full && !self.subscriptions.contains_key(&key) {
            let message = format!("a session has at most {} subscriptions", limits::SUBSCRIPTIONS);
            let error = v1::Error::new(ErrorCode::LimitExceeded, message);
            return self.refuse_attach(reply_to, subscribe.channel, error);
        }
        let max_held = self.config.queues.subscription_held;
        let (presence, receipts) = (subscribe.presence, subscribe.receipts);
        self.effects.push_back(Effect::Join(key));
        self.open_pages += 1;
        let call = Call::Attach { reply_to, key };
        let token = self.call(call, channel.clone(), Verb::Attach(subscribe));
        let subscription = self
            .subscriptions
            .entry(key)
            .or_insert_with(|| Subscription::new(channel, key, max_held));
        subscription.presence |= presence;
        subscription.receipts |= receipts;
        subscription.on_attach_started(token);
    }

    fn refuse_attach(&mut self, reply_to: ReplyTo, channel: String, error: v1::Error) {
        match reply_to {
            ReplyTo::Command(id) => self.reply_error(id, error),
            ReplyTo::Hello => {
                let refused = v1::Subscribed { channel, error: Some(error), ..Default::default() };
                self.push_own(v1::push::Event::Subscribed(refused));
            }
        }
    }

    fn handle_attached(
        &mut self,
        token: CallToken,
        reply_to: ReplyTo,
        key: ChannelKey,
        reply: LinkReply,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else {
            // Unsubscribed meanwhile.
            let gone = v1::Error::new(ErrorCode::NotSubscribed, "unsubscribed meanwhile");
            return self.refuse_attach(reply_to, String::new(), gone);
        };
        let mut page = match reply {
            Ok(v1::reply::Result::Subscribed(page)) => page,
            Ok(other) => {
                tracing::error!(?other, "an attach was answered by something else");
                return;
            }
            Err(error) => {
                let channel = subscription.channel.to_string();
                if !error.retryable {
                    self.subscriptions.remove(&key);
                    self.effects.push_back(Effect::Leave(key));
                }
                return self.refuse_attach(reply_to, channel, error);
            }
        };
        let follow = subscription.handle_page(token, &mut page);
        let lane = subscription.lane();
        let mut offset = Offset(page.position.unwrap_or_default().offset);
        match reply_to {
            ReplyTo::Command(id) => self.reply(id, v1::reply::Result::Subscribed(page)),
            ReplyTo::Hello => self.push_own(v1::push::Event::Subscribed(page)),
        }
        for push in follow {
            offset = offset.next();
            if !self.give(&push, lane, Class::Publication { channel: key, offset }) {
                return self.lag(key, offset);
            }
        }
    }

    fn unsubscribe(&mut self, id: u32, name: &str) {
        let key = match channel_id(name) {
            Ok(channel) => channel.key(),
            Err(error) => return self.reply_error(id, error),
        };
        let withdrawn = self.withdraw_waiting(name);
        match self.subscriptions.remove(&key) {
            Some(subscription) => {
                self.effects.push_back(Effect::Leave(key));
                self.outbox.drop_channel(key);
                if subscription.presence {
                    self.leave_presence(subscription.channel);
                }
            }
            None if withdrawn => {}
            None => {
                let message = format!("not subscribed to {name}");
                return self.fail(id, ErrorCode::NotSubscribed, message);
            }
        }
        self.reply(id, v1::reply::Result::Done(v1::Done {}));
    }
}

impl Session {
    /// Takes back subscriptions to a channel that have not been started. True: there were some.
    fn withdraw_waiting(&mut self, name: &str) -> bool {
        let mut withdrawn = Vec::new();
        self.waiting_pages.retain(|waiting| match waiting {
            PageCommand::Attach(reply_to, subscribe) if subscribe.channel == name => {
                withdrawn.push(*reply_to);
                false
            }
            _ => true,
        });
        for reply_to in &withdrawn {
            let gone = v1::Error::new(ErrorCode::NotSubscribed, "unsubscribed meanwhile");
            self.refuse_attach(*reply_to, name.to_owned(), gone);
        }
        !withdrawn.is_empty()
    }
}

/// The channel and the owner's verb of a command that is only passed on.
fn route(verb: Command) -> Result<(String, Verb), v1::Error> {
    Ok(match verb {
        Command::Ephemeral(ephemeral) => {
            let len = ephemeral.payload.len() + ephemeral.key.len();
            check_len("ephemeral", len, limits::EPHEMERAL_BYTES)?;
            (ephemeral.channel.clone(), Verb::Ephemeral(ephemeral))
        }
        Command::Presence(query) => (query.channel, Verb::Presence),
        Command::Ack(ack) => {
            let delivered = Offset(ack.offset);
            (ack.channel, Verb::MoveCursor { delivered, read: Offset::ZERO })
        }
        Command::MarkRead(mark) => {
            let read = Offset(mark.offset);
            (mark.channel, Verb::MoveCursor { delivered: read, read })
        }
        Command::CreateChannel(create) => (create.channel.clone(), Verb::CreateChannel(create)),
        Command::SetMember(set) => (set.channel.clone(), Verb::SetMember(set)),
        Command::RemoveMember(remove) => (remove.channel.clone(), Verb::RemoveMember(remove)),
        Command::Members(query) => (query.channel.clone(), Verb::Members(query)),
        _ => return Err(v1::Error::new(ErrorCode::BadRequest, "not a command for a channel")),
    })
}

fn rate_limited(wait: std::time::Duration) -> v1::Error {
    metrics::counter!("sterna_core_rate_limited_total").increment(1);
    v1::Error::new(ErrorCode::RateLimited, "too many commands of this kind; slow down")
        .with_retry_after_ms(millis(wait).max(1))
}

fn check_len(what: &str, len: usize, limit: usize) -> Result<(), v1::Error> {
    if len <= limit {
        return Ok(());
    }
    let message = format!("a {what} has at most {limit} bytes; this one has {len}");
    Err(v1::Error::new(ErrorCode::TooLarge, message))
}

fn channel_id(name: &str) -> Result<ChannelId, v1::Error> {
    ChannelId::new(name).map_err(|error| v1::Error::new(ErrorCode::BadRequest, error.to_string()))
}

fn millis(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
