//! Commands whose answer is a page: subscriptions and history. Pure. Only a few pages are on their
//! way at a time, and none starts while the outbox is full (I12).

use sterna_proto::{ChannelId, ChannelKey, ErrorCode, Offset, Position, limits, v1};

use crate::link::{LinkReply, Verb};
use crate::session::again::Question;
use crate::session::outbox::Class;
use crate::session::session::{Call, CallToken, Effect, Session, channel_id};
use crate::session::subscription::Subscription;

/// Channels in which one session may be present. Full: LIMIT_EXCEEDED.
pub const PRESENCE_SUBSCRIPTIONS: usize = 200;

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyTo {
    Command(u32),
    /// A subscription of the Hello: answered by a push.
    Hello,
}

/// A command whose answer is a page, waiting for its turn.
#[derive(Debug)]
pub(super) enum PageCommand {
    Attach(ReplyTo, v1::Subscribe),
    History(u32, v1::History),
    Sync(u32, v1::Sync),
}

impl Session {
    /// Subscribes to what the Hello names.
    pub fn handle_hello(&mut self, subscriptions: Vec<v1::Subscribe>) {
        for subscribe in subscriptions.into_iter().take(limits::SUBSCRIPTIONS) {
            self.waiting_pages.push_back(PageCommand::Attach(ReplyTo::Hello, subscribe));
        }
        self.start_pages();
    }

    /// Starts waiting page commands while there is room for their answers.
    pub(super) fn start_pages(&mut self) {
        while self.open_pages < self.config.queues.session_pages && !self.outbox.is_full() {
            match self.waiting_pages.pop_front() {
                Some(PageCommand::Attach(reply_to, subscribe)) => self.attach(reply_to, subscribe),
                Some(PageCommand::History(id, history)) => self.start_history(id, history),
                Some(PageCommand::Sync(id, sync)) => self.start_sync(id, sync),
                None => break,
            }
        }
    }

    fn start_history(&mut self, id: u32, history: v1::History) {
        match channel_id(&history.channel) {
            Ok(channel) => {
                self.open_pages += 1;
                let (key, verb) = (channel.key(), Verb::History(history));
                let question = Question::new(&channel, &verb);
                self.call(Call::Page { id, key, question, refused: None }, channel, verb);
            }
            Err(error) => self.reply_error(id, error),
        }
    }

    fn attach(&mut self, reply_to: ReplyTo, mut subscribe: v1::Subscribe) {
        let channel = match channel_id(&subscribe.channel) {
            Ok(channel) => channel,
            Err(error) => return self.refuse_attach(reply_to, subscribe.channel, error),
        };
        let key = channel.key();
        let inherited = self.take_inherited(key);
        let full = self.subscriptions.len() >= limits::SUBSCRIPTIONS;
        if full && !self.subscriptions.contains_key(&key) {
            let message = format!("a session has at most {} subscriptions", limits::SUBSCRIPTIONS);
            let error = v1::Error::new(ErrorCode::LimitExceeded, message);
            if inherited {
                self.leave_presence(channel);
            }
            self.on_recovered(key);
            return self.refuse_attach(reply_to, subscribe.channel, error);
        }
        if subscribe.presence && !inherited && self.is_present_enough(key) {
            let message = format!(
                "a session is present in at most {PRESENCE_SUBSCRIPTIONS} channels; subscribe \
                 without presence"
            );
            let error = v1::Error::new(ErrorCode::LimitExceeded, message);
            self.on_recovered(key);
            return self.refuse_attach(reply_to, subscribe.channel, error);
        }
        let max_held = self.config.queues.subscription_held;
        let (presence, receipts) = (subscribe.presence, subscribe.receipts);
        let activity = subscribe.activity();
        self.effects.push_back(Effect::Join(key, activity));
        self.open_pages += 1;
        let in_background = activity == v1::Activity::Background;
        let stays_at = if in_background { subscribe.since.take().map(Into::into) } else { None };
        let (channel_of_call, refused) = (channel.clone(), None);
        let call = Call::Attach { reply_to, channel: channel_of_call, stays_at, refused };
        let turn = self.next_turn();
        let replaces = self.presence.former.filter(|_| presence);
        let verb = Verb::Attach { subscribe, turn, again: inherited, held_upto: None, replaces };
        let token = self.call(call, channel.clone(), verb);
        let subscription = self
            .subscriptions
            .entry(key)
            .or_insert_with(|| Subscription::new(channel, key, max_held));
        subscription.presence |= presence || inherited;
        subscription.receipts |= receipts;
        let was_background = subscription.is_background();
        subscription.set_activity(activity);
        subscription.on_attach_started(token);
        let is_present = subscription.presence;
        self.on_forward(key, was_background);
        if self.take_watched(key) && is_present {
            self.name_presence_gap(key);
        }
    }

