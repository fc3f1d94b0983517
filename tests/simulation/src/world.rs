//! The nodes, clients and store of one schedule on one thread, and how they come and go. Which
//! fault strikes when is decided by the [plan](crate::plan) and carried out by
//! [`faults`](crate::faults).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sterna_core::link::{Caller, LinkCommand, LinkReply, Verb};
use sterna_core::{CoreConfig, Identity, Node, Permission, Worker};
use sterna_proto::v1::{
    self, ChannelAccess, ChannelKind, frame::Body, push::Event, reply::Result as Reply,
};
use sterna_proto::{ClientId, SessionId};
use sterna_storage::{ChannelRecord, Membership};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::client::Client;
use crate::clock::JumpingClock;
use crate::cluster::calm::Calm;
use crate::cluster::network::Network;
use crate::cluster::stores::SharedRoster;
use crate::history::{Book, What};
use crate::plan::Plan;
use crate::store::{Names, SharedStore, Way, user};

/// Workers of one node.
const WORKERS: u16 = 2;

/// How long after a removal was acknowledged something older may still leave for the removed member.
const EVICTION_PATIENCE: Duration = Duration::from_secs(1);

/// The same where a view may be as old as a lease.
pub const EVICTION_IN_CLUSTERS: Duration = Duration::from_millis(2500);

#[derive(Debug)]
pub struct World {
    pub plan: Plan,
    pub names: Names,
    pub book: Book,
    pub clock: Arc<JumpingClock>,
    pub store: RefCell<SharedStore>,
    pub nodes: RefCell<Vec<Rc<RunningNode>>>,
    pub clients: Vec<Rc<Client>>,
    /// Decides about faults.
    pub chance: RefCell<Chance>,
    /// Members whose removal was acknowledged.
    pub evicted: RefCell<HashMap<(usize, u32), Removal>>,
    /// Members that are being removed or added.
    pub changing: RefCell<HashSet<(usize, u32)>>,
    pub publishing: Cell<bool>,
    /// Nothing is published any more.
    pub over: Cell<bool>,
    /// Between nodes.
    pub network: Network,
    /// Who is alive, as the store says.
    pub roster: Arc<SharedRoster>,
    pub calm: Calm,
    /// Which clients go to which of two owners.
    pub split: Cell<u32>,
    tasks: RefCell<JoinSet<()>>,
    nodes_started: Cell<u32>,
}

/// What a member may still get that was removed.
#[derive(Debug, Clone, Copy)]
pub struct Removal {
    /// Nothing that was published since.
    pub head: u64,
    /// Nothing at all, some time after this.
    pub acked_at: Instant,
}

/// One process, as far as it is simulated.
#[derive(Debug)]
pub struct RunningNode {
    pub number: u32,
    pub id_worker: u16,
    /// Its place among the nodes of the plan.
    pub seat: usize,
    pub node: Node,
    pub workers: Vec<Worker>,
    pub way: Arc<Way>,
    ended: Cell<bool>,
    ending: Cell<bool>,
}

impl RunningNode {
    pub fn new(number: u32, seat: usize, node: Node, workers: u16, way: Arc<Way>) -> Rc<Self> {
        let workers = (0..workers).map(|index| Worker::new(&node, index)).collect();
        let id_worker = node.config().id_worker;
        Rc::new(Self {
            number,
            id_worker,
            seat,
            node,
            workers,
            way,
            ended: Cell::new(false),
            ending: Cell::new(false),
        })
    }

    /// Nothing that it does from now on is heard by anybody.
    pub fn end(&self) {
        self.way.end();
        self.ended.set(true);
    }

    /// Its links end, and no new ones are made.
    pub fn end_links(&self) {
        self.ended.set(true);
    }

    /// False: it does so already.
    pub fn begin_to_end(&self) -> bool {
        !self.ending.replace(true)
    }

    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }
}

impl World {
    pub fn new(plan: Plan) -> Rc<Self> {
        let mut chance = Chance::new(plan.seed);
        let (names, book) = (Names::new(plan.channels), Book::start());
        let client =
            |(number, role)| Client::new(number, role, names.clone(), book.clone(), chance.fork());
        let clients = (0..).zip(plan.roles.iter().copied()).map(client).collect();
        let store = SharedStore::new(names.clone(), book.clone());
        let network = Network::new(&plan, &names, &book);
        Rc::new(Self {
            plan,
            names,
            book,
            clock: Arc::new(JumpingClock::start()),
            store: RefCell::new(store),
            nodes: RefCell::default(),
            clients,
            chance: RefCell::new(chance),
            evicted: RefCell::default(),
            changing: RefCell::default(),
            publishing: Cell::new(true),
            over: Cell::new(false),
            network,
            roster: Arc::default(),
            calm: Calm::start(),
            split: Cell::new(0),
            tasks: RefCell::default(),
            nodes_started: Cell::new(0),
        })
    }

