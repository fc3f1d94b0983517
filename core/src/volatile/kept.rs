//! What this node wants to stand in a table that may forget everything, and when it writes there.
//! Pure. An entry is written soon after it is wanted, again before its time there ends, again after
//! a loss, and removed a while after it is not wanted any more: who comes back meanwhile costs
//! nothing.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

use ahash::RandomState;

/// Times of a table.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// An entry is written again after about this long; it has to be kept there for longer.
    pub refresh: Duration,
    /// How long an entry stays that nobody wants.
    pub linger: Duration,
    /// Pause after a write that has failed.
    pub retry: Duration,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write<K, V> {
    Put(K, V),
    Remove(K, V),
}

/// Entries of one table. At most `most`; what is beyond is not written, which costs what the table
/// saves and nothing else.
#[derive(Debug)]
pub struct Kept<K, V> {
    times: Times,
    most: usize,
    entries: HashMap<K, Entry<V>, RandomState>,
    due: BTreeSet<(Instant, K)>,
    /// Spreads what would be due together.
    turns: u32,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    /// How many want it.
    wanted: u32,
    /// It is in the table, as far as is known.
    is_written: bool,
    due: Due,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    At(Instant),
    /// A write is on its way; `again` if something has changed since it began.
    OnItsWay {
        again: bool,
    },
}

impl<K: Clone + Ord + Hash, V: Clone + PartialEq> Kept<K, V> {
    pub fn new(times: Times, most: usize) -> Self {
        let (entries, due) = Default::default();
        Self { times, most, entries, due, turns: 0 }
    }

    /// One more wants the entry. False: there is no room for it.
    #[must_use]
    pub fn want(&mut self, key: K, value: V, now: Instant) -> bool {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.wanted += 1;
            let is_news = entry.value != value || !entry.is_written;
            entry.value = value;
            if is_news || entry.wanted == 1 {
                let at = if is_news { now } else { now + self.times.refresh / 2 };
                self.schedule(&key, at);
            }
            return true;
        }
        if self.entries.len() >= self.most {
            return false;
        }
        let entry = Entry { value, wanted: 1, is_written: false, due: Due::At(now) };
        self.entries.insert(key.clone(), entry);
        self.due.insert((now, key));
        true
    }

    /// One less wants it.
    pub fn unwant(&mut self, key: &K, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.wanted = entry.wanted.saturating_sub(1);
        if entry.wanted > 0 {
            return;
        }
        if !entry.is_written && matches!(entry.due, Due::At(_)) {
            if let Some(Entry { due: Due::At(at), .. }) = self.entries.remove(key) {
                self.due.remove(&(at, key.clone()));
            }
            return;
        }
        let at = now + self.times.linger;
        self.schedule(key, at);
    }

    /// These are somebody else's to write from now on; what stands in the table stays.
    pub fn forget(&mut self, other: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| !other(key));
        self.due.retain(|(_, key)| !other(key));
    }

    /// What is to be written now, at most so much. Each is answered with [`on_written`].
    ///
    /// [`on_written`]: Self::on_written
    pub fn take_due(&mut self, now: Instant, most: usize) -> Vec<Write<K, V>> {
        let mut writes = Vec::new();
        while writes.len() < most {
            let Some((at, key)) = self.due.first().cloned().filter(|(at, _)| *at <= now) else {
                break;
            };
            self.due.remove(&(at, key.clone()));
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            entry.due = Due::OnItsWay { again: false };
            let value = entry.value.clone();
            writes.push(match entry.wanted {
                0 => Write::Remove(key, value),
                _ => Write::Put(key, value),
            });
        }
        writes
    }

    /// What has become of a write.
    pub fn on_written(&mut self, write: &Write<K, V>, is_done: bool, now: Instant) {
        let (key, is_put) = match write {
            Write::Put(key, _) => (key, true),
            Write::Remove(key, _) => (key, false),
        };
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Due::OnItsWay { again } = entry.due else { return };
        if is_done {
            entry.is_written = is_put;
        }
        let at = match (is_done, entry.wanted) {
            (true, 0) if !is_put => {
                self.entries.remove(key);
                return;
            }
            (false, _) => now + self.times.retry,
            (true, 0) => now + self.times.linger,
            (true, _) if again || !is_put => now,
            (true, _) => now + self.spread(self.times.refresh),
        };
        if let Some(entry) = self.entries.get_mut(key) {
            entry.due = Due::At(at);
            self.due.insert((at, key.clone()));
        }
    }

    /// Some of what was written is gone: it is written again within a time.
    pub fn on_lost(&mut self, is_lost: impl Fn(&K, &V) -> bool, now: Instant, within: Duration) {
        let lost = self.entries.iter().filter(|(key, entry)| is_lost(key, &entry.value));
        let lost: Vec<K> = lost.map(|(key, _)| key.clone()).collect();
        for key in lost {
            let at = now + self.spread(within);
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.is_written = false;
            }
            self.schedule(&key, at);
        }
    }

    /// Entries that are wanted or not removed yet.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn schedule(&mut self, key: &K, at: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match &mut entry.due {
            Due::OnItsWay { again } => *again = true,
            Due::At(before) => {
                self.due.remove(&(*before, key.clone()));
                *before = at;
                self.due.insert((at, key.clone()));
            }
        }
    }

    /// Between half of a time and all of it.
    fn spread(&mut self, time: Duration) -> Duration {
        // A multiplier of Knuth's spreads consecutive numbers evenly.
        self.turns = self.turns.wrapping_add(1);
        let share = f64::from(self.turns.wrapping_mul(0x9E37_79B9)) / f64::from(u32::MAX);
        time.mul_f64(1.0 - share / 2.0)
    }
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
