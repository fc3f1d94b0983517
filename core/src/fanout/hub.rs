//! One worker's subscriptions: which of its sessions want which channel, and how closely they follow
//! it. Pure, single-threaded; a publication enters a worker once and a plain loop over
//! [`Hub::sessions`] delivers it. For all sessions in the background together it is one note of where
//! the channel ends.

use std::collections::HashMap;

use ahash::RandomState;
use sterna_proto::v1::Activity;
use sterna_proto::{ChannelKey, Position};

/// Index of a session in its worker's table.
pub type Slot = u32;

#[derive(Debug, Default)]
pub struct Hub {
    channels: HashMap<ChannelKey, Listeners, RandomState>,
    /// Times that a session has joined, left, or changed its class.
    changes: u64,
}

/// The sessions that want a channel, by class of activity.
#[derive(Debug, Default)]
struct Listeners {
    active: Vec<Slot>,
    foreground: Vec<Slot>,
    background: Vec<Slot>,
    /// The newest position that was noted instead of being given to those in the background.
    news: Option<Position>,
    /// A beacon of `news` is due.
    is_owed: bool,
    /// The newest of the hub's changes that was one of this channel.
    changed_at: u64,
}

/// Whether the hub still wants a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    Kept,
    /// The last subscription is gone: detach from the owner.
    Lost,
}

impl Listeners {
    fn all(&self) -> impl Iterator<Item = Slot> {
        [&self.active, &self.foreground, &self.background].into_iter().flatten().copied()
    }

    fn class(&mut self, activity: Activity) -> &mut Vec<Slot> {
        match activity {
            Activity::Active => &mut self.active,
            Activity::Foreground => &mut self.foreground,
            Activity::Background => &mut self.background,
        }
    }

    /// Whether the session was in the class.
    fn take(&mut self, activity: Activity, session: Slot) -> bool {
        let class = self.class(activity);
        let before = class.len();
        class.retain(|other| *other != session);
        class.len() < before
    }
}

impl Hub {
    /// The session follows the channel in this class from here on. Returns where the channel ends if
    /// the session comes out of the background, where it was not given what lies before.
    pub fn join(
        &mut self,
        channel: ChannelKey,
        session: Slot,
        activity: Activity,
    ) -> Option<Position> {
        let listeners = self.channels.entry(channel).or_default();
        if listeners.class(activity).contains(&session) {
            return None;
        }
        let others = [Activity::Active, Activity::Foreground, Activity::Background];
        let before = others.into_iter().find(|class| listeners.take(*class, session));
        listeners.class(activity).push(session);
        self.changes += 1;
        listeners.changed_at = self.changes;
        listeners.news.filter(|_| before == Some(Activity::Background))
    }

    pub fn leave(&mut self, channel: ChannelKey, session: Slot) -> Interest {
        let Some(listeners) = self.channels.get_mut(&channel) else { return Interest::Kept };
        for activity in [Activity::Active, Activity::Foreground, Activity::Background] {
            listeners.take(activity, session);
        }
        self.changes += 1;
        listeners.changed_at = self.changes;
        if listeners.all().next().is_some() {
            return Interest::Kept;
        }
        self.channels.remove(&channel);
        Interest::Lost
    }

    /// The sessions that are given what is published, in this class.
    pub fn sessions(&self, channel: &ChannelKey, activity: Activity) -> &[Slot] {
        let Some(listeners) = self.channels.get(channel) else { return &[] };
        let sessions = match activity {
            Activity::Active => &listeners.active,
            Activity::Foreground => &listeners.foreground,
            Activity::Background => &listeners.background,
        };
        if sterna_storage::planted!(HubSkipsLast) && sessions.len() > 1 {
            return &sessions[..sessions.len() - 1];
        }
        sessions
    }

    /// A number that is another one once others listen to the channel; 0: nobody does.
    pub fn changed_at(&self, channel: &ChannelKey) -> u64 {
        self.channels.get(channel).map_or(0, |listeners| listeners.changed_at)
    }

    /// The sessions of all classes.
    pub fn all(&self, channel: &ChannelKey) -> impl Iterator<Item = Slot> {
        self.channels.get(channel).into_iter().flat_map(Listeners::all)
    }

    /// How many sessions of all classes.
    pub fn count(&self, channel: &ChannelKey) -> usize {
        let count = |it: &Listeners| it.active.len() + it.foreground.len() + it.background.len();
        self.channels.get(channel).map_or(0, count)
    }

    /// Something was published, or lost on the way. `None`: nobody is in the background. Otherwise
    /// how many are, and whether a beacon has to be planned.
    pub fn note_news(&mut self, channel: &ChannelKey, head: Position) -> Option<(usize, bool)> {
        let listeners = self.channels.get_mut(channel)?;
        if listeners.background.is_empty() {
            // Whoever comes from there has been told, or is asked where it stands.
            listeners.news = None;
            return None;
        }
        listeners.news = listeners.news.max(Some(head));
        let is_first = !std::mem::replace(&mut listeners.is_owed, true);
        Some((listeners.background.len(), is_first))
    }

    /// The planned beacon is due: where the channel ends, and whom to tell.
    pub fn take_news(&mut self, channel: &ChannelKey) -> Option<(Position, &[Slot])> {
        let listeners = self.channels.get_mut(channel)?;
        listeners.is_owed = false;
        Some((listeners.news?, &listeners.background))
    }

    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_proto::ChannelId;

    fn key() -> ChannelKey {
        ChannelId::new("room:1").unwrap().key()
    }

    #[test]
    fn interest_is_lost_with_the_last_subscription() {
        let (key, mut hub) = (key(), Hub::default());
        hub.join(key, 1, Activity::Active);
        hub.join(key, 2, Activity::Background);
        hub.join(key, 1, Activity::Active);
        assert_eq!(hub.sessions(&key, Activity::Active), [1]);
        assert_eq!(hub.leave(key, 1), Interest::Kept);
        assert_eq!(hub.leave(key, 1), Interest::Kept);
        assert_eq!(hub.leave(key, 2), Interest::Lost);
        assert_eq!(hub.channel_count(), 0);
    }

    #[test]
    fn one_beacon_is_planned_for_all_news_and_all_sessions() {
        let (key, mut hub) = (key(), Hub::default());
        hub.join(key, 1, Activity::Active);
        assert_eq!(hub.note_news(&key, Position::new(1, 1)), None, "nobody is in the background");
        for slot in 2..=4 {
            hub.join(key, slot, Activity::Background);
        }
        assert_eq!(hub.note_news(&key, Position::new(1, 2)), Some((3, true)));
        assert_eq!(hub.note_news(&key, Position::new(1, 3)), Some((3, false)));
        assert_eq!(hub.take_news(&key), Some((Position::new(1, 3), &[2, 3, 4][..])));
        assert_eq!(hub.note_news(&key, Position::new(1, 4)), Some((3, true)));
    }

    #[test]
    fn i5_who_comes_out_of_the_background_learns_where_the_channel_ends() {
        let (key, mut hub) = (key(), Hub::default());
        assert_eq!(hub.join(key, 1, Activity::Background), None);
        assert_eq!(hub.join(key, 1, Activity::Active), None, "nothing was published");
        hub.join(key, 1, Activity::Background);
        hub.note_news(&key, Position::new(1, 2));
        assert_eq!(hub.join(key, 1, Activity::Foreground), Some(Position::new(1, 2)));
        assert_eq!(hub.join(key, 1, Activity::Active), None, "it was given all since");
        assert_eq!(hub.all(&key).collect::<Vec<_>>(), [1], "a session is in one class");
    }
}