    /// The channels and their members, as an operator has set them up.
    pub async fn set_up(&self) {
        let stores = self.store.borrow().plain();
        for (channel, name) in self.names.all().iter().enumerate() {
            let record = ChannelRecord {
                name: name.clone(),
                kind: ChannelKind::Group,
                access: if channel == 0 { ChannelAccess::Open } else { ChannelAccess::Members },
                created_by: user(0),
                created_at_ms: 0,
            };
            let users = self.plan.roles.iter().map(|role| role.user);
            let member =
                |number| Membership { user: user(number), role: v1::Role::Member, since_ms: 0 };
            let created = stores.channels.create(record, users.map(member).collect()).await;
            self.expect("channels are created", created.is_ok());
        }
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().spawn_local(task);
    }

    /// Writes down that something did not go as it has to.
    pub fn expect(&self, what: &str, holds: bool) {
        if !holds {
            self.book.note(What::Wrong(format!("not so: {what}")));
        }
    }

    /// Tasks of the simulation that have panicked.
    pub fn panics(&self) -> usize {
        let mut tasks = self.tasks.borrow_mut();
        let ended = std::iter::from_fn(|| tasks.try_join_next());
        ended.filter(|end| end.as_ref().is_err_and(|error| error.is_panic())).count()
    }

    pub async fn start_node(self: &Rc<Self>, id_worker: u16) {
        let way = Arc::new(Way::default());
        let stores = self.store.borrow().through(way.clone());
        let config = CoreConfig { id_worker, ..self.plan.config.clone() };
        let node = match Node::start(config, stores, self.clock.clone()).await {
            Ok(node) => node,
            Err(error) => return self.book.note(What::Wrong(format!("no node: {error}"))),
        };
        self.add_node(RunningNode::new(self.next_number(), 0, node, WORKERS, way));
    }

    pub fn add_node(&self, running: Rc<RunningNode>) {
        for worker in &running.workers {
            let worker = worker.clone();
            self.spawn(async move { worker.run().await });
        }
        self.nodes.borrow_mut().push(running);
    }

    /// A number for a process, higher than those before it.
    pub fn next_number(&self) -> u32 {
        self.nodes_started.set(self.nodes_started.get() + 1);
        self.nodes_started.get()
    }

    /// The newest node; in a cluster any.
    pub fn node(&self) -> Option<Rc<RunningNode>> {
        let nodes = self.nodes.borrow();
        match self.plan.cluster {
            None => nodes.last().cloned(),
            Some(_) => nodes.get(self.chance.borrow_mut().index(nodes.len())).cloned(),
        }
    }

    /// The oldest node ends at once.
    pub fn kill_oldest(&self) {
        let oldest = self.nodes.borrow().first().cloned();
        oldest.iter().for_each(|oldest| self.kill(oldest));
    }

    /// The node ends at once: nothing that it does from now on is heard by anybody.
    pub fn kill(&self, killed: &RunningNode) {
        self.nodes.borrow_mut().retain(|node| node.number != killed.number);
        killed.end();
        self.network.note_change();
        self.cut_clients_of(killed.number);
        let node = killed.node.clone();
        self.spawn(async move {
            node.shutdown(Duration::ZERO).await;
        });
    }

    pub fn cut_clients_of(&self, node: u32) {
        for client in self.clients.iter().filter(|client| client.node.get() == node) {
            client.cut(Duration::ZERO, false);
        }
    }

    /// One command of the operator, as the HTTP API gives it.
    pub async fn operate(&self, channel: usize, verb: Verb) -> Option<LinkReply> {
        let node = self.node()?;
        let identity = Identity {
            user: user(u32::MAX),
            permissions: vec![Permission::all("*")],
            expires_at_ms: None,
            issued_at_ms: None,
            operator: true,
        };
        let name = self.names.name(channel);
        let client_id = ClientId::new("operator").ok()?;
        let caller = Caller::new(Arc::new(identity), client_id, SessionId(0), Default::default());
        let command = LinkCommand {
            caller: Arc::new(caller),
            channel: name.clone(),
            key: name.key(),
            hops: 0,
            verb,
        };
        tokio::time::timeout(Duration::from_secs(3), node.node.call(command)).await.ok()
    }

    pub fn start_clients(self: &Rc<Self>) {
        for client in &self.clients {
            let (lives, publishes) = {
                let mut chance = self.chance.borrow_mut();
                (chance.fork(), chance.fork())
            };
            self.spawn(self.clone().live(client.clone(), lives));
            self.spawn(self.clone().publish_on(client.clone(), publishes));
        }
    }

