//! Who is in a channel now. Pure; lives with the channel's owner and is rebuilt by the edges when
//! that is lost. Sessions come and go; what others hear is about users, so that a second device or
//! a quick reconnect is no news.

use std::collections::HashMap;

use ahash::RandomState;
use sterna_proto::v1::PresenceState;
use sterna_proto::{SessionId, UserId, v1};

/// Sessions in one channel.
#[derive(Debug, Default)]
pub struct Presence {
    sessions: HashMap<SessionId, Entry, RandomState>,
}

#[derive(Debug)]
struct Entry {
    user: UserId,
    state: PresenceState,
    since_ms: u64,
}

impl Presence {
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// A session is in the channel with this state; `Offline` takes it out. Returns what others
    /// should hear: the user's new state, if that has changed.
    pub fn set(
        &mut self,
        session: SessionId,
        user: &UserId,
        state: PresenceState,
        now_ms: u64,
    ) -> Option<v1::PresenceMember> {
        let before = self.user_state(user);
        if state == PresenceState::Offline {
            self.sessions.remove(&session)?;
        } else {
            let entry = self.sessions.entry(session).or_insert_with(|| Entry {
                user: user.clone(),
                state,
                since_ms: now_ms,
            });
            entry.state = state;
        }
        (self.user_state(user) != before).then(|| self.member(user))
    }

    /// Users in name order, at most `limit`, and how many there are in all.
    pub fn list(&self, limit: usize) -> (Vec<v1::PresenceMember>, usize) {
        let mut users: Vec<&UserId> = self.sessions.values().map(|entry| &entry.user).collect();
        users.sort_unstable();
        users.dedup();
        (users.iter().take(limit).map(|user| self.member(user)).collect(), users.len())
    }

    fn member(&self, user: &UserId) -> v1::PresenceMember {
        let of_user = || self.sessions.values().filter(|entry| entry.user == *user);
        v1::PresenceMember {
            user: user.to_string(),
            state: self.user_state(user).into(),
            sessions: u32::try_from(of_user().count()).unwrap_or(u32::MAX),
            since_ms: of_user().map(|entry| entry.since_ms).min().unwrap_or(0),
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
        let states = self.sessions.values().filter(|entry| entry.user == *user);
        states.map(|entry| entry.state).max_by_key(|s| rank(*s)).unwrap_or(PresenceState::Offline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_hear_of_users_not_of_sessions() {
        let (alice, bob) = (UserId::new("alice").unwrap(), UserId::new("bob").unwrap());
        let (phone, laptop, other) = (SessionId(1), SessionId(2), SessionId(3));
        let mut presence = Presence::default();
        let change = presence.set(phone, &alice, PresenceState::Online, 10).unwrap();
        assert_eq!((change.user.as_str(), change.state()), ("alice", PresenceState::Online));
        assert_eq!(presence.set(laptop, &alice, PresenceState::Online, 20), None);
        assert_eq!(presence.set(phone, &alice, PresenceState::Detached, 30), None);
        assert_eq!(presence.set(phone, &alice, PresenceState::Offline, 40), None);
        let change = presence.set(laptop, &alice, PresenceState::Detached, 50).unwrap();
        assert_eq!(change.state(), PresenceState::Detached);
        presence.set(other, &bob, PresenceState::Online, 60);
        let (members, total) = presence.list(1);
        assert_eq!((members[0].user.as_str(), members[0].since_ms, total), ("alice", 20, 2));
        let change = presence.set(laptop, &alice, PresenceState::Offline, 70).unwrap();
        assert_eq!((change.state(), change.sessions), (PresenceState::Offline, 0));
        assert_eq!(presence.set(laptop, &alice, PresenceState::Offline, 80), None);
    }
}
