//! What one subscriber saw, and what follows from it. Pure: times come from the caller.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use sterna_client::Position;

use super::told::Counts;

/// Publications in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// With their time in microseconds.
    arrivals: Vec<(u64, Position)>,
    /// How often the node was asked for the subscription, by a new connection or for a gap.
    asked: u64,
    counts: Counts,
}

impl Journal {
    pub(super) fn on_publication(&mut self, at_us: u64, position: Position) {
        self.arrivals.push((at_us, position));
    }

    /// The highest position that has arrived.
    pub(super) fn last(&self) -> Option<Position> {
        self.arrivals.iter().map(|(_, position)| *position).max()
    }

    pub(super) fn on_asked(&mut self) {
        self.asked += 1;
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    pub(super) fn on_counts(&mut self, counts: Counts) {
        self.counts = counts;
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The longest time between two arrivals that follow each other, where the later one lies in
    /// the window.
    pub(super) fn longest_silence(&self, from_us: u64, to_us: u64) -> Duration {
        self.silences(from_us, to_us).map(|(_, silence)| silence).max().unwrap_or_default()
    }

    /// When something arrived in the window, and how long nothing had.
    pub(super) fn silences(
        &self,
        from_us: u64,
        to_us: u64,
    ) -> impl Iterator<Item = (u64, Duration)> {
        let pairs = self.arrivals.windows(2);
        let inside = pairs.filter(move |pair| from_us < pair[1].0 && pair[1].0 <= to_us);
        inside.map(|pair| (pair[1].0, Duration::from_micros(pair[1].0.saturating_sub(pair[0].0))))
    }

    /// How the publications after `after` up to `upto` arrived, of which all of `acked` had to.
    pub(super) fn judge(&self, acked: &[Position], after: Position, upto: Position) -> Verdict {
        let span = (Bound::Excluded(after), Bound::Included(upto));
        let mut times_seen: BTreeMap<Position, u64> = BTreeMap::new();
        let mut highest = None;
        let mut duplicated = 0;
        for (_, position) in &self.arrivals {
            *times_seen.entry(*position).or_default() += 1;
            let late = highest.is_some_and(|highest| *position <= highest);
            duplicated += u64::from(late && (after < *position && *position <= upto));
            highest = highest.max(Some(*position));
        }
        let seen: Vec<Position> = times_seen.range(span).map(|(position, _)| *position).collect();
        let wanted = acked.iter().filter(|position| after < **position && **position <= upto);
        let lost = wanted.filter(|position| seen.binary_search(position).is_err()).count() as u64;
        Verdict { lost, duplicated }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Acknowledged, and never arrived.
    pub(super) lost: u64,
    /// Arrived again, or after what follows it.
    pub(super) duplicated: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(seen: &[(u64, u64)]) -> Journal {
        let mut journal = Journal::default();
        for (ms, offset) in seen {
            journal.on_publication(ms * 1000, Position::new(1, *offset));
        }
        journal
    }

    #[test]
    fn a_silence_counts_where_it_ends() {
        let journal = journal(&[(0, 1), (10, 2), (90, 3), (95, 4), (300, 5)]);
        let ms = |from: u64, to: u64| journal.longest_silence(from * 1000, to * 1000).as_millis();
        assert_eq!(ms(20, 200), 80);
        assert_eq!(ms(90, 200), 5);
        assert_eq!(ms(90, 300), 205);
        assert_eq!(ms(400, 500), 0);
    }

    #[test]
    fn lost_and_duplicated_are_found_where_they_belong() {
        let acked: Vec<Position> = (1..=6).map(|offset| Position::new(1, offset)).collect();
        let at = |offset| Position::new(1, offset);
        let judge = |seen: &[(u64, u64)], after, upto| {
            let verdict = journal(seen).judge(&acked, at(after), at(upto));
            (verdict.lost, verdict.duplicated)
        };
        let clean: Vec<(u64, u64)> = (1..=6).map(|offset| (offset, offset)).collect();
        assert_eq!(judge(&clean, 0, 6), (0, 0));
        let bad = [(1, 1), (2, 3), (3, 2), (4, 4), (5, 4), (6, 6)];
        assert_eq!(judge(&bad, 0, 6), (1, 2));
        assert_eq!(judge(&bad, 0, 2), (0, 1));
        assert_eq!(judge(&bad, 4, 6), (1, 0));
    }
}
