//! When the view changes: calls without an answer and everything newer take the new way in their
//! order, shards finish what they have begun, and whoever is subscribed attaches there.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use sterna_proto::NodeId;
use tokio::sync::oneshot;

use crate::channel::shard::ShardCommand;
use crate::cluster::NodeInfo;
use crate::cluster::view::{Route, View, has_conflict};
use crate::link::lane::{Asked, Lane};
use crate::link::router::{Basis, Hop, Router, Routing, nowhere};

impl Router {
    /// Looks at the roster and the links again. Slots that this node gives away wait until its shards
    /// have finished with them: what is new must not overtake what waits there (I13).
    pub(crate) async fn refresh(&self) {
        metrics::gauge!("sterna_core_nodes_active").set(self.live().len() as f64);
        let Some((view, lost)) = self.park_lost() else { return };
        if !lost.is_empty() {
            self.tell_shards(lost, HashSet::new()).await;
        }
        if let Some(gained) = self.change_view(view) {
            metrics::gauge!("sterna_core_slots_held").set(self.owned_slots() as f64);
            self.tell_shards(HashSet::new(), gained).await;
        }
    }

    /// Tells all shards and waits until they have finished, or have given up after a second what they could
    /// not finish.
    async fn tell_shards(&self, lost: HashSet<u16>, gained: HashSet<u16>) {
        let (lost, gained) = (Arc::new(lost), Arc::new(gained));
        let mut finishing = Vec::new();
        for shard in self.shards.iter().flat_map(|shards| shards.iter()) {
            let (done, finished) = oneshot::channel();
            let (lost, gained) = (lost.clone(), gained.clone());
            if shard.send(ShardCommand::Rehomed { lost, gained, done }).await.is_ok() {
                finishing.push(finished);
            }
        }
        for finished in finishing {
            // A shard that has ended has nothing left to finish.
            let _ = finished.await;
        }
    }

    /// Parks the slots that this node owns no longer. Returns them, and the view that says so: what
    /// becomes known meanwhile is for the next one, or the shards would not hear of it. `None`: there
    /// is no news.
    fn park_lost(&self) -> Option<(View, HashSet<u16>)> {
        let mut routing = self.routing.write().unwrap_or_else(PoisonError::into_inner);
        let new = self.view(&mut routing)?;
        let owned = |slot: &u16| *routing.view.route(*slot) == Route::Here;
        let lost: HashSet<u16> = routing.view.moved(&new).filter(owned).collect();
        routing.parked.clone_from(&lost);
        Some((new, lost))
    }

    /// The view that follows from what is known now; `None`: from the same as the one there is.
    fn view(&self, routing: &mut Routing) -> Option<View> {
        let (live, own, wanted) = (self.live(), self.own(), self.wanted_peers());
        routing.keep_peers(&wanted);
        let peers = &routing.peers;
        let reachable = |name: &NodeId| peers.get(name).is_none_or(|peer| peer.is_reachable());
        let known =
            |node: &NodeInfo| (NodeInfo { sessions: 0, ..node.clone() }, reachable(&node.name));
        let basis: Basis = live.iter().map(known).collect();
        if basis == routing.basis {
            return None;
        }
        let view = View::new(&own, &live, reachable);
        routing.basis = basis;
        Some(view)
    }

    /// Takes the new ways. Returns the slots that this node owns from now on.
    fn change_view(&self, view: View) -> Option<HashSet<u16>> {
        let mut routing = self.routing.write().unwrap_or_else(PoisonError::into_inner);
        let parked = std::mem::take(&mut routing.parked);
        let mut moved: HashSet<u16> = routing.view.moved(&view).collect();
        // What was parked has to go on, wherever.
        moved.extend(parked);
        if moved.is_empty() {
            return None;
        }
        let old = std::mem::replace(&mut routing.view, view);
        let here = |slot: &u16| *routing.view.route(*slot) == Route::Here;
        let gained = moved.iter().copied().filter(here).collect();
        self.leave_lanes(&routing, &old, &moved);
        self.give_moved(&routing, &moved);
        drop(routing);
        self.announce(&moved, |_| true);
        if has_conflict(&self.live()) {
            tracing::error!(
                "there are several cores, and one of them has its store on its own machine: give all \
                 cores one database. Nobody is served until then"
            );
        }
        tracing::info!(moved = moved.len(), owned = self.owned_slots(), "slots have moved");
        Some(gained)
    }

    /// Whoever owned the channels until now need not send any more.
    fn leave_lanes(&self, routing: &Routing, old: &View, moved: &HashSet<u16>) {
        for channel in self.interests.channels(|channel| moved.contains(&channel.slot())) {
            if let Route::By(before) = old.route(channel.slot())
                && let Some(peer) = routing.peers.get(before)
            {
                peer.lane(&channel).detach(channel);
            }
        }
    }

    /// Puts calls that wait for an answer onto their new ways, in their order. A link that attaches
    /// is told to attach again, so that nothing is registered for it here.
    fn give_moved(&self, routing: &Routing, moved: &HashSet<u16>) {
        let lanes = routing.peers.values().flat_map(|peer| &peer.lanes).chain([&self.parking]);
        let take = |lane: &Arc<Lane>| lane.take(|channel| moved.contains(&channel.slot()));
        // All first: what is given may be on its way a moment later.
        let taken: Vec<Asked> = lanes.flat_map(take).collect();
        for asked in taken {
            match self.next_hop(routing, &asked.command) {
                Hop::Lane(new) => new.push(asked),
                Hop::Local(shards) => asked.carry_out(shards),
                Hop::Nowhere => asked.answer(Err(nowhere())),
            }
        }
    }
}
