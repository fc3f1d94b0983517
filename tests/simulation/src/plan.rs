//! What a seed stands for: how the nodes are set up, who takes part, and which faults strike when.
//! Pure. Each seed leaves a random half of the kinds of fault out: what one kind hides another seed
//! shows.
//!
//! There are two [settings](Setting); the plans of clusters are made by
//! [`cluster::plan`](crate::cluster::plan).

use std::time::Duration;

use sterna_core::CoreConfig;
use sterna_core::config::Rate;
use sterna_proto::{NodeId, v1};

use crate::chance::Chance;
use crate::cluster::plan::Layout;

/// Which worlds a seed can stand for; in each it is another schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// One node, and sometimes its successor.
    Alone,
    /// Cores and edges with links between them.
    Cluster,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// A connection is lost with what is on it, both ways.
    Cut,
    /// A client connects anew while the node still believes in the old connection.
    Handover,
    /// A client stops reading.
    SlowReader,
    /// The process ends at once; another one starts on the same store.
    NodeKilled,
    /// The node lets its clients go, then ends; another one starts.
    NodeDrained,
    /// Two nodes on one store, both of which believe they own the channels.
    TwoOwners,
    /// The store refuses an append.
    Refused,
    /// An append fails without effect, and the answer does not say so.
    UnknownLost,
    /// An append takes effect, and its answer is lost.
    UnknownStored,
    /// Appends wait.
    SlowStore,
    /// The log cannot be read.
    Unreadable,
    ClockBack,
    ClockForward,
    /// A user's sessions are ended.
    Revoked,
    /// A member is removed and comes back.
    Evicted,
    /// Somebody tries another user's resume ticket.
    StolenTicket,
    /// An older backup is put back.
    Restored,
    /// Nobody publishes for a while.
    Quiet,
    /// A client goes to another node: a new session, with the positions of the old one.
    Migrated,
    /// An append takes effect after its caller was told that nobody knows.
    StoredLate,
    /// Whatever a node says or is told arrives only when this is over; its own clock goes on.
    NodeFrozen,
    /// No frame passes between a node and any other; the store it reaches.
    NodeIsolated,
    /// The connection between two nodes is lost; the next one can be made at once.
    LinkLost,
    /// No frame passes between two nodes.
    LinkCut,
    /// Frames pass between two nodes in one direction only.
    LinkOneWay,
    /// One node cannot connect to another, which can connect to it.
    LinkRefused,
    /// Frames between two nodes take long.
    LinkSlow,
    /// What a node knew of others a while ago is told again.
    RosterOld,
    /// The store says nothing about who is alive.
    RosterSilent,
}

impl Fault {
    /// What can befall a node that is alone.
    pub const ALONE: [Self; 18] = [
        Self::Cut,
        Self::Handover,
        Self::SlowReader,
        Self::NodeKilled,
        Self::NodeDrained,
        Self::TwoOwners,
        Self::Refused,
        Self::UnknownLost,
        Self::UnknownStored,
        Self::SlowStore,
        Self::Unreadable,
        Self::ClockBack,
        Self::ClockForward,
        Self::Revoked,
        Self::Evicted,
        Self::StolenTicket,
        Self::Restored,
        Self::Quiet,
    ];
}

/// One client: a device of a user.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    pub user: u32,
    /// Has its publications kept in order through refusals.
    pub ordered: bool,
    /// Publications on their way at a time, in one channel.
    pub window: usize,
    /// Publications asked for in one page; 0: as many as there may be.
    pub page: u32,
    /// Mean pause between publications.
    pub pause: Duration,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub config: CoreConfig,
    pub roles: Vec<Role>,
    pub channels: usize,
    /// How long faults strike and clients publish.
    pub active: Duration,
    pub strikes: Vec<(Duration, Fault)>,
    /// The nodes; `None`: one that is alone.
    pub cluster: Option<Layout>,
}

/// Clients of one worker's node, at most.
const CLIENTS: u64 = 4;

