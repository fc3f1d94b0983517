//! Order through refusals. Pure. A client with several publications on their way must not see a
//! later one stored because an earlier one was refused for the moment: what follows a refused one
//! is refused as well, until that one comes again.
//!
//! It may never come again here: a copy was stored by another way, or the client has given it up.
//! Nobody but the client knows, so it says so with what it publishes next (`settled_below`). One
//! that says nothing waits for [`HOLD`].

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Duration;

use ahash::RandomState;
use tokio::time::Instant;

/// Remembers, for each key, the refused client_seqs. All of them: a client sends what has no answer
/// several times, and of two that were refused the copies may come in any order.
#[derive(Debug)]
pub struct OrderGate<K> {
    refused: HashMap<K, Refused, RandomState>,
    max_keys: usize,
}

/// Of one key: when each was refused last.
type Refused = BTreeMap<u64, Instant>;

/// After this long a client that says nothing is taken to have given the refused publication up:
/// longer than the pauses that a refusal asks for (up to 500 ms), shorter than somebody waits.
const HOLD: Duration = Duration::from_secs(10);

/// Keys remembered; above, those that were held for too long are forgotten, then all are.
const KEYS: usize = 1024;

/// Refused ones remembered of a key, the earliest: as many as a session may have on their way.
const REFUSED: usize = 64;

impl<K: Eq + Hash> Default for OrderGate<K> {
    fn default() -> Self {
        Self::new(KEYS)
    }
}

impl<K: Eq + Hash> OrderGate<K> {
    /// Remembers this many keys.
    pub fn new(max_keys: usize) -> Self {
        Self { refused: HashMap::default(), max_keys }
    }

    /// Whether a publication may go on: none before it was refused and has not come again, but for
    /// those that its client has settled, which lie below `settled_below`.
    pub fn admits(&mut self, key: &K, client_seq: u64, settled_below: u64, now: Instant) -> bool {
        let Some(refused) = self.refused.get_mut(key) else { return true };
        if sterna_storage::planted!(OrderGateOpen) {
            return true;
        }
        let settled_below =
            if sterna_storage::planted!(SettledUnheard) { 0 } else { settled_below };
        refused.retain(|seq, at| *seq >= settled_below && now - *at < HOLD);
        let earliest = refused.first_key_value().map(|(earliest, _)| *earliest);
        if earliest.is_some_and(|earliest| earliest < client_seq) {
            return false;
        }
        // One that was on its way before the earliest opens nothing.
        if sterna_storage::planted!(EarlierOpensGate) && earliest > Some(client_seq) {
            refused.clear();
        }
        self.on_settled(key, client_seq, now);
        true
    }

    /// A publication has come again, or was refused for good: nothing waits for it any more.
    pub fn on_settled(&mut self, key: &K, client_seq: u64, now: Instant) {
        let Some(refused) = self.refused.get_mut(key) else { return };
        let was_earliest = refused.keys().next() == Some(&client_seq);
        if refused.remove(&client_seq).is_some()
            && was_earliest
            && let Some(mut next) = refused.first_entry()
        {
            // Its turn begins now.
            *next.get_mut() = now;
        }
        if refused.is_empty() {
            self.refused.remove(key);
        }
    }

    /// A publication was refused with a retryable error.
    pub fn on_refused(&mut self, key: K, client_seq: u64, now: Instant) {
        if self.refused.len() >= self.max_keys && !self.refused.contains_key(&key) {
            self.refused.retain(|_, refused| refused.values().any(|at| now - *at < HOLD));
            if self.refused.len() >= self.max_keys {
                self.refused.clear();
            }
        }
        let refused = self.refused.entry(key).or_default();
        refused.insert(client_seq, now);
        if refused.len() > REFUSED {
            refused.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_refused_publication_waits_for_it() {
        let now = Instant::now();
        let mut gate = OrderGate::default();
        assert!(gate.admits(&"phone", 1, 0, now));
        gate.on_refused("phone", 5, now);
        gate.on_refused("phone", 6, now);
        assert!(!gate.admits(&"phone", 7, 0, now));
        assert!(!gate.admits(&"phone", 6, 0, now));
        assert!(gate.admits(&"laptop", 7, 0, now));
        assert!(gate.admits(&"phone", 5, 0, now));
        assert!(!gate.admits(&"phone", 7, 0, now), "6 was refused too");
        assert!(gate.admits(&"phone", 6, 0, now));
        gate.on_refused("phone", 7, now);
        assert!(gate.admits(&"phone", 8, 0, now + HOLD), "given up");
        assert!(gate.refused.is_empty());
    }

    #[test]
    fn i13_copies_of_refused_publications_do_not_overtake_each_other() {
        let now = Instant::now();
        let mut gate = OrderGate::default();
        (5..9).for_each(|seq| gate.on_refused("phone", seq, now));
        assert!(gate.admits(&"phone", 5, 0, now));
        assert!(!gate.admits(&"phone", 8, 0, now), "6 and 7 have not come again");
        assert!(gate.admits(&"phone", 5, 0, now), "another copy");
        assert!(gate.admits(&"phone", 6, 0, now));
        assert!(!gate.admits(&"phone", 9, 0, now));
        assert!(gate.admits(&"phone", 7, 0, now));
        assert!(gate.admits(&"phone", 8, 0, now));
        assert!(gate.admits(&"phone", 9, 0, now));
    }

    #[test]
    fn what_is_refused_for_good_holds_nothing_back() {
        let now = Instant::now();
        let mut gate = OrderGate::default();
        (5..7).for_each(|seq| gate.on_refused("phone", seq, now));
        gate.on_settled(&"phone", 6, now);
        assert!(!gate.admits(&"phone", 7, 0, now), "5 has not come again");
        gate.on_settled(&"phone", 5, now);
        assert!(gate.admits(&"phone", 7, 0, now));
        assert!(gate.refused.is_empty());
    }

    /// Of 5 a copy was stored by another way; the client has its answer and goes on.
    #[test]
    fn what_the_client_has_settled_holds_nothing_back() {
        let now = Instant::now();
        let mut gate = OrderGate::default();
        [5, 7].into_iter().for_each(|seq| gate.on_refused("phone", seq, now));
        assert!(!gate.admits(&"phone", 6, 0, now), "not known of 5");
        assert!(!gate.admits(&"phone", 8, 6, now), "7 comes again");
        assert!(gate.admits(&"phone", 6, 6, now));
        assert!(!gate.admits(&"phone", 8, 6, now), "7 comes again");
        assert!(gate.admits(&"phone", 7, 7, now));
        assert!(gate.refused.is_empty());
    }

    #[test]
    fn what_was_on_its_way_before_a_refused_one_opens_nothing() {
        let now = Instant::now();
        let mut gate = OrderGate::default();
        gate.on_refused("phone", 5, now);
        assert!(
            gate.admits(&"phone", 4, 0, now),
            "it had room, and is looked at after the refusal"
        );
        assert!(!gate.admits(&"phone", 6, 0, now));
        assert!(gate.admits(&"phone", 5, 0, now));
        assert!(gate.admits(&"phone", 6, 0, now));
    }

    #[test]
    fn i12_the_gate_is_bounded() {
        let now = Instant::now();
        let mut gate = OrderGate::default();
        for key in 0..5 * KEYS {
            gate.on_refused(key, 1, now);
        }
        assert!(gate.refused.len() <= KEYS);
        (0..5 * REFUSED as u64).for_each(|seq| gate.on_refused(0, seq, now));
        assert_eq!(gate.refused[&0].len(), REFUSED);
        assert!(!gate.admits(&0, 1, 0, now), "the earliest stay");
    }
}
