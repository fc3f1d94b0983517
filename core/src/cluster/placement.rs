//! Choice of the owner of each slot: rendezvous hashing (Thaler and Ravishankar, 1998). Every node
//! that knows the same cores names the same owner without asking anybody, and a core that comes or
//! goes moves no slot but those that it gets or had.

use std::hash::Hasher as _;

use sterna_proto::NodeId;

/// How strongly a node is drawn to a slot; the highest rank owns it.
pub fn rank(slot: u16, node: &NodeId) -> u64 {
    let mut hash = twox_hash::XxHash3_64::with_seed(u64::from(slot));
    hash.write(node.as_str().as_bytes());
    hash.finish()
}

/// The candidate that a slot is drawn to most.
pub fn highest<'a, T>(
    slot: u16,
    candidates: impl IntoIterator<Item = &'a T>,
    name: impl Fn(&T) -> &NodeId,
) -> Option<&'a T> {
    // The name decides between equal ranks, so that all nodes decide alike.
    candidates.into_iter().max_by_key(|node| (rank(slot, name(node)), name(node).clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_proto::id::SLOTS;

    fn nodes(count: usize) -> Vec<NodeId> {
        (0..count).map(|n| NodeId::new(&format!("core-{n}")).unwrap()).collect()
    }

    fn owners(nodes: &[NodeId]) -> Vec<NodeId> {
        (0..SLOTS).map(|slot| highest(slot, nodes, |node| node).unwrap().clone()).collect()
    }

    #[test]
    fn slots_are_spread_evenly() {
        for count in [2, 3, 8] {
            let nodes = nodes(count);
            let owners = owners(&nodes);
            let fair = usize::from(SLOTS) / count;
            for node in &nodes {
                let owned = owners.iter().filter(|owner| *owner == node).count();
                assert!(owned > fair * 3 / 4 && owned < fair * 5 / 4, "{node}: {owned} of {fair}");
            }
        }
    }

    #[test]
    fn a_core_that_goes_moves_only_its_own_slots() {
        let all = nodes(5);
        let (before, after) = (owners(&all), owners(&all[..4]));
        for (slot, owner) in before.iter().enumerate() {
            assert!(*owner == all[4] || *owner == after[slot], "slot {slot} has moved for nothing");
        }
    }

    #[test]
    fn the_order_in_which_nodes_are_known_makes_no_difference() {
        let mut nodes = nodes(4);
        let owners_then = owners(&nodes);
        nodes.reverse();
        assert_eq!(owners(&nodes), owners_then);
    }
}
