//! Several nodes in one process that share a store, and links between them that are memory: frames
//! are encoded and decoded, and any link can be cut.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use sterna_core::cluster::{ClusterConfig, Incarnation, NodeInfo, NodeState};
use sterna_core::link::lane::{FrameReceiver, FrameSender, LaneError};
use sterna_core::link::ports::LaneFrom;
use sterna_core::link::router::Router;
use sterna_core::link::serve::{self, Speaker};
use sterna_core::{CoreConfig, Node, SystemClock, Worker};
use sterna_proto::link::v1::Frame;
use sterna_proto::{LinkDecoder, NodeId, codec, limits, v1};
use sterna_storage::Stores;
use sterna_storage::memory::MemoryStore;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// What a node is in the cluster.
#[derive(Clone, Copy)]
pub struct Role {
    pub name: &'static str,
    pub core: bool,
    pub region: &'static str,
}

pub const fn core(name: &'static str) -> Role {
    Role { name, core: true, region: "here" }
}

pub const fn edge(name: &'static str) -> Role {
    Role { name, core: false, region: "here" }
}

pub struct Member {
    pub role: Role,
    pub node: Node,
    /// Every node has one, so that clients can be put anywhere.
    pub worker: Worker,
    dead: CancellationToken,
}

/// Lives on one thread, inside a `LocalSet`.
#[derive(Clone)]
pub struct Cluster {
    members: Rc<Vec<Member>>,
    cut: Arc<Mutex<HashSet<(usize, usize)>>>,
    changed: watch::Sender<u64>,
}

pub fn config_of(role: Role, index: u16) -> CoreConfig {
    let mut config = CoreConfig::embedded(NodeId::new(role.name).unwrap(), v1::Durability::Memory);
    config.incarnation = Incarnation(1000 + u64::from(index));
    config.id_worker = index;
    config.head_watch = Some(Duration::from_millis(500));
    config
}

pub fn cluster_of(role: Role, config: &CoreConfig) -> ClusterConfig {
    ClusterConfig::new(NodeInfo {
        name: config.node.clone(),
        incarnation: config.incarnation,
        edge: true,
        core: role.core,
        local_store: false,
        region: role.region.into(),
        zone: String::new(),
        link_address: format!("{}:4444", role.name),
        client_address: String::new(),
        state: NodeState::Serving,
        sessions: 0,
        capacity: 0,
        weight: 100,
    })
}

impl Cluster {
    pub async fn start(roles: &[Role], store: &MemoryStore) -> Self {
        Self::start_with(roles, store, |_, _| {}).await
    }

    /// The same with other settings.
    pub async fn start_with(
        roles: &[Role],
        store: &MemoryStore,
        change: impl Fn(&mut CoreConfig, &mut ClusterConfig),
    ) -> Self {
        Self::start_on(roles, |_| store.stores(), change).await
    }

    /// The same with what each core has in front of the stores.
    pub async fn start_on(
        roles: &[Role],
        stores: impl Fn(&Role) -> Stores,
        change: impl Fn(&mut CoreConfig, &mut ClusterConfig),
    ) -> Self {
        let mut members = Vec::new();
        for (index, role) in roles.iter().copied().enumerate() {
            let mut config = config_of(role, index as u16);
            let mut cluster = cluster_of(role, &config);
            change(&mut config, &mut cluster);
            let stores = role.core.then(|| stores(&role));
            let node = Node::join(config, stores, Arc::new(SystemClock), cluster).await.unwrap();
            let worker = Worker::new(&node, 0);
            let looped = worker.clone();
            tokio::task::spawn_local(async move { looped.run().await });
            members.push(Member { role, node, worker, dead: CancellationToken::new() });
        }
        let cluster =
            Self { members: Rc::new(members), cut: Arc::default(), changed: watch::Sender::new(0) };
        for from in 0..roles.len() {
            for to in (0..roles.len()).filter(|to| *to != from) {
                tokio::task::spawn_local(cluster.clone().keep_link(from, to));
            }
        }
        // Seeds: everybody has heard of everybody.
        for one in cluster.members.iter() {
            for other in cluster.members.iter() {
                let router = one.node.router().unwrap();
                router.on_roster(other.node.router().unwrap().roster_to_wire());
            }
        }
        cluster
    }

    pub fn index(&self, name: &str) -> usize {
        self.members.iter().position(|member| member.role.name == name).unwrap()
    }

    pub fn member(&self, name: &str) -> &Member {
        &self.members[self.index(name)]
    }

    pub fn worker(&self, name: &str) -> &Worker {
        &self.member(name).worker
    }