impl Plan {
    pub fn of(setting: Setting, seed: u64) -> Self {
        match setting {
            Setting::Alone => Self::alone(seed),
            Setting::Cluster => crate::cluster::plan::of(seed),
        }
    }

    pub fn setting(&self) -> Setting {
        if self.cluster.is_some() { Setting::Cluster } else { Setting::Alone }
    }

    /// What can befall this world.
    pub fn faults(setting: Setting) -> &'static [Fault] {
        match setting {
            Setting::Alone => &Fault::ALONE,
            Setting::Cluster => &crate::cluster::plan::FAULTS,
        }
    }

    fn alone(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x5eed_0000_0000_0000);
        let active = chance.millis(2500, 5000);
        let kinds: Vec<Fault> = Fault::ALONE.into_iter().filter(|_| chance.one_in(2)).collect();
        // An owner trusts the roles it has seen, so two owners do not go with changes of members.
        let two = kinds.contains(&Fault::TwoOwners) && chance.one_in(2);
        let refuse = if two { Fault::Evicted } else { Fault::TwoOwners };
        let kinds: Vec<Fault> = kinds.into_iter().filter(|kind| *kind != refuse).collect();
        let mut strikes = Vec::new();
        if !kinds.is_empty() {
            let end = active.as_millis() as u64;
            let count = 2 + chance.below(7);
            strikes.extend((0..count).map(|_| (chance.millis(200, end), chance.pick(&kinds))));
        }
        strikes.sort();
        let clients = 2 + chance.below(CLIENTS - 1);
        let users = clients.min(2 + chance.below(2));
        let roles = (0..clients).map(|index| role(&mut chance, index % users)).collect();
        let channels = 2;
        let config = config(&mut chance);
        Self { seed, config, roles, channels, active, strikes, cluster: None }
    }
}

pub(crate) fn role(chance: &mut Chance, user: u64) -> Role {
    Role {
        user: user as u32,
        ordered: !chance.one_in(4),
        window: chance.pick(&[1, 4, 8]),
        page: chance.pick(&[0, 0, 2, 5]),
        pause: chance.millis(100, 600),
    }
}

/// Small queues as well as real ones, so that every policy for a full queue is met.
pub(crate) fn config(chance: &mut Chance) -> CoreConfig {
    let name = NodeId::new("simulated").unwrap_or_else(|_| unreachable!("a good name"));
    let mut config = CoreConfig::embedded(name, v1::Durability::Memory);
    config.shards = chance.pick(&[1, 2]);
    config.beacon_period = Duration::from_secs(1);
    config.resume_window = chance.pick(&[Duration::from_secs(120), Duration::from_secs(2)]);
    if chance.one_in(4) {
        config.rates.publish = Rate { per_second: 50, burst: 5 };
    }
    if chance.one_in(4) {
        config.rates.command = Rate { per_second: 50, burst: 3 };
    }
    config.activities.background_heads = chance.millis(200, 1500);
    let queues = &mut config.queues;
    queues.shard_mailbox = chance.pick(&[1024, 1024, 1024, 1]);
    if queues.shard_mailbox < 1024 {
        queues.mailbox_patience = Duration::from_millis(chance.pick(&[50, 50, 50, 0]));
    }
    queues.channel_pending = chance.pick(&[1024, 1024, 4]);
    queues.append_batch = chance.pick(&[256, 4, 1]);
    queues.link_pushes = chance.pick(&[4096, 4096, 2]);
    queues.owed_heads = chance.pick(&[65_536, 1]);
    queues.outbox_frames = chance.pick(&[1024, 16, 4]);
    queues.session_pages = chance.pick(&[4, 1]);
    queues.subscription_held = chance.pick(&[256, 2]);
    queues.ring_publications = chance.pick(&[1024, 16, 3]);
    queues.dedup_window = chance.pick(&[1024, 2]);
    queues.shard_channels = chance.pick(&[65_536, 1]);
    config
}
