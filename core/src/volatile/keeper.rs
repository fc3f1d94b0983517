//! Writes what a node wants others to find, and puts it again after a loss. One task of the node;
//! everything is written off to the side of what clients wait for, and a failure costs a pause.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use sterna_proto::{ChannelKey, NodeId, SessionId, UserId};
use sterna_storage::volatile::{Beat, DirectoryEntry, NodeRoute, Partition};
use tokio::time::{Instant, MissedTickBehavior};

use crate::channel::shard::ShardCommand;
use crate::node::Node;
use crate::volatile::kept::Write;
use crate::volatile::{ROUTE_KEPT_FOR, Volatile, now};

type RouteWrite = Write<(ChannelKey, NodeId), u64>;
type SessionWrite = Write<SessionId, (UserId, DirectoryEntry)>;

/// Runs until the node shuts down.
pub(crate) async fn keep(node: Node, volatile: Arc<Volatile>) {
    tokio::select! {
        () = node.shutdown_started() => {}
        () = volatile.routes.listen() => {}
        () = work(&node, &volatile) => {}
    }
    let own = node.config();
    let drop_edge = volatile.stores.directory.drop_edge(own.node.clone(), own.incarnation.0);
    // Its lease ends soon anyway.
    let _ = tokio::time::timeout(FAREWELL, volatile.health.ask(drop_edge)).await;
}

async fn work(node: &Node, volatile: &Volatile) {
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lease = tokio::time::interval(EDGE_BEAT);
    lease.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            _ = lease.tick(), if node.has_clients() => volatile.beat_edge(node).await,
        }
        if volatile.health.is_silent() {
            tokio::time::sleep(rand::random_range(PROBE / 2..PROBE)).await;
            volatile.probe().await;
            continue;
        }
        if volatile.health.is_quiet() {
            volatile.ask_for_a_sign().await;
        }
        volatile.look_for_losses().await;
        volatile.write_routes().await;
        volatile.write_sessions().await;
        volatile.write_deltas().await;
        volatile.tell_rates().await;
        tell_shards(node, volatile).await;
    }
}

/// Owners say again who is present where nobody could follow.
async fn tell_shards(node: &Node, volatile: &Volatile) {
    let partitions = volatile.take_incomplete();
    if partitions.is_empty() {
        return;
    }
    let partitions = Arc::new(partitions);
    for shard in node.shards() {
        // A shard that has ended knows of nobody.
        let _ = shard.send(ShardCommand::TellPresence { partitions: partitions.clone() }).await;
    }
}

impl Volatile {
    /// Asks whether the engine answers again. Whatever happened meanwhile, each partition is looked
    /// at soon.
    async fn probe(&self) {
        let probed = self.stores.sentinel.check_loss(self.any_partition(), None);
        if self.health.probe(probed).await.is_some() {
            self.losses().look_soon(now());
        }
    }

    /// By chance: of several servers one may be away.
    fn any_partition(&self) -> Partition {
        Partition(rand::random_range(0..self.stores.routes.partitions().count()))
    }

    /// Whether the engine answers, for a node that has nothing else to ask: operators look at it, and
    /// whoever has work for it later is not to wait for it first.
    async fn ask_for_a_sign(&self) {
        self.health.ask(self.stores.sentinel.check_loss(self.any_partition(), None)).await;
    }

    async fn look_for_losses(&self) {
        let due = self.losses().take_due(now(), AT_ONCE);
        let looks = stream::iter(due).map(|(partition, boot)| async move {
            let look = self.stores.sentinel.check_loss(partition, boot);
            (partition, self.health.ask(look).await)
        });
        let looked: Vec<_> = looks.buffer_unordered(AT_ONCE).collect().await;
        for (partition, seen) in looked {
            let Some(seen) = seen else { continue };
            if self.losses().on_looked(partition, seen) {
                self.on_lost(partition);
            }
        }
    }

    fn on_lost(&self, partition: Partition) {
        metrics::counter!("sterna_core_volatile_losses_total").increment(1);
        let partitions = self.stores.routes.partitions();
        let of_route = |(channel, _): &(ChannelKey, NodeId), _: &u64| {
            partitions.of_channel(*channel) == partition
        };
        self.own_routes().on_lost(of_route, now(), AGAIN_WITHIN);
        let of_user = |_: &SessionId, (user, _): &(UserId, DirectoryEntry)| {
            partitions.of_user(user) == partition
        };
        self.sessions().on_lost(of_user, now(), AGAIN_WITHIN);
        self.deltas().on_lost(partition);
    }

