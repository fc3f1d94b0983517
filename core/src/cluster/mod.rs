//! Which nodes there are, and what follows from it. Pure: [`roster`] merges what nodes say of
//! themselves, [`placement`] names the owner of each slot, a [`view`] says where one node sends
//! what is meant for a channel, and [`balance`] at which edge a session belongs.
//!
//! None of it is an authority. Two nodes with different rosters send commands to two owners, who
//! then conflict in the log and go on (I2): a wrong view costs time, never order.

pub mod balance;
pub mod placement;
pub mod roster;
pub mod view;

use std::time::Duration;

use sterna_proto::NodeId;
use sterna_storage::volatile::VolatileStores;

use crate::config::CoreConfig;
use balance::BalanceConfig;

/// Distinguishes a node's process from every other, earlier ones of the same name included: a
/// higher one is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(pub u64);

impl Incarnation {
    /// For a process that starts now: the time in front, so that it is above those before it, and
    /// chance behind, so that two are never the same.
    pub fn at(unix_ms: u64) -> Self {
        Self(unix_ms << 20 | u64::from(rand::random::<u32>() >> 12))
    }
}

/// Whether a node takes channels and clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    Serving,
    /// Gives its channels and clients away.
    Leaving,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    pub name: NodeId,
    pub incarnation: Incarnation,
    /// Has clients.
    pub edge: bool,
    /// Can own channels.
    pub core: bool,
    /// Its publications lie on its own machine: it can be the only core.
    pub local_store: bool,
    pub region: String,
    pub zone: String,
    /// Where other nodes reach it, `host:port`.
    pub link_address: String,
    /// Where clients reach it, `host:port`; empty without any.
    pub client_address: String,
    pub state: NodeState,
    /// Sessions with a connection, and how many it takes.
    pub sessions: u32,
    pub capacity: u32,
    /// Its share of slots and sessions, beside the weights of others.
    pub weight: u32,
}

impl NodeInfo {
    /// A node that is in no cluster, as its operator sees it.
    pub fn alone(config: &CoreConfig, leaving: bool, sessions: u32) -> Self {
        Self {
            name: config.node.clone(),
            incarnation: config.incarnation,
            edge: true,
            core: true,
            local_store: true,
            region: String::new(),
            zone: String::new(),
            link_address: String::new(),
            client_address: String::new(),
            state: if leaving { NodeState::Leaving } else { NodeState::Serving },
            sessions,
            capacity: 0,
            weight: placement::USUAL_WEIGHT,
        }
    }

    /// Takes new channels and clients.
    pub fn is_serving(&self) -> bool {
        self.state == NodeState::Serving
    }
}

/// How a node takes part in a cluster.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    pub node: NodeInfo,
    /// How often the node says that it is alive.
    pub beat: Duration,
    /// Silence after which a node counts as dead.
    pub lease: Duration,
    /// How long a command waits for the way to its owner before it is refused.
    pub patience: Duration,
    pub balance: BalanceConfig,
    /// What nodes share and may lose; `None`: they know of each other what they tell each other.
    pub volatile: Option<VolatileStores>,
}

impl ClusterConfig {
    /// The usual times for a node.
    pub fn new(node: NodeInfo) -> Self {
        Self {
            node,
            beat: Duration::from_millis(500),
            lease: Duration::from_secs(5),
            patience: Duration::from_secs(5),
            balance: BalanceConfig::default(),
            volatile: None,
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A core of the region `here`.
    pub(crate) fn node(name: &str, incarnation: u64) -> NodeInfo {
        NodeInfo {
            name: NodeId::new(name).unwrap(),
            incarnation: Incarnation(incarnation),
            edge: false,
            core: true,
            local_store: false,
            region: "here".into(),
            zone: String::new(),
            link_address: format!("{name}:4444"),
            client_address: String::new(),
            state: NodeState::Serving,
            sessions: 0,
            capacity: 0,
            weight: placement::USUAL_WEIGHT,
        }
    }

    /// An edge of the region `here`.
    pub(crate) fn edge(name: &str) -> NodeInfo {
        NodeInfo { edge: true, core: false, ..node(name, 1) }
    }
}
