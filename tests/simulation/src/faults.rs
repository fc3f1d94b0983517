//! How each fault strikes. Those of a node follow each other; those of clients, store and clock
//! overlap.

use std::rc::Rc;
use std::time::Duration;

use sterna_core::link::Verb;
use sterna_core::session::OutgoingBody;
use sterna_core::{ConnectionInfo, Encoding, TransportKind};
use sterna_proto::v1::{self, frame::Body, reply::Result as Reply};
use sterna_storage::StorageErrorKind;
use sterna_storage::fault::FaultPoint;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cluster::faults::await_calm;
use crate::history::What;
use crate::plan::Fault;
use crate::store::user;
use crate::world::{EVICTION_IN_CLUSTERS, Removal, World};

/// Longer than anything may still leave for a removed member.
const SLOW_WHILE_EVICTED: Duration = Duration::from_millis(2400);

/// In a cluster: for so long it is watched that nothing leaves any more.
const WATCHED: Duration = Duration::from_millis(1200);

/// In a cluster: once the ways hold, what was on its way has arrived or is lost.
const ARRIVAL: Duration = Duration::from_millis(1500);

/// How often the operator tries to add a member again.
const ATTEMPTS: usize = 100;

/// Lets all faults of the plan strike, and waits until each is over.
pub async fn strike_all(world: &Rc<World>) {
    let start = Instant::now();
    let mut striking = JoinSet::new();
    for (at, fault) in world.plan.strikes.clone() {
        tokio::time::sleep_until(start + at).await;
        world.book.note(What::FaultBegan(fault));
        match fault {
            Fault::NodeKilled | Fault::NodeDrained | Fault::TwoOwners | Fault::Restored => {
                change_node(world, fault).await;
                world.book.note(What::FaultEnded(fault));
            }
            _ => {
                let world = world.clone();
                striking.spawn_local(async move {
                    strike(&world, fault).await;
                    world.book.note(What::FaultEnded(fault));
                });
            }
        }
    }
    while let Some(struck) = striking.join_next().await {
        world.expect("a fault strikes without a panic", struck.is_ok());
    }
}

pub(crate) fn millis(world: &World, low: u64, high: u64) -> Duration {
    world.chance.borrow_mut().millis(low, high)
}

pub(crate) fn chance_index(world: &World, len: usize) -> usize {
    world.chance.borrow_mut().index(len)
}

async fn change_node(world: &Rc<World>, fault: Fault) {
    let Some(old) = world.node() else { return };
    // The next process of the same node continues its ids, another node has its own.
    let mut id_worker = old.id_worker;
    match fault {
        Fault::NodeDrained => drain(world).await,
        Fault::TwoOwners => {
            id_worker += 1;
            world.split.set(chance_index(world, 2) as u32);
            world.start_node(id_worker).await;
            let moving = world.clients.iter().filter(|client| client.number % 2 == 0);
            moving.for_each(|client| client.cut(Duration::ZERO, true));
            tokio::time::sleep(millis(world, 500, 2000)).await;
            world.kill_oldest();
            // The other one hears of what it has missed when it appends next.
            for channel in 0..world.plan.channels {
                world.clients[0].publish(channel);
            }
            return;
        }
        _ => {
            world.kill_oldest();
        }
    }
    tokio::time::sleep(millis(world, 0, 800)).await;
    if fault == Fault::Restored {
        let store = world.store.borrow().clone();
        let restored = store.restored(|_| chance_index(world, 8) as u64).await;
        match restored {
            Ok(restored) => {
                world.store.replace(restored);
            }
            Err(error) => world.book.note(What::Wrong(format!("backup: {error}"))),
        }
    }
    world.start_node(id_worker).await;
}

/// What the process does when it is told to end.
async fn drain(world: &Rc<World>) {
    let Some(old) = world.node() else { return };
    old.node.start_drain(Duration::from_secs(1), String::new()).await;
    tokio::time::sleep(millis(world, 100, 800)).await;
    world.nodes.borrow_mut().clear();
    world.cut_clients_of(old.number);
    let ended = old.node.shutdown(Duration::from_secs(20)).await;
    world.expect("a drained node ends", ended);
    old.way.end();
}

pub(crate) async fn strike(world: &Rc<World>, fault: Fault) {
    let client = world.clients[chance_index(world, world.clients.len())].clone();
    let faulty = world.store.borrow().faulty.clone();
    let before = FaultPoint::BeforeAppend;
    let script = |point, kind| faulty.fail_appends(1 + chance_index(world, 3), point, kind);
    match fault {
        Fault::Cut => client.cut(millis(world, 0, 200), chance_index(world, 2) == 0),
        Fault::Handover => client.cut(millis(world, 1000, 3000), true),
        Fault::SlowReader => {
            let pause = millis(world, 500, 2500);
            client.stop_reading(Instant::now() + pause);
            tokio::time::sleep(pause).await;
        }
        Fault::Refused => script(before, StorageErrorKind::Unavailable),
        Fault::UnknownLost => script(before, StorageErrorKind::Unknown),
        Fault::UnknownStored => script(FaultPoint::AfterAppend, StorageErrorKind::Unknown),
        Fault::SlowStore => slow_store(world).await,
        Fault::Unreadable => {
            let Some(node) = world.node() else { return };
            node.way.set_unreadable(true);
            script(before, StorageErrorKind::Unknown);
            tokio::time::sleep(millis(world, 200, 1200)).await;
            node.way.set_unreadable(false);
        }
        Fault::ClockBack => world.clock.jump(-(jump(world) as i64)),
        Fault::ClockForward => world.clock.jump(jump(world) as i64),
        Fault::Revoked => {
            let nodes = world.nodes.borrow().clone();
            for node in nodes {
                let kept = node.node.revoke(&user(client.role.user), 1).await;
                world.expect("a revocation is kept", kept.is_ok());
            }
            world.book.note(What::Revoked { user: client.role.user });
        }
        Fault::Evicted => evict(world, client.role.user).await,
        Fault::StolenTicket => steal_ticket(world).await,
        Fault::Quiet => {
            world.publishing.set(false);
            tokio::time::sleep(3 * world.plan.config.beacon_period).await;
            world.publishing.set(true);
        }
        _ => crate::cluster::faults::strike(world, fault).await,
    }
}

