//! Schedules in which a planted bug of clusters has a chance to show: which faults strike, and what
//! else the seed may not leave out. All else stays a matter of the seed.

use std::time::Duration;

use sterna_simulation::cluster::plan;
use sterna_simulation::plan::{Fault, Plan};
use sterna_storage::planted::Bug;

/// The plan of a seed, aimed at a bug.
pub fn aimed(bug: Bug, seed: u64) -> Plan {
    let mut plan = plan::of(seed);
    match bug {
        Bug::AnswerToAnother | Bug::InterestLeaks => {}
        Bug::CallsLostWithLink => only(&mut plan, &[Fault::LinkLost, Fault::SlowStore]),
        Bug::ClosedLinkKeepsInterest => {
            only(&mut plan, &[Fault::LinkLost, Fault::Migrated]);
            part(&mut plan);
        }
        Bug::ConflictTakenAsStored => {
            only(&mut plan, &[Fault::LinkCut, Fault::NodeIsolated]);
            hurry(&mut plan);
        }
        Bug::DeadEdgeStaysPresent | Bug::MovedUntold => only(&mut plan, &[Fault::NodeKilled]),
        Bug::EarlierOpensGate => {
            // Commands wait for roles to be looked up, and those behind them find no room.
            only(&mut plan, &[Fault::SlowStore]);
            hurry(&mut plan);
            plan.config.queues.channel_pending = 4;
        }
        Bug::EvictNotPassedOn => only(&mut plan, &[Fault::Evicted]),
        Bug::HeldKeepsJump => {
            only(&mut plan, &[Fault::Migrated, Fault::LinkSlow]);
            plan.config.queues.link_pushes = 2;
        }
        Bug::HeldServesRefused => only(&mut plan, &[Fault::Evicted, Fault::Migrated]),
        Bug::LatePushTaken => only(&mut plan, &[Fault::LinkSlow, Fault::LinkCut]),
        Bug::ReattachSeesNoHead => fall_silent(&mut plan),
        Bug::PresenceGapUnnamed => {
            only(&mut plan, &[Fault::LinkLost, Fault::Migrated]);
            plan.config.queues.link_pushes = 2;
        }
        Bug::RelayPassedBy => {
            only(&mut plan, &[Fault::Cut]);
            part(&mut plan);
        }
        Bug::ReleasedSlotAnswers => only(&mut plan, &[Fault::NodeDrained]),
        Bug::ResentOvertaken => {
            let strike = |at: u64| (Duration::from_millis(1800 + 150 * at), Fault::LinkLost);
            plan.strikes = (0..20).map(strike).collect();
            hurry(&mut plan);
            // So that something is on its way, and something behind it, when a link is lost.
            plan.roles.iter_mut().for_each(|role| role.pause = Duration::from_millis(8));
        }
        Bug::SettledUnheard => {
            wander(&mut plan);
            hurry(&mut plan);
            plan.config.queues.channel_pending = 4;
        }
        Bug::TurnsForgotten => {
            only(&mut plan, &[Fault::NodeIsolated]);
            hurry(&mut plan);
        }
        Bug::WayLeftUntold => {
            only(&mut plan, &[Fault::NodeDrained, Fault::NodeKilled]);
            part(&mut plan);
        }
        other => panic!("{other:?} is no bug of clusters"),
    }
    plan
}

/// Only these strike, in turn.
fn only(plan: &mut Plan, faults: &[Fault]) {
    let kinds = faults.iter().cycle();
    plan.strikes.iter_mut().zip(kinds).for_each(|(strike, kind)| strike.1 = *kind);
}

/// Clients publish one after the other without waiting, and want their order kept.
fn hurry(plan: &mut Plan) {
    for role in &mut plan.roles {
        (role.ordered, role.window, role.page) = (true, 8, 0);
        role.pause = Duration::from_millis(40);
    }
}

/// Clients go from edge to edge and come back, while some of what they say is refused.
fn wander(plan: &mut Plan) {
    let strike = |at: u64| {
        let fault = if at.is_multiple_of(4) { Fault::SlowStore } else { Fault::Migrated };
        (Duration::from_millis(1800 + 150 * at), fault)
    };
    plan.strikes = (0..20).map(strike).collect();
}

/// The first core is in a region of its own.
fn part(plan: &mut Plan) {
    let nodes = plan.cluster.iter_mut().flat_map(|layout| &mut layout.nodes);
    nodes.skip(1).for_each(|node| node.region = "far");
}

/// Ways are cut, and nobody publishes any more before others are found: nothing that follows shows
/// what was missed.
fn fall_silent(plan: &mut Plan) {
    let cut_at = Duration::from_millis(2500);
    let cuts = std::iter::repeat_n((cut_at, Fault::LinkCut), 8);
    plan.strikes = cuts.chain([(cut_at + Duration::from_millis(400), Fault::Quiet)]).collect();
    plan.active = cut_at;
}
