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

/// A session that is given what is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    slot: Slot,
    /// Active or foreground.
    activity: Activity,
}

/// The active and foreground sessions of a channel at some moment.
#[derive(Debug, Clone, Default)]
pub struct Followers {
    pub sessions: Vec<Follower>,
    /// Which moment; another number means that others may follow.
    as_of: u64,
}

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

    /// Whether others follow the channel now than are known; then these are known.
    pub fn look_at_followers(&self, channel: &ChannelKey, known: &mut Followers) -> bool {
        let as_of = self.hub.changed_at(channel);
        if known.as_of == as_of {
            return false;
        }
        known.as_of = as_of;
        known.sessions.clear();
        for activity in [Activity::Active, Activity::Foreground] {
            let slots = self.hub.sessions(channel, activity).iter();
            known.sessions.extend(slots.map(|slot| Follower { slot: *slot, activity }));
        }
        true
    }

    /// Gives a push to every active and foreground session of the channel; how many there are.
    pub fn for_following(
        &mut self,
        channel: &ChannelKey,
        linger: Duration,
        give: impl FnMut(&mut Session),
    ) -> usize {
        let mut followers = Followers::default();
        self.look_at_followers(channel, &mut followers);
        self.give(&followers.sessions, linger, give);
        followers.sessions.len()
    }

    /// Gives a push to these sessions, those of them that still have a connection.
    pub fn give(
        &mut self,
        followers: &[Follower],
        linger: Duration,
        mut give: impl FnMut(&mut Session),
    ) {
        let mut merged = 0;
        for Follower { slot, activity } in followers {
            let entry = self.sessions.get_mut(*slot as usize).and_then(Option::as_mut);
            let Some(entry) = entry.filter(|entry| entry.attached) else { continue };
            give(&mut entry.session);
            if *activity == Activity::Active || entry.session.has_much_to_say() {
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

#[cfg(test)]
impl Followers {
    pub fn active(slots: &[Slot], as_of: u64) -> Self {
        let active = |slot: &Slot| Follower { slot: *slot, activity: Activity::Active };
        Self { sessions: slots.iter().map(active).collect(), as_of }
    }

    pub fn as_of(&self) -> u64 {
        self.as_of
    }
}

#[cfg(test)]
impl Follower {
    pub fn slot(&self) -> Slot {
        self.slot
    }
}

fn wake(entry: &Entry) {
    if entry.session.has_output() {
        entry.wake.notify();
    }
}
