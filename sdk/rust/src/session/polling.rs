//! What the session wants sent now, and when it wants to be asked again. The driver calls it in
//! every turn. Pure.

use std::time::Instant;

use sterna_proto::v1::{self, command::Verb};

use super::activity::IN_FLIGHT_ACTIVITIES;
use super::in_flight::InFlight;
use super::leaving::Leaving;
use super::outbox::Sending;
use super::{Entry, Notice, Route, Session};
use crate::Error;
use crate::event::SendState;

impl Session {
    /// The next command to send on the present connection.
    pub(crate) fn poll_command(&mut self, now: Instant) -> Vec<(Route, v1::Command)> {
        if self.welcome.is_none() {
            return Vec::new();
        }
        let mut commands = Vec::new();
        self.poll_publications(now, &mut commands);
        self.poll_leaving(now, &mut commands);
        self.poll_subscriptions(now, &mut commands);
        self.poll_activities(now, &mut commands);
        self.poll_calls(now, &mut commands);
        for ephemeral in self.ephemerals.drain(..) {
            let verb = Some(Verb::Ephemeral(ephemeral));
            commands.push((Route::Datagram, v1::Command { id: 0, verb }));
        }
        commands
    }

    /// True if that is new, and a ping has to say it.
    pub(crate) fn set_network(&mut self, network: v1::Network) -> bool {
        std::mem::replace(&mut self.network, network) != network
    }

    pub(crate) fn ping(&mut self, now: Instant, client_time_ms: u64) -> v1::Command {
        let verb = Verb::Ping(v1::Ping { client_time_ms, network: self.network.into() });
        self.command(InFlight::Ping { sent: now }, verb, now)
    }

    pub(crate) fn refresh(&mut self, now: Instant, access_token: String) -> v1::Command {
        self.command(InFlight::Refresh, Verb::Refresh(v1::Refresh { access_token }), now)
    }

    /// When something may have to be given up by time alone, or to be sent on a connection that
    /// takes commands (`may_send`).
    pub(crate) fn deadline(&self, may_send: bool) -> Option<Instant> {
        let calls = self.calls.deadline();
        if self.welcome.is_none() || !may_send {
            return calls;
        }
        let answers = self.subscriptions.values().filter_map(|e| e.machine.answer_deadline()).min();
        let leaving = self.leaving.values().filter_map(Leaving::deadline).min();
        let overdue = self.in_flight.deadline(self.command_timeout);
        let asks = self.next_ask();
        let words = self.next_word();
        let outbox = self.outbox.deadline();
        [calls, answers, leaving, overdue, asks, words, outbox].into_iter().flatten().min()
    }

    /// When a change of activity that was refused may be said again.
    fn next_word(&self) -> Option<Instant> {
        // As for questions, below.
        if self.in_flight.activities() >= IN_FLIGHT_ACTIVITIES {
            return None;
        }
        self.subscriptions.values().filter_map(|e| e.machine.activity_deadline()).min()
    }

    /// When a question that had to wait may be asked.
    fn next_ask(&self) -> Option<Instant> {
        // An answer, or its absence, has to free a place before another question can be asked.
        if self.in_flight.questions() >= IN_FLIGHT_SUBSCRIBES {
            return None;
        }
        self.subscriptions
            .iter()
            .filter(|(channel, _)| !self.leaving.contains_key(*channel))
            // Without room it is the reader that wakes the driver, not time.
            .filter_map(|(_, e)| e.machine.wanted_since().filter(|_| e.mailbox.room() > 0))
            .min()
    }

    /// Gives up what has waited too long; connected or not.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.calls.handle_timeout(now);
        for what in self.in_flight.expire(now, self.command_timeout) {
            match what {
                InFlight::Unsubscribe { channel } => {
                    if let Some(leaving) = self.leaving.get_mut(&channel) {
                        leaving.on_unanswered(now, rand::random());
                    }
                }
                InFlight::SetActivity { channel, serial } => {
                    self.on_activity_said(&channel, serial);
                }
                InFlight::Refresh => self.notices.push_back(Notice::RefreshFailed(Error::Timeout)),
                // Each has a clock of its own: the outbox, the machine below, the calls above.
                InFlight::Publish { .. }
                | InFlight::Subscribe { .. }
                | InFlight::Call { .. }
                | InFlight::Ping { .. } => {}
            }
        }
        // Those that a Hello has asked for are not in flight by themselves.
        let overdue =
            |entry: &&mut Entry| entry.machine.answer_deadline().is_some_and(|at| at <= now);
        for entry in self.subscriptions.values_mut().filter(overdue) {
            entry.machine.handle_timeout(now, rand::random());
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
            let command = self.command(InFlight::Publish { seq }, Verb::Publish(publish), now);
            commands.push((Route::Control, command));
        }
    }

    fn poll_leaving(&mut self, now: Instant, commands: &mut Vec<(Route, v1::Command)>) {
        for (channel, leaving) in self.leaving.iter_mut().filter(|(_, l)| l.is_due(now)) {
            let in_flight = InFlight::Unsubscribe { channel: channel.clone() };
            let id = self.in_flight.insert(in_flight, now);
            leaving.on_sent(id);
            let verb = Some(Verb::Unsubscribe(v1::Unsubscribe { channel: channel.to_string() }));
            commands.push((Route::Control, v1::Command { id, verb }));
        }
    }

    /// Who has waited longest asks first, so that channels that nobody answers for do not keep
    /// the others from asking.
    fn poll_subscriptions(&mut self, now: Instant, commands: &mut Vec<(Route, v1::Command)>) {
        let free = IN_FLIGHT_SUBSCRIBES.saturating_sub(self.in_flight.questions());
        if free == 0 {
            return;
        }
        let leaving = &self.leaving;
        let mut waiting: Vec<_> = self
            .subscriptions
            .iter_mut()
            .filter(|(channel, entry)| {
                entry.machine.waits_to_ask() && !leaving.contains_key(*channel)
            })
            .collect();
        waiting.sort_by_key(|(_, entry)| entry.machine.wanted_since());
        let mut asks = Vec::new();
        for (channel, entry) in waiting {
            if asks.len() >= free {
                break;
            }
            if let Some(ask) = entry.machine.poll_ask(now, entry.mailbox.room()) {
                let serial = entry.serial;
                asks.push((InFlight::Subscribe { channel: channel.clone(), serial }, ask));
            }
        }
        for (in_flight, ask) in asks {
            commands.push((Route::Control, self.command(in_flight, Verb::Subscribe(ask), now)));
        }
    }

    fn poll_calls(&mut self, now: Instant, commands: &mut Vec<(Route, v1::Command)>) {
        self.calls.handle_timeout(now);
        while let Some((serial, verb)) = self.calls.poll_send() {
            let route = match verb {
                Verb::History(_) => Route::Bulk,
                _ => Route::Control,
            };
            commands.push((route, self.command(InFlight::Call { serial }, verb, now)));
        }
    }

    fn command(&mut self, in_flight: InFlight, verb: Verb, now: Instant) -> v1::Command {
        let id = self.in_flight.insert(in_flight, now);
        v1::Command { id, verb: Some(verb) }
    }
}

/// The three stay below the 64 commands that a server takes at a time, with some left for pings.
const IN_FLIGHT_PUBLICATIONS: usize = 32;
pub(super) const IN_FLIGHT_SUBSCRIBES: usize = 8;
/// Ephemerals between two turns of the driver; beyond, the oldest goes.
pub(super) const WAITING_EPHEMERALS: usize = 64;
