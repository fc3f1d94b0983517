//! Which edge a session belongs to: a newcomer, and one whose edge leaves. Pure; the roster and the
//! time come in.
//!
//! A decision is made by whichever edge a client has come to, from a roster that is a beat old; what
//! this edge has sent away since is added to it. Edges that decide at the same time may send more
//! to one than they would if they knew of each other, for one beat.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::Hasher as _;
use std::time::{Duration, Instant};

use ahash::RandomState;
use sterna_proto::NodeId;

use crate::cluster::NodeInfo;
use crate::cluster::placement::Draw;

/// How newcomers are spread over the serving edges of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// They stay where they have come to.
    #[default]
    Off,
    /// By turns, the heavier ones more often, whatever they have to do.
    WeightedRoundRobin,
    /// To the edge with the fewest sessions for its weight, once this one has too many.
    LeastConnections,
    /// To the edge that their key is drawn to most, and when it has too many, to the next
    /// (consistent hashing with bounded loads: Mirrokni, Thorup and Zadimoghaddam, 2018).
    Affinity,
}

impl Policy {
    /// Value of the metric label `policy`, and of the setting.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::LeastConnections => "least_connections",
            Self::Affinity => "affinity",
        }
    }
}

/// What the key of a newcomer is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AffinityBy {
    /// Whom its access token names: all devices of a user meet at one edge.
    #[default]
    TokenSubject,
    /// Its address: an IPv4 /32, an IPv6 /64.
    SourceAddress,
    /// This field of the request that asks for a WebSocket, and the subject where there is none, as
    /// on QUIC.
    Header(String),
}

/// How sessions are spread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceConfig {
    pub policy: Policy,
    pub affinity: AffinityBy,
    /// How far an edge may be above its weight's share of all sessions before it has too many, in
    /// percent of that share.
    pub slack_percent: u32,
}

impl Default for BalanceConfig {
    fn default() -> Self {
        Self { policy: Policy::Off, affinity: AffinityBy::TokenSubject, slack_percent: 10 }
    }
}

/// What clients that belong together have in common, as a number that all edges make alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AffinityKey(u64);

impl AffinityKey {
    pub fn of(common: &[u8]) -> Self {
        let mut hash = twox_hash::XxHash3_64::with_seed(0);
        hash.write(common);
        Self(hash.finish())
    }
}

/// Decides, and remembers what it has decided lately.
#[derive(Debug)]
pub struct Balancer {
    config: BalanceConfig,
    /// Sessions sent to other edges, in this window and in the one before.
    sent: HashMap<NodeId, [u32; 2], RandomState>,
    window_began: Option<Instant>,
    /// How much each edge is owed its turn.
    turns: HashMap<NodeId, i64, RandomState>,
}

impl Balancer {
    pub fn new(config: BalanceConfig) -> Self {
        Self { config, sent: HashMap::default(), window_began: None, turns: HashMap::default() }
    }

    pub fn config(&self) -> &BalanceConfig {
        &self.config
    }

