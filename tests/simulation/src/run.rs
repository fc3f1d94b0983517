//! Runs one schedule: faults strike while clients publish, then everything has to heal, and what
//! was written down is judged.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use sterna_proto::v1::PresenceState;
use tokio::time::Instant;

use crate::branches::{BranchCounts, PANICS};
use crate::checker::{self, Violation};
use crate::client::Believed;
use crate::entropy;
use crate::faults;
use crate::history::{self, Event, What};
use crate::plan::{Plan, Setting};
use crate::turn::{self, Started};
use crate::world::World;

/// All that clients still have to say is said and heard within this time once faults are over.
const HEALING: Duration = Duration::from_secs(30);

/// Everybody knows who is present within this time: a beacon is sent at every fourth period at the
/// latest, and once more to whom asks while others still come.
const PRESENCE: Duration = Duration::from_secs(15);

/// What became of one schedule.
#[derive(Debug)]
pub struct Outcome {
    pub plan: Plan,
    pub events: Vec<Event>,
    /// Branches of the core that were taken, and how often.
    pub branches: BTreeMap<String, u64>,
    pub violations: Vec<Violation>,
}

impl Outcome {
    /// Equal for equal schedules.
    pub fn hash(&self) -> u64 {
        history::hash(&self.events)
    }
}

/// A schedule on its way.
#[derive(Debug)]
pub struct Running(JoinHandle<Outcome>);

impl Running {
    pub fn finish(self) -> Outcome {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Runs the schedule of a seed. Seeds of one process have to come in rising order.
pub fn run(setting: Setting, seed: u64) -> Outcome {
    begin(seed, move || Plan::of(setting, seed)).finish()
}

/// Begins a schedule on a thread of its own, where the plan is made. `place`: its number among the
/// schedules of this process, which have to come in rising order; that of a plain schedule is its
/// seed.
pub fn begin(place: u64, plan: impl FnOnce() -> Plan + Send + 'static) -> Running {
    Running(turn::begin(place, move |started| {
        entropy::seed_thread(place);
        let plan = plan();
        let counts = BranchCounts::new();
        let acted = || simulate(plan.clone(), &started);
        let mut events = metrics::with_local_recorder(&counts, acted);
        let branches = counts.taken();
        if branches.get(PANICS).is_some_and(|panics| *panics > 0) {
            let at_ms = events.last().map_or(0, |last| last.at_ms);
            events.push(Event { at_ms, what: What::Wrong("a task of a node panicked".into()) });
        }
        let violations = checker::check(&plan, &events);
        Outcome { plan, events, branches, violations }
    }))
}

fn simulate(plan: Plan, started: &Started) -> Vec<Event> {
    let runtime = turn::runtime(started);
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let world = World::new(plan);
        match world.plan.setting() {
            Setting::Alone => act(&world).await,
            Setting::Cluster => crate::cluster::run::act(&world).await,
        }
        world.expect("no task of the simulation panics", world.panics() == 0);
        world.book.take()
    })
}

async fn act(world: &Rc<World>) {
    world.set_up().await;
    world.start_node(0).await;
    world.start_clients();
    let active_until = Instant::now() + world.plan.active;
    faults::strike_all(world).await;
    tokio::time::sleep_until(active_until).await;
    world.book.note(What::Healed);
    let healed = settle(world, HEALING).await;
    if healed {
        // Nothing follows these, so nothing but a beacon shows that one was lost.
        (0..world.plan.channels).for_each(|channel| world.clients[0].publish(channel));
        settle(world, 2 * world.plan.config.beacon_period + Duration::from_secs(3)).await;
        settle_beliefs(world).await;
    }
    finish(world).await;
}

/// Waits until every client has everything.
pub(crate) async fn settle(world: &Rc<World>, patience: Duration) -> bool {
    world.clients.iter().for_each(|client| client.come_forward());
    let patience = patience + drip(world);
    let deadline = Instant::now() + patience;
    loop {
        let mut heads = Vec::new();
        for channel in 0..world.plan.channels {
            heads.push(world.head(channel).await);
        }
        if world.clients.iter().all(|client| client.is_settled(&heads)) {
            return true;
        }
        if Instant::now() >= deadline {
            let behind = world.clients.iter().filter(|client| !client.is_settled(&heads));
            let behind: Vec<String> = behind.map(|client| client.describe()).collect();
            let what = format!("I5 not repaired in {patience:?}, heads {heads:?}: {behind:?}");
            world.book.note(What::Wrong(what));
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Where a shard has room for one command and nobody waits for room, a round trip and the pause that
/// a refusal asks for get one of a client's ordered publications through: for all that wait.
fn drip(world: &Rc<World>) -> Duration {
    if !world.plan.config.queues.mailbox_patience.is_zero() {
        return Duration::ZERO;
    }
    let unacked = world.clients.iter().map(|client| client.unacked()).max();
    Duration::from_millis(300) * u32::try_from(unacked.unwrap_or(0)).unwrap_or(u32::MAX)
}

/// Waits until every client knows who is present: everybody. What it was told of others may have been
/// lost with a link or in a queue, and nothing but a beacon tells it so.
pub(crate) async fn settle_beliefs(world: &Rc<World>) {
    let users = world.clients.iter().map(|client| client.role.user);
    let expected: Believed = users.map(|user| (user, PresenceState::Online)).collect();
    let deadline = Instant::now() + PRESENCE;
    for client in &world.clients {
        for channel in 0..world.plan.channels {
            loop {
                let believed = client.believed(channel);
                if believed.as_ref() == Some(&expected) {
                    break;
                }
                if Instant::now() >= deadline {
                    let number = client.number;
                    let what = format!("I5: client {number} believes {believed:?} in {channel}");
                    return world.book.note(What::Wrong(what));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn finish(world: &Rc<World>) {
    let store = world.store.borrow().clone();
    for channel in 0..world.plan.channels {
        let items = store.items(channel).await;
        world.book.note(What::Final { channel, items });
    }
    let nodes = std::mem::take(&mut *world.nodes.borrow_mut());
    for node in nodes {
        world.cut_clients_of(node.number);
        let ended = node.node.shutdown(Duration::from_secs(10)).await;
        world.expect("the last node ends", ended);
    }
}
