//! One process of the cluster, as everybody inside it sees it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sterna_proto::id::SLOTS;
use sterna_proto::{ChannelId, ErrorCode, Position, v1};
use sterna_storage::{BoxFuture, Stores};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::channel::flights::Flights;
use crate::channel::shard::{Shard, ShardCommand, ShardContext};
use crate::clock::Clock;
use crate::cluster::{ClusterConfig, NodeInfo};
use crate::config::CoreConfig;
use crate::error::CoreError;
use crate::id::{ID_WORKERS, IdGenerator};
use crate::link::memory::MemoryLink;
use crate::link::ports::{LinkId, LinkPorts, LinkReceiver};
use crate::link::router::{Router, RouterLink};
use crate::link::turns::Turns;
use crate::link::{Link, LinkCommand, LinkReply};
use crate::membership::{self, ids::IdLease};
use crate::revocations::Revocations;
use crate::session::directory::SessionDirectory;
use crate::tasks::{Tasks, vital};
use crate::threads::Threads;
use crate::vitals::tally::Tally;
use crate::vitals::trace::Traces;
use crate::vitals::{Observed, Vitals, sampler};
use crate::volatile::{self, Volatile};
use crate::worker::{CONTROL_QUEUE, WorkerControl};

mod keeping;
mod leaving;
mod observing;
mod revoking;
mod sessions;

pub use keeping::{ChannelKeeping, Ordered};
pub use leaving::DrainProgress;

/// Handle of a node; cheap to clone, usable from every thread.
#[derive(Debug, Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Arc<CoreConfig>,
    clock: Arc<dyn Clock>,
    ports: Arc<LinkPorts>,
    /// `None` on a node that owns no channels.
    channels: Option<Channels>,
    /// `None` on a node that is alone.
    router: Option<Arc<Router>>,
    directory: SessionDirectory,
    /// Sessions with a connection.
    attached: AtomicU32,
    tally: Arc<Tally>,
    traces: Arc<Traces>,
    /// As last sampled; unused where the router has them.
    vitals: Mutex<Vitals>,
    kept: observing::Kept,
    volatile: Arc<Volatile>,
    revocations: Arc<Revocations>,
    workers: Mutex<Vec<Option<mpsc::Sender<WorkerControl>>>>,
    draining: AtomicBool,
    leaving: Mutex<Option<leaving::Leaving>>,
    broken: CancellationToken,
    tasks: Tasks,
}

/// The channel half of a node.
#[derive(Debug)]
struct Channels {
    context: Arc<ShardContext>,
    shards: Arc<[mpsc::Sender<ShardCommand>]>,
}

impl Node {
    /// Starts a node that is alone, on the current runtime and its shards on the configured threads.
    pub async fn start(
        config: CoreConfig,
        stores: Stores,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CoreError> {
        Self::assemble(config, Some(stores), clock, None).await
    }

    /// Starts a node of a cluster: with stores one that owns channels, without one that has clients
    /// alone. Links to other nodes are made by whoever drives its [`router`](Self::router).
    pub async fn join(
        config: CoreConfig,
        stores: Option<Stores>,
        clock: Arc<dyn Clock>,
        cluster: ClusterConfig,
    ) -> Result<Self, CoreError> {
        if cluster.node.core != stores.is_some() {
            return Err(CoreError::Config("a core needs stores, and no other node does".into()));
        }
        Self::assemble(config, stores, clock, Some(cluster)).await
    }

    async fn assemble(
        config: CoreConfig,
        stores: Option<Stores>,
        clock: Arc<dyn Clock>,
        cluster: Option<ClusterConfig>,
    ) -> Result<Self, CoreError> {
        check(&config)?;
        let (tasks, broken) = (Tasks::new(), CancellationToken::new());
        let lease = match &stores {
            Some(stores) if cluster.is_some() => {
                let holder = format!("{}/{}", config.node, config.incarnation.0);
                Some(IdLease::take(stores.id_leases.clone(), holder).await?)
            }
            _ => None,
        };
        let id_worker = lease.as_ref().map_or(config.id_worker, |lease| lease.worker);
        let threads = config.threads;
        let config = CoreConfig { id_worker, threads: None, ..config };
        let (config, ports) = (Arc::new(config), Arc::new(LinkPorts::default()));
        let shared = cluster.as_ref().and_then(|cluster| cluster.volatile.clone());
        let volatile = Arc::new(Volatile::new(shared, config.rates.user_publish));
        let (turns, tally) = (Arc::new(Turns::default()), Arc::new(Tally::default()));
        let traces = Arc::new(Traces::default());
        let channels = match stores {
            Some(stores) => {
                let (clock, ports, volatile) = (&clock, &ports, &volatile);
                let (turns, tally, traces) = (&turns, &tally, &traces);
                let shared = Shared { clock, ports, turns, tally, traces, volatile, threads };
                let own = Channels::start(&config, stores, shared, &tasks, &broken);
                Some(own.await?)
            }
            None => None,
        };
        let revocations = Arc::<Revocations>::default();
        let router = cluster.map(|cluster| {
            let shards = channels.as_ref().map(|channels| channels.shards.clone());
            let (ports, tally, revocations) = (ports.clone(), tally.clone(), revocations.clone());
            Router::new(cluster, config.queues, shards, ports, turns, tally, revocations)
        });
        let inner = Inner {
            config,
            clock,
            ports,
            channels,
            router,
            directory: SessionDirectory::default(),
            attached: AtomicU32::new(0),
            tally,
            traces,
            vitals: Mutex::default(),
            kept: observing::Kept::default(),
            volatile,
            revocations,
            workers: Mutex::default(),
            draining: AtomicBool::new(false),
            leaving: Mutex::default(),
            broken,
            tasks,
        };
        let node = Self { inner: Arc::new(inner) };
        if let Some(own) = &node.inner.channels {
            // Never set before.
            let _ = own.context.users.set(node.link(None));
        }
        node.recall_revocations().await?;
        node.start_membership(lease);
        node.inner.tasks.spawn("vitals", sampler::run(node.clone()));
        Ok(node)
    }

    fn start_membership(&self, lease: Option<IdLease>) {
        let Some(router) = self.router() else { return };
        let spawn = |name, task: BoxFuture<'static, ()>| {
            self.inner.tasks.spawn(name, vital(self.inner.broken.clone(), task));
        };
        let recalled = *self.inner.revocations.news().borrow();
        spawn("revocations", Box::pin(self.clone().follow_revocations(recalled)));
        if let Some(store) = self.revocation_store() {
            let keep = self.clone().keep_revocations(store, recalled);
            spawn("kept revocations", Box::pin(keep));
        }
        spawn("membership", Box::pin(membership::run(self.clone(), router.clone())));
        if self.volatile().is_shared() {
            let keeper = volatile::keeper::keep(self.clone(), self.volatile().clone());
            spawn("volatile", Box::pin(keeper));
        }
        let Some(own) = &self.inner.channels else { return };
        let store = own.context.stores.roster.clone();
        spawn("roster", Box::pin(membership::roster::keep(self.clone(), router.clone(), store)));
        if let Some(lease) = lease {
            spawn("id worker", Box::pin(lease.keep(self.clone(), own.context.ids.clone())));
        }
    }

