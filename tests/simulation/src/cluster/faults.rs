//! How faults of nodes and of what lies between them strike. Those of clients and of the log are
//! told in [`faults`](crate::faults).

use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cluster::network::{Hindrance, Way};
use crate::cluster::nodes;
use crate::faults::{chance_index, millis};
use crate::history::What;
use crate::plan::Fault;
use crate::world::{RunningNode, World};

/// After its last connection is told to go, a node waits this long for its clients.
const DRAIN: Duration = Duration::from_millis(800);

/// Lets all faults of the plan strike, and waits until each is over.
pub async fn strike_all(world: &Rc<World>) {
    let start = Instant::now();
    let mut striking = JoinSet::new();
    for (at, fault) in world.plan.strikes.clone() {
        tokio::time::sleep_until(start + at).await;
        let world = world.clone();
        striking.spawn_local(async move {
            world.book.note(What::FaultBegan(fault));
            let disturbs = fault.disturbs_ways();
            if disturbs {
                world.calm.on_began();
            }
            crate::faults::strike(&world, fault).await;
            if disturbs {
                world.calm.on_ended();
            }
            world.book.note(What::FaultEnded(fault));
        });
    }
    while let Some(struck) = striking.join_next().await {
        world.expect("a fault strikes without a panic", struck.is_ok());
    }
}

impl Fault {
    /// Whether calls and pushes between nodes may take other ways because of it, or be lost.
    pub fn disturbs_ways(self) -> bool {
        !matches!(
            self,
            Self::Cut
                | Self::Handover
                | Self::SlowReader
                | Self::Migrated
                | Self::Evicted
                | Self::Quiet
                | Self::Refused
                | Self::UnknownLost
                | Self::UnknownStored
                | Self::StoredLate
        )
    }
}

pub(crate) async fn strike(world: &Rc<World>, fault: Fault) {
    match fault {
        Fault::Migrated => {
            let client = &world.clients[chance_index(world, world.clients.len())];
            client.moves.set(client.moves.get() + 1);
            client.cut(millis(world, 0, 1000), true);
        }
        Fault::StoredLate => {
            if let Some(node) = world.node() {
                node.way.delay_appends(1 + chance_index(world, 3) as u64);
            }
        }
        Fault::NodeKilled => replace(world, false).await,
        Fault::NodeDrained => replace(world, true).await,
        Fault::NodeFrozen => freeze(world).await,
        Fault::NodeIsolated => {
            let Some(node) = world.node() else { return };
            let ways = ways_of(world, node.seat).into_iter().map(Hindrance::Cut);
            hinder(world, ways.collect()).await;
        }
        Fault::LinkLost => {
            for _ in 0..3 {
                let Some(node) = world.node() else { return };
                ways_of(world, node.seat).into_iter().for_each(|way| world.network.lose(way));
                tokio::time::sleep(millis(world, 20, 400)).await;
            }
        }
        Fault::LinkCut => {
            let (from, to) = some_way(world);
            hinder(world, vec![Hindrance::Cut((from, to)), Hindrance::Cut((to, from))]).await;
        }
        Fault::LinkOneWay => hinder(world, vec![Hindrance::Cut(some_way(world))]).await,
        Fault::LinkRefused => {
            let way = some_way(world);
            // Nobody would notice otherwise.
            world.network.lose(way);
            hinder(world, vec![Hindrance::Refused(way)]).await;
        }
        Fault::LinkSlow => {
            let slow = Hindrance::Slow(some_way(world), millis(world, 20, 400));
            hinder(world, vec![slow]).await;
        }
        Fault::RosterOld => tell_old_roster(world).await,
        Fault::RosterSilent => {
            world.roster.set_silent(true);
            tokio::time::sleep(millis(world, 500, 2500)).await;
            world.roster.set_silent(false);
        }
        _ => {}
    }
}

/// Waits until nothing has disturbed the ways for so long; at most until all else is over.
pub(crate) async fn await_calm(world: &World, wanted: Duration) {
    let since = Instant::now();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if world.calm.since(since).is_some_and(|calm| calm > wanted) {
            return;
        }
    }
}

async fn hinder(world: &World, hindrances: Vec<Hindrance>) {
    hindrances.iter().for_each(|hindrance| world.network.hinder(*hindrance));
    // Shorter than a connection notices, shorter than a lease, longer than a lease.
    tokio::time::sleep(millis(world, 100, 3000)).await;
    hindrances.iter().for_each(|hindrance| world.network.lift(*hindrance));
}

/// From any node to a core.
fn some_way(world: &World) -> Way {
    let nodes = world.plan.cluster.iter().flat_map(|layout| &layout.nodes);
    let cores = nodes.filter(|node| node.core).count();
    let to = chance_index(world, cores);
    let from = (to + 1 + chance_index(world, seats(world) - 1)) % seats(world);
    (from, to)
}

fn ways_of(world: &World, node: usize) -> Vec<Way> {
    let others = (0..seats(world)).filter(|other| *other != node);
    others.flat_map(|other| [(node, other), (other, node)]).collect()
}

fn seats(world: &World) -> usize {
    world.plan.cluster.as_ref().map_or(0, |layout| layout.nodes.len())
}

/// A process ends, by itself or at once, and another one takes its place.
async fn replace(world: &Rc<World>, drained: bool) {
    let Some(old) = world.node() else { return };
    if !old.begin_to_end() {
        return;
    }
    match drained {
        true => drain(world, &old).await,
        false => world.kill(&old),
    }
    tokio::time::sleep(millis(world, 0, 2500)).await;
    nodes::start(world, old.seat).await;
}

/// What a process does when it is told to end, in its order.
async fn drain(world: &Rc<World>, old: &Rc<RunningNode>) {
    // Each client goes to an edge with room for it.
    old.node.start_drain(DRAIN, String::new()).await;
    tokio::time::sleep(millis(world, 100, DRAIN.as_millis() as u64)).await;
    world.cut_clients_of(old.number);
    old.node.given_away(DRAIN).await;
    world.nodes.borrow_mut().retain(|node| node.number != old.number);
    old.end_links();
    world.network.note_change();
    let ended = old.node.shutdown(Duration::from_secs(20)).await;
    let frozen = world.network.is_frozen(old.seat);
    world.expect("a drained node ends", ended || frozen);
    old.end();
}

async fn freeze(world: &World) {
    let Some(node) = world.node() else { return };
    let frozen = Hindrance::Frozen(node.seat);
    if world.network.is_frozen(node.seat) {
        return;
    }
    let clients = || world.clients.iter().filter(|client| client.node.get() == node.number);
    world.network.hinder(frozen);
    node.way.freeze(true);
    clients().for_each(|client| client.freeze(true));
    tokio::time::sleep(millis(world, 100, 3500)).await;
    world.network.lift(frozen);
    node.way.freeze(false);
    clients().for_each(|client| client.freeze(false));
}

/// A word that was on its way round for long.
async fn tell_old_roster(world: &World) {
    let roster_of = |node: Rc<RunningNode>| node.node.router().map(|r| r.roster_to_wire());
    let Some(old) = world.node().and_then(roster_of) else { return };
    for _ in 0..3 {
        tokio::time::sleep(millis(world, 100, 2000)).await;
        if let Some(router) = world.node().as_ref().and_then(|node| node.node.router()) {
            router.on_roster(old.clone());
        }
    }
}