/// Seconds mostly, so that times repeat; sometimes up to an hour.
fn jump(world: &World) -> u64 {
    let mut chance = world.chance.borrow_mut();
    let most = chance.pick(&[1000, 3000, 3_600_000]);
    1 + chance.below(most)
}

async fn slow_store(world: &Rc<World>) {
    let pause = millis(world, 300, 1500);
    if chance_index(world, 2) == 0 {
        let faulty = world.store.borrow().faulty.clone();
        faulty.hold_appends();
        tokio::time::sleep(pause).await;
        return faulty.release_appends();
    }
    let Some(node) = world.node() else { return };
    node.way.set_delay(millis(world, 5, 80));
    tokio::time::sleep(pause).await;
    node.way.set_delay(Duration::ZERO);
}

/// Only channels for members have any to remove.
async fn evict(world: &Rc<World>, number: u32) {
    let channel = 1 + chance_index(world, world.plan.channels - 1);
    let name = world.names.name(channel).to_string();
    let member = (channel, number);
    if !world.changing.borrow_mut().insert(member) {
        return;
    }
    remove_and_add(world, member, name).await;
    world.changing.borrow_mut().remove(&member);
}

async fn remove_and_add(world: &Rc<World>, member: (usize, u32), name: String) {
    let (channel, number) = member;
    if chance_index(world, 2) == 0 {
        // Something of the channel waits for the member when it is removed.
        let devices = world.clients.iter().filter(|client| client.role.user == number);
        for device in devices {
            device.stop_reading(Instant::now() + SLOW_WHILE_EVICTED);
            (0..4).for_each(|_| device.chat());
        }
        tokio::time::sleep(SLOW_WHILE_EVICTED / 4).await;
    }
    let remove = v1::RemoveMember { channel: name.clone(), user: user(number).to_string() };
    let removed = world.operate(channel, Verb::RemoveMember(remove)).await;
    if matches!(removed, Some(Ok(_))) {
        let removal = Removal { head: world.head(channel).await, acked_at: Instant::now() };
        world.evicted.borrow_mut().insert(member, removal);
        world.book.note(What::Evicted { channel, user: number });
        match world.plan.cluster {
            None => tokio::time::sleep(millis(world, 1200, 3000)).await,
            Some(_) => await_calm(world, EVICTION_IN_CLUSTERS + WATCHED).await,
        }
        world.evicted.borrow_mut().remove(&member);
        world.book.note(What::Readmitted { channel, user: number });
    }
    if removed.is_none_or(|answer| answer.is_err()) && world.plan.cluster.is_some() {
        // It may be on its way still, and must not come after what follows.
        await_calm(world, ARRIVAL).await;
    }
    let member = v1::Member { user: user(number).to_string(), role: v1::Role::Member.into() };
    let set = v1::SetMember { channel: name, member: Some(member) };
    for _ in 0..ATTEMPTS {
        let added = world.operate(channel, Verb::SetMember(set.clone())).await;
        if matches!(added, Some(Ok(_))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.book.note(What::Wrong("a member cannot be added again".into()));
}

async fn steal_ticket(world: &Rc<World>) {
    let victim = &world.clients[chance_index(world, world.clients.len())];
    let thief = world.clients.iter().find(|client| client.role.user != victim.role.user);
    let (Some(thief), Some(node)) = (thief, world.node()) else { return };
    let hello = v1::Hello {
        client_id: "thief".into(),
        resume_ticket: victim.ticket().into(),
        ..Default::default()
    };
    let worker = &node.workers[chance_index(world, node.workers.len())];
    let info = ConnectionInfo {
        transport: TransportKind::WebSocket,
        remote: std::net::SocketAddr::from(([127, 0, 0, 1], 1)),
        encoding: Encoding::Json,
        datagrams: false,
    };
    let Ok(mut attachment) = worker.open(1, hello, thief.identity(), info).await else { return };
    let mut batch = Vec::new();
    let taken = attachment.next_batch(&mut batch).await;
    for outgoing in batch {
        if let OutgoingBody::Own(frame) = outgoing.body
            && let Some(Body::Reply(v1::Reply { result: Some(Reply::Welcome(w)), .. })) = frame.body
        {
            world.book.note(What::TicketStolen { resumed: w.resumed });
        }
    }
    if taken.is_ok() {
        attachment.forget();
    }
}
