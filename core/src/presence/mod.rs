//! Who is in a channel now. Pure; lives with the channel's owner and is rebuilt by the edges when
//! that is lost. Sessions come and go; what others hear is about users, so that a second device or
//! a quick reconnect is no news.
//!
//! What a session says about itself is numbered with turns, across its connections: ways to the
//! owner differ in speed, and what comes late must not undo what was said after it.
//!
//! A leave can be lost: while the way to this owner was cut, it went to another one. So only who is
//! connected, by a link that holds, is present until further notice. Whoever is away has an end to
//! that, and whose link is lost has to be heard of again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use sterna_proto::v1::PresenceState;
use sterna_proto::{SessionId, UserId, v1};

use crate::cluster::Incarnation;
use crate::link::ports::LinkId;

/// Sessions in one channel, by user.
#[derive(Debug, Default)]
pub struct Presence {
    users: BTreeMap<UserId, Vec<Entry>>,
    /// As [`digest_of`] the whole list.
    digest: u64,
    /// Others rely on this owner: it has told them who came, or that somebody is missed.
    is_relied_on: bool,
    /// Sessions whose place others have taken, latest last: their edges may say yet that they are away.
    replaced: VecDeque<SessionId>,
}

#[derive(Debug)]
struct Entry {
    session: SessionId,
    /// The process that holds the session.
    edge: Incarnation,
    /// By which it has said so; `None`: an earlier owner knew of it.
    link: Option<LinkId>,
    state: PresenceState,
    /// When the session said so last.
    turn: u64,
    since_ms: u64,
    /// It has left if nothing is heard of it by then.
    awaited_until: Option<Instant>,
}

/// What a session says of itself, or its edge for it.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    pub session: SessionId,
    pub edge: Incarnation,
    /// By which it came.
    pub link: Option<LinkId>,
    /// `Offline`: it leaves.
    pub state: PresenceState,
    pub turn: u64,
    /// It has left if nothing more is heard of it by then.
    pub awaited_until: Option<Instant>,
}

/// What others should hear.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// A user's new state.
    pub member: v1::PresenceMember,
    /// What it adds to the digest.
    pub shift: u64,
}

/// Sessions that have left without a word, and what others should hear of it.
#[derive(Debug, Default, PartialEq)]
pub struct Missed {
    pub sessions: Vec<Present>,
    pub changed: Vec<Change>,
}

/// A session that is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    pub session: SessionId,
    pub user: UserId,
    pub edge: Incarnation,
    pub state: PresenceState,
    pub turn: u64,
    pub since_ms: u64,
}

impl Presence {
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Users who are in.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    pub fn contains(&self, session: SessionId, user: &UserId) -> bool {
        self.entries(user).iter().any(|entry| entry.session == session)
    }

    /// Of users and their states, the same at every owner: whoever has been told everything knows
    /// what has this digest.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Another session of the same client stands for this one; what its edge says of its being away is
    /// no news.
    pub fn is_replaced(&self, session: SessionId) -> bool {
        self.replaced.contains(&session)
    }

    /// Takes a session's word. Returns what others should hear: the user's new state, if that has
    /// changed.
    pub fn set(&mut self, user: &UserId, word: Word, now_ms: u64) -> Option<Change> {
        self.alter(user, |entries| {
            let known = entries.iter_mut().find(|entry| entry.session == word.session);
            match known {
                Some(entry) if word.turn < entry.turn => {}
                _ if word.state == PresenceState::Offline => {
                    entries.retain(|entry| entry.session != word.session);
                }
                Some(entry) => *entry = Entry::new(word, entry.since_ms),
                None => entries.push(Entry::new(word, now_ms)),
            }
        })
    }

