//! What a session says about its own presence. Pure.
//!
//! A session is present in a channel until it says otherwise, whatever becomes of its connections:
//! so nothing here may be forgotten with a connection.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use ahash::RandomState;
use sterna_proto::{ChannelId, ChannelKey, SessionId, v1};

use crate::link::{LinkCommand, Verb};
use crate::session::session::{Effect, Session};

/// What a session knows of its presence beside its subscriptions.
#[derive(Debug, Default)]
pub(super) struct OwnPresence {
    /// Counts what is said, across connections.
    turn: u64,
    /// Channels in which an earlier connection was present and which this one names, but has not
    /// asked for yet.
    inherited: HashMap<ChannelKey, ChannelId, RandomState>,
    /// Channels of which the client keeps the list, and which were not asked for yet.
    watched: HashSet<ChannelKey, RandomState>,
    /// What the client had at another edge, as it says itself. Nothing is proved by it, and nothing
    /// needs to be: an owner takes it out for the user who has said so, and for nobody else.
    pub(super) former: Option<SessionId>,
}

/// What a session leaves behind for the connection on which it continues.
#[derive(Debug)]
pub struct Departed {
    /// One for each channel in which it was present: takes it out there.
    pub leaves: Vec<LinkCommand>,
    /// Where the client was.
    pub remote: SocketAddr,
    /// How long it had no connection, if it had none.
    pub away: Option<Duration>,
    /// What it was connected through, as its last leg has it.
    pub network: v1::Network,
    turn: u64,
    /// Channels of which the client keeps a list of who is present.
    watched: HashSet<ChannelKey, RandomState>,
    former: Option<SessionId>,
}

impl Session {
    /// This connection continues a session. Returns what takes it out of the channels that the new
    /// connection's Hello does not name.
    pub fn inherit(
        &mut self,
        departed: Departed,
        subscriptions: &[v1::Subscribe],
    ) -> Vec<LinkCommand> {
        (self.presence.turn, self.presence.watched) = (departed.turn, departed.watched);
        self.presence.former = departed.former;
        let named: HashSet<&str> =
            subscriptions.iter().filter(|s| s.presence).map(|s| s.channel.as_str()).collect();
        let leaves = departed.leaves.into_iter();
        let (stays, leaves): (Vec<_>, Vec<_>) =
            leaves.partition(|leave| named.contains(leave.channel.as_str()));
        self.presence.inherited = stays.into_iter().map(|s| (s.key, s.channel)).collect();
        leaves
    }

    pub fn depart(&mut self) -> Departed {
        let leaves = self.presence_commands(v1::PresenceState::Offline);
        let watched = self.subscriptions.iter().filter(|(_, it)| it.presence && it.keeps_list);
        let watched = watched.map(|(key, _)| *key).chain(self.presence.watched.drain()).collect();
        let (remote, away) = (self.remote(), None);
        let (turn, former) = (self.presence.turn, self.presence.former);
        let network = self.take_leg().0;
        Departed { leaves, remote, away, network, turn, watched, former }
    }

    /// The client comes with the ticket of a session that is not here: it is present in its place
    /// from here on, where it is present at all.
    pub fn replace(&mut self, former: SessionId) {
        self.presence.former = Some(former);
    }

    /// Tells every channel in which the session is present.
    pub fn presence_commands(&mut self, state: v1::PresenceState) -> Vec<LinkCommand> {
        let present = self.present_in(|_| true);
        present.into_iter().map(|channel| self.presence_command(channel, state, false)).collect()
    }

    /// Tells the channels of some slots, which have another owner: it cannot know.
    pub fn presence_again(
        &mut self,
        state: v1::PresenceState,
        slots: &HashSet<u16>,
    ) -> Vec<LinkCommand> {
        let present = self.present_in(|channel| slots.contains(&channel.key().slot()));
        present.into_iter().map(|channel| self.presence_command(channel, state, true)).collect()
    }

    fn present_in(&self, wanted: impl Fn(&ChannelId) -> bool) -> Vec<ChannelId> {
        let present = self.subscriptions.values().filter(|s| s.presence).map(|s| &s.channel);
        let present = present.chain(self.presence.inherited.values());
        present.filter(|channel| wanted(channel)).cloned().collect()
    }

    /// The session is about to ask for the channel. True: an earlier connection was present there.
    pub(super) fn take_inherited(&mut self, key: ChannelKey) -> bool {
        self.presence.inherited.remove(&key).is_some()
    }

    /// The same of a channel of which the client keeps the list: it has missed changes since.
    pub(super) fn take_watched(&mut self, key: ChannelKey) -> bool {
        self.presence.watched.remove(&key)
    }

    pub(super) fn leave_presence(&mut self, channel: ChannelId) {
        let command = self.presence_command(channel, v1::PresenceState::Offline, false);
        self.effects.push_back(Effect::Background(command));
    }

    pub(super) fn next_turn(&mut self) -> u64 {
        self.presence.turn += 1;
        self.presence.turn
    }

    fn presence_command(
        &mut self,
        channel: ChannelId,
        state: v1::PresenceState,
        again: bool,
    ) -> LinkCommand {
        let (key, turn) = (channel.key(), self.next_turn());
        self.command(channel, key, Verb::SetPresence { state, turn, again })
    }
}
