//! What one node makes of the roster: where a command for a channel goes next.
//!
//! I9: what is said in one region about a channel that another region owns goes through one node
//! of the asking region, its relay for the slot; so the owner sends one copy there, and the relay
//! spreads it.

use sterna_proto::NodeId;
use sterna_proto::id::SLOTS;

use crate::cluster::NodeInfo;
use crate::cluster::placement::highest;

/// The next node on the way to a slot's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// This node owns the slot.
    Here,
    By(NodeId),
    /// Nobody is known who could own it.
    Nowhere,
}

/// Routes of all slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    routes: Vec<Route>,
    /// Of slots that this node owns: who would be the next.
    heirs: Vec<Option<NodeId>>,
}

impl View {
    /// `live`: the roster, this node included. `reachable`: whether a link leads to that node.
    pub fn new(own: &NodeInfo, live: &[NodeInfo], reachable: impl Fn(&NodeId) -> bool) -> Self {
        let owners = candidates(live, |node| node.core);
        if has_conflict(live) {
            return Self::all(Route::Nowhere);
        }
        let mut relays = relays(own, live);
        relays.retain(|relay| relay.name == own.name || reachable(&relay.name));
        let route = |slot| route(slot, own, &owners, &relays, &reachable);
        let routes: Vec<Route> = (0..SLOTS).map(route).collect();
        let heir = |(slot, route)| match route {
            &Route::Here => heir(slot, own, &owners, &reachable),
            Route::By(_) | Route::Nowhere => None,
        };
        let heirs = (0..SLOTS).zip(&routes).map(heir).collect();
        Self { routes, heirs }
    }

    /// A view in which this node owns everything.
    pub fn alone() -> Self {
        Self::all(Route::Here)
    }

    fn all(route: Route) -> Self {
        let count = usize::from(SLOTS);
        Self { routes: vec![route; count], heirs: vec![None; count] }
    }

    pub fn route(&self, slot: u16) -> &Route {
        self.routes.get(usize::from(slot)).unwrap_or(&Route::Nowhere)
    }

    /// Who would own a slot after this node; `None`: nobody, or this node does not own it.
    pub fn heir(&self, slot: u16) -> Option<&NodeId> {
        self.heirs.get(usize::from(slot))?.as_ref()
    }

    /// Slots whose route is another one in `new`.
    pub fn moved<'a>(&'a self, new: &'a Self) -> impl Iterator<Item = u16> + 'a {
        (0..SLOTS).filter(|slot| self.route(*slot) != new.route(*slot))
    }

    /// How many slots this node owns.
    pub fn owned(&self) -> usize {
        self.routes.iter().filter(|route| **route == Route::Here).count()
    }
}

/// Several cores, and one of them has its publications on its own machine: whoever took them for one
/// would send half of a channel's life to an empty log (I1, I2). Rather nobody is served.
pub fn has_conflict(live: &[NodeInfo]) -> bool {
    let cores = live.iter().filter(|node| node.core);
    cores.clone().count() > 1 && cores.clone().any(|node| node.local_store)
}

/// Serving nodes of a kind; leaving ones where there is nobody else.
fn candidates(live: &[NodeInfo], wanted: impl Fn(&NodeInfo) -> bool) -> Vec<&NodeInfo> {
    let of_kind: Vec<&NodeInfo> = live.iter().filter(|node| wanted(node)).collect();
    let serving: Vec<&NodeInfo> = of_kind.iter().copied().filter(|n| n.is_serving()).collect();
    if serving.is_empty() { of_kind } else { serving }
}

/// Who relays in this node's region: its cores, or its edges if it has none.
fn relays<'a>(own: &NodeInfo, live: &'a [NodeInfo]) -> Vec<&'a NodeInfo> {
    let of_region = |node: &NodeInfo| node.region == own.region && !node.link_address.is_empty();
    let cores = candidates(live, |node| node.core && of_region(node));
    if cores.is_empty() { candidates(live, of_region) } else { cores }
}

