//! Who is in a channel now. Pure; lives with the channel's owner and is rebuilt by the edges when
//! that is lost. Sessions come and go; what others hear is about users, so that a second device or
//! a quick reconnect is no news.
//!
//! What a session says about itself is numbered with turns, across its connections: ways to the
//! owner differ in speed, and what comes late must not undo what was said after it.

use std::collections::BTreeMap;

use sterna_proto::v1::PresenceState;
use sterna_proto::{SessionId, UserId, v1};

use crate::cluster::Incarnation;

/// Sessions in one channel, by user.
#[derive(Debug, Default)]
pub struct Presence {
    users: BTreeMap<UserId, Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    session: SessionId,
    /// The process that holds the session.
    edge: Incarnation,
    state: PresenceState,
    /// When the session said so last.
    turn: u64,
    since_ms: u64,
    /// Its edge has said so to this owner.
    is_confirmed: bool,
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

    /// A session is in the channel with this state; `Offline` takes it out. Returns what others
    /// should hear: the user's new state, if that has changed.
    pub fn set(
        &mut self,
        (session, edge): (SessionId, Incarnation),
        user: &UserId,
        (state, turn): (PresenceState, u64),
        now_ms: u64,
    ) -> Option<v1::PresenceMember> {
        let before = self.user_state(user);
        let entries = self.users.entry(user.clone()).or_default();
        let known = entries.iter_mut().find(|entry| entry.session == session);
        match (known, state) {
            (Some(entry), _) if turn < entry.turn => {}
            (_, PresenceState::Offline) => entries.retain(|entry| entry.session != session),
            (Some(entry), state) => {
                (entry.state, entry.turn, entry.edge) = (state, turn, edge);
                entry.is_confirmed = true;
            }
            (None, state) => {
                let is_confirmed = true;
                let entry = Entry { session, edge, state, turn, since_ms: now_ms, is_confirmed };
                entries.push(entry);
            }
        }
        if entries.is_empty() {
            self.users.remove(user);
        }
        (self.user_state(user) != before).then(|| self.member(user))
    }

    /// An earlier owner knew of the session. Nobody hears of it: they have heard.
    pub fn remember(&mut self, it: Present) {
        let entries = self.users.entry(it.user).or_default();
        if entries.iter().any(|entry| entry.session == it.session) {
            return;
        }
        let Present { session, edge, state, turn, since_ms, .. } = it;
        entries.push(Entry { session, edge, state, turn, since_ms, is_confirmed: false });
    }

    /// Sessions that were remembered and of which no edge has spoken are out, and what others should
    /// hear of it.
    pub fn drop_unconfirmed(&mut self) -> (Vec<Present>, Vec<v1::PresenceMember>) {
        let gone: Vec<Present> = self.present(|entry| !entry.is_confirmed).collect();
        let changed = self.remove(|entry| !entry.is_confirmed);
        (gone, changed)
    }

    /// All sessions.
    pub fn all(&self) -> impl Iterator<Item = Present> {
        self.present(|_| true)
    }

    fn present(&self, wanted: impl Fn(&Entry) -> bool) -> impl Iterator<Item = Present> {
        let all =
            self.users.iter().flat_map(|(user, entries)| entries.iter().map(move |it| (user, it)));
        all.filter(move |(_, entry)| wanted(entry)).map(|(user, entry)| Present {
            session: entry.session,
            user: user.clone(),
            edge: entry.edge,
            state: entry.state,
            turn: entry.turn,
            since_ms: entry.since_ms,
        })
    }

    pub fn has_user(&self, user: &UserId) -> bool {
        self.users.contains_key(user)
    }

    /// That a user is not here, if so.
    pub fn absent(&self, user: &UserId) -> Option<v1::PresenceMember> {
        self.entries(user).is_empty().then(|| self.member(user))
    }

    /// The user is out with all sessions; what others should hear.
    pub fn remove_user(&mut self, user: &UserId) -> Option<v1::PresenceMember> {
        self.users.remove(user).map(|_| self.member(user))
    }

    /// The sessions of some edges are out; what others should hear.
    pub fn remove_edges(&mut self, dead: impl Fn(Incarnation) -> bool) -> Vec<v1::PresenceMember> {
        self.remove(|entry| dead(entry.edge))
    }

