//! Where a command goes: to a shard of this node, or over a link towards the owner of its channel.
//! One for each node of a cluster, shared by its workers, by the lanes that other nodes have opened
//! to it, and by whoever dials.
//!
//! What happens when the ways change is told in [`ways`](super::ways).

mod calls;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ahash::RandomState;
use sterna_proto::id::SLOTS;
use sterna_proto::link::v1 as wire;
use sterna_proto::{ChannelKey, ErrorCode, NodeId, v1};
use tokio::sync::{Notify, mpsc, watch};

use crate::channel::shard::ShardCommand;
use crate::cluster::balance::Balancer;
use crate::cluster::roster::Roster;
use crate::cluster::view::{Route, View};
use crate::cluster::{ClusterConfig, Incarnation, NodeInfo, NodeState};
use crate::config::QueueLimits;
use crate::fanout::interests::Interests;
use crate::link::asking::Asking;
use crate::link::lane::{FrameReceiver, FrameSender, Lane, LaneError};
use crate::link::peer::Peer;
use crate::link::ports::{FarEnd, LaneFrom, LinkId, LinkPorts, LinkReceiver};
use crate::link::turns::Turns;
use crate::revocations::Revocations;
use crate::vitals::inspect::FanOutWay;
use crate::vitals::tally::Tally;
use crate::vitals::{Observed, Vitals};

pub(super) use calls::Hop;
pub(crate) use calls::RouterLink;

/// The shards of a node that owns channels.
pub(super) type Shards = Arc<[mpsc::Sender<ShardCommand>]>;

/// See the module.
#[derive(Debug)]
pub struct Router {
    config: ClusterConfig,
    queues: QueueLimits,
    /// `None` on a node that owns no channels.
    pub(super) shards: Option<Shards>,
    ports: Arc<LinkPorts>,
    turns: Arc<Turns>,
    tally: Arc<Tally>,
    pub(super) interests: Interests,
    revocations: Arc<Revocations>,
    roster: Mutex<Roster>,
    balancer: Mutex<Balancer>,
    pub(super) routing: RwLock<Routing>,
    /// Where calls of parked slots wait; never connected.
    pub(super) parking: Arc<Lane>,
    /// Counts changes of the roster, beats of this node among them.
    beats: watch::Sender<u64>,
    /// A route may have become another one.
    stale: Notify,
    /// Slots whose channels have been told to attach again, until workers hear of it.
    rehomed: Mutex<HashSet<u16>>,
    asking: Arc<Asking>,
    /// Why this node has to end: another process has its name.
    superseded: watch::Sender<Option<String>>,
}

#[derive(Debug)]
pub(super) struct Routing {
    pub(super) view: View,
    /// What the view follows from.
    pub(super) basis: Basis,
    /// Slots that this node gives away: until its shards have finished with them, calls wait.
    pub(super) parked: HashSet<u16>,
    pub(super) peers: HashMap<NodeId, Arc<Peer>, RandomState>,
}

/// Who is alive, but for what changes with every beat, and whether a link leads there.
pub(super) type Basis = Vec<(NodeInfo, bool)>;

/// A node to which a link is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    pub name: NodeId,
    /// It is to own channels.
    pub core: bool,
    pub incarnation: Incarnation,
    pub address: String,
}

impl Routing {
    /// Has a peer for everybody to whom a link should lead, and none that is gone.
    pub(super) fn keep_peers(&mut self, wanted: &[PeerAddress]) {
        let names: HashSet<&NodeId> = wanted.iter().map(|peer| &peer.name).collect();
        self.peers.retain(|name, peer| names.contains(name) || !peer.is_idle());
        for name in names {
            let peer = self.peers.entry(name.clone());
            peer.or_insert_with(|| Arc::new(Peer::new(name.clone())));
        }
    }
}

impl Router {
    pub(crate) fn new(
        config: ClusterConfig,
        queues: QueueLimits,
        shards: Option<Shards>,
        ports: Arc<LinkPorts>,
        turns: Arc<Turns>,
        tally: Arc<Tally>,
        revocations: Arc<Revocations>,
    ) -> Arc<Self> {
        let own = config.node.clone();
        let view = View::new(&own, std::slice::from_ref(&own), |_| true);
        let roster = Roster::new(own, config.lease);
        Arc::new(Self {
            balancer: Mutex::new(Balancer::new(config.balance.clone())),
            interests: Interests::new(ports.clone(), &queues),
            config,
            queues,
            shards,
            ports,
            turns,
            tally,
            revocations,
            roster: Mutex::new(roster),
            routing: RwLock::new(Routing {
                view,
                basis: Basis::new(),
                parked: HashSet::new(),
                peers: HashMap::default(),
            }),
            parking: Arc::new(Lane::new()),
            beats: watch::Sender::new(0),
            stale: Notify::new(),
            rehomed: Mutex::default(),
            asking: Arc::default(),
            superseded: watch::Sender::new(None),
        })
    }

