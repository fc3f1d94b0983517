//! One round of each scenario: start a node, let users talk, break something that the seed chose,
//! put it right, and judge. A round ends its node and everything that it started.

mod borders;
mod cluster;
mod corruption;
mod disks;
mod flood;
mod mtu;
mod network;
mod operator;
mod pressure;
mod steps;
mod tiers;
mod time;
mod unread;

use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sterna_system_tests::node::Node;

use crate::campaign::{Outcome, Scenario};
use crate::place::Place;
use crate::verdict;
use crate::workload::{Plan, Record, Workload};

/// Publications before the first fault and after the last: the node really worked.
const SOME: usize = 30;
/// A fault that has not hit by then does not.
const HIT_PATIENCE: Duration = Duration::from_secs(20);

pub async fn play(scenario: Scenario, seed: u64) -> Outcome {
    // The same seed means another thing to each scenario.
    let mut rng = StdRng::seed_from_u64(seed ^ ((scenario as u64 + 1) << 48));
    let rng = &mut rng;
    match scenario {
        Scenario::KillStep => steps::kill(rng).await,
        Scenario::PauseStep => steps::pause(rng).await,
        Scenario::DelayStep => steps::delay(rng).await,
        Scenario::RefuseStep => steps::refuse(rng).await,
        Scenario::PowerLoss => disks::power_loss(rng).await,
        Scenario::BitFlip => corruption::bit_flip(rng).await,
        Scenario::DiskError => disks::disk_error(rng).await,
        Scenario::DiskFull => disks::disk_full(rng).await,
        Scenario::SlowDisk => steps::slow_disk(rng).await,
        Scenario::Clock => time::clock(rng).await,
        Scenario::Relay => network::relay(rng).await,
        Scenario::Mtu => mtu::mtu(rng).await,
        Scenario::SlowConsumer => pressure::slow_consumer(rng).await,
        Scenario::Storm => network::storm(rng).await,
        Scenario::HandshakeFlood => pressure::handshake_flood(rng).await,
        Scenario::Certificate => operator::certificate(rng).await,
        Scenario::ConfigReload => operator::config_reload(rng).await,
        Scenario::Flood => flood::flood(rng).await,
        Scenario::Descriptors => pressure::descriptors(rng).await,
        Scenario::Tiers => tiers::cursors(rng).await,
        Scenario::EdgeKill => cluster::kills::edges(rng).await,
        Scenario::CoreKill => cluster::kills::cores(rng).await,
        Scenario::Partition => cluster::partitions::hosts(rng).await,
        Scenario::BlockedLink => cluster::partitions::relays(rng).await,
        Scenario::Database => cluster::database::trouble(rng).await,
        Scenario::LyingDisk => disks::power_loss_on_a_lying_disk(rng).await,
    }
}

/// A node and users who have said something.
async fn talk(rng: &mut StdRng) -> (Node, Workload) {
    let node = Node::start().await;
    let workload = Workload::start(&Place::of(&node), &Plan::default(), rng);
    workload.go_on_for(SOME).await;
    (node, workload)
}

/// The usual end: users go on, stop, and everything is judged; the node ends well.
async fn conclude(mut node: Node, workload: Workload, rng: &mut StdRng, injected: u64) -> Outcome {
    workload.go_on_for(SOME).await;
    let mut outcome = judge(&Place::of(&node), workload, rng, injected).await;
    if !node.terminate().await.success() {
        outcome.violations.push(format!("the node did not end well:\n{}", node.log()));
    }
    outcome
}

async fn judge(place: &Place, workload: Workload, rng: &mut StdRng, injected: u64) -> Outcome {
    let record = workload.finish().await;
    let violations = verdict::check(place, &record, rng).await;
    let acked = record.acked() as u64;
    let Record { quiet, settling, .. } = record;
    let waits =
        format!("(quiet {:.1} s, settled in {:.1} s)", quiet.as_secs_f32(), settling.as_secs_f32());
    Outcome { injected, acked, violations, waits, ..Outcome::default() }
}