    /// The user's client has come back with `session` in place of the `former` one, which is out: it
    /// is present since then, and others hear nothing of it. Returns what was known of the former one,
    /// and what others should hear if the session was known already.
    pub fn replace(
        &mut self,
        user: &UserId,
        former: SessionId,
        session: (SessionId, Incarnation, Option<LinkId>),
    ) -> (Option<Present>, Option<Change>) {
        let (session, edge, link) = session;
        // Whoever goes back to the first one is there again.
        self.replaced.retain(|it| *it != session && *it != former);
        let of_user = |it: &Entry| it.session == former && session != former;
        let known = self.entries(user).iter().find(|it| of_user(it));
        let Some(known) = known.map(|entry| entry.present(user)) else { return (None, None) };
        self.replaced.push_back(former);
        if self.replaced.len() > REPLACED {
            self.replaced.pop_front();
            metrics::counter!("sterna_core_presence_replaced_forgotten_total").increment(1);
        }
        let changed = self.alter(user, |entries| {
            let is_here = entries.iter().any(|it| it.session == session);
            if is_here {
                return entries.retain(|it| it.session != former);
            }
            for entry in entries.iter_mut().filter(|it| it.session == former) {
                // Whatever the new session says is newer.
                (entry.session, entry.edge, entry.link, entry.turn) = (session, edge, link, 0);
            }
        });
        (Some(known), changed)
    }

    /// An earlier owner knew of the session, which is to be heard of by then. Nobody hears of it
    /// here: they have heard.
    pub fn remember(&mut self, it: Present, awaited_until: Instant) {
        let Present { session, user, edge, state, turn, since_ms } = it;
        let awaited_until = Some(awaited_until);
        let word = Word { session, edge, link: None, state, turn, awaited_until };
        self.alter(&user, |entries| {
            if entries.iter().all(|entry| entry.session != session) {
                entries.push(Entry::new(word, since_ms));
            }
        });
    }

    /// A link has no connected session behind it any more: who came by it is to be heard of by then.
    /// True: there is somebody.
    pub fn on_link_lost(&mut self, link: LinkId, awaited_until: Instant) -> bool {
        let mut any = false;
        for entry in self.users.values_mut().flatten().filter(|it| it.link == Some(link)) {
            entry.awaited_until.get_or_insert(awaited_until);
            any = true;
        }
        any
    }

    /// When the next session is missed of which nothing is heard until then.
    pub fn next_missed(&self) -> Option<Instant> {
        self.users.values().flatten().filter_map(|entry| entry.awaited_until).min()
    }

    /// Sessions of which nothing was heard for too long are out.
    pub fn drop_missed(&mut self, now: Instant) -> Missed {
        self.remove(|entry| entry.awaited_until.is_some_and(|until| until <= now))
    }

    /// Whether others know who is here by the word of this owner, and not by that of an earlier one.
    pub fn is_relied_on(&self) -> bool {
        self.is_relied_on
    }

    /// Somebody has come here first, and will ask who else is here.
    pub fn on_newcomer(&mut self) {
        self.is_relied_on = true;
    }

    /// All sessions.
    pub fn all(&self) -> impl Iterator<Item = Present> {
        self.present(|_| true)
    }

    fn present(&self, wanted: impl Fn(&Entry) -> bool) -> impl Iterator<Item = Present> {
        let all =
            self.users.iter().flat_map(|(user, entries)| entries.iter().map(move |it| (user, it)));
        all.filter(move |(_, entry)| wanted(entry)).map(|(user, entry)| entry.present(user))
    }

    pub fn has_user(&self, user: &UserId) -> bool {
        self.users.contains_key(user)
    }

    /// That a user is not here, if so. Who hears it may have known otherwise, by an earlier owner, and
    /// may have been right: what they know now is in doubt, and the next beacon finds it wrong.
    pub fn absent(&self, user: &UserId) -> Option<Change> {
        self.entries(user).is_empty().then(|| Change { member: self.member(user), shift: IN_DOUBT })
    }

    /// The user is out with all sessions; what others should hear.
    pub fn remove_user(&mut self, user: &UserId) -> Option<Change> {
        self.alter(user, Vec::clear)
    }