    /// Takes sessions out; what others should hear.
    fn remove(&mut self, out: impl Fn(&Entry) -> bool) -> Vec<v1::PresenceMember> {
        let holds = |entries: &Vec<Entry>| entries.iter().any(&out);
        let touched = self.users.iter().filter(|(_, entries)| holds(entries));
        let touched: Vec<UserId> = touched.map(|(user, _)| user.clone()).collect();
        let mut changed = Vec::new();
        for user in touched {
            let before = self.user_state(&user);
            if let Some(entries) = self.users.get_mut(&user) {
                entries.retain(|entry| !out(entry));
                if entries.is_empty() {
                    self.users.remove(&user);
                }
            }
            if self.user_state(&user) != before {
                changed.push(self.member(&user));
            }
        }
        changed
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

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Incarnation = Incarnation(1);

    #[test]
    fn others_hear_of_users_not_of_sessions() {
        let (alice, bob) = (UserId::new("alice").unwrap(), UserId::new("bob").unwrap());
        let (phone, laptop, other) = (SessionId(1), SessionId(2), SessionId(3));
        let mut presence = Presence::default();
        let change = presence.set((phone, HERE), &alice, (PresenceState::Online, 1), 10).unwrap();
        assert_eq!((change.user.as_str(), change.state()), ("alice", PresenceState::Online));
        assert_eq!(presence.set((laptop, HERE), &alice, (PresenceState::Online, 2), 20), None);
        assert_eq!(presence.set((phone, HERE), &alice, (PresenceState::Detached, 3), 30), None);
        assert_eq!(presence.set((phone, HERE), &alice, (PresenceState::Offline, 4), 40), None);
        let change =
            presence.set((laptop, HERE), &alice, (PresenceState::Detached, 5), 50).unwrap();
        assert_eq!(change.state(), PresenceState::Detached);
        presence.set((other, HERE), &bob, (PresenceState::Online, 6), 60);
        let (members, total) = presence.list(1);
        assert_eq!((members[0].user.as_str(), members[0].since_ms, total), ("alice", 20, 2));
        let change = presence.set((laptop, HERE), &alice, (PresenceState::Offline, 7), 70).unwrap();
        assert_eq!((change.state(), change.sessions), (PresenceState::Offline, 0));
        assert_eq!(presence.set((laptop, HERE), &alice, (PresenceState::Offline, 9), 80), None);
        assert_eq!(presence.remove_user(&bob).unwrap().state(), PresenceState::Offline);
        assert_eq!(presence.remove_user(&bob), None);
        assert!(presence.is_empty());
    }

    #[test]
    fn what_comes_late_does_not_undo_what_was_said_after_it() {
        let (alice, phone) = (UserId::new("alice").unwrap(), SessionId(1));
        let mut presence = Presence::default();
        presence.set((phone, HERE), &alice, (PresenceState::Online, 1), 10);
        presence.set((phone, HERE), &alice, (PresenceState::Online, 4), 20);
        for late in [PresenceState::Roaming, PresenceState::Detached, PresenceState::Offline] {
            assert_eq!(presence.set((phone, HERE), &alice, (late, 3), 30), None);
        }
        let change = presence.set((phone, HERE), &alice, (PresenceState::Detached, 6), 40).unwrap();
        assert_eq!(change.state(), PresenceState::Detached);
        assert_eq!(presence.set((phone, HERE), &alice, (PresenceState::Roaming, 5), 50), None);
    }

    #[test]
    fn whose_edge_has_died_is_out_unless_another_session_stays() {
        let (alice, bob) = (UserId::new("alice").unwrap(), UserId::new("bob").unwrap());
        let there = Incarnation(2);
        let mut presence = Presence::default();
        presence.set((SessionId(1), HERE), &alice, (PresenceState::Online, 1), 10);
        presence.set((SessionId(2), there), &alice, (PresenceState::Online, 1), 10);
        presence.set((SessionId(3), there), &bob, (PresenceState::Online, 1), 10);
        let changed = presence.remove_edges(|edge| edge == there);
        assert_eq!(changed.len(), 1);
        assert_eq!((changed[0].user.as_str(), changed[0].state()), ("bob", PresenceState::Offline));
        assert!(presence.contains(SessionId(1), &alice));
    }

    #[test]
    fn who_is_remembered_and_not_confirmed_is_out_in_the_end() {
        let mut presence = Presence::default();
        let user = |name| UserId::new(name).unwrap();
        let remembered = |session, name| Present {
            session: SessionId(session),
            user: user(name),
            edge: HERE,
            state: PresenceState::Online,
            turn: 3,
            since_ms: 10,
        };
        for (session, name) in [(1, "alice"), (2, "bob"), (3, "bob"), (4, "carol")] {
            presence.remember(remembered(session, name));
        }
        let confirm = |presence: &mut Presence, session, name, said| {
            presence.set((SessionId(session), HERE), &user(name), said, 50)
        };
        assert_eq!(confirm(&mut presence, 2, "bob", (PresenceState::Online, 4)), None, "no news");
        assert_eq!(confirm(&mut presence, 4, "carol", (PresenceState::Online, 1)), None, "late");
        presence.remember(remembered(2, "bob"));
        let (gone, changed) = presence.drop_unconfirmed();
        assert_eq!(gone, [remembered(1, "alice"), remembered(3, "bob"), remembered(4, "carol")]);
        let changed: Vec<&str> = changed.iter().map(|member| member.user.as_str()).collect();
        assert_eq!(changed, ["alice", "carol"]);
        assert_eq!((presence.user_count(), presence.list(9).0[0].since_ms), (1, 10));
        assert!(presence.drop_unconfirmed().0.is_empty());
    }
}
