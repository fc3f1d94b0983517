//! What would die with this node: where it owns a channel and has sessions in it itself, nobody could
//! tell the next owner who they were, and others would believe them present for ever. So the core
//! that would be the next is told, and remembers them when it takes the channel over; what it is not
//! told again it forgets. Where nodes share what they may lose, it stands there already.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ahash::RandomState;
use sterna_proto::link::v1 as wire;
use sterna_proto::v1::reply::Result as Reply;
use sterna_proto::{ChannelKey, ClientId, ErrorCode, SessionId, UserId, v1};
use tokio::time::Instant;

use crate::channel::recall::{present, to_wire};
use crate::channel::shard::{Call, Shard};
use crate::channel::work::{Done, answer};
use crate::identity::Identity;
use crate::link::{Caller, LinkCommand, Verb};
use crate::presence::Present;

/// Sessions of other nodes that one shard remembers for them. Full: refused, and who takes over does
/// not know of them.
pub const KEPT_SESSIONS: usize = 65_536;

/// What a shard tells of its own sessions, and what others have told of theirs.
#[derive(Debug, Default)]
pub(super) struct Heirs {
    /// Channels of which there is news.
    changed: BTreeSet<ChannelKey>,
    all_at: Option<Instant>,
    kept: HashMap<ChannelKey, Kept, RandomState>,
    sessions: usize,
}

#[derive(Debug)]
struct Kept {
    present: Vec<Present>,
    until: Instant,
}

impl Heirs {
    /// A session in the channel has said something; one of this node's own, or not.
    pub fn note(&mut self, key: ChannelKey, is_own: bool) {
        if is_own {
            self.changed.insert(key);
        }
    }

    /// Who was there by the word of an earlier owner.
    pub fn take(&mut self, key: ChannelKey) -> Vec<Present> {
        let Some(kept) = self.kept.remove(&key) else { return Vec::new() };
        self.sessions -= kept.present.len();
        kept.present
    }

    fn keep(&mut self, key: ChannelKey, present: Vec<Present>, now: Instant) -> bool {
        self.take(key);
        if self.sessions + present.len() > KEPT_SESSIONS {
            metrics::counter!("sterna_core_presence_unkept_total").increment(1);
            return false;
        }
        self.sessions += present.len();
        if !present.is_empty() {
            self.kept.insert(key, Kept { present, until: now + KEPT_FOR });
        }
        true
    }

    fn forget_old(&mut self, now: Instant) {
        let sessions = &mut self.sessions;
        self.kept.retain(|_, kept| {
            let stays = kept.until > now;
            *sessions -= if stays { 0 } else { kept.present.len() };
            stays
        });
    }
}

impl Shard {
    /// An owner tells what would die with it.
    pub(super) fn keep_presence(&mut self, mut call: Call) {
        let Verb::KeepPresence(keep) = &mut call.command.verb else { return };
        let kept = std::mem::take(&mut keep.present).iter().filter_map(present).collect();
        let reply = match self.heirs.keep(call.command.key, kept, Instant::now()) {
            true => Ok(Reply::Done(v1::Done {})),
            false => {
                let message = format!("{KEPT_SESSIONS} sessions of other nodes are kept already");
                Err(v1::Error::new(ErrorCode::LimitExceeded, message))
            }
        };
        answer(call.reply, reply);
    }

    /// Tells of what has changed; now and then of everything, since nobody asks what became of it.
    pub(super) fn tell_heirs(&mut self, now: Instant) {
        if self.context.config.head_watch.is_none() || self.context.volatile.is_shared() {
            return self.heirs.changed.clear();
        }
        if *self.heirs.all_at.get_or_insert(now + ALL_EVERY) <= now {
            self.heirs.all_at = Some(now + ALL_EVERY);
            self.heirs.forget_old(now);
            let own = self.context.config.incarnation;
            let has_own = |it: &Present| it.edge == own;
            let channels = self.channels.iter();
            let channels =
                channels.filter(|(_, state)| state.presence.all().any(|it| has_own(&it)));
            self.heirs.changed.extend(channels.map(|(key, _)| *key));
        }
        for _ in 0..TOLD_AT_ONCE {
            let Some(key) = self.heirs.changed.pop_first() else { return };
            self.tell_heir(key);
        }
    }

    fn tell_heir(&mut self, key: ChannelKey) {
        let own = self.context.config.incarnation;
        let Some(state) = self.channels.get(&key).filter(|state| !state.released) else { return };
        let (Some(link), Some(caller)) = (self.context.users.get().cloned(), self.node_caller())
        else {
            return;
        };
        let present = state.presence.all().filter(|it| it.edge == own).take(TOLD_OF_CHANNEL);
        let present = present.map(|it| to_wire(&it)).collect();
        let verb = Verb::KeepPresence(wire::KeepPresence { present });
        let command = LinkCommand { caller, channel: state.name.clone(), key, hops: 0, verb };
        self.work.push(Box::pin(async move {
            // Whoever has not heard it hears it with all else.
            let _ = tokio::time::timeout(PATIENCE, link.call(command).answer()).await;
            Done::Answered
        }));
    }

    /// The node itself. Permits nothing.
    fn node_caller(&self) -> Option<Arc<Caller>> {
        let identity = Identity {
            user: UserId::new("node").ok()?,
            permissions: Vec::new(),
            expires_at_ms: None,
            issued_at_ms: None,
            operator: false,
        };
        let (client_id, edge) = (ClientId::new("node").ok()?, self.context.config.incarnation);
        Some(Arc::new(Caller::new(Arc::new(identity), client_id, SessionId(0), edge)))
    }
}

/// How often everything is told, and how long it is kept without that.
const ALL_EVERY: Duration = Duration::from_secs(60);
const KEPT_FOR: Duration = Duration::from_secs(150);

/// Channels told of in one turn; the rest waits for the next.
const TOLD_AT_ONCE: usize = 64;

/// Sessions of one channel that are told: what fits into a frame.
const TOLD_OF_CHANNEL: usize = 8192;

/// The end of the node does not wait for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn present(count: usize) -> Vec<Present> {
        let session = |n| Present {
            session: SessionId(n as u128),
            user: UserId::new("bob").unwrap(),
            edge: Default::default(),
            state: v1::PresenceState::Online,
            turn: 1,
            since_ms: 1,
        };
        (0..count).map(session).collect()
    }

    #[test]
    fn i12_what_is_kept_for_others_is_bounded_and_forgotten_in_time() {
        let recorder = metrics_util::debugging::DebuggingRecorder::new();
        let (mut heirs, now) = (Heirs::default(), Instant::now());
        let [a, b] = [1, 2].map(|n| ChannelKey([n; 16]));
        metrics::with_local_recorder(&recorder, || {
            assert!(heirs.keep(a, present(KEPT_SESSIONS), now));
            assert!(!heirs.keep(b, present(1), now));
            assert!(heirs.keep(a, present(2), now), "in place of what was said before");
            assert!(heirs.keep(b, present(1), now));
        });
        let told = recorder.snapshotter().snapshot().into_vec();
        let unkept =
            told.iter().filter(|(key, ..)| key.key().name() == "sterna_core_presence_unkept_total");
        assert_eq!(unkept.count(), 1);
        assert!(heirs.keep(b, Vec::new(), now) && heirs.take(b).is_empty());
        heirs.forget_old(now + KEPT_FOR);
        assert_eq!((heirs.take(a).len(), heirs.sessions), (0, 0));
    }
}
