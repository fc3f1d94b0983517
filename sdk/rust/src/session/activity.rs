//! How closely a subscription follows its channel: what the application wants, and what the node was
//! told. Every question says it, too; a word of its own is sent only while nothing is asked. Pure.

use std::sync::Arc;
use std::time::Instant;

use sterna_proto::v1::{self, command::Verb, reply};
use sterna_proto::{ChannelId, Epoch, Offset};

use super::in_flight::InFlight;
use super::replies::{is_retryable, retry_after};
use super::{Route, Session};
use crate::event::Event;
use crate::mailbox::Mailbox;
use crate::options::Activity;

impl Session {
    /// Of the subscription that reads `mailbox`, if it is still the channel's.
    pub(crate) fn set_activity(
        &mut self,
        channel: &ChannelId,
        mailbox: &Arc<Mailbox>,
        activity: Activity,
    ) {
        let entry = self.subscriptions.get_mut(channel);
        if let Some(entry) = entry.filter(|entry| Arc::ptr_eq(&entry.mailbox, mailbox)) {
            entry.machine.set_activity(activity);
        }
    }

    /// What nodes have to be told; at most one word of a channel is on its way.
    pub(super) fn poll_activities(
        &mut self,
        now: Instant,
        commands: &mut Vec<(Route, v1::Command)>,
    ) {
        for (channel, entry) in &mut self.subscriptions {
            if self.in_flight.activities() >= IN_FLIGHT_ACTIVITIES {
                return;
            }
            let Some(activity) = entry.machine.poll_activity(now) else { continue };
            let in_flight =
                InFlight::SetActivity { channel: channel.clone(), serial: entry.serial };
            let id = self.in_flight.insert(in_flight, now);
            let set = v1::SetActivity { channel: channel.to_string(), activity: activity.into() };
            commands.push((Route::Control, v1::Command { id, verb: Some(Verb::SetActivity(set)) }));
        }
    }

    pub(super) fn handle_activity_reply(
        &mut self,
        channel: &ChannelId,
        serial: u64,
        result: &reply::Result,
        now: Instant,
    ) {
        let reply::Result::Error(error) = result else {
            return self.on_activity_said(channel, serial);
        };
        let entry = self.subscriptions.get_mut(channel).filter(|entry| entry.serial == serial);
        if let Some(entry) = entry.filter(|_| is_retryable(error)) {
            entry.machine.on_activity_refused(now + retry_after(error));
        } else {
            self.on_activity_said(channel, serial);
        }
    }

    /// Answered, refused by a node that knows no classes, or given up: what is not as wanted by now
    /// is said again with the next question or change.
    pub(super) fn on_activity_said(&mut self, channel: &ChannelId, serial: u64) {
        let entry = self.subscriptions.get_mut(channel).filter(|entry| entry.serial == serial);
        if let Some(entry) = entry {
            entry.machine.on_activity_said();
        }
    }

    /// The node says where a channel ends.
    pub(super) fn handle_head(&mut self, channel: &ChannelId, head: &v1::Head) {
        self.with_subscription(channel, |machine, _, out: &mut Vec<Event>| {
            machine.handle_head(Epoch(head.epoch), Offset(head.offset));
            machine.show_head(out);
        });
    }
}

/// With everything else this stays below the 64 commands that a server takes at a time.
pub(super) const IN_FLIGHT_ACTIVITIES: usize = 4;
