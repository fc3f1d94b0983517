//! The session as a state machine: outbox, subscriptions, calls and the ids of what is in flight.
//! Handles change it, the driver feeds it frames and time and sends what it says. It never touches
//! a socket, a task or a clock. It outlives connections; [`Session::fail_everything`] ends it.

pub(crate) mod backoff;
pub(crate) mod calls;
mod greeting;
pub(crate) mod liveness;
pub(crate) mod outbox;
pub(crate) mod race;
mod replies;
pub(crate) mod subscription;
pub(crate) mod token;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sterna_proto::v1::{self, command::Verb};
use sterna_proto::{ChannelId, limits};
use tokio::sync::{oneshot, watch};

use crate::Error;
use crate::event::{Event, SendState, Statistics, SubscriptionState};
use crate::mailbox::Mailbox;
use crate::options::{OutboxLimits, Subscribe};
use calls::{Answer, Calls};
use outbox::{Outbox, Pushed, Sending};
use subscription::Subscription;

pub(crate) use greeting::Greeting;

#[derive(Debug)]
pub(crate) struct Session {
    client_id: String,
    user_agent: String,
    outbox: Outbox<watch::Sender<SendState>>,
    subscriptions: HashMap<ChannelId, Entry>,
    next_serial: u64,
    /// Channels whose Unsubscribe has still to be sent, or to be answered.
    leaving: HashMap<ChannelId, Leaving>,
    calls: Calls,
    ephemerals: VecDeque<v1::Ephemeral>,
    in_flight: HashMap<u32, InFlight>,
    next_id: u32,
    resume_ticket: Bytes,
    welcome: Option<v1::Welcome>,
    command_timeout: Duration,
    notices: VecDeque<Notice>,
    pub(crate) stats: Statistics,
    ended: bool,
}

#[derive(Debug)]
struct Entry {
    /// Tells it from earlier and later subscriptions of the channel.
    serial: u64,
    machine: Subscription,
    mailbox: Arc<Mailbox>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    Unsent,
    Sent,
}

/// What an id in flight stands for.
#[derive(Debug)]
enum InFlight {
    Publish { seq: u64 },
    Subscribe { channel: ChannelId, serial: u64 },
    Unsubscribe { channel: ChannelId },
    Call { serial: u64 },
    Ping { sent: Instant },
    Refresh,
}

/// What the driver has to hear of a frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Notice {
    GoAway(v1::GoAway),
    Refreshed,
    RefreshFailed(Error),
}

/// How a command travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Control,
    /// A datagram where there are some.
    Datagram,
    /// A stream of its own where there are some: the reply is long.
    Bulk,
}

impl Session {
    pub(crate) fn new(
        client_id: String,
        user_agent: String,
        outbox: OutboxLimits,
        first_seq: u64,
        command_timeout: Duration,
    ) -> Self {
        Self {
            client_id,
            user_agent,
            outbox: Outbox::new(outbox, first_seq),
            subscriptions: HashMap::new(),
            next_serial: 0,
            leaving: HashMap::new(),
            calls: Calls::default(),
            ephemerals: VecDeque::new(),
            in_flight: HashMap::new(),
            next_id: 1,
            resume_ticket: Bytes::new(),
            welcome: None,
            command_timeout,
            notices: VecDeque::new(),
            stats: Statistics::default(),
            ended: false,
        }
    }

    // What handles ask.

    pub(crate) fn subscribe(
        &mut self,
        channel: &ChannelId,
        options: Subscribe,
    ) -> Result<Arc<Mailbox>, Error> {
        if self.ended {
            return Err(Error::Closed);
        }
        if self.subscriptions.contains_key(channel) {
            return Err(Error::AlreadySubscribed);
        }
        if self.subscriptions.len() >= limits::SUBSCRIPTIONS {
            return Err(Error::QueueFull);
        }
        let machine = Subscription::new(channel.clone(), options);
        let mailbox = Arc::new(Mailbox::new(machine.position()));
        mailbox.put([Event::State(SubscriptionState::Subscribing)]);
        let entry = Entry { serial: self.next_serial, machine, mailbox: mailbox.clone() };
        self.next_serial += 1;
        self.subscriptions.insert(channel.clone(), entry);
        Ok(mailbox)
    }

    /// Ends the subscription that reads `mailbox`, if it is still the channel's.
    pub(crate) fn unsubscribe(&mut self, channel: &ChannelId, mailbox: &Arc<Mailbox>) {
        let same =
            self.subscriptions.get(channel).is_some_and(|e| Arc::ptr_eq(&e.mailbox, mailbox));
        if same {
            self.subscriptions.remove(channel);
            if self.welcome.is_some() {
                self.leaving.insert(channel.clone(), Leaving::Unsent);
            }
        }
    }

