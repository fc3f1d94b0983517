//! Processes of a cluster: they start, end, and others take their places.

use std::rc::Rc;
use std::sync::Arc;

use sterna_core::cluster::{ClusterConfig, Incarnation, NodeInfo, NodeState, placement};
use sterna_core::{CoreConfig, Node};

use crate::cluster::links;
use crate::history::What;
use crate::store::Way;
use crate::world::{RunningNode, World};

/// Edge workers of one node.
const WORKERS: u16 = 2;

impl World {
    /// The process that sits there.
    pub fn at(&self, seat: usize) -> Option<Rc<RunningNode>> {
        self.nodes.borrow().iter().find(|node| node.seat == seat).cloned()
    }
}

/// A process takes its place, newer than any before it.
pub async fn start(world: &Rc<World>, seat: usize) {
    let Some(layout) = &world.plan.cluster else { return };
    let (role, number) = (&layout.nodes[seat], world.next_number());
    let config = CoreConfig {
        node: role.name.clone(),
        incarnation: Incarnation(u64::from(number)),
        ..world.plan.config.clone()
    };
    let info = NodeInfo {
        name: role.name.clone(),
        incarnation: config.incarnation,
        edge: role.edge,
        core: role.core,
        local_store: false,
        region: role.region.into(),
        zone: String::new(),
        link_address: format!("{}:4444", role.name),
        client_address: format!("{}:4443", role.name),
        state: NodeState::Serving,
        sessions: 0,
        capacity: 100,
        weight: placement::USUAL_WEIGHT,
    };
    let times = (layout.beat, layout.lease, layout.patience);
    let (beat, lease, patience) = times;
    let cluster = ClusterConfig { beat, lease, patience, ..ClusterConfig::new(info) };
    let way = Arc::new(Way::default());
    let stores = role.core.then(|| {
        let stores = world.store.borrow().through(way.clone());
        super::stores::through(stores, &way, &world.roster)
    });
    let node = match Node::join(config, stores, world.clock.clone(), cluster).await {
        Ok(node) => node,
        Err(error) => return world.book.note(What::Wrong(format!("no node: {error}"))),
    };
    let workers = if role.edge { WORKERS } else { 0 };
    let node = RunningNode::new(number, seat, node, workers, way);
    world.add_node(node.clone());
    world.network.note_change();
    links::start(world, &node);
}
