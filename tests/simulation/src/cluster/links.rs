//! Links: each node keeps a connection to every peer that its router wants, as `link/` does over
//! QUIC, with the same pauses. The two ends of a connection learn of its loss at different times:
//! what was on its way to the end that still believes in it is carried out there, or is lost.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use sterna_core::link::lane::LaneError;
use sterna_core::link::ports::LaneFrom;
use sterna_core::link::router::Router;
use sterna_core::link::serve::{self, Speaker};
use sterna_proto::{NodeId, limits};
use tokio::time::Instant;

use crate::chance::Chance;
use crate::cluster::network::{PipeReceiver, PipeSender};
use crate::history::What;
use crate::world::{RunningNode, World};

/// Silence after which a connection counts as lost.
const SILENCE: Duration = Duration::from_millis(700);

/// Pause before a peer is dialled again: doubled each time, between these two.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A connection that has lasted this long was not refused.
const STEADY: Duration = Duration::from_secs(1);

/// How often a node that has no way to an owner asks another one who there is.
const SEED_PAUSE: Duration = Duration::from_millis(300);

/// Connects a new process with all others, for as long as it runs.
pub fn start(world: &Rc<World>, node: &Rc<RunningNode>) {
    let Some(layout) = &world.plan.cluster else { return };
    for (seat, peer) in layout.nodes.iter().enumerate().filter(|(seat, _)| *seat != node.seat) {
        let chance = world.chance.borrow_mut().fork();
        let dialling = Dialling {
            world: world.clone(),
            from: node.clone(),
            to: seat,
            name: peer.name.clone(),
            chance,
        };
        world.spawn(dialling.run());
    }
    let chance = world.chance.borrow_mut().fork();
    world.spawn(ask_seeds(world.clone(), node.clone(), chance));
}

/// One node's efforts to have a connection to another.
struct Dialling {
    world: Rc<World>,
    from: Rc<RunningNode>,
    /// Whoever sits there.
    to: usize,
    name: NodeId,
    chance: Chance,
}

impl Dialling {
    async fn run(mut self) {
        let Some(router) = self.from.node.router().cloned() else { return };
        let mut pause = FIRST_PAUSE;
        while !self.from.has_ended() {
            if !self.is_wanted(&router) {
                tokio::time::sleep(FIRST_PAUSE).await;
                continue;
            }
            tokio::time::sleep(self.chance.millis(1, 20)).await;
            let way = (self.from.seat, self.to);
            let peer = self.world.at(self.to);
            match peer.filter(|_| self.world.network.can_connect(way)) {
                Some(peer) => {
                    let since = Instant::now();
                    self.connect(&router, &peer).await;
                    if since.elapsed() > STEADY {
                        pause = FIRST_PAUSE;
                        continue;
                    }
                }
                None => tokio::time::sleep(self.chance.millis(50, 500)).await,
            }
            if !self.from.has_ended() {
                router.on_unreachable(&self.name);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    fn is_wanted(&self, router: &Router) -> bool {
        router.wanted_peers().iter().any(|peer| peer.name == self.name)
    }

    /// One connection with all its lanes.
    async fn connect(&mut self, router: &Arc<Router>, to: &Rc<RunningNode>) {
        let Some(answering) = to.node.router().cloned() else { return };
        let mut lanes = Vec::new();
        for lane in 0..=limits::LINK_LANES {
            lanes.push(self.open_lane(router, &answering, lane));
        }
        let ended = {
            let mut ends = FuturesUnordered::<LocalBoxFuture<'_, LaneError>>::new();
            for (lane, (up, down)) in lanes.iter_mut().enumerate() {
                ends.push(match lane < limits::LINK_LANES {
                    true => Box::pin(router.run_lane(&self.name, lane, up, down)),
                    false => {
                        let peer = speaker(&answering);
                        Box::pin(
                            async move { serve::exchange_rosters(router, &peer, up, down).await },
                        )
                    }
                });
            }
            tokio::select! {
                ended = ends.next() => ended,
                () = self.until_lost(router, to) => None,
            }
        };
        if let Some(LaneError::BadFrame(error)) = ended {
            self.world.book.note(What::Wrong(format!("a link says {error}")));
        }
        if self.chance.one_in(2) {
            lanes.iter().for_each(|(up, _)| up.break_off());
        }
        if !self.from.has_ended() && !to.has_ended() {
            let notice = self.chance.millis(0, SILENCE.as_millis() as u64);
            self.world.spawn(async move {
                tokio::time::sleep(notice).await;
                drop(lanes);
            });
        }
    }

    /// The asking end of a lane; the other end is served as a task of its own, since what it has
    /// begun ends in order when the connection does.
    fn open_lane(
        &mut self,
        router: &Arc<Router>,
        answering: &Arc<Router>,
        lane: usize,
    ) -> (PipeSender, PipeReceiver) {
        let network = &self.world.network;
        let way = (self.from.seat, self.to);
        let (up, mut up_end) = network.pipe(way, self.chance.millis(1, 15));
        let (mut down_end, down) = network.pipe((way.1, way.0), self.chance.millis(1, 15));
        let (answering, wide, peer) = (answering.clone(), network.is_wide(way), speaker(router));
        let incarnation = router.own().incarnation;
        let from = LaneFrom { node: peer.name.clone(), incarnation, lane, wide };
        self.world.spawn(async move {
            match lane < limits::LINK_LANES {
                true => serve::serve(&answering, from, &mut down_end, &mut up_end).await,
                false => {
                    serve::exchange_rosters(&answering, &peer, &mut down_end, &mut up_end).await
                }
            };
        });
        (up, down)
    }

    /// Completes when the asking end takes the connection for lost, or wants it no longer.
    async fn until_lost(&self, router: &Router, to: &RunningNode) {
        let (network, way) = (&self.world.network, (self.from.seat, self.to));
        let before = network.losses(way);
        let (mut changes, mut beats) = (network.changes(), router.beats());
        let mut silent_since = None;
        loop {
            if self.from.has_ended() || network.losses(way) != before || !self.is_wanted(router) {
                return;
            }
            let silent = to.has_ended() || !network.holds(way);
            let lost_at = silent.then(|| *silent_since.get_or_insert_with(Instant::now) + SILENCE);
            if !silent {
                silent_since = None;
            }
            tokio::select! {
                () = sleep_until(lost_at) => return,
                _ = changes.changed() => {}
                _ = beats.changed() => {}
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// As the node's certificate would have it.
fn speaker(router: &Router) -> Speaker {
    let own = router.own();
    Speaker { name: own.name, edge: own.edge, core: own.core }
}

/// Asks somebody who there is, for as long as no way leads to an owner.
async fn ask_seeds(world: Rc<World>, node: Rc<RunningNode>, mut chance: Chance) {
    let Some(router) = node.node.router() else { return };
    while !node.has_ended() {
        let nodes = world.nodes.borrow().clone();
        let seed = nodes.get(chance.index(nodes.len()));
        let seed = seed.filter(|seed| world.network.can_connect((node.seat, seed.seat)));
        if let (false, Some(seed)) = (router.is_connected(), seed)
            && let Some(other) = seed.node.router()
        {
            let (said, heard) = (router.roster_to_wire(), other.roster_to_wire());
            other.on_roster(said);
            router.on_roster(heard);
        }
        tokio::time::sleep(chance.millis(100, SEED_PAUSE.as_millis() as u64)).await;
    }
}