    /// A client's life: connect, speak until the connection is lost, come back.
    pub async fn live(self: Rc<Self>, client: Rc<Client>, mut chance: Chance) {
        while !client.has_gone() {
            if let Some((node, worker)) = self.place(&client, &mut chance) {
                client.node.set(node);
                let patience = Duration::from_secs(5);
                let connected = tokio::time::timeout(patience, client.connect(&worker)).await;
                if let Ok(Ok((attachment, wire))) = connected
                    && self.is_running(node)
                {
                    let (world, served, number) = (self.clone(), wire.clone(), client.number);
                    let user = client.role.user;
                    self.spawn(async move {
                        let watch = |frame: &v1::Frame| world.watch(number, user, frame);
                        served.serve(attachment, watch).await;
                    });
                    client.converse(&wire).await;
                }
            }
            tokio::time::sleep(chance.millis(10, 150)).await;
        }
    }

    fn place(&self, client: &Client, chance: &mut Chance) -> Option<(u32, Worker)> {
        let nodes = self.nodes.borrow();
        let open: Vec<_> = nodes.iter().filter(|node| !node.workers.is_empty()).collect();
        let place = client.number + client.moves.get() + self.split.get();
        let node = open.get(place as usize % open.len().max(1))?;
        if self.network.is_frozen(node.seat) {
            return None;
        }
        Some((node.number, node.workers[chance.index(node.workers.len())].clone()))
    }

    fn is_running(&self, number: u32) -> bool {
        self.nodes.borrow().iter().any(|node| node.number == number)
    }

    /// Publishes now and then, sometimes several at once, and asks for other things.
    pub async fn publish_on(self: Rc<Self>, client: Rc<Client>, mut chance: Chance) {
        let end = Instant::now() + self.plan.active;
        let over = || match self.plan.cluster {
            None => Instant::now() >= end,
            Some(_) => self.over.get(),
        };
        while !over() {
            let pause = client.role.pause.as_millis() as u64;
            tokio::time::sleep(chance.millis(pause / 2, pause * 3 / 2)).await;
            if over() || !self.publishing.get() || client.pending() > 64 {
                continue;
            }
            let channel = chance.index(self.plan.channels);
            let burst = if chance.one_in(8) { 12 } else { 1 + chance.below(2) };
            (0..burst).for_each(|_| client.publish(channel));
            if chance.one_in(3) {
                client.chat();
            }
        }
    }

    /// I11: sees each frame as it leaves the node.
    fn watch(&self, client: u32, user: u32, frame: &v1::Frame) {
        if let Some(Body::Reply(v1::Reply { result: Some(Reply::Welcome(welcome)), .. })) =
            &frame.body
        {
            let session = session_number(&welcome.session_id);
            self.book.note(What::Opened { client, user, session, resumed: welcome.resumed });
        }
        let evicted = self.evicted.borrow();
        if evicted.is_empty() {
            return;
        }
        for publication in publications(frame) {
            let channel = self.names.index(&publication.channel);
            let Some(removal) = evicted.get(&(channel, user)) else { continue };
            let offset = publication.offset;
            if offset > removal.head || self.has_taken_effect(removal.acked_at) {
                self.book.note(What::Leaked { client, channel, offset });
            }
        }
    }

    /// Of what is older than the removal. In a cluster the news may take a way that is lost: it counts
    /// from when all ways hold again.
    fn has_taken_effect(&self, acked_at: Instant) -> bool {
        match self.plan.cluster {
            None => acked_at.elapsed() > EVICTION_PATIENCE,
            Some(_) => self.calm.since(acked_at).is_some_and(|calm| calm > EVICTION_IN_CLUSTERS),
        }
    }

    /// Where the log of a channel ends.
    pub async fn head(&self, channel: usize) -> u64 {
        let log = self.store.borrow().plain().log;
        let head = log.head(self.names.name(channel).key()).await.ok().flatten();
        head.map_or(0, |head| head.position.offset.0)
    }
}

fn publications(frame: &v1::Frame) -> &[v1::Publication] {
    match &frame.body {
        Some(Body::Push(v1::Push { event: Some(event) })) => match event {
            Event::Publication(publication) => std::slice::from_ref(publication),
            Event::Subscribed(page) => &page.publications,
            _ => &[],
        },
        Some(Body::Reply(v1::Reply { result: Some(result), .. })) => match result {
            Reply::Subscribed(page) => &page.publications,
            Reply::History(page) => &page.publications,
            _ => &[],
        },
        _ => &[],
    }
}

/// Short enough for a history.
fn session_number(id: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish() as u32
}
