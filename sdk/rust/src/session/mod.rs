//! The session as a state machine: outbox, subscriptions, calls and the ids of what is in flight.
//! Handles change it, the driver feeds it frames and time and sends what it says. It never touches
//! a socket, a task or a clock. It outlives connections; [`Session::fail_everything`] ends it.

mod activity;
pub(crate) mod background;
pub(crate) mod backoff;
pub(crate) mod calls;
mod greeting;
mod in_flight;
mod leaving;
pub(crate) mod liveness;
pub(crate) mod outbox;
mod polling;
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
use crate::outbox_store::{OutboxChange, StoredPublication};
use calls::{Answer, Calls};
use in_flight::InFlights;
use leaving::Leaving;
use outbox::{Outbox, Pushed};
use polling::WAITING_EPHEMERALS;
use subscription::Subscription;

pub(crate) use greeting::Greeting;

#[derive(Debug)]
pub(crate) struct Session {
    client_id: String,
    user_agent: String,
    /// What the device is connected through, as the application says.
    network: v1::Network,
    outbox: Outbox<watch::Sender<SendState>>,
    subscriptions: HashMap<ChannelId, Entry>,
    next_serial: u64,
    /// Channels whose Unsubscribe has still to be sent, or to be answered.
    leaving: HashMap<ChannelId, Leaving>,
    calls: Calls,
    ephemerals: VecDeque<v1::Ephemeral>,
    in_flight: InFlights,
    resume_ticket: Bytes,
    welcome: Option<v1::Welcome>,
    command_timeout: Duration,
    notices: VecDeque<Notice>,
    /// Counts what may have changed the user's inbox; `None` when nothing more comes.
    inbox_touches: watch::Sender<Option<u64>>,
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
        stored: bool,
        command_timeout: Duration,
    ) -> Self {
        Self {
            client_id,
            user_agent,
            network: v1::Network::Unspecified,
            outbox: Outbox::new(outbox, first_seq, stored),
            subscriptions: HashMap::new(),
            next_serial: 0,
            leaving: HashMap::new(),
            calls: Calls::default(),
            ephemerals: VecDeque::new(),
            in_flight: InFlights::new(),
            resume_ticket: Bytes::new(),
            welcome: None,
            command_timeout,
            notices: VecDeque::new(),
            inbox_touches: watch::Sender::new(Some(0)),
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
        let machine = Subscription::new(channel.clone(), options, self.command_timeout);
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
                self.leaving.insert(channel.clone(), Leaving::new());
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

    /// Takes back what an earlier process has published and nobody has answered for.
    pub(crate) fn restore(
        &mut self,
        channel: ChannelId,
        stored: StoredPublication,
        tag: watch::Sender<SendState>,
    ) {
        self.outbox.restore(channel, stored, tag);
    }

    /// What the store has to be told, in this order.
    pub(crate) fn take_outbox_changes(&mut self) -> Vec<OutboxChange> {
        self.outbox.take_changes()
    }

    /// The store has the publications with these numbers, or says why not. With `lost` it will
    /// not take any more.
    pub(crate) fn handle_saved(&mut self, seqs: &[u64], outcome: Result<(), Error>, lost: bool) {
        match outcome {
            Ok(()) => self.outbox.handle_saved(seqs),
            Err(error) => {
                for tag in self.outbox.handle_not_saved(seqs, lost.then_some(&error)) {
                    tag.send_replace(SendState::Failed(error.clone()));
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

    pub(crate) fn watch_inbox(&self) -> watch::Receiver<Option<u64>> {
        self.inbox_touches.subscribe()
    }

    /// Somebody wants to hear of touches.
    pub(crate) fn is_inbox_watched(&self) -> bool {
        self.inbox_touches.receiver_count() > 0
    }

    /// The inbox may have changed.
    fn on_inbox_touched(&self) {
        self.inbox_touches.send_modify(|count| *count = count.map(|count| count + 1));
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
        self.on_inbox_touched();
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
        self.inbox_touches.send_replace(None);
        self.calls.fail_all(error);
        for tag in self.outbox.drain() {
            tag.send_replace(SendState::Failed(error.clone()));
        }
        for (_, entry) in self.subscriptions.drain() {
            add_counts(&mut self.stats, &entry.machine);
            entry.mailbox.end();
        }
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

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
