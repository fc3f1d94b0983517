//! When each connection next has to be looked at. Pure.
//!
//! A connection's deadline mostly moves away from now (every acknowledgement does that), so an entry
//! is moved only when the deadline comes closer; one that has moved away is put back when its old
//! time comes. So there is one entry for each connection, and most packets leave it alone.

use std::collections::BTreeSet;
use std::time::Instant;

/// Entries by time. What they say is a lower bound; the owner knows the truth.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    entries: BTreeSet<(Instant, usize)>,
}

/// The entry of one connection, kept by it.
#[derive(Debug, Default)]
pub(super) struct Entry(Option<Instant>);

impl Deadlines {
    /// The connection `key` has to be looked at by `deadline`, if at all.
    pub(super) fn set(&mut self, entry: &mut Entry, key: usize, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        match entry.0 {
            Some(at) if at <= deadline => return,
            Some(at) => {
                self.entries.remove(&(at, key));
            }
            None => {}
        }
        self.entries.insert((deadline, key));
        entry.0 = Some(deadline);
    }

    /// The connection is gone.
    pub(super) fn remove(&mut self, entry: &mut Entry, key: usize) {
        if let Some(at) = entry.0.take() {
            self.entries.remove(&(at, key));
        }
    }

    /// The earliest time at which there is something to look at.
    pub(super) fn first(&self) -> Option<Instant> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// A connection whose time has come. Its entry is gone: it has to be [cleared](Entry::clear)
    /// and set anew.
    pub(super) fn pop(&mut self, now: Instant) -> Option<usize> {
        let (at, key) = *self.entries.first()?;
        if at > now {
            return None;
        }
        self.entries.pop_first();
        Some(key)
    }
}

impl Entry {
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_deadline_that_moves_away_is_found_at_its_old_time_and_one_that_comes_closer_in_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut deadlines = Deadlines::default();
        let (mut a, mut b) = (Entry::default(), Entry::default());
        deadlines.set(&mut a, 1, Some(at(100)));
        deadlines.set(&mut b, 2, Some(at(50)));
        deadlines.set(&mut a, 1, Some(at(900)));
        assert_eq!(deadlines.first(), Some(at(50)), "the earliest of all");
        deadlines.set(&mut a, 1, Some(at(10)));
        assert_eq!(deadlines.first(), Some(at(10)));
        assert_eq!(deadlines.pop(at(9)), None);
        assert_eq!(deadlines.pop(at(60)), Some(1));
        a.clear();
        deadlines.set(&mut a, 1, Some(at(200)));
        assert_eq!(deadlines.pop(at(60)), Some(2));
        assert_eq!(deadlines.pop(at(60)), None);
        deadlines.set(&mut a, 1, None);
        assert_eq!(deadlines.first(), Some(at(200)), "no deadline: the entry is a lower bound");
        deadlines.remove(&mut a, 1);
        assert_eq!(deadlines.first(), None);
    }
}
