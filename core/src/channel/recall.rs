//! Who is present in a channel that has changed hands. Edges say so again by themselves, and that is
//! the truth; what earlier owners have told is read beside it, so that a list is whole at once and
//! those are known whose edge has died with the old owner. Whoever is not confirmed by an edge in
//! time has left.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use sterna_proto::link::v1 as wire;
use sterna_proto::{ChannelKey, SessionId, UserId, v1};
use sterna_storage::volatile::Partition;
use tokio::time::Instant;

use crate::channel::shard::Shard;
use crate::channel::work::Done;
use crate::cluster::Incarnation;
use crate::presence::Present;
use crate::volatile::Recalled;

/// How far a channel's owner has asked about those before it.
#[derive(Debug, Default)]
pub(super) enum Recall {
    #[default]
    NotAsked,
    /// Who has left meanwhile does not come back by what is read.
    Asking {
        left: HashSet<SessionId>,
    },
    Asked,
}

/// As long as edges take to attach again, and those that are dead to be noticed.
pub(super) const CONFIRMED_WITHIN: Duration = Duration::from_secs(30);

impl Shard {
    /// Somebody asks about presence, or is present, in a channel that may have had another owner.
    pub(super) fn start_recall(&mut self, key: ChannelKey) {
        self.remember_kept(key);
        let is_young = self.context.volatile.is_shared() && self.rehoming.is_young(key);
        let Some(state) = self.channels.get_mut(&key) else { return };
        if !is_young || !matches!(state.recall, Recall::NotAsked) {
            return;
        }
        state.recall = Recall::Asking { left: HashSet::new() };
        let volatile = self.context.volatile.clone();
        self.work.push(Box::pin(async move {
            Done::PresenceRecalled { key, recalled: volatile.recall(key).await }
        }));
    }

    /// What the owner before has told this node directly.
    fn remember_kept(&mut self, key: ChannelKey) {
        let kept = self.heirs.take(key);
        let Some(state) = self.channels.get_mut(&key) else { return };
        if kept.is_empty() {
            return;
        }
        let until = (Instant::now() + CONFIRMED_WITHIN).into_std();
        kept.into_iter().for_each(|present| state.presence.remember(present, until));
        self.awaited.look_at(state, until);
        metrics::counter!("sterna_core_presence_recalls_total").increment(1);
    }

    pub(super) fn on_presence_recalled(&mut self, key: ChannelKey, recalled: Option<Recalled>) {
        let Some(state) = self.channels.get_mut(&key) else { return };
        let Recall::Asking { left } = std::mem::take(&mut state.recall) else { return };
        state.recall = Recall::Asked;
        let present = recalled.into_iter().flatten().filter_map(|it| present(&it));
        let until = (Instant::now() + CONFIRMED_WITHIN).into_std();
        for present in present.filter(|present| !left.contains(&present.session)) {
            state.presence.remember(present, until);
        }
        self.awaited.look_at(state, until);
        metrics::counter!("sterna_core_presence_recalls_total").increment(1);
    }

    /// For those that may own the channel after this node.
    pub(super) fn tell_presence(
        &self,
        key: ChannelKey,
        (session, edge): (SessionId, Incarnation),
        user: &UserId,
        (state, turn): (v1::PresenceState, u64),
        since_ms: u64,
    ) {
        if !self.context.volatile.is_shared() {
            return;
        }
        let it = Present { session, user: user.clone(), edge, state, turn, since_ms };
        let channel = Bytes::copy_from_slice(&key.0);
        self.context.volatile.on_presence(wire::Present { channel, ..to_wire(&it) });
    }

    /// What was told of these partitions is gone.
    pub(super) fn tell_presence_again(&self, partitions: &HashSet<Partition>) {
        for (key, state) in &self.channels {
            if state.presence.is_empty()
                || state.released
                || !partitions.contains(&self.context.volatile.partition(*key))
            {
                continue;
            }
            for it in state.presence.all() {
                let session = (it.session, it.edge);
                self.tell_presence(*key, session, &it.user, (it.state, it.turn), it.since_ms);
            }
        }
    }
}

/// Without the channel.
pub(super) fn to_wire(it: &Present) -> wire::Present {
    wire::Present {
        channel: Bytes::new(),
        session: Bytes::copy_from_slice(&it.session.0.to_be_bytes()),
        user: it.user.to_string(),
        edge: it.edge.0,
        state: it.state.into(),
        turn: it.turn,
        since_ms: it.since_ms,
    }
}

/// What an owner of another release may have written otherwise is left to the edges.
pub(super) fn present(it: &wire::Present) -> Option<Present> {
    Some(Present {
        session: SessionId(u128::from_be_bytes(it.session[..].try_into().ok()?)),
        user: UserId::new(&it.user).ok()?,
        edge: Incarnation(it.edge),
        state: it.state(),
        turn: it.turn,
        since_ms: it.since_ms,
    })
}
