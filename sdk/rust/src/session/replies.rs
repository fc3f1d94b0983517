//! What the server says: replies to what is in flight, and pushes.

use std::time::{Duration, Instant};

use sterna_proto::v1::{self, frame::Body, push, reply};
use sterna_proto::{ChannelId, ErrorCode, Position};

use super::greeting::channel_of;
use super::in_flight::{Answered, InFlight};
use super::subscription::Subscription;
use super::{Notice, Session, add_counts};
use crate::Error;
use crate::event::{Ack, Event, SendState};

impl Session {
    /// Takes a frame of the present connection.
    pub(crate) fn handle_frame(&mut self, frame: v1::Frame, now: Instant) {
        match frame.body {
            Some(Body::Reply(v1::Reply { id, result: Some(result) })) => {
                self.handle_reply(id, result, now);
            }
            Some(Body::Push(v1::Push { event: Some(event) })) => self.handle_push(event, now),
            // From a newer server, or not for clients.
            _ => {}
        }
    }

    fn handle_reply(&mut self, id: u32, result: reply::Result, now: Instant) {
        // A reply without its command: of an earlier connection, or forgotten.
        let Some(Answered { what, late }) = self.in_flight.take(id) else { return };
        match what {
            InFlight::Publish { seq } => self.handle_published(seq, result, now),
            InFlight::Subscribe { channel, serial } => {
                // Of a subscription that was dropped since, the channel's next one hears nothing.
                let entry = self.subscriptions.get(&channel).filter(|e| e.serial == serial);
                let Some(entry) = entry else { return };
                if !late || matters_late(&entry.machine, &result) {
                    self.handle_subscribe_reply(&channel, result, now);
                }
            }
            InFlight::Unsubscribe { channel } => {
                // Whatever the answer, the server no longer pushes this channel.
                if self.leaving.get(&channel).is_some_and(|leaving| leaving.ends_with(id)) {
                    self.leaving.remove(&channel);
                }
            }
            // Given up: whatever was wanted since is said already, or waits for a question.
            InFlight::SetActivity { .. } if late => {}
            InFlight::SetActivity { channel, serial } => {
                self.handle_activity_reply(&channel, serial, &result, now);
            }
            InFlight::Call { serial } => {
                let answer = match result {
                    reply::Result::Error(error) => Err(error.into()),
                    result => Ok(result),
                };
                self.calls.handle_answer(serial, answer);
            }
            InFlight::Ping { sent } => self.handle_pong(sent, result, now),
            InFlight::Refresh => match result {
                // The next attempt is due already and hears the same.
                reply::Result::Error(_) if late => {}
                reply::Result::Error(error) => {
                    self.notices.push_back(Notice::RefreshFailed(error.into()));
                }
                _ => self.notices.push_back(Notice::Refreshed),
            },
        }
    }

    fn handle_published(&mut self, seq: u64, result: reply::Result, now: Instant) {
        let state = match result {
            reply::Result::Published(published) => SendState::Acked(Ack {
                position: Position::new(published.epoch, published.offset),
                id: published.id,
                duplicate: published.duplicate,
                server_ts_ms: published.server_ts_ms,
            }),
            reply::Result::Error(error) if is_retryable(&error) => {
                return self.outbox.hold(seq, now + retry_after(&error));
            }
            reply::Result::Error(error) => SendState::Failed(error.into()),
            _ => SendState::Failed(Error::Protocol("a Publish was not answered as one".into())),
        };
        if let Some(tag) = self.outbox.remove(seq) {
            tag.send_replace(state);
        }
    }

    fn handle_subscribe_reply(&mut self, channel: &ChannelId, result: reply::Result, now: Instant) {
        match result {
            reply::Result::Subscribed(subscribed) => {
                self.handle_subscribed(channel, subscribed, now);
            }
            reply::Result::Error(error) => self.handle_refused(channel, error, now),
            _ => self.end_subscription(
                channel,
                Error::Protocol("a Subscribe was not answered as one".into()),
            ),
        }
    }

    fn handle_subscribed(
        &mut self,
        channel: &ChannelId,
        mut subscribed: v1::Subscribed,
        now: Instant,
    ) {
        if let Some(error) = subscribed.error.take() {
            return self.handle_refused(channel, error, now);
        }
        self.with_subscription(channel, |machine, room, out| {
            machine.handle_subscribed(subscribed, now, room, out);
        });
    }

    fn handle_refused(&mut self, channel: &ChannelId, error: v1::Error, now: Instant) {
        if self.leaving.contains_key(channel) {
            return;
        }
        if is_retryable(&error) {
            if let Some(entry) = self.subscriptions.get_mut(channel) {
                entry.machine.handle_refused(now + retry_after(&error));
            }
        } else {
            self.end_subscription(channel, error.into());
        }
    }

