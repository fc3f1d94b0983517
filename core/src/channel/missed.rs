//! Sessions of which nothing has been heard. A leave may go to another owner while the way to this
//! one is cut, or be lost with a node; so whoever is away, or came by a link that is lost, is
//! present only until it should have been heard of again. Edges say so: a new way makes them attach
//! again, and a session without a connection takes its next step.

use std::collections::BTreeSet;

use sterna_proto::{ChannelKey, v1};
use tokio::time::Instant;

use crate::channel::shard::Shard;
use crate::channel::state::ChannelState;
use crate::link::ports::LinkId;
use crate::presence::Missed;

/// When to look for missed sessions: at most one entry for each channel.
#[derive(Debug, Default)]
pub(super) struct Awaited(BTreeSet<(std::time::Instant, ChannelKey)>);

impl Awaited {
    /// Somebody in the channel may be missed by then.
    pub fn look_at(&mut self, state: &mut ChannelState, at: std::time::Instant) {
        if state.look_at.is_some_and(|before| before <= at) {
            return;
        }
        if let Some(before) = state.look_at.replace(at) {
            self.0.remove(&(before, state.key));
        }
        self.0.insert((at, state.key));
    }

    fn pop_due(&mut self, now: std::time::Instant) -> Option<ChannelKey> {
        let first = self.0.first().filter(|(at, _)| *at <= now)?.to_owned();
        self.0.remove(&first);
        Some(first.1)
    }
}

impl Shard {
    /// By when a session is heard of that is away, or whose link is lost, if it is still there.
    pub(super) fn awaited_until(&self) -> std::time::Instant {
        let config = &self.context.config;
        (Instant::now() + config.resume_window + config.presence_debounce).into_std()
    }

    /// Nobody behind the link is subscribed to the channel any more.
    pub(super) fn await_sessions_of(&mut self, key: ChannelKey, link: LinkId) {
        let until = self.awaited_until();
        let Some(state) = self.channels.get_mut(&key) else { return };
        if state.presence.on_link_lost(link, until) {
            self.awaited.look_at(state, until);
        }
    }

    /// Who should have been heard of has left.
    pub(super) fn drop_missed(&mut self, now: Instant) {
        let now = now.into_std();
        while let Some(key) = self.awaited.pop_due(now) {
            let Some(state) = self.channels.get_mut(&key) else { continue };
            state.look_at = None;
            if sterna_storage::planted!(DeadEdgeStaysPresent) {
                continue;
            }
            let missed = state.presence.drop_missed(now);
            if let Some(next) = state.presence.next_missed() {
                self.awaited.look_at(state, next);
            }
            self.tell_missed(key, missed);
        }
    }

    /// Others hear of it, those too that may own the channel after this node.
    pub(super) fn tell_missed(&mut self, key: ChannelKey, missed: Missed) {
        let count = missed.sessions.len() as u64;
        metrics::counter!("sterna_core_presence_missed_total").increment(count);
        for it in missed.sessions {
            let said = (v1::PresenceState::Offline, it.turn + 1);
            self.tell_presence(key, (it.session, it.edge), &it.user, said, it.since_ms);
        }
        for change in missed.changed {
            self.spread_presence(key, Some(change));
        }
    }
}
