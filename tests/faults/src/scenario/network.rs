//! Paths that lose, reorder, double, damage, hold and move what passes, and crowds that come back
//! all at once.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sterna_client::Transport;
use sterna_relay::{Impairment, Relay, RelayConfig, RelayStats};
use sterna_system_tests::node::Node;

use super::{SOME, conclude};
use crate::campaign::Outcome;
use crate::place::Place;
use crate::workload::{Plan, Workload};

/// Troubles of one round, behind the loss with which it begins.
const TROUBLES: usize = 4;

pub async fn relay(rng: &mut StdRng) -> Outcome {
    let node = Node::start().await;
    let config = RelayConfig::new(node.client_address()).with_seed(rng.random());
    let relay = Relay::start(config).await.unwrap();
    let transports = vec![vec![Transport::Quic], vec![Transport::WebSocket], Vec::new()];
    let plan = Plan { transports, speakers: 6, ..Plan::default() };
    let place = Place::of(&node).through(relay.address());
    let workload = Workload::start(&place, &plan, rng);
    workload.all_connected().await;
    workload.go_on_for(SOME).await;
    let (mut injected, mut note) = (0, String::new());
    // Loss comes first, while nothing else has cut a connection yet: up to a fifth cuts none.
    let loss = Trouble::LOSSES.choose(rng).copied().unwrap_or(Trouble::Loss20);
    let others: Vec<Trouble> = Trouble::ALL.choose_multiple(rng, TROUBLES).copied().collect();
    let (reconnects, mut lost) = (workload.reconnects(), None);
    for trouble in [loss].into_iter().chain(others) {
        let before = relay.stats();
        trouble.make(&relay, &workload, rng).await;
        let hit = trouble.count(&relay.stats()) - trouble.count(&before);
        injected += u64::from(hit > 0);
        note.push_str(&format!("{trouble:?}:{hit} "));
        workload.go_on_for(SOME).await;
        lost.get_or_insert(workload.reconnects() - reconnects);
    }
    let mut outcome = conclude(node, workload, rng, injected).await;
    if let Some(lost @ 1..) = lost {
        outcome.violations.push(format!("{loss:?} has cut {lost} connections"));
    }
    relay.shutdown().await;
    Outcome { note, ..outcome }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Loss1,
    Loss5,
    Loss20,
    Reorder,
    Duplicate,
    Corrupt,
    Blackout,
    Rebind,
    Address,
    UdpBlocked,
    TcpCut,
    TcpFrozen,
}

impl Trouble {
    const LOSSES: [Self; 3] = [Self::Loss1, Self::Loss5, Self::Loss20];
    const ALL: &[Self] = &[
        Self::Reorder,
        Self::Duplicate,
        Self::Corrupt,
        Self::Blackout,
        Self::Rebind,
        Self::Address,
        Self::UdpBlocked,
        Self::TcpCut,
        Self::TcpFrozen,
    ];

    /// Makes it, lets it last, and ends it.
    async fn make(self, relay: &Relay, workload: &Workload, rng: &mut StdRng) {
        // A connection that is lost to loss is lost after some seconds.
        let most_ms = if Self::LOSSES.contains(&self) { 9_000 } else { 3_000 };
        let while_it_lasts = Duration::from_millis(rng.random_range(most_ms / 10..most_ms));
        match self {
            Self::Blackout => relay.blackout(while_it_lasts).await,
            Self::Rebind => relay.rebind().await.unwrap(),
            Self::Address => relay.change_address().await.unwrap(),
            Self::UdpBlocked => {
                relay.block_udp(true);
                tokio::time::sleep(while_it_lasts).await;
                workload.go_on_for(SOME).await;
                relay.block_udp(false);
            }
            Self::TcpCut => relay.cut_tcp(),
            Self::TcpFrozen => {
                relay.freeze_tcp(true);
                tokio::time::sleep(while_it_lasts).await;
                relay.freeze_tcp(false);
                // What stood still may be gone at last.
                relay.cut_tcp();
            }
            _ => {
                relay.set_both(self.impairment());
                tokio::time::sleep(while_it_lasts).await;
                workload.go_on_for(2 * SOME).await;
                relay.set_both(Impairment::default());
            }
        }
        // The relay counts when its tasks have done it.
        workload.go_on_for(1).await;
    }

    fn impairment(self) -> Impairment {
        let mut impairment = Impairment::delayed(Duration::from_millis(5));
        match self {
            Self::Loss1 => impairment.loss = 0.01,
            Self::Loss5 => impairment.loss = 0.05,
            Self::Loss20 => impairment.loss = 0.2,
            Self::Reorder => impairment.reorder = 0.1,
            Self::Duplicate => impairment.duplicate = 0.1,
            _ => impairment.corrupt = 0.05,
        }
        impairment
    }

    /// How often it has really happened.
    fn count(self, stats: &RelayStats) -> u64 {
        let both = [stats.up, stats.down];
        let sum = |field: fn(&sterna_relay::PathStats) -> u64| both.iter().map(field).sum();
        match self {
            Self::Loss1 | Self::Loss5 | Self::Loss20 => sum(|path| path.lost + path.tcp_lost),
            Self::Reorder => sum(|path| path.reordered),
            Self::Duplicate => sum(|path| path.duplicated),
            Self::Corrupt => sum(|path| path.corrupted),
            Self::Blackout | Self::UdpBlocked => sum(|path| path.blocked),
            Self::Rebind => stats.rebinds,
            Self::Address => stats.address_changes,
            Self::TcpCut | Self::TcpFrozen => stats.tcp_cut,
        }
    }
}

/// Everybody is cut off at once, twice: by the network, and by a node that is killed.
pub async fn storm(rng: &mut StdRng) -> Outcome {
    let mut node = Node::start().await;
    let relay = Relay::start(RelayConfig::new(node.client_address())).await.unwrap();
    let listeners = rng.random_range(40..120);
    let plan = Plan { rooms: 6, listeners, ..Plan::default() };
    let everybody = (plan.speakers + plan.listeners) as u64;
    let place = Place::of(&node).through(relay.address());
    let workload = Workload::start(&place, &plan, rng);
    workload.go_on_for(SOME).await;

    relay.block();
    relay.rebind().await.unwrap();
    relay.cut_tcp();
    relay.unblock();
    workload.wake();
    workload.go_on_for(SOME).await;
    let after_network = workload.reconnects();

    relay.block();
    node.kill().await;
    node.restart().await;
    relay.unblock();
    workload.wake();
    workload.go_on_for(SOME).await;
    let outcome = {
        let reconnects = workload.all_reconnects(everybody - 1).await;
        let note = format!("{everybody} clients, {after_network} + {reconnects} reconnects");
        Outcome { note, ..conclude(node, workload, rng, 2).await }
    };
    relay.shutdown().await;
    outcome
}