    pub(crate) fn publish(
        &mut self,
        channel: ChannelId,
        publish: v1::Publish,
        tag: watch::Sender<SendState>,
    ) {
        let limit = self.payload_limit();
        let len = publish.payload.len();
        if self.ended {
            tag.send_replace(SendState::Failed(Error::Closed));
        } else if len > limit {
            tag.send_replace(SendState::Failed(Error::TooLarge { len, limit }));
        } else {
            match self.outbox.push(channel, publish, tag, self.welcome.is_some()) {
                Pushed::Taken => {}
                Pushed::Displaced(tag) => {
                    tag.send_replace(SendState::Failed(Error::QueueFull));
                }
                Pushed::Refused(tag, error) => {
                    tag.send_replace(SendState::Failed(error));
                }
            }
        }
    }

    pub(crate) fn send_ephemeral(&mut self, ephemeral: v1::Ephemeral) -> Result<(), Error> {
        if self.welcome.is_none() {
            let reason = "ephemerals are not kept".to_owned();
            return Err(Error::Disconnected { code: None, reason });
        }
        let same =
            |e: &&mut v1::Ephemeral| e.channel == ephemeral.channel && e.key == ephemeral.key;
        if let Some(older) = self.ephemerals.iter_mut().find(same) {
            older.payload = ephemeral.payload;
            return Ok(());
        }
        if self.ephemerals.len() >= WAITING_EPHEMERALS {
            self.ephemerals.pop_front();
        }
        self.ephemerals.push_back(ephemeral);
        Ok(())
    }

    pub(crate) fn call(
        &mut self,
        verb: Verb,
        now: Instant,
    ) -> Result<oneshot::Receiver<Answer>, Error> {
        if self.ended {
            return Err(Error::Closed);
        }
        self.calls.push(verb, now + self.command_timeout)
    }

    pub(crate) fn statistics(&self) -> Statistics {
        let mut stats = self.stats.clone();
        for entry in self.subscriptions.values() {
            add_counts(&mut stats, &entry.machine);
        }
        stats.outbox_publications = self.outbox.len();
        stats
    }

    // What the driver asks.

    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn take_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// True while the server owes an answer.
    pub(crate) fn is_owed(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// The next command to send on the present connection.
    pub(crate) fn poll_command(&mut self, now: Instant) -> Vec<(Route, v1::Command)> {
        if self.welcome.is_none() {
            return Vec::new();
        }
        let mut commands = Vec::new();
        self.poll_publications(now, &mut commands);
        self.poll_leaving(&mut commands);
        self.poll_subscriptions(now, &mut commands);
        self.poll_calls(now, &mut commands);
        for ephemeral in self.ephemerals.drain(..) {
            let verb = Some(Verb::Ephemeral(ephemeral));
            commands.push((Route::Datagram, v1::Command { id: 0, verb }));
        }
        commands
    }

    pub(crate) fn ping(&mut self, now: Instant, client_time_ms: u64) -> v1::Command {
        let verb = Verb::Ping(v1::Ping { client_time_ms });
        self.command(InFlight::Ping { sent: now }, verb)
    }

    pub(crate) fn refresh(&mut self, access_token: String) -> v1::Command {
        self.command(InFlight::Refresh, Verb::Refresh(v1::Refresh { access_token }))
    }

    /// When something may have to be given up by time alone, or to be sent on a connection that
    /// takes commands (`may_send`).
    pub(crate) fn deadline(&self, may_send: bool) -> Option<Instant> {
        let calls = self.calls.deadline();
        if self.welcome.is_none() || !may_send {
            return calls;
        }
        // A reply has to free a place before another question can be asked.
        let may_ask = self.open_questions() < IN_FLIGHT_SUBSCRIBES;
        let subscriptions = self
            .subscriptions
            .iter()
            .filter(|(channel, _)| may_ask && !self.leaving.contains_key(*channel))
            // Without room it is the reader that wakes the driver, not time.
            .filter_map(|(_, e)| e.machine.deadline().filter(|_| e.mailbox.room() > 0))
            .min();
        [calls, subscriptions, self.outbox.deadline()].into_iter().flatten().min()
    }

    /// Gives up what has waited too long; connected or not.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.calls.handle_timeout(now);
    }

    /// The connection is gone.
    pub(crate) fn handle_disconnected(&mut self) {
        self.welcome = None;
        self.forget_connection();
        self.ephemerals.clear();
        self.stats.transport = None;
        for entry in self.subscriptions.values() {
            entry.mailbox.put([Event::State(SubscriptionState::Subscribing)]);
        }
    }

    /// Pushes of the present connection were dropped: every channel makes sure of what it has.
    pub(crate) fn handle_pushes_lost(&mut self) {
        self.subscriptions.values_mut().for_each(|entry| entry.machine.handle_pushes_lost());
    }

    /// The next connection starts a new session.
    pub(crate) fn forget_ticket(&mut self) {
        self.resume_ticket = Bytes::new();
    }