    /// Where this node passes on what is published in a channel that another one owns.
    pub fn passed_on(&self, channel: &ChannelKey) -> Vec<FanOutWay> {
        let links = self.interests.links(channel).into_iter();
        links.filter_map(|link| self.ports.far_end(link)).map(FanOutWay::to).collect()
    }

    /// What operators ask of other nodes.
    pub fn asking(&self) -> &Arc<Asking> {
        &self.asking
    }

    pub(crate) fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// What this node says of itself.
    pub fn own(&self) -> NodeInfo {
        self.roster().own().clone()
    }

    /// Nodes that are alive as far as is known here, this one among them.
    pub fn live(&self) -> Vec<NodeInfo> {
        self.roster().live(now())
    }

    /// Who owns the slot, as far as this node knows.
    pub(crate) fn way(&self, slot: u16) -> Route {
        self.routing().view.route(slot).clone()
    }

    /// Whether this node owns a slot, as far as it knows.
    pub fn owns(&self, slot: u16) -> bool {
        *self.routing().view.route(slot) == Route::Here
    }

    /// How many slots this node owns.
    pub fn owned_slots(&self) -> usize {
        self.routing().view.owned()
    }

    /// Whether any way leads to an owner.
    pub fn is_connected(&self) -> bool {
        let routing = self.routing();
        match routing.view.route(0) {
            Route::Here => true,
            Route::By(next) => routing.peers.get(next).is_some_and(|peer| peer.is_connected()),
            Route::Nowhere => false,
        }
    }

    /// Nodes to which a link should lead: all cores, and the edges of a region without one.
    pub fn wanted_peers(&self) -> Vec<PeerAddress> {
        let live = self.live();
        let own = &self.config.node;
        let core_here = live.iter().any(|node| node.core && node.region == own.region);
        let wanted = live.into_iter().filter(|node| {
            let relay = !core_here && node.region == own.region;
            node.name != own.name && !node.link_address.is_empty() && (node.core || relay)
        });
        wanted
            .map(|node| PeerAddress {
                core: node.core,
                name: node.name,
                incarnation: node.incarnation,
                address: node.link_address,
            })
            .collect()
    }

    /// Changes with every beat and with every change of the roster.
    pub fn beats(&self) -> watch::Receiver<u64> {
        self.beats.subscribe()
    }

