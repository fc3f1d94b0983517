//! What a push of a channel means to the sessions of each class of activity. The active ones are
//! woken at once. Those in the foreground have it in their outboxes, in its place, and are woken a
//! moment later, so that what comes together is one write. For all in the background together it is
//! one note, and later one beacon that they share.

use std::time::Duration;

use sterna_proto::v1::Activity;
use sterna_proto::{ChannelKey, Position};
use tokio::time::Instant;

use crate::fanout::hub::Slot;
use crate::session::Session;
use crate::worker::table::{Entry, Table};

impl Table {
    /// A session follows a channel in a class from here on.
    pub fn join(&mut self, channel: ChannelKey, slot: Slot, activity: Activity) {
        let Some(head) = self.hub.join(channel, slot, activity) else { return };
        if let Some(Some(entry)) = self.sessions.get_mut(slot as usize) {
            entry.session.handle_head(channel, head);
        }
    }

    /// Does something with every session that is subscribed to the channel, whatever its class, and
    /// wakes it; how many there are.
    pub fn for_subscribed(
        &mut self,
        channel: &ChannelKey,
        mut give: impl FnMut(&mut Session),
    ) -> usize {
        let mut reached = 0;
        for slot in self.hub.all(channel) {
            reached += 1;
            if let Some(Some(entry)) = self.sessions.get_mut(slot as usize) {
                give(&mut entry.session);
                wake(entry);
            }
        }
        reached
    }

    /// Sessions that are subscribed to the channel.
    pub fn listening(&self, channel: &ChannelKey) -> usize {
        self.hub.count(channel)
    }

    /// Gives a push to every active and foreground session of the channel; how many there are.
    pub fn for_following(
        &mut self,
        channel: &ChannelKey,
        linger: Duration,
        mut give: impl FnMut(&mut Session),
    ) -> usize {
        let active = self.hub.sessions(channel, Activity::Active);
        for slot in active {
            if let Some(Some(entry)) = self.sessions.get_mut(*slot as usize) {
                give(&mut entry.session);
                wake(entry);
            }
        }
        let foreground = self.hub.sessions(channel, Activity::Foreground);
        let mut merged = 0;
        for slot in foreground {
            let Some(Some(entry)) = self.sessions.get_mut(*slot as usize) else { continue };
            give(&mut entry.session);
            if entry.session.has_much_to_say() {
                wake(entry);
            } else if entry.is_merging {
                merged += 1;
            } else if entry.session.has_output() {
                entry.is_merging = true;
                self.later.plan_flush(*slot, entry.generation, linger);
            }
        }
        if merged > 0 {
            metrics::counter!("sterna_core_merged_total").increment(merged);
        }
        active.len() + foreground.len()
    }

    /// `pushes` publications up to `head` are not given to those in the background; how many those
    /// are. However many: a note, and a beacon `period` later unless one is planned.
    pub fn withhold(
        &mut self,
        channel: &ChannelKey,
        head: Position,
        pushes: usize,
        period: Duration,
    ) -> usize {
        let Some((sessions, is_first)) = self.hub.note_news(channel, head) else { return 0 };
        if is_first {
            self.later.plan_beacon(*channel, period);
        }
        metrics::counter!("sterna_core_withheld_total").increment((sessions * pushes) as u64);
        sessions
    }

    /// Sends what was to wait until now.
    pub fn tell_due(&mut self, now: Instant) {
        while let Some((slot, generation)) = self.later.due_flush(now) {
            let Some(entry) = self.entry(slot, generation) else { continue };
            entry.is_merging = false;
            wake(entry);
        }
        while let Some(channel) = self.later.due_beacon(now) {
            self.tell_news(&channel);
        }
    }

    /// When [`tell_due`](Self::tell_due) has something.
    pub fn next_due(&self) -> Option<Instant> {
        self.later.next_at()
    }

    fn tell_news(&mut self, channel: &ChannelKey) {
        let Some((head, slots)) = self.hub.take_news(channel) else { return };
        let (mut beacon, mut told) = (None, 0);
        for slot in slots {
            let Some(Some(entry)) = self.sessions.get_mut(*slot as usize) else { continue };
            told += u64::from(entry.session.handle_news(*channel, head, &mut beacon));
            wake(entry);
        }
        metrics::counter!("sterna_core_background_heads_total").increment(told);
    }
}

fn wake(entry: &Entry) {
    if entry.session.has_output() {
        entry.wake.notify();
    }
}
