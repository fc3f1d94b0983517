//! The downward ends of links: a bounded queue of pushes each, whoever drains it. A worker of this
//! node or a lane that leads to another one, the spreader cannot tell.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ahash::RandomState;
use sterna_proto::NodeId;
use tokio::sync::mpsc;

use crate::cluster::Incarnation;
use crate::link::LinkPush;

/// Number of a link on its node; never used twice.
pub type LinkId = u32;

/// The downward ends of all links of a node.
#[derive(Debug, Default)]
pub struct LinkPorts {
    ports: RwLock<Ports>,
}

#[derive(Debug, Default)]
struct Ports {
    open: HashMap<LinkId, Port, RandomState>,
    last: LinkId,
}

/// The node to which a link leads, and by which of its lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneFrom {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub lane: usize,
    /// It is in another region.
    pub wide: bool,
}

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FarEnd {
    /// To a worker of this node.
    Worker,
    Lane(LaneFrom),
}

#[derive(Debug)]
struct Port {
    far_end: FarEnd,
    pushes: mpsc::Sender<LinkPush>,
    bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

/// Pushes on their way to one worker.
#[derive(Debug)]
pub struct LinkReceiver {
    pushes: mpsc::Receiver<LinkPush>,
    bytes: Arc<AtomicUsize>,
}

/// Why a push was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum NoRoom {
    Full,
    /// There is no such link any more.
    Closed,
}

impl LinkPorts {
    /// Opens a link to a worker of this node for at most so many pushes and bytes.
    pub fn open(&self, max_pushes: usize, max_bytes: usize) -> (LinkId, LinkReceiver) {
        self.open_to(FarEnd::Worker, max_pushes, max_bytes)
    }

    /// Opens a link that leads there.
    pub fn open_to(
        &self,
        far_end: FarEnd,
        max_pushes: usize,
        max_bytes: usize,
    ) -> (LinkId, LinkReceiver) {
        let (sender, receiver) = mpsc::channel(max_pushes);
        let bytes = Arc::new(AtomicUsize::new(0));
        let mut ports = self.ports.write().unwrap_or_else(PoisonError::into_inner);
        ports.last += 1;
        let id = ports.last;
        ports.open.insert(id, Port { far_end, pushes: sender, bytes: bytes.clone(), max_bytes });
        (id, LinkReceiver { pushes: receiver, bytes })
    }

    /// Takes no more pushes for the link, which led there.
    pub fn close(&self, link: LinkId) -> Option<FarEnd> {
        let closed = self.ports.write().unwrap_or_else(PoisonError::into_inner).open.remove(&link);
        closed.map(|port| port.far_end)
    }

    /// Where a link leads; `None`: it is closed.
    pub fn far_end(&self, link: LinkId) -> Option<FarEnd> {
        let ports = self.ports.read().unwrap_or_else(PoisonError::into_inner);
        ports.open.get(&link).map(|port| port.far_end.clone())
    }

    /// The newest link that leads to a process by one of its lanes, if it is in this region.
    pub fn near(&self, node: &NodeId, process: Incarnation, lane: usize) -> Option<LinkId> {
        let wanted = LaneFrom { node: node.clone(), incarnation: process, lane, wide: false };
        let wanted = FarEnd::Lane(wanted);
        let ports = self.ports.read().unwrap_or_else(PoisonError::into_inner);
        let leads = |port: &Port| port.far_end == wanted;
        ports.open.iter().filter(|(_, port)| leads(port)).map(|(link, _)| *link).max()
    }

    /// How many links there are.
    pub fn count(&self) -> usize {
        self.ports.read().unwrap_or_else(PoisonError::into_inner).open.len()
    }

    /// How many pushes, and how many bytes, wait on one link: of all links the most.
    pub fn fullest(&self) -> (usize, usize) {
        let ports = self.ports.read().unwrap_or_else(PoisonError::into_inner);
        let pushes = |port: &Port| port.pushes.max_capacity() - port.pushes.capacity();
        let depths = ports.open.values();
        depths.fold((0, 0), |(most, most_bytes), port| {
            (most.max(pushes(port)), most_bytes.max(port.bytes.load(Ordering::Relaxed)))
        })
    }

    pub fn try_send(&self, link: LinkId, push: LinkPush) -> Result<(), NoRoom> {
        let ports = self.ports.read().unwrap_or_else(PoisonError::into_inner);
        let port = ports.open.get(&link).ok_or(NoRoom::Closed)?;
        let len = push.weight();
        if port.bytes.load(Ordering::Relaxed) + len > port.max_bytes {
            return Err(NoRoom::Full);
        }
        port.bytes.fetch_add(len, Ordering::Relaxed);
        port.pushes.try_send(push).map_err(|refused| {
            port.bytes.fetch_sub(len, Ordering::Relaxed);
            match refused {
                mpsc::error::TrySendError::Full(_) => NoRoom::Full,
                mpsc::error::TrySendError::Closed(_) => NoRoom::Closed,
            }
        })
    }
}

/// How much waits in a link, for those who do not receive from it.
#[derive(Debug, Clone)]
pub struct LinkLoad(Arc<AtomicUsize>);

impl LinkLoad {
    /// Nothing waits at this moment: every push weighs something.
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl LinkReceiver {
    pub fn load(&self) -> LinkLoad {
        LinkLoad(self.bytes.clone())
    }

    /// Nothing waits at this moment.
    pub fn is_empty(&self) -> bool {
        self.pushes.is_empty()
    }

    /// The next push; `None`: the node is gone. Cancel-safe.
    pub async fn receive(&mut self) -> Option<LinkPush> {
        let push = self.pushes.recv().await;
        push.inspect(|push| self.on_taken(push))
    }

    /// The next push, if one is here.
    pub fn try_receive(&mut self) -> Option<LinkPush> {
        let push = self.pushes.try_recv().ok();
        push.inspect(|push| self.on_taken(push))
    }

    fn on_taken(&self, push: &LinkPush) {
        self.bytes.fetch_sub(push.weight(), Ordering::Relaxed);
    }

    /// The next pushes, at most `max`; none when the node is gone. Cancel-safe.
    pub async fn receive_many(&mut self, out: &mut Vec<LinkPush>, max: usize) -> usize {
        let count = self.pushes.recv_many(out, max).await;
        let len: usize = out[out.len() - count..].iter().map(LinkPush::weight).sum();
        self.bytes.fetch_sub(len, Ordering::Relaxed);
        count
    }
}