    /// The sessions of some edges are out.
    pub fn remove_edges(&mut self, dead: impl Fn(Incarnation) -> bool) -> Missed {
        self.remove(|entry| dead(entry.edge))
    }

    fn remove(&mut self, out: impl Fn(&Entry) -> bool) -> Missed {
        let sessions: Vec<Present> = self.present(&out).collect();
        let holds = |entries: &Vec<Entry>| entries.iter().any(&out);
        let touched = self.users.iter().filter(|(_, entries)| holds(entries));
        let touched: Vec<UserId> = touched.map(|(user, _)| user.clone()).collect();
        let mut changed = Vec::new();
        for user in touched {
            changed.extend(self.alter(&user, |entries| entries.retain(|entry| !out(entry))));
        }
        self.is_relied_on |= !changed.is_empty();
        Missed { sessions, changed }
    }

    /// The one place where sessions come, change and go.
    fn alter(&mut self, user: &UserId, alter: impl FnOnce(&mut Vec<Entry>)) -> Option<Change> {
        let before = self.user_state(user);
        let entries = self.users.entry(user.clone()).or_default();
        alter(entries);
        if entries.is_empty() {
            self.users.remove(user);
        }
        let after = self.user_state(user);
        (after != before).then(|| {
            let shift = weight(user.as_str(), after).wrapping_sub(weight(user.as_str(), before));
            self.digest = self.digest.wrapping_add(shift);
            Change { member: self.member(user), shift }
        })
    }

    /// Users in name order, at most `limit`, and how many there are in all.
    pub fn list(&self, limit: usize) -> (Vec<v1::PresenceMember>, usize) {
        (self.users.keys().take(limit).map(|user| self.member(user)).collect(), self.users.len())
    }

    fn member(&self, user: &UserId) -> v1::PresenceMember {
        let entries = self.entries(user);
        v1::PresenceMember {
            user: user.to_string(),
            state: self.user_state(user).into(),
            sessions: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            since_ms: entries.iter().map(|entry| entry.since_ms).min().unwrap_or(0),
        }
    }

    /// The most present state among the user's sessions.
    fn user_state(&self, user: &UserId) -> PresenceState {
        let rank = |state: PresenceState| match state {
            PresenceState::Offline => 0,
            PresenceState::Detached => 1,
            PresenceState::Roaming => 2,
            PresenceState::Online => 3,
        };
        let states = self.entries(user).iter().map(|entry| entry.state);
        states.max_by_key(|state| rank(*state)).unwrap_or(PresenceState::Offline)
    }

    fn entries(&self, user: &UserId) -> &[Entry] {
        self.users.get(user).map_or(&[], Vec::as_slice)
    }
}

impl Entry {
    fn new(word: Word, since_ms: u64) -> Self {
        let Word { session, edge, link, state, turn, awaited_until } = word;
        Self { session, edge, link, state, turn, since_ms, awaited_until }
    }

    fn present(&self, user: &UserId) -> Present {
        let Self { session, edge, state, turn, since_ms, .. } = *self;
        Present { session, user: user.clone(), edge, state, turn, since_ms }
    }
}

/// Replaced sessions of one channel that are known. More, and the oldest is forgotten: if its user has
/// left since, others hear so twice.
pub const REPLACED: usize = 64;

/// Added to a digest, it is nobody's.
const IN_DOUBT: u64 = 1;

/// What a list stands for: the sum of what its members weigh, so that a change adds the same to it
/// wherever it is told of, in any order.
pub fn digest_of(members: &[v1::PresenceMember]) -> u64 {
    let weights = members.iter().map(|member| weight(&member.user, member.state()));
    weights.fold(0, u64::wrapping_add)
}

/// Of a user in a state; who is not there weighs nothing. Nodes of different releases compare it:
/// FNV-1a, then the last step of SplitMix64, so that sums of similar names do not meet.
fn weight(user: &str, state: PresenceState) -> u64 {
    if state == PresenceState::Offline {
        return 0;
    }
    let bytes = [state as u8].into_iter().chain(user.bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests;