    fn handle_pong(&mut self, sent: Instant, result: reply::Result, now: Instant) {
        if let reply::Result::Pong(pong) = result {
            self.stats.round_trip = Some(now.saturating_duration_since(sent));
            self.on_observed(pong.observed_address);
        }
    }

    fn handle_push(&mut self, event: push::Event, now: Instant) {
        match event {
            push::Event::Publication(publication) => {
                let Some(channel) = channel_of(&publication.channel) else { return };
                self.with_subscription(&channel, |machine, room, out| {
                    machine.handle_publication(publication, room, out);
                });
            }
            push::Event::Subscribed(subscribed) => {
                let Some(channel) = channel_of(&subscribed.channel) else { return };
                self.handle_subscribed(&channel, subscribed, now);
            }
            push::Event::Gap(gap) => {
                let Some(channel) = channel_of(&gap.channel) else { return };
                self.with_subscription(&channel, |machine, _, _| machine.handle_gap(&gap));
            }
            push::Event::Head(head) => {
                let Some(channel) = channel_of(&head.channel) else { return };
                self.handle_head(&channel, &head);
            }
            push::Event::Ephemeral(event) => {
                self.pass_on(event.channel.clone(), event, Event::Ephemeral);
            }
            push::Event::Receipt(event) => {
                self.pass_on(event.channel.clone(), event, Event::Receipt);
            }
            push::Event::Presence(event) => {
                self.pass_on(event.channel.clone(), event, Event::Presence);
            }
            push::Event::PresenceGap(gap) => {
                self.pass_on(gap.channel, (), |()| Event::PresenceGap);
            }
            push::Event::GoAway(go_away) => self.notices.push_back(Notice::GoAway(go_away)),
            push::Event::InboxTouched(_) => self.on_inbox_touched(),
            push::Event::Unsubscribed(unsubscribed) => self.handle_unsubscribed(unsubscribed, now),
            push::Event::PathChanged(path) => {
                self.stats.path_changes += 1;
                self.stats.observed_address = path.observed_address;
            }
        }
    }

    fn handle_unsubscribed(&mut self, unsubscribed: v1::Unsubscribed, now: Instant) {
        let Some(channel) = channel_of(&unsubscribed.channel) else { return };
        let error = unsubscribed.error.unwrap_or_else(|| {
            v1::Error::new(ErrorCode::NotSubscribed, "the server ended the subscription")
        });
        self.handle_refused(&channel, error, now);
    }

    fn end_subscription(&mut self, channel: &ChannelId, error: Error) {
        if let Some(entry) = self.subscriptions.remove(channel) {
            add_counts(&mut self.stats, &entry.machine);
            entry.mailbox.put([Event::Error(error)]);
            entry.mailbox.end();
        }
    }

    /// Runs the channel's machine and puts what it delivers into the mailbox. A channel that is
    /// being left, or never was subscribed, has none.
    pub(super) fn with_subscription(
        &mut self,
        channel: &ChannelId,
        run: impl FnOnce(&mut Subscription, usize, &mut Vec<Event>),
    ) {
        if self.leaving.contains_key(channel) {
            return;
        }
        let Some(entry) = self.subscriptions.get_mut(channel) else { return };
        let mut out = Vec::new();
        run(&mut entry.machine, entry.mailbox.room(), &mut out);
        if !out.is_empty() {
            entry.mailbox.put(out);
        }
    }

    fn pass_on<T>(&self, channel: String, event: T, wrap: impl FnOnce(T) -> Event) {
        if let Some(entry) = self.subscriptions.get(channel.as_str()) {
            entry.mailbox.put([wrap(event)]);
        }
    }

    fn on_observed(&mut self, address: String) {
        if !address.is_empty() && address != self.stats.observed_address {
            self.stats.path_changes += u64::from(!self.stats.observed_address.is_empty());
            self.stats.observed_address = address;
        }
    }
}

/// Whether the late answer to a question tells more than what was asked and heard since. What was
/// delivered always does; a refusal only while nothing newer was answered, and one that may be
/// tried again only while nothing newer is on its way.
fn matters_late(machine: &Subscription, result: &reply::Result) -> bool {
    let error = match result {
        reply::Result::Error(error) => error,
        reply::Result::Subscribed(v1::Subscribed { error: Some(error), .. }) => error,
        _ => return true,
    };
    machine.is_unanswered() && !(is_retryable(error) && machine.is_asking())
}

/// By the table where this version knows the code, else by what the server says.
pub(super) fn is_retryable(error: &v1::Error) -> bool {
    ErrorCode::from_number(error.code).map_or(error.retryable, ErrorCode::is_retryable)
}

pub(super) fn retry_after(error: &v1::Error) -> Duration {
    match error.retry_after_ms {
        0 => DEFAULT_RETRY.mul_f64(0.5 + rand::random::<f64>()),
        ms => Duration::from_millis(ms.into()).min(LONGEST_RETRY),
    }
}

const DEFAULT_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
