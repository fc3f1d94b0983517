//! The list of nodes, merged from what each has heard. Pure: time comes in.
//!
//! A node counts its own beats; whoever hears a higher count, from wherever, knows that it was
//! alive. Of a node that has gone silent only its name, incarnation and last beat stay, so that an
//! old word about it, still on its way round, does not bring it back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ahash::RandomState;
use sterna_proto::NodeId;
use sterna_proto::link::v1;

use crate::cluster::placement::{MOST_WEIGHT, USUAL_WEIGHT};
use crate::cluster::{Incarnation, NodeInfo, NodeState};
use crate::vitals::{Observed, Vitals};

/// Most nodes remembered, dead ones included. Full: the longest silent one is forgotten.
pub const ROSTER_NODES: usize = 4096;

/// How long a silent node is told of: long enough to be asked what has become of it.
pub const REMEMBERED: Duration = Duration::from_secs(600);

/// How much older than said a beat is at most taken to be.
const OLDEST: Duration = Duration::from_secs(3600);

/// Another process has this node's name and is newer: this one has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("another process runs under the name `{name}` since; give every node a name of its own")]
pub struct Superseded {
    pub name: NodeId,
}

/// Everybody that a node has heard of, itself included.
#[derive(Debug)]
pub struct Roster {
    own: NodeInfo,
    own_beat: u64,
    own_vitals: Vitals,
    /// When it last looked at itself.
    own_looked_at: Option<Instant>,
    others: HashMap<NodeId, Known, RandomState>,
    lease: Duration,
}

#[derive(Debug)]
struct Known {
    info: NodeInfo,
    vitals: v1::Vitals,
    beat: u64,
    heard_at: Instant,
}

impl Roster {
    /// `lease`: silence after which a node counts as dead.
    pub fn new(own: NodeInfo, lease: Duration) -> Self {
        let (own_vitals, own_looked_at, others) = Default::default();
        Self { own, own_beat: 0, own_vitals, own_looked_at, others, lease }
    }

    pub fn own(&self) -> &NodeInfo {
        &self.own
    }

    /// Changes what this node says of itself.
    pub fn update_own(&mut self, change: impl FnOnce(&mut NodeInfo)) {
        change(&mut self.own);
        self.own_beat += 1;
    }

    /// How this node fares; goes out with its next beat.
    pub fn set_own_vitals(&mut self, vitals: Vitals, now: Instant) {
        (self.own_vitals, self.own_looked_at) = (vitals, Some(now));
    }

    /// Takes what another node, or the store, knows.
    pub fn merge(&mut self, nodes: Vec<v1::Node>, now: Instant) -> Result<(), Superseded> {
        for mut node in nodes {
            let vitals = node.vitals.take().unwrap_or_default();
            let (beat, age) = (node.beat, Duration::from_millis(node.age_ms.into()).min(OLDEST));
            // What cannot be understood is a newer release's, and no reason to forget the rest.
            let Some(info) = from_wire(node) else { continue };
            if info.name == self.own.name {
                if info.incarnation > self.own.incarnation {
                    return Err(Superseded { name: info.name });
                }
                continue;
            }
            let heard_at = now.checked_sub(age).unwrap_or(now);
            let known = self.others.get(&info.name);
            if known
                .is_none_or(|known| (known.info.incarnation, known.beat) < (info.incarnation, beat))
            {
                self.make_room(&info.name);
                self.others.insert(info.name.clone(), Known { info, vitals, beat, heard_at });
            }
        }
        Ok(())
    }

    /// Nodes heard of within the lease, this one among them, in name order.
    pub fn live(&self, now: Instant) -> Vec<NodeInfo> {
        let others = self.others.values().filter(|known| self.is_live(known, now));
        let mut live: Vec<NodeInfo> = others.map(|known| known.info.clone()).collect();
        live.push(self.own.clone());
        live.sort_by(|a, b| a.name.cmp(&b.name));
        live
    }