    /// The client is closed: everyone who waits hears of it.
    pub(crate) fn fail_everything(&mut self, error: &Error) {
        self.ended = true;
        self.welcome = None;
        self.calls.fail_all(error);
        for tag in self.outbox.drain() {
            tag.send_replace(SendState::Failed(error.clone()));
        }
        for (_, entry) in self.subscriptions.drain() {
            add_counts(&mut self.stats, &entry.machine);
            entry.mailbox.end();
        }
    }

    fn poll_publications(&mut self, now: Instant, commands: &mut Vec<(Route, v1::Command)>) {
        let (mut sendings, given_up) = self.outbox.poll_resend(now, rand::random());
        for seq in given_up {
            if let Some(tag) = self.outbox.tag(seq) {
                tag.send_replace(SendState::NotSent);
            }
        }
        let budget = IN_FLIGHT_PUBLICATIONS.saturating_sub(self.outbox.in_flight());
        sendings.extend(self.outbox.poll_send(now, rand::random(), budget));
        for Sending { seq, publish } in sendings {
            if let Some(tag) = self.outbox.tag(seq) {
                tag.send_replace(SendState::Sent);
            }
            let command = self.command(InFlight::Publish { seq }, Verb::Publish(publish));
            commands.push((Route::Control, command));
        }
    }

    fn poll_leaving(&mut self, commands: &mut Vec<(Route, v1::Command)>) {
        let unsent: Vec<ChannelId> = self
            .leaving
            .iter()
            .filter(|(_, stage)| **stage == Leaving::Unsent)
            .map(|(channel, _)| channel.clone())
            .collect();
        for channel in unsent {
            self.leaving.insert(channel.clone(), Leaving::Sent);
            let verb = Verb::Unsubscribe(v1::Unsubscribe { channel: channel.to_string() });
            commands.push((Route::Control, self.command(InFlight::Unsubscribe { channel }, verb)));
        }
    }

    fn poll_subscriptions(&mut self, now: Instant, commands: &mut Vec<(Route, v1::Command)>) {
        let mut open = self.open_questions();
        let mut asks = Vec::new();
        for (channel, entry) in &mut self.subscriptions {
            if open >= IN_FLIGHT_SUBSCRIBES {
                break;
            }
            if self.leaving.contains_key(channel) {
                continue;
            }
            if let Some(ask) = entry.machine.poll_ask(now, entry.mailbox.room()) {
                let serial = entry.serial;
                asks.push((InFlight::Subscribe { channel: channel.clone(), serial }, ask));
                open += 1;
            }
        }
        for (in_flight, ask) in asks {
            commands.push((Route::Control, self.command(in_flight, Verb::Subscribe(ask))));
        }
    }

    fn open_questions(&self) -> usize {
        self.in_flight.values().filter(|f| matches!(f, InFlight::Subscribe { .. })).count()
    }

    fn poll_calls(&mut self, now: Instant, commands: &mut Vec<(Route, v1::Command)>) {
        self.calls.handle_timeout(now);
        while let Some((serial, verb)) = self.calls.poll_send() {
            let route = match verb {
                Verb::History(_) => Route::Bulk,
                _ => Route::Control,
            };
            commands.push((route, self.command(InFlight::Call { serial }, verb)));
        }
    }

    fn command(&mut self, in_flight: InFlight, verb: Verb) -> v1::Command {
        let id = self.take_id();
        self.in_flight.insert(id, in_flight);
        v1::Command { id, verb: Some(verb) }
    }

    /// Ids go up without end, so that a reply from an earlier connection is never taken for one
    /// of this connection; 0 is not an id.
    fn take_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        id
    }

    /// What hung on the connection has to be asked anew on the next.
    fn forget_connection(&mut self) {
        self.in_flight.clear();
        self.leaving.clear();
        self.outbox.handle_disconnected();
        self.calls.handle_disconnected();
        for entry in self.subscriptions.values_mut() {
            entry.machine.handle_detached();
        }
    }

    fn payload_limit(&self) -> usize {
        let told = self.welcome.as_ref().and_then(|welcome| welcome.limits.as_ref());
        told.map(|limits| limits.payload_bytes as usize)
            .filter(|limit| *limit > 0)
            .unwrap_or(limits::PAYLOAD_BYTES)
    }
}

fn add_counts(stats: &mut Statistics, machine: &Subscription) {
    stats.duplicates_dropped += machine.counts.duplicates;
    stats.gaps_recovered += machine.counts.gaps_recovered;
    stats.publications_received += machine.counts.delivered;
}

/// Subscriptions that a Hello has named, for the Welcome to compare with.
type Named = HashMap<ChannelId, u64>;

/// The three stay below the 64 commands that a server takes at a time, with some left for pings.
const IN_FLIGHT_PUBLICATIONS: usize = 32;
const IN_FLIGHT_SUBSCRIBES: usize = 8;
/// Ephemerals between two turns of the driver; beyond, the oldest goes.
const WAITING_EPHEMERALS: usize = 64;

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
