//! Where a channel is listened to: what nodes say by attaching, what this owner tells those that may
//! come after it (a [route](crate::volatile)), and what it learns from those before it.
//!
//! When a channel changes hands, not everybody knows at once: a node may stay with the old owner
//! until its own view changes. Until it attaches here, its route is a hint to send to it, and the
//! node itself says so when it does not listen: then its route goes, is read once more, and that is
//! all. A lost hint costs what it cost before there were any: the node attaches and asks for what it
//! has missed (I5).
//!
//! Only channels that are open to everybody are sent on a hint. A member may have been removed while
//! the channel had no owner, and nobody would know at the node (I11). Nor is the node told to attach: its
//! view names the owner before, which it would ask. That one finds the news in the log, and who was
//! removed with it, when it looks there next (`head_watch`).

use std::sync::Arc;
use std::time::Duration;

use sterna_proto::{ChannelKey, NodeId, v1};
use sterna_storage::volatile::Route;
use tokio::time::Instant;

use crate::channel::shard::{Shard, ShardContext};
use crate::channel::work::Done;
use crate::cluster::Incarnation;
use crate::link::LinkPush;
use crate::link::lane_of;
use crate::link::ports::{FarEnd, LinkId};

/// What an owner has learnt of a channel's route.
#[derive(Debug, Default)]
pub(super) struct Hints {
    asked_at: Option<Instant>,
    is_asking: bool,
    /// Version of the route that named the links.
    v: u64,
    /// Links that have not attached. They are among the channel's interests.
    links: Vec<LinkId>,
    /// Links that have said that they do not listen.
    refused: Vec<LinkId>,
}

/// How long after a change of hands routes are asked for, and how often.
pub(super) const HINTS_SOUGHT: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Publications that a node gets once that is found by a hint; what is older it asks for.
const SENT_AGAIN: usize = 64;

impl Shard {
    /// A link attaches to a channel. One that was closed meanwhile is told nothing any more.
    pub(super) fn add_interest(&mut self, key: ChannelKey, link: LinkId, receipts: bool) {
        let Some(far_end) = self.context.ports.far_end(link) else { return };
        let Some(state) = self.channels.get_mut(&key) else { return };
        let was_hinted = state.hints.links.contains(&link);
        state.hints.links.retain(|other| *other != link);
        if (state.add_interest(link, receipts) || was_hinted) && !state.released {
            let (node, process) = self.context.behind(far_end);
            self.context.volatile.on_attached(key, node, process);
        }
    }

    /// A link has no subscription to the channel.
    pub(super) fn remove_interest(&mut self, key: ChannelKey, link: LinkId) {
        let Some(far_end) = self.context.ports.far_end(link) else { return };
        let Some(state) = self.channels.get_mut(&key) else { return };
        if !state.remove_interest(link) {
            return;
        }
        self.await_sessions_of(key, link);
        let Some(state) = self.channels.get_mut(&key) else { return };
        let (node, _) = self.context.behind(far_end);
        if !state.hints.links.contains(&link) {
            return self.context.volatile.on_detached(key, node);
        }
        metrics::counter!("sterna_core_hints_refused_total").increment(1);
        state.hints.links.retain(|other| *other != link);
        state.hints.refused.push(link);
        let (volatile, v) = (self.context.volatile.clone(), state.hints.v);
        self.work.push(Box::pin(async move {
            let route = volatile.route_after_not_here(key, v, node).await;
            Done::RouteFound { key, route }
        }));
    }

    /// A link is gone with all its interests.
    pub(super) fn on_link_closed(&mut self, link: LinkId, far_end: FarEnd) {
        let (node, _) = self.context.behind(far_end);
        let mut lost = Vec::new();
        for (key, state) in &mut self.channels {
            let was_hinted = state.hints.links.contains(&link);
            state.hints.links.retain(|other| *other != link);
            if state.remove_interest(link) && !was_hinted {
                lost.push(*key);
                if !state.released {
                    self.context.volatile.on_detached(*key, node.clone());
                }
            }
        }
        lost.into_iter().for_each(|key| self.await_sessions_of(key, link));
    }

    /// Something was published: whoever has not attached yet is to hear of it too.
    pub(super) fn seek_hints(&mut self, key: ChannelKey) {
        if !self.context.volatile.is_shared() || !self.rehoming.is_young(key) {
            return;
        }
        let Some(state) = self.channels.get_mut(&key) else { return };
        let is_open = state.record.as_ref().is_some_and(|r| r.access == v1::ChannelAccess::Open);
        let asked_lately = state.hints.asked_at.is_some_and(|at| at.elapsed() < ASK_AGAIN);
        if !is_open || state.hints.is_asking || asked_lately {
            return;
        }
        (state.hints.is_asking, state.hints.asked_at) = (true, Some(Instant::now()));
        let volatile = self.context.volatile.clone();
        self.work.push(Box::pin(async move {
            Done::RouteFound { key, route: volatile.route(key).await }
        }));
    }

    /// Nodes that listen by what is known of them, and have not attached, hear what is published from
    /// now on, and once what was published while nobody knew: whoever owned the channel before may
    /// not have it to give. Who has heard it knows it by its offset.
    pub(super) fn on_route_found(&mut self, key: ChannelKey, route: Option<Arc<Route>>) {
        let context = self.context.clone();
        let Some(state) = self.channels.get_mut(&key) else { return };
        state.hints.is_asking = false;
        let Some(route) = route.filter(|_| !state.released) else { return };
        state.hints.v = route.v;
        let mut found = Vec::new();
        for node in route.nodes.iter().filter(|node| node.node != context.config.node) {
            // Those of other regions are reached through the relay that they attach by (I9).
            let process = Incarnation(node.incarnation);
            let Some(link) = context.ports.near(&node.node, process, lane_of(&key)) else {
                continue;
            };
            if !state.interest.contains(&link) && !state.hints.refused.contains(&link) {
                found.push(link);
            }
        }
        metrics::counter!("sterna_core_hints_total").increment(found.len() as u64);
        for link in &found {
            state.add_interest(*link, false);
            state.hints.links.push(*link);
        }
        let (first, pushes) = state.ring.newest(SENT_AGAIN);
        if !pushes.is_empty() {
            let epoch = state.sequence.position().epoch.0;
            let again = LinkPush::Deliver { channel: key, epoch, first, pushes };
            self.owed.debts.spread(&context.ports, &found, &again);
        }
    }
}

impl ShardContext {
    /// The process behind a link: another node's, or this one.
    fn behind(&self, far_end: FarEnd) -> (NodeId, Incarnation) {
        match far_end {
            FarEnd::Lane(from) => (from.node, from.incarnation),
            FarEnd::Worker => (self.config.node.clone(), self.config.incarnation),
        }
    }
}