    /// The cores that own a channel by their own views.
    pub fn owners(&self, channel: &str) -> Vec<&'static str> {
        let slot = sterna_proto::ChannelId::new(channel).unwrap().key().slot();
        let owns = |member: &&Member| {
            !member.dead.is_cancelled() && member.node.router().unwrap().owns(slot)
        };
        self.members.iter().filter(owns).map(|member| member.role.name).collect()
    }

    /// No frame passes between the two any more, and no connection is made.
    pub fn cut(&self, one: &str, other: &str) {
        let (one, other) = (self.index(one), self.index(other));
        self.cut.lock().unwrap().extend([(one, other), (other, one)]);
        self.changed.send_modify(|changes| *changes += 1);
    }

    pub fn heal(&self, one: &str, other: &str) {
        let (one, other) = (self.index(one), self.index(other));
        self.cut.lock().unwrap().retain(|pair| *pair != (one, other) && *pair != (other, one));
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// The node is gone for the others, as if its process had been killed.
    pub fn kill(&self, name: &str) {
        self.member(name).dead.cancel();
        self.changed.send_modify(|changes| *changes += 1);
    }

    pub async fn shutdown(self) {
        for member in self.members.iter() {
            member.dead.cancel();
        }
        self.changed.send_modify(|changes| *changes += 1);
        for member in self.members.iter() {
            assert!(member.node.shutdown(Duration::from_secs(10)).await);
        }
    }

    fn is_cut(&self, from: usize, to: usize) -> bool {
        let dead = |index: usize| self.members[index].dead.is_cancelled();
        dead(from) || dead(to) || self.cut.lock().unwrap().contains(&(from, to))
    }

    async fn keep_link(self, from: usize, to: usize) {
        let mut changed = self.changed.subscribe();
        let asking = self.members[from].node.router().unwrap().clone();
        let name = self.members[to].node.config().node.clone();
        while !self.members[from].dead.is_cancelled() && !self.members[to].dead.is_cancelled() {
            if self.is_cut(from, to) {
                asking.on_unreachable(&name);
                changed.changed().await.unwrap();
                continue;
            }
            if !asking.wanted_peers().iter().any(|peer| peer.name == name) {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            let until_cut = async {
                while !self.is_cut(from, to) {
                    changed.changed().await.unwrap();
                }
            };
            let connection = self.connect(from, to);
            tokio::select! {
                () = until_cut => {}
                error = connection => panic!("{error}"),
            }
        }
        asking.on_unreachable(&name);
    }

    /// One connection with all its lanes.
    async fn connect(&self, from: usize, to: usize) -> LaneError {
        let asking = self.members[from].node.router().unwrap();
        let answering = self.members[to].node.router().unwrap();
        let wide = self.members[from].role.region != self.members[to].role.region;
        let name = &self.members[to].node.config().node;
        let mut ends = futures_util::stream::FuturesUnordered::<
            futures_util::future::LocalBoxFuture<'_, LaneError>,
        >::new();
        for lane in 0..limits::LINK_LANES {
            let ((mut up, mut up_end), (mut down, mut down_end)) = (wire(), wire());
            ends.push(Box::pin(async move {
                asking.run_lane(name, lane, &mut up, &mut down_end).await
            }));
            // Its own task: what it has begun ends in order when the connection does.
            let answering = answering.clone();
            let own = asking.own();
            let from = LaneFrom { node: own.name, incarnation: own.incarnation, lane, wide };
            tokio::task::spawn_local(async move {
                serve::serve(&answering, from, &mut down, &mut up_end).await
            });
        }
        let ((mut up, mut up_end), (mut down, mut down_end)) = (wire(), wire());
        ends.push(Box::pin(async move {
            let peer = speaker(answering);
            serve::exchange_rosters(asking, &peer, &mut up, &mut down_end).await
        }));
        ends.push(Box::pin(async move {
            let peer = speaker(asking);
            serve::exchange_rosters(answering, &peer, &mut down, &mut up_end).await
        }));
        futures_util::StreamExt::next(&mut ends).await.unwrap()
    }
}

/// As the node's certificate would have it.
fn speaker(router: &Router) -> Speaker {
    let own = router.own();
    Speaker { name: own.name, edge: own.edge, core: own.core }
}

/// Bytes of one direction.
fn wire() -> (WireSender, WireReceiver) {
    let (sender, receiver) = mpsc::channel(64);
    let decoder = LinkDecoder::new(limits::LINK_FRAME_BYTES);
    (WireSender(sender), WireReceiver(receiver, decoder))
}

struct WireSender(mpsc::Sender<BytesMut>);

struct WireReceiver(mpsc::Receiver<BytesMut>, LinkDecoder);

impl FrameSender for WireSender {
    async fn send(&mut self, frames: &mut Vec<Frame>) -> Result<(), LaneError> {
        let mut bytes = BytesMut::new();
        frames.drain(..).for_each(|frame| codec::encode(&frame, &mut bytes));
        self.0.send(bytes).await.map_err(|_| LaneError::Lost("cut".into()))
    }
}

impl FrameReceiver for WireReceiver {
    async fn receive(&mut self, frames: &mut Vec<Frame>) -> Result<(), LaneError> {
        let bytes = self.0.recv().await.ok_or_else(|| LaneError::Lost("cut".into()))?;
        self.1.extend(&bytes);
        while let Some(frame) = self.1.next().map_err(|e| LaneError::Lost(e.to_string()))? {
            frames.push(frame);
        }
        Ok(())
    }
}

/// Waits until a condition holds, on a clock that moves only while everybody waits for it.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
