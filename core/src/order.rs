//! Order through refusals. Pure. A client with several publications on their way must not see a
//! later one stored because an earlier one was refused for the moment: what follows a refused one
//! is refused as well, until that one comes again.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use ahash::RandomState;
use tokio::time::Instant;

/// Remembers, for each key, the refused client_seqs.
#[derive(Debug)]
pub struct OrderGate<K> {
    refused: HashMap<K, Refused, RandomState>,
    max_keys: usize,
}

/// Never without a client_seq. All are kept, not the earliest alone: that one may come again, and be
/// looked at only when the next one has been refused as well.
#[derive(Debug)]
struct Refused {
    client_seqs: BTreeSet<u64>,
    /// When the earliest was refused, or became the earliest.
    at: Instant,
}

/// After this long a client is taken to have given the refused publication up.
const HOLD: Duration = Duration::from_secs(10);

/// Refused client_seqs of one key; above, the latest are not remembered.
const REFUSED: usize = 64;

/// Keys remembered; above, those that were held for too long are forgotten, then all are.
const KEYS: usize = 1024;

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

    /// Whether a publication may go on.
    pub fn admits(&mut self, key: &K, client_seq: u64, now: Instant) -> bool {
        let Some(refused) = self.refused.get_mut(key) else { return true };
        let Some(earliest) = refused.client_seqs.first().copied() else { return true };
        if sterna_storage::planted!(OrderGateOpen) {
            return true;
        }
        match client_seq.cmp(&earliest) {
            // It was on its way before the refused one, which has not come again by it.
            Ordering::Less if sterna_storage::planted!(EarlierOpensGate) => {}
            Ordering::Less => return true,
            Ordering::Greater if now - refused.at < HOLD => return false,
            Ordering::Equal if refused.client_seqs.len() > 1 => {
                refused.client_seqs.pop_first();
                refused.at = now;
                return true;
            }
            Ordering::Equal | Ordering::Greater => {}
        }
        self.refused.remove(key);
        true
    }

    /// A publication was refused with a retryable error.
    pub fn on_refused(&mut self, key: K, client_seq: u64, now: Instant) {
        if self.refused.len() >= self.max_keys && !self.refused.contains_key(&key) {
            self.refused.retain(|_, refused| now - refused.at < HOLD);
            if self.refused.len() >= self.max_keys {
                self.refused.clear();
            }
        }
        let first = || Refused { client_seqs: BTreeSet::from([client_seq]), at: now };
        let entry = self.refused.entry(key).or_insert_with(first);
        entry.client_seqs.insert(client_seq);
        if entry.client_seqs.first() == Some(&client_seq) {
            entry.at = now;
        }
        if entry.client_seqs.len() > REFUSED {
            entry.client_seqs.pop_last();
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
        assert!(gate.admits(&"phone", 1, now));
        gate.on_refused("phone", 5, now);
        gate.on_refused("phone", 6, now);
        assert!(!gate.admits(&"phone", 7, now));
        assert!(!gate.admits(&"phone", 6, now));
        assert!(gate.admits(&"laptop", 7, now));
        assert!(gate.admits(&"phone", 5, now));
        assert!(!gate.admits(&"phone", 7, now), "6 was refused too");
        assert!(gate.admits(&"phone", 6, now));
        gate.on_refused("phone", 7, now);
        assert!(gate.admits(&"phone", 8, now + HOLD), "given up");
    }

    #[test]
    fn what_was_on_its_way_before_a_refused_one_opens_nothing() {
        let now = Instant::now();
        let mut gate = OrderGate::default();
        gate.on_refused("phone", 5, now);
        assert!(gate.admits(&"phone", 4, now), "it had room, and is looked at after the refusal");
        assert!(!gate.admits(&"phone", 6, now));
        assert!(gate.admits(&"phone", 5, now));
        assert!(gate.admits(&"phone", 6, now));
    }

    #[test]
    fn i12_the_gate_is_bounded() {
        let now = Instant::now();
        let mut gate = OrderGate::default();
        for key in 0..5 * KEYS {
            gate.on_refused(key, 1, now);
        }
        assert!(gate.refused.len() <= KEYS);
        (0..5 * KEYS as u64).for_each(|client_seq| gate.on_refused(0, client_seq, now));
        assert_eq!(gate.refused[&0].client_seqs.len(), REFUSED);
    }
}