    /// The way to other nodes; `None` on a node that is alone.
    pub fn router(&self) -> Option<&Arc<Router>> {
        self.inner.router.as_ref()
    }

    /// What this node keeps where it may be lost.
    pub fn volatile(&self) -> &Arc<Volatile> {
        &self.inner.volatile
    }

    pub fn config(&self) -> &CoreConfig {
        &self.inner.config
    }

    pub(crate) fn config_arc(&self) -> Arc<CoreConfig> {
        self.inner.config.clone()
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// For the HTTP API, which has no session: one command, one answer.
    pub async fn call(&self, command: LinkCommand) -> LinkReply {
        self.link(None).call(command).answer().await
    }

    /// Channels in name order, for listings; heads are not looked up.
    pub async fn channels(
        &self,
        after: Option<ChannelId>,
        limit: usize,
    ) -> Result<Vec<v1::ChannelInfo>, v1::Error> {
        let Some(own) = &self.inner.channels else {
            let message = "this node has clients alone; ask one that owns channels";
            return Err(v1::Error::new(ErrorCode::Unavailable, message));
        };
        let found = own.context.stores.channels.channels(after, limit).await;
        let found = found.map_err(|error| {
            v1::Error::new(ErrorCode::Unavailable, format!("the store does not answer: {error}"))
        })?;
        let info = |record| crate::channel::channel_info(&record, Position::EARLIEST, 0, false);
        Ok(found.into_iter().map(info).collect())
    }

    /// All nodes as they fare, as far as is known here; a node that is alone knows of itself.
    pub fn observed(&self) -> Vec<Observed> {
        if let Some(router) = self.router() {
            return router.observed();
        }
        let vitals = self.vitals().clone();
        let info = NodeInfo::alone(self.config(), self.is_draining(), vitals.sessions.attached());
        vec![Observed { info, vitals, age: Duration::ZERO, alive: true }]
    }

    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.inner.tally
    }

    /// Takes what was sampled; others hear it with the next beat.
    pub(crate) fn set_vitals(&self, vitals: Vitals) {
        match self.router() {
            Some(router) => router.set_vitals(vitals),
            None => *self.vitals() = vitals,
        }
    }

    fn vitals(&self) -> MutexGuard<'_, Vitals> {
        self.inner.vitals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many slots this node owns.
    pub fn owned_slots(&self) -> u32 {
        let alone = if self.inner.channels.is_some() { usize::from(SLOTS) } else { 0 };
        self.router().map_or(alone, |router| router.owned_slots()) as u32
    }

    pub(crate) fn ports(&self) -> &LinkPorts {
        &self.inner.ports
    }

    /// Sessions with and without a connection.
    pub fn session_count(&self) -> usize {
        self.inner.directory.len()
    }

    /// Sessions with a connection.
    pub fn attached_count(&self) -> u32 {
        self.inner.attached.load(Ordering::Relaxed)
    }