    /// The same, for others to merge.
    pub fn to_wire(&self, now: Instant) -> Vec<v1::Node> {
        let others = self.others.values().filter(|known| self.is_live(known, now));
        let age = |known: &Known| now.saturating_duration_since(known.heard_at);
        let mut nodes: Vec<v1::Node> = others.map(|known| known.to_wire(age(known))).collect();
        nodes.push(self.own_to_wire(now));
        nodes
    }

    /// This node alone. Its clock goes on while its figures wait for a beat: others compare theirs with
    /// it.
    pub fn own_to_wire(&self, now: Instant) -> v1::Node {
        let mut vitals = self.own_vitals.to_wire();
        if let Some(looked_at) = self.own_looked_at {
            let since = now.saturating_duration_since(looked_at).as_millis() as u64;
            vitals.unix_ms = vitals.unix_ms.saturating_add(since);
        }
        v1::Node { vitals: Some(vitals), ..to_wire(&self.own, self.own_beat, Duration::ZERO) }
    }

    /// Everybody as they fare, this node among them and those that have been silent for less than
    /// [`REMEMBERED`], in name order.
    pub fn observed(&self, now: Instant) -> Vec<Observed> {
        let others = self.others.values().map(|known| Observed {
            info: known.info.clone(),
            vitals: Vitals::from_wire(known.vitals.clone()),
            age: now.saturating_duration_since(known.heard_at),
            alive: self.is_live(known, now),
        });
        let own = Observed {
            info: self.own.clone(),
            vitals: self.own_vitals.clone(),
            age: Duration::ZERO,
            alive: true,
        };
        let mut observed: Vec<Observed> =
            others.filter(|other| other.age < REMEMBERED).chain([own]).collect();
        observed.sort_by(|a, b| a.info.name.cmp(&b.info.name));
        observed
    }

    fn is_live(&self, known: &Known, now: Instant) -> bool {
        now.saturating_duration_since(known.heard_at) < self.lease
    }

    fn make_room(&mut self, name: &NodeId) {
        if self.others.len() < ROSTER_NODES || self.others.contains_key(name) {
            return;
        }
        let longest_silent = self.others.values().min_by_key(|known| known.heard_at);
        if let Some(forgotten) = longest_silent.map(|known| known.info.name.clone()) {
            self.others.remove(&forgotten);
        }
    }
}

impl Known {
    fn to_wire(&self, age: Duration) -> v1::Node {
        v1::Node { vitals: Some(self.vitals.clone()), ..to_wire(&self.info, self.beat, age) }
    }
}

fn to_wire(info: &NodeInfo, beat: u64, age: Duration) -> v1::Node {
    v1::Node {
        name: info.name.to_string(),
        incarnation: info.incarnation.0,
        beat,
        edge: info.edge,
        core: info.core,
        local_store: info.local_store,
        region: info.region.clone(),
        zone: info.zone.clone(),
        link_address: info.link_address.clone(),
        state: match info.state {
            NodeState::Serving => v1::NodeState::Serving,
            NodeState::Leaving => v1::NodeState::Leaving,
        }
        .into(),
        client_address: info.client_address.clone(),
        sessions: info.sessions,
        capacity: info.capacity,
        weight: info.weight,
        age_ms: u32::try_from(age.as_millis()).unwrap_or(u32::MAX),
        vitals: None,
    }
}

