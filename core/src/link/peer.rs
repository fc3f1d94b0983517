//! Another node to which this one has a link, or wants one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sterna_proto::{ChannelKey, NodeId, limits};

use tokio::sync::Notify;

use crate::link::lane::Lane;

/// The asking ends of a link's lanes, and whether it is up.
#[derive(Debug)]
pub(super) struct Peer {
    pub name: NodeId,
    pub lanes: Vec<Arc<Lane>>,
    lanes_up: AtomicUsize,
    unreachable: AtomicBool,
}

impl Peer {
    pub fn new(name: NodeId) -> Self {
        let lanes = (0..limits::LINK_LANES).map(|_| Arc::new(Lane::new())).collect();
        Self { name, lanes, lanes_up: AtomicUsize::new(0), unreachable: AtomicBool::new(false) }
    }

    /// The lane of a channel, always the same.
    pub fn lane_of(channel: &ChannelKey) -> usize {
        usize::from(channel.0[14]) % limits::LINK_LANES
    }

    pub fn lane(&self, channel: &ChannelKey) -> &Arc<Lane> {
        &self.lanes[Self::lane_of(channel)]
    }

    /// A lane has a connection for as long as the answer is kept. `changed` hears of both ends.
    pub fn lane_up<'a>(&'a self, changed: &'a Notify) -> LaneUp<'a> {
        self.lanes_up.fetch_add(1, Ordering::AcqRel);
        self.unreachable.store(false, Ordering::Release);
        changed.notify_one();
        LaneUp { peer: self, changed }
    }

    /// A connection was tried in vain. One that was lost is no reason: the next may be a moment
    /// away, and every change of ways has its price.
    pub fn on_unreachable(&self) {
        if !self.is_connected() {
            self.unreachable.store(true, Ordering::Release);
        }
    }

    pub fn is_connected(&self) -> bool {
        self.lanes_up.load(Ordering::Acquire) > 0
    }

    /// Not known to be unreachable.
    pub fn is_reachable(&self) -> bool {
        !self.unreachable.load(Ordering::Acquire)
    }

    /// Nothing waits for it.
    pub fn is_idle(&self) -> bool {
        !self.is_connected() && self.lanes.iter().all(|lane| lane.is_empty())
    }
}

/// A lane that has a connection.
#[derive(Debug)]
pub(super) struct LaneUp<'a> {
    peer: &'a Peer,
    changed: &'a Notify,
}

impl Drop for LaneUp<'_> {
    fn drop(&mut self) {
        self.peer.lanes_up.fetch_sub(1, Ordering::AcqRel);
        self.changed.notify_one();
    }
}