    /// Completes when another process has taken this node's name.
    pub async fn superseded(&self) -> String {
        let mut superseded = self.superseded.subscribe();
        match superseded.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// This node must not go on, for this reason.
    pub(crate) fn end(&self, reason: String) {
        self.superseded.send_replace(Some(reason));
    }

    /// This node, for the store.
    pub(crate) fn own_to_wire(&self) -> wire::Node {
        self.roster().own_to_wire(now())
    }

    /// The roster for another node.
    pub fn roster_to_wire(&self) -> Vec<wire::Node> {
        self.roster().to_wire(now())
    }

    /// Whose tokens are void, which nodes tell each other beside their rosters.
    pub(super) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// What another node, or the store, knows.
    pub fn on_roster(&self, nodes: Vec<wire::Node>) {
        let before = self.live();
        if let Err(superseded) = self.roster().merge(nodes, now()) {
            // Hearsay: only the store's word ends a process.
            tracing::error!(%superseded, "another node says so");
        }
        if self.live() != before {
            self.stale.notify_one();
            self.beats.send_modify(|beats| *beats += 1);
        }
    }

    /// Gives channels and clients away from now on.
    pub fn start_leaving(&self) {
        self.roster().update_own(|own| own.state = NodeState::Leaving);
        self.beats.send_modify(|beats| *beats += 1);
        self.stale.notify_one();
    }

    /// Says that the node is alive. `sessions`: those with a connection.
    pub(crate) fn beat(&self, sessions: u32) {
        self.roster().update_own(|own| own.sessions = sessions);
        self.beats.send_modify(|beats| *beats += 1);
    }

    /// How this node fares, for its next beat.
    pub(crate) fn set_vitals(&self, vitals: Vitals) {
        self.roster().set_own_vitals(vitals, now());
    }

    /// All nodes as they fare, as far as is known here.
    pub fn observed(&self) -> Vec<Observed> {
        self.roster().observed(now())
    }

    /// What the calls of one lane weigh, of the fullest.
    pub(crate) fn fullest_lane(&self) -> usize {
        let routing = self.routing();
        let lanes = routing.peers.values().flat_map(|peer| &peer.lanes).chain([&self.parking]);
        lanes.map(|lane| lane.taken()).max().unwrap_or(0)
    }

    /// Where other nodes reach this one, once that is known.
    pub fn set_link_address(&self, address: String) {
        self.roster().update_own(|own| own.link_address = address);
        self.beats.send_modify(|beats| *beats += 1);
    }

    /// Where clients reach this node, once that is known.
    pub fn set_client_address(&self, address: String) {
        self.roster().update_own(|own| own.client_address = address);
        self.beats.send_modify(|beats| *beats += 1);
    }

    /// Opens a link for the pushes of another node's lane.
    pub(super) fn open_link(&self, from: LaneFrom) -> (LinkId, LinkReceiver) {
        let (pushes, bytes) = (self.queues.link_pushes, self.queues.link_push_bytes);
        self.ports.open_to(FarEnd::Lane(from), pushes, bytes)
    }

    /// The lane's connection is gone.
    pub(super) async fn close_link(&self, link: LinkId) {
        let Some(far_end) = self.ports.close(link) else { return };
        for channel in self.interests.remove_link(link) {
            self.detach_upstream(channel);
        }
        for shard in self.shards.iter().flat_map(|shards| shards.iter()) {
            // A shard that has ended has no interests.
            let _ = shard.send(ShardCommand::LinkClosed { link, far_end: far_end.clone() }).await;
        }
    }

    /// Drives a connection of the lane that leads to a peer, until it ends. Dropping the future ends
    /// it too.
    pub async fn run_lane<S: FrameSender, R: FrameReceiver>(
        &self,
        peer: &NodeId,
        lane: usize,
        sender: &mut S,
        receiver: &mut R,
    ) -> LaneError {
        let peer = self.peer(peer);
        let Some(lane_end) = peer.lanes.get(lane) else {
            return LaneError::Lost(format!("there is no lane {lane}"));
        };
        let _up = peer.lane_up(&self.stale);
        // The peer knows of no interest on this connection.
        let slots = self.slots_by(&peer.name);
        self.announce(&slots, |channel| Peer::lane_of(channel) == lane);
        let leads = |channel: &ChannelKey| {
            let routing = self.routing();
            matches!(routing.view.route(channel.slot()), Route::By(next) if *next == peer.name)
        };
        lane_end.run(sender, receiver, &self.interests, leads).await
    }

    /// No connection to the peer could be made.
    pub fn on_unreachable(&self, peer: &NodeId) {
        self.peer(peer).on_unreachable();
        self.stale.notify_one();
    }

    /// Completes when a route may have become another one.
    pub(crate) async fn became_stale(&self) {
        self.stale.notified().await;
    }

    /// Forgets what has waited for too long and sends what links had no room for.
    pub(crate) fn on_tick(&self) {
        let now = tokio::time::Instant::now();
        let peers: Vec<Arc<Peer>> = self.routing().peers.values().cloned().collect();
        self.parking.expire(now, self.config.patience);
        for peer in peers {
            peer.lanes.iter().for_each(|lane| lane.expire(now, self.config.patience));
        }
        self.interests.on_tick();
        metrics::gauge!("sterna_link_interests_held").set(self.interests.len() as f64);
    }

    /// The peer, made when it is heard of first.
    fn peer(&self, name: &NodeId) -> Arc<Peer> {
        if let Some(peer) = self.routing().peers.get(name) {
            return peer.clone();
        }
        let mut routing = self.routing.write().unwrap_or_else(PoisonError::into_inner);
        let peer = routing.peers.entry(name.clone());
        peer.or_insert_with(|| Arc::new(Peer::new(name.clone()))).clone()
    }

    /// Whoever is subscribed to channels of these slots attaches again, of which some are meant.
    pub(super) fn announce(&self, slots: &HashSet<u16>, meant: impl Fn(&ChannelKey) -> bool) {
        if sterna_storage::planted!(MovedUntold) {
            return;
        }
        let moved = |channel: &ChannelKey| slots.contains(&channel.slot()) && meant(channel);
        let told = self.interests.announce_moved(moved);
        self.rehomed.lock().unwrap_or_else(PoisonError::into_inner).extend(slots);
        metrics::counter!("sterna_link_interests_moved_total").increment(told.len() as u64);
    }

    /// Slots with other owners, or other ways to them, than sessions without a connection know.
    pub(crate) fn take_rehomed(&self) -> HashSet<u16> {
        std::mem::take(&mut *self.rehomed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Slots whose way begins at a peer.
    fn slots_by(&self, peer: &NodeId) -> HashSet<u16> {
        let routing = self.routing();
        let way = Route::By(peer.clone());
        let by_peer = |slot: &u16| *routing.view.route(*slot) == way;
        (0..SLOTS).filter(by_peer).collect()
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn balancer(&self) -> MutexGuard<'_, Balancer> {
        self.balancer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn routing(&self) -> std::sync::RwLockReadGuard<'_, Routing> {
        self.routing.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of the runtime's clock, which tests hold.
pub(crate) fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

pub(super) fn nowhere() -> v1::Error {
    let message = "no node that owns channels is known here yet; try again";
    v1::Error::new(ErrorCode::Unavailable, message).with_retry_after_ms(500)
}
