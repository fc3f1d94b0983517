//! Users whose earlier access tokens are void (I11). A node has the list of the whole cluster:
//! nodes tell each other what they have not heard yet, everything at the start of a link and what is
//! new from then on, and of two times for one user the later holds. So it does not matter in which
//! order it comes, and how often.
//!
//! Bounded: when the list is full the oldest entry gives way and its time becomes a floor for all
//! users. That refuses good tokens, never accepts a revoked one. Cores keep it in the store and begin
//! with what is there; other nodes have it from their first link on.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::AHashMap;
use sterna_proto::UserId;
pub use sterna_storage::Revocation;
use tokio::sync::watch;

/// Most users in the list.
pub const REVOCATIONS: usize = 10_000;

/// The list; shared by whoever checks tokens, and by the links to other nodes.
#[derive(Debug)]
pub struct Revocations {
    list: Mutex<List>,
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct List {
    users: AHashMap<UserId, Entry>,
    floor: Entry,
    /// Changes so far; each entry has the number of its last one.
    newest: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    before_ms: u64,
    number: u64,
}

impl Default for Revocations {
    fn default() -> Self {
        Self { list: Mutex::default(), news: watch::Sender::new(0) }
    }
}

impl Revocations {
    /// Takes one in. A later time wins; an earlier one changes nothing.
    pub fn add(&self, revocation: Revocation) {
        let mut list = self.list();
        let before = list.newest;
        list.raise(revocation);
        if list.users.len() > REVOCATIONS {
            list.evict();
        }
        metrics::gauge!("sterna_core_revocations_held").set(list.users.len() as f64);
        let newest = list.newest;
        drop(list);
        if newest != before {
            self.news.send_replace(newest);
        }
    }

    /// Whether a token of `user` issued at this time is void. One that does not say when it was
    /// issued is void as soon as there is anything to compare it with.
    pub fn covers(&self, user: &UserId, issued_ms: Option<u64>) -> bool {
        let list = self.list();
        let before_ms = list.users.get(user).map_or(0, |entry| entry.before_ms);
        let before_ms = before_ms.max(list.floor.before_ms);
        Revocation { user: None, before_ms }.covers(user, issued_ms)
    }

    /// What has come since a state of the list, oldest first and at most so many, and the state that
    /// this leads to. 0: from the beginning.
    pub(crate) fn since(&self, state: u64, most: usize) -> (Vec<Revocation>, u64) {
        let list = self.list();
        if list.newest <= state {
            return (Vec::new(), state);
        }
        let users = list.users.iter().map(|(user, entry)| (Some(user), *entry));
        let all = users.chain([(None, list.floor)]);
        let mut new: Vec<_> = all.filter(|(_, entry)| entry.number > state).collect();
        new.sort_unstable_by_key(|(_, entry)| entry.number);
        let whole = new.len() <= most;
        new.truncate(most);
        let reached = new.last().map_or(list.newest, |(_, entry)| entry.number);
        let state = if whole { list.newest } else { reached };
        let told = |(user, entry): (Option<&UserId>, Entry)| Revocation {
            user: user.cloned(),
            before_ms: entry.before_ms,
        };
        (new.into_iter().map(told).collect(), state)
    }

    /// Changes with the list.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List {
    fn raise(&mut self, Revocation { user, before_ms }: Revocation) {
        let entry = match user {
            Some(user) => self.users.entry(user).or_default(),
            None => &mut self.floor,
        };
        if before_ms > entry.before_ms {
            self.newest += 1;
            *entry = Entry { before_ms, number: self.newest };
        }
    }

    fn evict(&mut self) {
        let oldest = self.users.iter().min_by_key(|(_, entry)| entry.before_ms);
        let oldest = oldest.map(|(user, entry)| (user.clone(), entry.before_ms));
        let Some((user, floor_ms)) = oldest else { return };
        self.users.remove(&user);
        self.raise(Revocation { user: None, before_ms: floor_ms });
        metrics::counter!("sterna_core_revocations_evicted_total").increment(1);
        tracing::warn!(floor_ms, "revocation list full: all tokens issued earlier are now void");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(user: &str, before_ms: u64) -> Revocation {
        Revocation { user: Some(UserId::new(user).unwrap()), before_ms }
    }

    #[test]
    fn i11_every_list_comes_to_the_same_in_whatever_order_it_hears() {
        let (one, other) = (Revocations::default(), Revocations::default());
        one.add(of("alice", 5));
        one.add(of("bob", 7));
        other.add(of("alice", 9));
        other.add(Revocation { user: None, before_ms: 3 });
        for (from, to) in [(&other, &one), (&one, &other), (&other, &one)] {
            from.since(0, usize::MAX).0.into_iter().for_each(|it| to.add(it));
        }
        for list in [&one, &other] {
            let covers = |user: &str, at| list.covers(&UserId::new(user).unwrap(), Some(at));
            assert!(covers("alice", 8) && !covers("alice", 9));
            assert!(covers("bob", 6) && !covers("bob", 7));
            assert!(covers("carol", 2) && !covers("carol", 3));
        }
    }

    #[test]
    fn what_is_told_in_pieces_is_told_once_and_whole() {
        let list = Revocations::default();
        for n in 0..5 {
            list.add(of(&format!("user-{n}"), 10 + n));
        }
        list.add(of("user-0", 20));
        let (mut state, mut told) = (0, Vec::new());
        loop {
            let (some, next) = list.since(state, 2);
            if some.is_empty() {
                break;
            }
            assert!(some.len() <= 2);
            told.extend(some);
            state = next;
        }
        assert_eq!(told.len(), 5);
        assert_eq!(told.last(), Some(&of("user-0", 20)), "the newest comes last");
        list.add(of("user-0", 15));
        assert_eq!(list.since(state, 2), (Vec::new(), state), "earlier is no news");
        assert_eq!(*list.news().borrow(), state);
    }

    #[test]
    fn a_token_without_a_time_is_older_than_any_revocation() {
        let list = Revocations::default();
        let alice = UserId::new("alice").unwrap();
        assert!(!list.covers(&alice, None));
        list.add(of("alice", 1));
        assert!(list.covers(&alice, None));
    }
}