    /// The edge that a newcomer to `own` is to move to; `None`: it stays. `own` says how many
    /// sessions it has now, without the newcomer.
    pub fn place<'a>(
        &mut self,
        own: &NodeInfo,
        live: &'a [NodeInfo],
        key: AffinityKey,
        now: Instant,
    ) -> Option<&'a NodeInfo> {
        if self.config.policy == Policy::Off {
            return None;
        }
        self.keep_time(now);
        let takes = |node: &&NodeInfo| takes_clients(node) && node.region == own.region;
        let edges: Vec<&NodeInfo> = live.iter().filter(takes).collect();
        let (index, _) = edges.iter().enumerate().find(|(_, edge)| edge.name == own.name)?;
        let mut loads: Vec<Load<'a>> = edges.into_iter().map(|edge| self.load(edge)).collect();
        // Those that were told to go count where they go.
        let leaving: u32 = self.sent.values().flatten().sum();
        loads[index].sessions = own.sessions.saturating_sub(leaving);
        let chosen = match self.config.policy {
            Policy::Off => None,
            Policy::WeightedRoundRobin => self.next_in_turn(&loads),
            Policy::LeastConnections => self.least(&loads, &loads[index]),
            Policy::Affinity => self.drawn_to(&loads, key),
        };
        let chosen = chosen.filter(|edge| edge.name != own.name)?;
        self.on_sent(chosen);
        Some(chosen)
    }

    /// Where one session of an edge that leaves best goes: to the serving edge with the fewest for
    /// its weight, in this region if there is one.
    pub fn successor<'a>(
        &mut self,
        own: &NodeInfo,
        live: &'a [NodeInfo],
        now: Instant,
    ) -> Option<&'a NodeInfo> {
        self.keep_time(now);
        let others = live.iter().filter(|node| takes_clients(node) && node.name != own.name);
        let loads = others.map(|node| (node.region != own.region, self.load(node)));
        let best = loads.min_by(|(far, a), (other_far, b)| {
            far.cmp(other_far).then(a.is_full().cmp(&b.is_full())).then_with(|| a.compare(b))
        });
        let (_, Load { edge, .. }) = best?;
        self.on_sent(edge);
        Some(edge)
    }

    /// Smooth weighted round robin, as nginx has it: everybody is owed its weight, whoever is owed
    /// most has its turn and pays for all.
    fn next_in_turn<'a>(&mut self, loads: &[Load<'a>]) -> Option<&'a NodeInfo> {
        self.turns.retain(|name, _| loads.iter().any(|load| load.edge.name == *name));
        let free = || loads.iter().filter(|load| !load.is_full());
        for load in free() {
            let owed = self.turns.entry(load.edge.name.clone()).or_default();
            *owed += i64::from(load.edge.weight);
        }
        let owed = |load: &&Load<'_>| self.turns.get(&load.edge.name).copied().unwrap_or_default();
        let next = free().max_by_key(owed)?.edge;
        let all: i64 = free().map(|load| i64::from(load.edge.weight)).sum();
        *self.turns.entry(next.name.clone()).or_default() -= all;
        Some(next)
    }

    /// Of those within the bound. Not of all: the least loaded may be above it, where a small edge has
    /// room for a whole session and its share is a part of one.
    fn least<'a>(&self, loads: &[Load<'a>], own: &Load<'a>) -> Option<&'a NodeInfo> {
        let bound = Bound::of(loads, self.config.slack_percent);
        if own.has_room(bound) {
            return None;
        }
        let least_of = |wanted: &dyn Fn(&Load<'a>) -> bool| {
            let wanted = loads.iter().filter(|load| wanted(load));
            wanted.min_by(|a, b| a.compare(b)).map(|load| load.edge)
        };
        // Nobody is within it when those that are have all that they can take.
        least_of(&|load| load.has_room(bound)).or_else(|| least_of(&|load| !load.is_full()))
    }

    fn drawn_to<'a>(&self, loads: &[Load<'a>], key: AffinityKey) -> Option<&'a NodeInfo> {
        let bound = Bound::of(loads, self.config.slack_percent);
        let free = loads.iter().filter(|load| load.has_room(bound));
        let drawn = free.map(|load| Draw::new(key.0, load.edge));
        drawn.max_by(Draw::compare).map(|draw| draw.node)
    }

    fn load<'a>(&self, edge: &'a NodeInfo) -> Load<'a> {
        let sent: u32 = self.sent.get(&edge.name).into_iter().flatten().sum();
        Load { edge, sessions: edge.sessions.saturating_add(sent) }
    }

    fn on_sent(&mut self, edge: &NodeInfo) {
        self.sent.entry(edge.name.clone()).or_default()[0] += 1;
    }

    fn keep_time(&mut self, now: Instant) {
        let began = *self.window_began.get_or_insert(now);
        let windows = now.saturating_duration_since(began).as_millis() / WINDOW.as_millis();
        if windows == 0 {
            return;
        }
        self.window_began = Some(now);
        for sent in self.sent.values_mut() {
            *sent = if windows == 1 { [0, sent[0]] } else { [0, 0] };
        }
        self.sent.retain(|_, sent| *sent != [0, 0]);
    }
}

/// An edge and what it has to do.
#[derive(Debug, Clone, Copy)]
struct Load<'a> {
    edge: &'a NodeInfo,
    sessions: u32,
}

impl Load<'_> {
    fn is_full(&self) -> bool {
        self.sessions >= self.edge.capacity
    }

    /// Whether one session more is within the bound.
    fn has_room(&self, bound: Bound) -> bool {
        let share = u128::from(self.edge.weight) * bound.sessions;
        !self.is_full() && u128::from(self.sessions) < share.div_ceil(bound.weights)
    }

    /// By sessions for weight, with one more; the name decides between equals.
    fn compare(&self, other: &Self) -> Ordering {
        let cross = |a: &Self, b: &Self| (u64::from(a.sessions) + 1) * u64::from(b.edge.weight);
        let by_load = cross(self, other).cmp(&cross(other, self));
        by_load.then_with(|| self.edge.name.cmp(&other.edge.name))
    }
}

/// What all edges together may have, the newcomer and the slack included, in hundredths; and over
/// how many weights it is spread.
#[derive(Debug, Clone, Copy)]
struct Bound {
    sessions: u128,
    weights: u128,
}

impl Bound {
    fn of(loads: &[Load<'_>], slack_percent: u32) -> Self {
        let all: u128 = loads.iter().map(|load| u128::from(load.sessions)).sum();
        let weights: u128 = loads.iter().map(|load| u128::from(load.edge.weight)).sum();
        Self {
            sessions: (all + 1) * u128::from(100 + slack_percent),
            weights: 100 * weights.max(1),
        }
    }
}

fn takes_clients(node: &NodeInfo) -> bool {
    node.edge && node.is_serving() && !node.client_address.is_empty()
}

/// By then an edge has said that a session has come, which moves within [`MOVE_WITHIN`].
const WINDOW: Duration = Duration::from_secs(2);

/// How long a newcomer may take to go where it belongs.
pub const MOVE_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
