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
use crate::history::{Book, What};
use crate::plan::Plan;
use crate::store::{Names, SharedStore, Way, user};

/// Workers of one node.
const WORKERS: u16 = 2;

/// How long after a removal was acknowledged something may still leave for the removed member.
const EVICTION_PATIENCE: Duration = Duration::from_secs(1);

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
    /// Removed members, and since when that is acknowledged.
    pub evicted: RefCell<HashMap<(usize, u32), Instant>>,
    /// Members that are being removed or added.
    pub changing: RefCell<HashSet<(usize, u32)>>,
    pub publishing: Cell<bool>,
    /// Which clients go to which of two owners.
    pub split: Cell<u32>,
    tasks: RefCell<JoinSet<()>>,
    nodes_started: Cell<u32>,
}

/// One process, as far as it is simulated.
#[derive(Debug)]
pub struct RunningNode {
    pub number: u32,
    pub id_worker: u16,
    pub node: Node,
    pub workers: Vec<Worker>,
    pub way: Arc<Way>,
}

impl World {
    pub fn new(plan: Plan) -> Rc<Self> {
        let mut chance = Chance::new(plan.seed);
        let (names, book) = (Names::new(plan.channels), Book::start());
        let client =
            |(number, role)| Client::new(number, role, names.clone(), book.clone(), chance.fork());
        let clients = (0..).zip(plan.roles.iter().copied()).map(client).collect();
        let store = SharedStore::new(names.clone(), book.clone());
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
        let workers: Vec<Worker> = (0..WORKERS).map(|index| Worker::new(&node, index)).collect();
        for worker in &workers {
            let worker = worker.clone();
            self.spawn(async move { worker.run().await });
        }
        self.nodes_started.set(self.nodes_started.get() + 1);
        let number = self.nodes_started.get();
        let running = RunningNode { number, id_worker, node, workers, way };
        self.nodes.borrow_mut().push(Rc::new(running));
    }

    /// The newest node.
    pub fn node(&self) -> Option<Rc<RunningNode>> {
        self.nodes.borrow().last().cloned()
    }

    /// The oldest node ends at once: nothing that it does from now on is heard by anybody.
    pub fn kill_node(self: &Rc<Self>) -> Option<Rc<RunningNode>> {
        let mut nodes = self.nodes.borrow_mut();
        let killed = (!nodes.is_empty()).then(|| nodes.remove(0))?;
        drop(nodes);
        killed.way.end();
        self.cut_clients_of(killed.number);
        let node = killed.node.clone();
        self.spawn(async move {
            node.shutdown(Duration::ZERO).await;
        });
        Some(killed)
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

    /// A client's life: connect, speak until the connection is lost, come back.
    pub async fn live(self: Rc<Self>, client: Rc<Client>, mut chance: Chance) {
        loop {
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
        let index = (client.number + self.split.get()) as usize % nodes.len().max(1);
        let node = nodes.get(index)?;
        Some((node.number, node.workers[chance.index(node.workers.len())].clone()))
    }

    fn is_running(&self, number: u32) -> bool {
        self.nodes.borrow().iter().any(|node| node.number == number)
    }

    /// Publishes now and then, sometimes several at once, and asks for other things.
    pub async fn publish_on(self: Rc<Self>, client: Rc<Client>, mut chance: Chance) {
        let end = Instant::now() + self.plan.active;
        while Instant::now() < end {
            let pause = client.role.pause.as_millis() as u64;
            tokio::time::sleep(chance.millis(pause / 2, pause * 3 / 2)).await;
            if !self.publishing.get() || client.pending() > 64 {
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
            let since = evicted.get(&(channel, user));
            if since.is_some_and(|since| since.elapsed() > EVICTION_PATIENCE) {
                let offset = publication.offset;
                self.book.note(What::Leaked { client, channel, offset });
            }
        }
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