fn route(
    slot: u16,
    own: &NodeInfo,
    owners: &[&NodeInfo],
    relays: &[&NodeInfo],
    reachable: &impl Fn(&NodeId) -> bool,
) -> Route {
    let relay = highest(slot, relays.iter().copied());
    let mut left: Vec<&NodeInfo> = owners.to_vec();
    let mut first = None;
    while let Some(owner) = highest(slot, left.iter().copied()) {
        if owner.name == own.name {
            return Route::Here;
        }
        let hop = match relay {
            Some(relay)
                if owner.region != own.region
                    && relay.name != own.name
                    && !sterna_storage::planted!(RelayPassedBy) =>
            {
                &relay.name
            }
            _ => &owner.name,
        };
        if reachable(hop) {
            return Route::By(hop.clone());
        }
        first.get_or_insert(hop);
        left.retain(|node| node.name != owner.name);
    }
    // Nobody can be reached: the right one may be soon.
    first.map_or(Route::Nowhere, |hop| Route::By(hop.clone()))
}

fn heir(
    slot: u16,
    own: &NodeInfo,
    owners: &[&NodeInfo],
    reachable: &impl Fn(&NodeId) -> bool,
) -> Option<NodeId> {
    let others = owners.iter().copied().filter(|node| node.name != own.name);
    let next = highest(slot, others.filter(|node| reachable(&node.name)));
    next.map(|node| node.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::NodeState;
    use crate::cluster::testing::{edge, node};
    use std::collections::{HashMap, HashSet};

    fn in_region(mut info: NodeInfo, region: &str) -> NodeInfo {
        info.region = region.to_owned();
        info
    }

    /// Follows routes from a node until one owns the slot.
    fn follow(slot: u16, from: &str, views: &HashMap<String, View>) -> Vec<String> {
        let mut way = vec![from.to_owned()];
        loop {
            match views[way.last().unwrap()].route(slot) {
                Route::Here => return way,
                Route::By(next) => way.push(next.to_string()),
                Route::Nowhere => panic!("{way:?} ends nowhere"),
            }
            assert!(way.len() < 5, "{way:?} goes round");
        }
    }

    fn views(live: &[NodeInfo], cut: &[(&str, &str)]) -> HashMap<String, View> {
        let view = |own: &NodeInfo| {
            View::new(own, live, |other| {
                !cut.contains(&(own.name.as_str(), other.as_str()))
                    && !cut.contains(&(other.as_str(), own.name.as_str()))
            })
        };
        live.iter().map(|own| (own.name.to_string(), view(own))).collect()
    }

    #[test]
    fn everybody_ends_at_the_same_owner() {
        let live =
            [node("c1", 1), node("c2", 1), node("c3", 1), edge("e1"), edge("e2"), edge("e3")];
        let views = views(&live, &[]);
        for slot in 0..SLOTS {
            let ends: HashSet<String> =
                live.iter().map(|n| follow(slot, n.name.as_str(), &views).pop().unwrap()).collect();
            assert_eq!(ends.len(), 1, "slot {slot}: {ends:?}");
        }
    }

    #[test]
    fn i9_one_node_of_a_region_asks_the_owner_in_another() {
        for cores_there in [false, true] {
            let mut live: Vec<NodeInfo> = vec![node("c1", 1), node("c2", 1), edge("e1")];
            live.extend(["x1", "x2", "x3"].map(|name| in_region(edge(name), "far")));
            if cores_there {
                live.push(in_region(node("c3", 1), "far"));
            }
            let views = views(&live, &[]);
            for slot in 0..SLOTS {
                let mut crossing = HashSet::new();
                for from in ["x1", "x2", "x3"] {
                    let way = follow(slot, from, &views);
                    let far = |name: &String| name.starts_with('x') || name == "c3";
                    if let Some(last) = way.iter().rposition(far)
                        && last + 1 < way.len()
                    {
                        crossing.insert(way[last].clone());
                    }
                }
                assert!(crossing.len() <= 1, "slot {slot} crosses at {crossing:?}");
            }
        }
    }

    #[test]
    fn a_lost_link_leads_round_it() {
        let live = [node("c1", 1), node("c2", 1), node("c3", 1), edge("e1")];
        let views = views(&live, &[("e1", "c1")]);
        for slot in 0..SLOTS {
            let way = follow(slot, "e1", &views);
            assert_ne!(way[1], "c1");
            let owner = follow(slot, "c2", &views).pop();
            assert_eq!(way.last(), owner.as_ref(), "slot {slot} keeps its owner");
        }
    }

    #[test]
    fn the_heir_of_a_slot_owns_it_once_its_owner_is_gone() {
        let live = [node("c1", 1), node("c2", 1), node("c3", 1), edge("e1")];
        let (before, after) = (views(&live, &[]), views(&live[1..], &[]));
        let mut inherited = 0;
        for slot in 0..SLOTS {
            assert_eq!(before["e1"].heir(slot), None);
            if let Some(heir) = before["c1"].heir(slot) {
                assert_eq!(after[heir.as_str()].route(slot), &Route::Here);
                inherited += 1;
            }
        }
        assert_eq!(inherited, before["c1"].owned());
        assert_eq!(View::new(&live[0], &live[..1], |_| true).heir(7), None);
    }

    #[test]
    fn who_leaves_owns_nothing_unless_nobody_else_is_there() {
        let mut leaving = node("c1", 1);
        leaving.state = NodeState::Leaving;
        let live = [leaving.clone(), node("c2", 1), edge("e1")];
        assert_eq!(View::new(&live[1], &live, |_| true).owned(), usize::from(SLOTS));
        assert_eq!(View::new(&leaving, &live, |_| true).owned(), 0);
        let alone = [leaving.clone(), edge("e1")];
        assert_eq!(View::new(&leaving, &alone, |_| true).owned(), usize::from(SLOTS));
    }

    #[test]
    fn cores_with_stores_of_their_own_are_not_taken_for_one() {
        let mut alone = node("c1", 1);
        alone.local_store = true;
        let live = [alone.clone(), edge("e1")];
        assert_eq!(View::new(&live[1], &live, |_| true).route(7), &Route::By(alone.name.clone()));
        let two = [alone, node("c2", 1), edge("e1")];
        for own in &two {
            assert_eq!(View::new(own, &two, |_| true).route(7), &Route::Nowhere);
        }
    }

    #[test]
    fn a_relay_that_cannot_be_reached_is_passed_by() {
        let mut live: Vec<NodeInfo> = vec![node("c1", 1)];
        live.extend(["x1", "x2", "x3"].map(|name| in_region(edge(name), "far")));
        let views = views(&live, &[("x1", "x2"), ("x1", "x3")]);
        for slot in 0..SLOTS {
            assert_eq!(views["x1"].route(slot), &Route::By(live[0].name.clone()));
        }
    }

    #[test]
    fn a_heavy_core_owns_and_relays_more() {
        let heavy = |name: &str| NodeInfo { weight: 300, ..node(name, 1) };
        let live = [heavy("c1"), node("c2", 1), in_region(node("x", 1), "far")];
        let own = in_region(edge("e"), "near");
        let relays = [in_region(heavy("r1"), "near"), in_region(node("r2", 1), "near")];
        let all: Vec<NodeInfo> = live.iter().chain(&relays).chain([&own]).cloned().collect();
        let view = View::new(&own, &all, |_| true);
        let by = |name: &str| {
            let by =
                |slot: &u16| matches!(view.route(*slot), Route::By(node) if node.as_str() == name);
            (0..SLOTS).filter(by).count()
        };
        assert!(by("r1") > 2 * by("r2") && by("r2") > 0, "{} and {}", by("r1"), by("r2"));
        let c1 = View::new(&live[0], &live[..2], |_| true).owned();
        assert!((1400..1700).contains(&c1), "{c1} of {SLOTS}");
    }

    #[test]
    fn without_a_core_there_is_nowhere_to_go() {
        let live = [edge("e1"), edge("e2")];
        assert_eq!(View::new(&live[0], &live, |_| true).route(7), &Route::Nowhere);
    }
}
