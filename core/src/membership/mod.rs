//! A node's part in the cluster: says that it is alive, looks at who else is, and tells the shards
//! what follows from it. Cores do so in the store too ([`roster`]), which is how they find each
//! other, and hold a worker number there ([`ids`]).

pub(crate) mod ids;
pub(crate) mod roster;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use crate::channel::shard::ShardCommand;
use crate::cluster::Incarnation;
use crate::link::router::Router;
use crate::node::Node;

/// Beat of housekeeping on the ways to other nodes.
const TICK: Duration = Duration::from_millis(100);

/// Runs until the node shuts down.
pub(crate) async fn run(node: Node, router: Arc<Router>) {
    let mut beat = tokio::time::interval(router.config().beat);
    let mut tick = tokio::time::interval(TICK);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut edges = Edges::new(node.config().presence_debounce);
    loop {
        tokio::select! {
            () = node.shutdown_started() => return,
            () = router.became_stale() => router.refresh().await,
            _ = beat.tick() => {
                router.beat(node.attached_count());
                router.refresh().await;
                tell_shards(&node, edges.observe(&router, Instant::now())).await;
            }
            _ = tick.tick() => {
                router.on_tick();
                node.tell_workers_rehomed(router.take_rehomed());
            }
        }
    }
}

async fn tell_shards(node: &Node, alive: Option<HashSet<Incarnation>>) {
    let Some(alive) = alive.map(Arc::new) else { return };
    for shard in node.shards() {
        let _ = shard.send(ShardCommand::EdgesAlive { edges: alive.clone() }).await;
    }
}

/// Edges that were seen lately: one that is silent keeps its sessions for as long as their absence
/// would not be noticed.
#[derive(Debug)]
struct Edges {
    seen: HashMap<Incarnation, Instant>,
    debounce: Duration,
}

impl Edges {
    fn new(debounce: Duration) -> Self {
        Self { seen: HashMap::new(), debounce }
    }

    /// The edges that count as alive, when another one has died.
    fn observe(&mut self, router: &Router, now: Instant) -> Option<HashSet<Incarnation>> {
        for node in router.live().into_iter().filter(|node| node.edge) {
            self.seen.insert(node.incarnation, now);
        }
        let before = self.seen.len();
        let debounce = self.debounce;
        self.seen.retain(|_, at| now.saturating_duration_since(*at) < debounce);
        (self.seen.len() < before).then(|| self.seen.keys().copied().collect())
    }
}
