//! What a seed stands for in a cluster. Pure.

use std::time::Duration;

use sterna_proto::NodeId;

use crate::chance::Chance;
use crate::plan::{Fault, Plan, config, role};

/// What can befall a cluster.
pub const FAULTS: [Fault; 23] = [
    Fault::Cut,
    Fault::Handover,
    Fault::SlowReader,
    Fault::Migrated,
    Fault::NodeKilled,
    Fault::NodeDrained,
    Fault::NodeFrozen,
    Fault::NodeIsolated,
    Fault::LinkLost,
    Fault::LinkCut,
    Fault::LinkOneWay,
    Fault::LinkRefused,
    Fault::LinkSlow,
    Fault::RosterOld,
    Fault::RosterSilent,
    Fault::Refused,
    Fault::UnknownLost,
    Fault::UnknownStored,
    Fault::StoredLate,
    Fault::SlowStore,
    Fault::Unreadable,
    Fault::Evicted,
    Fault::Quiet,
];

/// With these two cores may own a channel for longer than a moment.
pub const SPLITTING: [Fault; 6] = [
    Fault::NodeFrozen,
    Fault::NodeIsolated,
    Fault::LinkCut,
    Fault::LinkOneWay,
    Fault::LinkRefused,
    Fault::RosterOld,
];

/// Who is there, and the times of all nodes.
#[derive(Debug, Clone)]
pub struct Layout {
    pub nodes: Vec<Seat>,
    pub beat: Duration,
    pub lease: Duration,
    pub patience: Duration,
}

/// The place of a node, taken by one process after the other.
#[derive(Debug, Clone)]
pub struct Seat {
    pub name: NodeId,
    pub core: bool,
    /// Has clients.
    pub edge: bool,
    pub region: &'static str,
}

/// Until nodes know each other nothing strikes.
const START_MS: u64 = 1500;

pub fn of(seed: u64) -> Plan {
    let mut chance = Chance::new(seed ^ 0xc1a5_0000_0000_0000);
    let active = START_MS + 2500 + chance.below(2500);
    let kinds: Vec<Fault> = FAULTS.into_iter().filter(|_| chance.one_in(2)).collect();
    let count = 4 + chance.below(6);
    let mut strikes: Vec<(Duration, Fault)> = match kinds.is_empty() {
        true => Vec::new(),
        false => {
            let strike = |_| (chance.millis(START_MS, active), chance.pick(&kinds));
            (0..count).map(strike).collect()
        }
    };
    strikes.sort();
    let clients = 2 + chance.below(3);
    let users = clients.min(2 + chance.below(2));
    let roles = (0..clients).map(|index| role(&mut chance, index % users)).collect();
    let layout = layout(&mut chance);
    let mut config = config(&mut chance);
    config.resume_window = Duration::from_secs(2);
    config.roaming_after = Duration::from_millis(200);
    config.presence_debounce = Duration::from_millis(800);
    config.head_watch = Some(Duration::from_millis(500));
    let (channels, active) = (3, Duration::from_millis(active));
    Plan { seed, config, roles, channels, active, strikes, cluster: Some(layout) }
}

/// Two or three cores and one to three edges, in one region or in two. Names differ from seed to
/// seed, and with them the owners of channels.
fn layout(chance: &mut Chance) -> Layout {
    let (cores, edges) = (2 + chance.below(2), 1 + chance.below(3));
    let (regions, salt) = (1 + chance.below(2), chance.below(1000));
    let both = chance.one_in(3);
    let mut nodes = Vec::new();
    for index in 0..cores + edges {
        let core = index < cores;
        let kind = if core { 'c' } else { 'e' };
        let name = NodeId::new(&format!("{kind}{index}-{salt}"));
        let name = name.unwrap_or_else(|_| unreachable!("a good name"));
        // The first core is here, and so is not everybody else.
        let far = regions == 2 && index > 0 && chance.one_in(if core { 3 } else { 2 });
        let region = if far { "far" } else { "here" };
        nodes.push(Seat { name, core, edge: !core || both, region });
    }
    let beat = chance.millis(150, 400);
    let lease = Duration::from_millis(1500);
    Layout { nodes, beat, lease, patience: chance.millis(800, 2500) }
}
