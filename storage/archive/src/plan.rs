//! Which segments are put together. Pure; the compactor asks.
//!
//! Candidates stand in the order in which they were written, and only neighbours are put together, so
//! that the runs that they hold of a channel follow each other. It takes [`LEAST`] of them, and the
//! largest must weigh no more than all others together: whatever is written again lies afterwards in
//! a segment of at least twice the weight of its own. So a publication is written again at most
//! log2(`bound` / the smallest weight) times. Where nothing can be put together any more, there are
//! between two segments that are about as large as they may be fewer than [`LEAST`] others for each
//! doubling of weights.

use std::collections::HashSet;
use std::ops::Range;

use sterna_storage::SegmentKey;

/// Fewer are not worth it.
pub(crate) const LEAST: usize = 8;

/// More are put together in several steps: of each a page is held meanwhile.
pub(crate) const MOST: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) key: SegmentKey,
    /// `u64::MAX`: never to be put together with others.
    pub(crate) weight: u64,
}

/// Pairs that are not to be put together: runs of a channel are missing in between.
pub(crate) type Apart = HashSet<(SegmentKey, SegmentKey)>;

/// What is to be put together next; the result weighs no more than `bound`. `None`: nothing.
pub(crate) fn plan(candidates: &[Candidate], bound: u64, apart: &Apart) -> Option<Range<usize>> {
    let mut best: Option<(Range<usize>, u64)> = None;
    for start in 0..candidates.len() {
        let (mut total, mut largest) = (0_u64, 0);
        for (end, next) in (start + 1..).zip(&candidates[start..]).take(MOST) {
            total = total.saturating_add(next.weight);
            largest = next.weight.max(largest);
            let stays_apart = |it: &Candidate| {
                apart.contains(&(it.key, next.key)) || apart.contains(&(next.key, it.key))
            };
            if total > bound || candidates[start..end].iter().any(stays_apart) {
                break;
            }
            // Most at once for the least that is written.
            let is_better = best
                .as_ref()
                .is_none_or(|(range, weight)| (end - start, *weight) > (range.len(), total));
            if end - start >= LEAST && largest <= total - largest && is_better {
                best = Some((start..end, total));
            }
        }
    }
    best.map(|(range, _)| range)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn candidates(weights: &[u64]) -> Vec<Candidate> {
        let key = |segment| SegmentKey { shard: 0, first_ts_ms: 0, segment };
        (0..).zip(weights).map(|(n, weight)| Candidate { key: key(n), weight: *weight }).collect()
    }

    fn of(weights: &[u64]) -> Option<Range<usize>> {
        plan(&candidates(weights), 1000, &Apart::new())
    }

    #[test]
    fn neighbours_of_a_size_are_put_together_and_nothing_is_for_little() {
        assert_eq!(of(&[1; 7]), None, "too few");
        assert_eq!(of(&[1; 8]), Some(0..8));
        assert_eq!(of(&[100, 1, 1, 1, 1, 1, 1, 1]), None, "100 would be written again for 7");
        assert_eq!(of(&[100, 1, 1, 1, 1, 1, 1, 1, 1]), Some(1..9));
        assert_eq!(of(&[9, 1, 9, 1, 9, 1, 9, 1]), Some(0..8));
        assert_eq!(of(&[1; 100]), Some(0..MOST));
        assert_eq!(of(&[200; 12]), None, "none would be within the bound");
        assert_eq!(of(&[1, 1, 1, 1, u64::MAX, 1, 1, 1, 1]), None, "not over what is left alone");
    }

    #[test]
    fn what_is_to_stay_apart_is_never_in_one() {
        let all = candidates(&[1; 20]);
        for (one, other) in [(3, 12), (12, 3), (9, 10)] {
            let apart = Apart::from([(all[one].key, all[other].key)]);
            let range = plan(&all, 1000, &apart).unwrap();
            assert!(!(range.contains(&one) && range.contains(&other)), "{range:?}");
        }
    }

    #[test]
    fn each_is_written_again_few_times_and_few_are_left() {
        let bound = 1_u64 << 20;
        for seed in 0..20 {
            let mut chance = StdRng::seed_from_u64(seed);
            let largest = 1_u64 << chance.random_range(1..20);
            let (mut all, mut rewritten) = (Vec::new(), Vec::<u32>::new());
            for n in 0..3_000 {
                let key = SegmentKey { shard: 0, first_ts_ms: n, segment: n };
                all.push(Candidate { key, weight: chance.random_range(1..=largest) });
                // How often what lies in it was written again, at most.
                rewritten.push(0);
                while chance.random_bool(0.7)
                    && let Some(range) = plan(&all, bound, &Apart::new())
                {
                    let weight = all[range.clone()].iter().map(|it| it.weight).sum();
                    assert!(weight <= bound);
                    let times = rewritten[range.clone()].iter().max().unwrap() + 1;
                    let key = all[range.start].key;
                    all.splice(range.clone(), [Candidate { key, weight }]);
                    rewritten.splice(range, [times]);
                }
            }
            while let Some(range) = plan(&all, bound, &Apart::new()) {
                let weight = all[range.clone()].iter().map(|it| it.weight).sum();
                let key = all[range.start].key;
                all.splice(range, [Candidate { key, weight }]);
            }
            let most = rewritten.iter().max().unwrap();
            assert!(*most <= 20, "seed {seed}: {most} times");
            let large = all.iter().filter(|it| it.weight >= bound / LEAST as u64).count();
            let left = all.len() - large;
            println!("seed {seed}: {largest} {left} beside {large}, {most} times");
            assert!(left <= 20 * LEAST * (large + 1), "seed {seed}: {left} beside {large}");
            if largest <= bound >> 8 {
                assert!(left <= 20 * LEAST, "seed {seed}: {left} are left");
            }
        }
    }
}