    pub(crate) fn on_attached(&self) {
        self.inner.attached.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn on_detached(&self) {
        self.inner.attached.fetch_sub(1, Ordering::Relaxed);
    }

    /// Completes with the reason when the node must stop because storage failed for good (I1).
    pub async fn failed(&self) -> String {
        let Some(own) = &self.inner.channels else { return std::future::pending().await };
        let mut failure = own.context.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Completes when a shard has panicked: its channels are not served any more by this process.
    pub async fn broken(&self) {
        self.inner.broken.cancelled().await;
    }

    /// Ends the shards, commits what waits and closes the stores. False: something did not end in
    /// time.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        let ended = self.inner.tasks.shutdown(deadline).await;
        let Some(own) = &self.inner.channels else { return ended };
        let closed = own.context.stores.log.close().await;
        if let Err(error) = &closed {
            tracing::error!(%error, "the store did not close");
        }
        ended && closed.is_ok()
    }

    pub(crate) async fn shutdown_started(&self) {
        self.inner.tasks.shutdown_started().await;
    }

    pub(crate) fn directory(&self) -> &SessionDirectory {
        &self.inner.directory
    }

    pub(crate) fn control(&self, worker: u16) -> Option<mpsc::Sender<WorkerControl>> {
        let workers = self.inner.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.get(usize::from(worker)).cloned().flatten()
    }

    /// Opens the link and the control queue of an edge worker.
    pub(crate) fn open_worker(
        &self,
        index: u16,
    ) -> (Arc<dyn Link>, LinkReceiver, mpsc::Receiver<WorkerControl>) {
        let queues = &self.config().queues;
        let (id, pushes) = self.inner.ports.open(queues.link_pushes, queues.link_push_bytes);
        let (sender, control) = mpsc::channel(CONTROL_QUEUE);
        let mut workers = self.inner.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if workers.len() <= usize::from(index) {
            workers.resize(usize::from(index) + 1, None);
        }
        workers[usize::from(index)] = Some(sender);
        (self.link(Some(id)), pushes, control)
    }

    fn link(&self, id: Option<LinkId>) -> Arc<dyn Link> {
        if let Some(router) = &self.inner.router {
            return Arc::new(RouterLink::new(router.clone(), id));
        }
        let shards = self.inner.channels.as_ref().map(|own| own.shards.clone());
        let patience = self.config().queues.mailbox_patience;
        Arc::new(MemoryLink::new(shards.unwrap_or_default(), id, patience))
    }

    /// The shards of this node.
    pub(crate) fn shards(&self) -> &[mpsc::Sender<ShardCommand>] {
        self.inner.channels.as_ref().map_or(&[], |own| &own.shards)
    }

    pub(crate) fn controls(&self) -> Vec<mpsc::Sender<WorkerControl>> {
        let workers = self.inner.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().flatten().cloned().collect()
    }
}

/// Whether a node can be made of it.
fn check(config: &CoreConfig) -> Result<(), CoreError> {
    if config.shards == 0 {
        return Err(CoreError::Config("a node needs at least one shard".into()));
    }
    if config.id_worker >= ID_WORKERS {
        return Err(CoreError::Config(format!("id_worker must be below {ID_WORKERS}")));
    }
    Ok(())
}

/// What channels share with the rest of the node.
struct Shared<'a> {
    clock: &'a Arc<dyn Clock>,
    ports: &'a Arc<LinkPorts>,
    turns: &'a Arc<Turns>,
    tally: &'a Arc<Tally>,
    traces: &'a Arc<Traces>,
    volatile: &'a Arc<Volatile>,
    threads: Option<Threads>,
}

impl Channels {
    async fn start(
        config: &Arc<CoreConfig>,
        stores: Stores,
        Shared { clock, ports, turns, tally, traces, volatile, threads }: Shared<'_>,
        tasks: &Tasks,
        broken: &CancellationToken,
    ) -> Result<Self, CoreError> {
        let bound = stores.id_bound.clone();
        let ids = IdGenerator::start(config.id_worker, clock.clone(), bound).await?;
        membership::ids::compare_floor(&ids, volatile).await;
        let ids = Arc::new(ids);
        let context = Arc::new(ShardContext {
            flights: Flights::new(stores.log.clone(), tally.clone()),
            stores,
            clock: clock.clone(),
            ids,
            ports: ports.clone(),
            turns: turns.clone(),
            tally: tally.clone(),
            traces: traces.clone(),
            users: OnceLock::new(),
            volatile: volatile.clone(),
            failure: watch::Sender::new(None),
            config: config.clone(),
        });
        let start_shard = |index| {
            let (sender, mailbox) = mpsc::channel(config.queues.shard_mailbox);
            let shard = Shard::new(index, context.clone()).run(mailbox, tasks.clone());
            let shard = vital(broken.clone(), shard);
            match threads.as_ref().and_then(|threads| threads.runtime(index)) {
                Some(runtime) => tasks.spawn_on("shard", shard, runtime),
                None => tasks.spawn("shard", shard),
            }
            sender
        };
        let shards = (0..config.shards).map(start_shard).collect();
        Ok(Self { context, shards })
    }
}
