//! The way of a command: to a shard of this node, onto the lane of a peer, or back with a refusal.

use std::sync::Arc;
use std::time::Duration;

use sterna_proto::{ChannelKey, v1};
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use super::{Router, Routing, Shards, nowhere};
use crate::channel::shard::ShardCommand;
use crate::cluster::view::Route;
use crate::link::lane::{Asked, Lane};
use crate::link::memory::MemoryLink;
use crate::link::peer::Peer;
use crate::link::ports::LinkId;
use crate::link::turns::{Turn, out_of_turn};
use crate::link::{Answered, Calling, Link, LinkCommand, Verb};

/// Nodes that pass a command on before it is carried out where it is: rosters that differ could
/// send it in a circle. That is safe, since ownership is a hint.
const MAX_HOPS: u32 = 3;

/// Where a command goes next.
pub(in crate::link) enum Hop<'a> {
    Local(&'a Shards),
    Lane(&'a Arc<Lane>),
    Nowhere,
}

impl Router {
    /// Sends a command towards the owner of its channel.
    pub fn call(self: &Arc<Self>, link: Option<LinkId>, command: LinkCommand) -> Calling {
        let routing = self.routing();
        match self.next_hop(&routing, &command) {
            Hop::Local(shards) => {
                if let (Some(link), Some(_)) = (link, command.verb.interest()) {
                    // It was passed on before, perhaps.
                    self.interests.remove(command.key, link);
                }
                // With the routing locked, so that it is in front of the news that a slot is lost.
                let turn = self.turns.turn_of(&command);
                let local = MemoryLink::new(shards.clone(), link, self.queues.mailbox_patience);
                self.noting(turn, local.call(command))
            }
            Hop::Lane(lane) => {
                let lane = lane.clone();
                match lane.try_room(&command) {
                    Some(room) => self.enqueue(&lane, link, command, room),
                    None => {
                        drop(routing);
                        self.wait_for_room(lane, link, command)
                    }
                }
            }
            Hop::Nowhere => {
                self.turns.note(&command, &Err(nowhere()));
                refused(nowhere())
            }
        }
    }

    /// A call that finds no room is refused before its owner knows of it: what is behind it must not
    /// go on either.
    fn noting(&self, turn: Option<Turn>, calling: Calling) -> Calling {
        match (calling, turn) {
            (Calling::Waiting(sent), Some(turn)) => {
                let turns = self.turns.clone();
                Calling::Waiting(Box::pin(async move {
                    let sent = sent.await;
                    if sent.as_ref().is_err_and(|error| error.retryable) {
                        turns.note_turn(&turn);
                    }
                    sent
                }))
            }
            (calling, _) => calling,
        }
    }

    /// Nobody behind `link` is subscribed to the channel any more.
    pub fn detach(&self, link: LinkId, channel: ChannelKey) {
        if self.interests.remove(channel, link) {
            self.detach_upstream(channel);
        }
        if let Some(shards) = &self.shards {
            MemoryLink::new(shards.clone(), Some(link), Duration::ZERO).detach(channel);
        }
    }

    /// The same for a link of another node. It may want the channel by another way: then nobody would
    /// tell the shard again, so it is told even if that takes time.
    pub(in crate::link) async fn detach_lane(&self, link: LinkId, channel: ChannelKey) {
        if self.interests.remove(channel, link) {
            self.detach_upstream(channel);
        }
        if let Some(shards) = &self.shards {
            let mailbox = crate::link::memory::mailbox(shards, channel);
            // A shard that has ended has no interests.
            let _ = mailbox.send(ShardCommand::Detach { link, channel }).await;
        }
    }

    pub(in crate::link) fn next_hop<'a>(
        &'a self,
        routing: &'a Routing,
        command: &LinkCommand,
    ) -> Hop<'a> {
        let here = self.shards.as_ref().map_or(Hop::Nowhere, Hop::Local);
        if let Verb::KeepPresence(_) = command.verb {
            let heir = routing.view.heir(command.key.slot());
            let peer = heir.and_then(|heir| routing.peers.get(heir));
            let by_peer = |peer: &'a Arc<Peer>| Hop::Lane(peer.lane(&command.key));
            return if command.hops > 0 { here } else { peer.map_or(Hop::Nowhere, by_peer) };
        }
        if routing.parked.contains(&command.key.slot()) {
            return Hop::Lane(&self.parking);
        }
        match routing.view.route(command.key.slot()) {
            Route::Here => here,
            Route::By(_) if command.hops >= MAX_HOPS => here,
            Route::By(next) => {
                let peer = routing.peers.get(next);
                peer.map_or(Hop::Nowhere, |peer| Hop::Lane(peer.lane(&command.key)))
            }
            Route::Nowhere => Hop::Nowhere,
        }
    }

    /// To be called with the routing locked: what is put behind others stays behind them when their
    /// way changes.
    fn enqueue(
        &self,
        lane: &Lane,
        link: Option<LinkId>,
        mut command: LinkCommand,
        room: OwnedSemaphorePermit,
    ) -> Calling {
        if let (Some(link), Some(receipts)) = (link, command.verb.interest()) {
            self.interests.add(command.key, link, receipts);
        }
        command.hops += 1;
        let span = crate::link::memory::span_of(&command.verb);
        let in_turn = self.turns.admits(&command);
        let held = match &command.verb {
            Verb::Attach { subscribe, held_upto: None, .. } => {
                self.interests.held(&command.key, subscribe)
            }
            _ => None,
        };
        let (asked, answer) = Asked::new(command, room, self.turns.clone(), self.tally.clone());
        let asked = asked.holding(held);
        match in_turn {
            true => lane.push(asked),
            false => asked.answer(Err(out_of_turn())),
        }
        Calling::Sent(Answered::new(answer).instrument(span))
    }

    fn wait_for_room(
        self: &Arc<Self>,
        lane: Arc<Lane>,
        link: Option<LinkId>,
        command: LinkCommand,
    ) -> Calling {
        let (router, patience) = (self.clone(), self.queues.mailbox_patience);
        Calling::Waiting(Box::pin(async move {
            let Some(room) = lane.room(&command, patience).await else {
                metrics::counter!("sterna_core_mailbox_busy_total").increment(1);
                router.turns.note(&command, &Err(crate::link::memory::busy()));
                return Err(crate::link::memory::busy());
            };
            // The way may have changed meanwhile.
            let sent = {
                let routing = router.routing();
                match router.next_hop(&routing, &command) {
                    Hop::Lane(lane) => router.enqueue(lane, link, command, room),
                    Hop::Local(_) | Hop::Nowhere => {
                        drop(routing);
                        router.call(link, command)
                    }
                }
            };
            match sent {
                Calling::Sent(answer) => Ok(answer),
                Calling::Waiting(sent) => sent.await,
            }
        }))
    }

    pub(super) fn detach_upstream(&self, channel: ChannelKey) {
        let routing = self.routing();
        if let Route::By(next) = routing.view.route(channel.slot())
            && let Some(peer) = routing.peers.get(next)
        {
            peer.lane(&channel).detach(channel);
        }
    }
}

fn refused(error: v1::Error) -> Calling {
    Calling::Waiting(Box::pin(std::future::ready(Err(error))))
}

/// The router, as one link of this node uses it.
#[derive(Debug, Clone)]
pub(crate) struct RouterLink {
    router: Arc<Router>,
    /// Where pushes go; `None` for callers that only ask.
    link: Option<LinkId>,
}

impl RouterLink {
    pub(crate) fn new(router: Arc<Router>, link: Option<LinkId>) -> Self {
        Self { router, link }
    }
}

impl Link for RouterLink {
    fn call(&self, command: LinkCommand) -> Calling {
        self.router.call(self.link, command)
    }

    fn detach(&self, channel: ChannelKey) {
        if let Some(link) = self.link {
            self.router.detach(link, channel);
        }
    }
}