fn from_wire(node: v1::Node) -> Option<NodeInfo> {
    let state = match node.state() {
        v1::NodeState::Serving => NodeState::Serving,
        v1::NodeState::Leaving => NodeState::Leaving,
        v1::NodeState::Unspecified => return None,
    };
    Some(NodeInfo {
        name: NodeId::new(&node.name).ok()?,
        incarnation: Incarnation(node.incarnation),
        edge: node.edge,
        core: node.core,
        local_store: node.local_store,
        region: node.region,
        zone: node.zone,
        link_address: node.link_address,
        client_address: node.client_address,
        state,
        sessions: node.sessions,
        capacity: node.capacity,
        // Releases before weights say nothing.
        weight: if node.weight == 0 { USUAL_WEIGHT } else { node.weight.min(MOST_WEIGHT) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::node;

    const LEASE: Duration = Duration::from_secs(5);

    fn names(roster: &Roster, now: Instant) -> Vec<String> {
        roster.live(now).into_iter().map(|info| info.name.to_string()).collect()
    }

    #[test]
    fn who_is_silent_for_a_lease_is_dead_and_stays_dead() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (mut a, mut b) = (Roster::new(node("a", 1), LEASE), Roster::new(node("b", 1), LEASE));
        let c = Roster::new(node("c", 1), LEASE);
        b.update_own(|_| {});
        a.merge(c.to_wire(start), start).unwrap();
        a.merge(b.to_wire(start), start).unwrap();
        assert_eq!(names(&a, at(4)), ["a", "b", "c"]);
        // b hears of c only from a, and of how old that news is.
        b.merge(a.to_wire(at(4)), at(4)).unwrap();
        assert_eq!(names(&b, at(4)), ["a", "b", "c"]);
        for roster in [&mut a, &mut b] {
            roster.update_own(|_| {});
        }
        let old_word = b.to_wire(at(4));
        b.merge(a.to_wire(at(5)), at(5)).unwrap();
        assert_eq!(names(&b, at(5)), ["a", "b"]);
        a.merge(old_word, at(6)).unwrap();
        assert_eq!(names(&a, at(6)), ["a", "b"], "an old word about c brings nobody back");
    }

    #[test]
    fn the_newer_process_of_a_name_holds() {
        let now = Instant::now();
        let mut a = Roster::new(node("a", 1), LEASE);
        let (mut old, new) = (Roster::new(node("b", 7), LEASE), Roster::new(node("b", 8), LEASE));
        old.update_own(|_| {});
        a.merge(new.to_wire(now), now).unwrap();
        a.merge(old.to_wire(now), now).unwrap();
        assert_eq!(a.live(now)[1].incarnation, Incarnation(8));
        assert!(old.merge(a.to_wire(now), now).is_err(), "the older one is told to end");
    }

    /// Two nodes with one clock: neither is ahead, however long the last look and the way are ago.
    #[test]
    fn a_clock_goes_on_between_two_looks() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let [mut a, mut b, mut c] = ["a", "b", "c"].map(|it| Roster::new(node(it, 1), LEASE));
        b.set_own_vitals(Vitals { unix_ms: 1000, ..Vitals::default() }, at(0));
        b.update_own(|_| {});
        a.merge(b.to_wire(at(499)), at(499)).unwrap();
        c.merge(a.to_wire(at(800)), at(800)).unwrap();
        for roster in [a, c] {
            let observed = roster.observed(at(1300));
            let b = observed.iter().find(|it| it.info.name.as_str() == "b").unwrap();
            assert_eq!(b.vitals.unix_ms + b.age.as_millis() as u64, 1000 + 1300);
        }
    }

    #[test]
    fn a_node_that_says_no_weight_has_the_usual_one() {
        let now = Instant::now();
        let mut a = Roster::new(node("a", 1), LEASE);
        let weight = |said| v1::Node {
            name: "b".into(),
            beat: u64::from(said),
            weight: said,
            state: v1::NodeState::Serving.into(),
            ..v1::Node::default()
        };
        for (said, taken) in [(0, USUAL_WEIGHT), (7, 7), (u32::MAX, MOST_WEIGHT)] {
            a.merge(vec![weight(said)], now).unwrap();
            assert_eq!(a.live(now)[1].weight, taken);
        }
    }

    #[test]
    fn i12_a_roster_is_bounded() {
        let now = Instant::now();
        let mut roster = Roster::new(node("a", 1), LEASE);
        for n in 0..2 * ROSTER_NODES {
            let other = Roster::new(node(&format!("n{n}"), 1), LEASE);
            roster.merge(vec![other.own_to_wire(now)], now).unwrap();
        }
        assert!(roster.others.len() <= ROSTER_NODES);
    }
}