    async fn write_routes(&self) {
        let writes = self.own_routes().take_due(now(), WRITES);
        stream::iter(writes).for_each_concurrent(AT_ONCE, |write| self.write_route(write)).await;
        metrics::gauge!("sterna_core_routes_held").set(self.own_routes().len() as f64);
    }

    async fn write_route(&self, write: RouteWrite) {
        let table = &self.stores.routes;
        let is_done = match &write {
            Write::Put((channel, node), incarnation) => {
                self.losses().watch(table.partitions().of_channel(*channel), now());
                let route = NodeRoute { node: node.clone(), incarnation: *incarnation };
                self.health.ask(table.put_route(*channel, route, ROUTE_KEPT_FOR)).await.is_some()
            }
            Write::Remove((channel, node), _) => {
                self.health.ask(table.remove_route(*channel, node.clone())).await.is_some()
            }
        };
        self.own_routes().on_written(&write, is_done, now());
    }

    async fn write_sessions(&self) {
        let writes = self.sessions().take_due(now(), WRITES);
        stream::iter(writes).for_each_concurrent(AT_ONCE, |write| self.write_session(write)).await;
    }

    async fn write_session(&self, write: SessionWrite) {
        let directory = &self.stores.directory;
        let is_done = match &write {
            Write::Put(_, (user, entry)) => {
                self.losses().watch(self.stores.routes.partitions().of_user(user), now());
                let put = directory.put_session(user.clone(), entry.clone());
                self.health.ask(put).await.is_some()
            }
            Write::Remove(session, (user, entry)) => {
                let (edge, incarnation) = (entry.edge.clone(), entry.incarnation);
                let remove = directory.remove_session(user.clone(), *session, edge, incarnation);
                self.health.ask(remove).await.is_some()
            }
        };
        self.sessions().on_written(&write, is_done, now());
    }

    /// What was put under a lease that has ended counts no more.
    async fn beat_edge(&self, node: &Node) {
        let (own, load) = (node.config(), node.session_count());
        let load = u32::try_from(load).unwrap_or(u32::MAX);
        let name = own.node.clone();
        let beat = self.stores.directory.beat_edge(name, own.incarnation.0, load, EDGE_LEASE);
        if self.health.ask(beat).await == Some(Beat::Begun) {
            self.sessions().on_lost(|_, _| true, now(), AGAIN_WITHIN);
        }
    }

    async fn write_deltas(&self) {
        let deltas = self.deltas().take();
        // One partition's follow each other; partitions do not wait for one another.
        let mut by_partition: Vec<(Partition, Vec<Bytes>)> = Vec::new();
        for (partition, delta) in deltas {
            match by_partition.last_mut() {
                Some((last, deltas)) if *last == partition => deltas.push(delta),
                _ => by_partition.push((partition, vec![delta])),
            }
        }
        let write = |(partition, deltas): (Partition, Vec<Bytes>)| async move {
            self.losses().watch(partition, now());
            for delta in deltas {
                let append = self.stores.presence.append_delta(partition, delta);
                let is_done = self.health.ask(append).await.is_some();
                self.deltas().on_written(partition, is_done);
            }
        };
        stream::iter(by_partition).for_each_concurrent(AT_ONCE, write).await;
    }

    async fn tell_rates(&self) {
        let (lumps, rate) = (self.user_rates.take_lumps(Instant::now()), self.user_rates.shared());
        let tell = |(user, cost): (UserId, u32)| async move {
            let key = Bytes::from(format!("user:{user}"));
            let taken = self.health.ask(self.stores.rates.take(key, cost, rate)).await;
            self.user_rates.on_told(&user, cost, taken, Instant::now());
        };
        stream::iter(lumps).for_each_concurrent(AT_ONCE, tell).await;
    }
}

/// What comes in this time is written together.
const BEAT: Duration = Duration::from_millis(200);

/// Calls on their way at a time.
const AT_ONCE: usize = 64;

/// Writes of one beat.
const WRITES: usize = 1024;

/// How often an engine that does not answer is asked, at random.
const PROBE: Duration = Duration::from_secs(1);

/// After a loss everybody puts everything: not at once.
const AGAIN_WITHIN: Duration = Duration::from_secs(10);

/// The lease of an edge's sessions in the directory, and how often it is prolonged.
const EDGE_BEAT: Duration = Duration::from_secs(10);
const EDGE_LEASE: Duration = Duration::from_secs(30);

/// How long the end of a node may wait for its farewell.
const FAREWELL: Duration = Duration::from_millis(500);
