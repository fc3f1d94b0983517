//! Choice of one node for something that hashes to a number: rendezvous hashing (Thaler and
//! Ravishankar, 1998) with weights (Schindelhauer and Schomaker, 2005). Every node that knows the
//! same candidates chooses alike without asking anybody, and a candidate that comes or goes moves
//! nothing but what it gets or had.
//!
//! What is chosen is a hint wherever it is used: two machines whose logarithms differ in the last
//! bit may see two winners, once in some 10^13 choices, and go on as with two rosters.

use std::cmp::Ordering;

use crate::cluster::NodeInfo;

/// Weight of a node that does not say one.
pub const USUAL_WEIGHT: u32 = 100;

/// Heaviest node: a hundred times the usual one.
pub const MOST_WEIGHT: u32 = 100 * USUAL_WEIGHT;

/// The candidate that is drawn most to a slot. It gets its weight's share of all slots.
pub fn highest<'a>(
    slot: u16,
    candidates: impl IntoIterator<Item = &'a NodeInfo>,
) -> Option<&'a NodeInfo> {
    let drawn = candidates.into_iter().map(|node| Draw::new(u64::from(slot), node));
    drawn.max_by(Draw::compare).map(|draw| draw.node)
}

/// How strongly a node is drawn to a number.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'a> {
    pub node: &'a NodeInfo,
    hash: u64,
    score: f64,
}

impl<'a> Draw<'a> {
    pub fn new(number: u64, node: &'a NodeInfo) -> Self {
        let hash = twox_hash::XxHash3_64::oneshot_with_seed(number, node.name.as_str().as_bytes());
        Self { node, hash, score: score(hash, node.weight) }
    }

    /// The hash decides where scores are too close to differ, so that nodes of equal weight are
    /// compared as if there were none; and the name at last, so that all nodes decide alike.
    pub fn compare(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then(self.hash.cmp(&other.hash)).then_with(|| self.node.name.cmp(&other.node.name))
    }
}

/// `-w / ln h` with `h` between 0 and 1, both excluded: the highest of several is each one's with
/// the probability that its weight has in all.
fn score(hash: u64, weight: u32) -> f64 {
    let fraction = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -f64::from(weight) / fraction.ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::node;
    use proptest::prelude::*;
    use sterna_proto::NodeId;
    use sterna_proto::id::SLOTS;

    fn nodes(weights: &[u32]) -> Vec<NodeInfo> {
        let weighted = |(n, weight): (usize, &u32)| NodeInfo {
            weight: *weight,
            ..node(&format!("core-{n}"), 1)
        };
        weights.iter().enumerate().map(weighted).collect()
    }

    fn owners(nodes: &[NodeInfo]) -> Vec<NodeId> {
        (0..SLOTS).map(|slot| highest(slot, nodes).unwrap().name.clone()).collect()
    }

    fn owned(owners: &[NodeId], node: &NodeInfo) -> usize {
        owners.iter().filter(|owner| **owner == node.name).count()
    }

    #[test]
    fn slots_are_spread_by_weight() {
        for weights in
            [&[100, 100][..], &[1, 1, 1], &[7; 8], &[100, 300], &[50, 100, 200], &[10_000, 5000]]
        {
            let nodes = nodes(weights);
            let owners = owners(&nodes);
            let all: u32 = weights.iter().sum();
            for node in &nodes {
                let fair = f64::from(SLOTS) * f64::from(node.weight) / f64::from(all);
                let share = owned(&owners, node) as f64 / fair;
                assert!((0.75..1.25).contains(&share), "{weights:?}: {} has {share}", node.name);
            }
        }
    }

    /// Nodes of a release without weights decide by the hash alone.
    #[test]
    fn equal_weights_are_as_good_as_none() {
        let nodes = nodes(&[100; 7]);
        for slot in 0..SLOTS {
            let by_hash = |node: &&NodeInfo| Draw::new(u64::from(slot), node).hash;
            let first = nodes.iter().max_by_key(by_hash).unwrap();
            assert_eq!(highest(slot, &nodes), Some(first));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_core_that_goes_moves_only_its_own_slots(
            weights in proptest::collection::vec(1..=MOST_WEIGHT, 2..8),
        ) {
            let all = nodes(&weights);
            let (last, rest) = all.split_last().unwrap();
            let (before, after) = (owners(&all), owners(rest));
            for (owner, next) in before.iter().zip(&after) {
                prop_assert!(*owner == last.name || owner == next);
            }
        }

        #[test]
        fn a_core_that_grows_takes_and_gives_nothing(
            weights in proptest::collection::vec(1..MOST_WEIGHT, 2..8),
        ) {
            let mut nodes = nodes(&weights);
            let before = owners(&nodes);
            nodes[0].weight = MOST_WEIGHT;
            for (owner, next) in before.iter().zip(owners(&nodes)) {
                prop_assert!(*owner == next || next == nodes[0].name);
            }
        }

        #[test]
        fn the_order_in_which_nodes_are_known_makes_no_difference(
            weights in proptest::collection::vec(1..=MOST_WEIGHT, 1..6),
        ) {
            let mut nodes = nodes(&weights);
            let owners_then = owners(&nodes);
            nodes.reverse();
            prop_assert_eq!(owners(&nodes), owners_then);
        }
    }
}