    /// I12: what a session hears of others grows with the channels in which it is present.
    fn is_present_enough(&self, key: ChannelKey) -> bool {
        let others = self.subscriptions.iter().filter(|(other, it)| it.presence && **other != key);
        others.count() >= PRESENCE_SUBSCRIPTIONS
    }

    pub(super) fn refuse_attach(&mut self, reply_to: ReplyTo, channel: String, error: v1::Error) {
        match reply_to {
            ReplyTo::Command(id) => self.reply_error(id, error),
            ReplyTo::Hello => {
                let refused = v1::Subscribed { channel, error: Some(error), ..Default::default() };
                self.push_own(v1::push::Event::Subscribed(refused));
            }
        }
    }

    pub(super) fn handle_attached(
        &mut self,
        token: CallToken,
        reply_to: ReplyTo,
        channel: &ChannelId,
        stays_at: Option<Position>,
        reply: LinkReply,
    ) {
        let key = channel.key();
        let Some(subscription) = self.subscriptions.get_mut(&key) else {
            // Unsubscribed meanwhile.
            let gone = v1::Error::new(ErrorCode::NotSubscribed, "unsubscribed meanwhile");
            return self.refuse_attach(reply_to, channel.to_string(), gone);
        };
        let mut page = match reply {
            Ok(v1::reply::Result::Subscribed(page)) => page,
            Ok(other) => {
                tracing::error!(?other, "an attach was answered by something else");
                return;
            }
            Err(error) => {
                let channel = subscription.channel.to_string();
                if !error.retryable
                    && let Some(ended) = self.subscriptions.remove(&key)
                {
                    self.effects.push_back(Effect::Leave(key));
                    self.outbox.drop_channel(key);
                    // I11: a page that waits for a slow reader was allowed when the right was still there.
                    self.outbox.refuse_pages(key, &error, self.connection.encoding);
                    if ended.presence {
                        self.leave_presence(ended.channel);
                    }
                    self.on_recovered(key);
                }
                return self.refuse_attach(reply_to, channel, error);
            }
        };
        let position: Position = page.position.unwrap_or_default().into();
        subscription.on_allowed(Position { offset: Offset(page.head_offset), ..position });
        let is_expected = subscription.expects(token);
        let follow = match stays_at {
            Some(since) => subscription.handle_end(token, &mut page, since),
            None => subscription.handle_page(token, &mut page),
        };
        let lane = subscription.lane();
        let mut offset = stays_at.unwrap_or(position).offset;
        if is_expected {
            self.note_gap(key, page.gap.as_ref());
        }
        if page.live {
            self.on_recovered(key);
        }
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

    pub(super) fn unsubscribe(&mut self, id: u32, name: &str) {
        let key = match channel_id(name) {
            Ok(channel) => channel.key(),
            Err(error) => return self.reply_error(id, error),
        };
        let withdrawn = self.withdraw_waiting(name);
        self.on_recovered(key);
        match self.subscriptions.remove(&key) {
            Some(subscription) => {
                self.effects.push_back(Effect::Leave(key));
                self.outbox.drop_channel(key);
                // I11: nobody will say when the right to what waits ends.
                let gone = v1::Error::new(ErrorCode::NotSubscribed, "unsubscribed meanwhile");
                self.outbox.refuse_subscribed(key, &gone, self.connection.encoding);
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
        if let (false, Ok(channel)) = (withdrawn.is_empty(), channel_id(name))
            && self.take_inherited(channel.key())
        {
            self.leave_presence(channel);
        }
        for reply_to in &withdrawn {
            let gone = v1::Error::new(ErrorCode::NotSubscribed, "unsubscribed meanwhile");
            self.refuse_attach(*reply_to, name.to_owned(), gone);
        }
        !withdrawn.is_empty()
    }
}
