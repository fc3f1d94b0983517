//! One process of the cluster, as everybody inside it sees it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sterna_proto::{ChannelId, ErrorCode, Position, UserId, v1};
use sterna_storage::Stores;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::channel::shard::{Shard, ShardCommand, ShardContext};
use crate::clock::Clock;
use crate::config::CoreConfig;
use crate::error::CoreError;
use crate::id::{ID_WORKERS, IdGenerator};
use crate::link::memory::{LinkPorts, LinkReceiver, MemoryLink};
use crate::link::{Link, LinkCommand, LinkReply};
use crate::session::directory::SessionDirectory;
use crate::tasks::{Tasks, vital};
use crate::worker::{CONTROL_QUEUE, WorkerControl};

/// Handle of a node; cheap to clone, usable from every thread.
#[derive(Debug, Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    context: Arc<ShardContext>,
    shards: Arc<[mpsc::Sender<ShardCommand>]>,
    directory: SessionDirectory,
    workers: Mutex<Vec<Option<mpsc::Sender<WorkerControl>>>>,
    draining: AtomicBool,
    broken: CancellationToken,
    tasks: Tasks,
}

impl Node {
    /// Starts the shards on the current (multi-thread) runtime.
    pub async fn start(
        config: CoreConfig,
        stores: Stores,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CoreError> {
        if config.shards == 0 {
            return Err(CoreError::Config("a node needs at least one shard".into()));
        }
        if config.id_worker >= ID_WORKERS {
            return Err(CoreError::Config(format!("id_worker must be below {ID_WORKERS}")));
        }
        let ids =
            IdGenerator::start(config.id_worker, clock.clone(), stores.id_bound.clone()).await?;
        let context = Arc::new(ShardContext {
            stores,
            clock,
            ids,
            ports: Arc::new(LinkPorts::default()),
            failure: watch::Sender::new(None),
            config: Arc::new(config),
        });
        let (tasks, broken) = (Tasks::new(), CancellationToken::new());
        let start_shard = |_| {
            let (sender, mailbox) = mpsc::channel(context.config.queues.shard_mailbox);
            let shard = Shard::new(context.clone()).run(mailbox, tasks.clone());
            tasks.spawn("shard", vital(broken.clone(), shard));
            sender
        };
        let shards = (0..context.config.shards).map(start_shard).collect();
        let inner = Inner {
            context,
            shards,
            directory: SessionDirectory::default(),
            workers: Mutex::default(),
            draining: AtomicBool::new(false),
            broken,
            tasks,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub fn config(&self) -> &CoreConfig {
        &self.inner.context.config
    }

    pub(crate) fn config_arc(&self) -> Arc<CoreConfig> {
        self.inner.context.config.clone()
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.context.clock
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
        let found = self.inner.context.stores.channels.channels(after, limit).await;
        let found = found.map_err(|error| {
            v1::Error::new(ErrorCode::Unavailable, format!("the store does not answer: {error}"))
        })?;
        let info = |record| crate::channel::channel_info(&record, Position::EARLIEST, 0, false);
        Ok(found.into_iter().map(info).collect())
    }

    /// Sessions with and without a connection.
    pub fn session_count(&self) -> usize {
        self.inner.directory.len()
    }

    /// Completes with the reason when the node must stop because storage failed for good (I1).
    pub async fn failed(&self) -> String {
        let mut failure = self.inner.context.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Completes when a shard has panicked: its channels are not served any more by this process.
    pub async fn broken(&self) {
        self.inner.broken.cancelled().await;
    }

    /// I11: ends all sessions of a user.
    pub async fn revoke(&self, user: &UserId) {
        for worker in self.controls() {
            // A worker that has ended has no sessions.
            let _ = worker.send(WorkerControl::Revoke(user.clone())).await;
        }
    }

    /// New sessions are refused from now on and all sessions are told to move.
    pub async fn start_drain(&self, deadline: Duration, successor: String) {
        self.inner.draining.store(true, Ordering::Release);
        let go_away = v1::GoAway {
            deadline_ms: u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX),
            successor,
            reason: "the node is leaving".into(),
        };
        for worker in self.controls() {
            let _ = worker.send(WorkerControl::GoAway(go_away.clone())).await;
        }
    }

    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Acquire)
    }

    /// Ends the shards, commits what waits and closes the stores. False: something did not end in
    /// time.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        let ended = self.inner.tasks.shutdown(deadline).await;
        let closed = self.inner.context.stores.log.close().await;
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
        let ports = &self.inner.context.ports;
        let (id, pushes) = ports.open(queues.link_pushes, queues.link_push_bytes);
        let (sender, control) = mpsc::channel(CONTROL_QUEUE);
        let mut workers = self.inner.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if workers.len() <= usize::from(index) {
            workers.resize(usize::from(index) + 1, None);
        }
        workers[usize::from(index)] = Some(sender);
        (Arc::new(self.link(Some(id))), pushes, control)
    }

    fn link(&self, id: Option<u16>) -> MemoryLink {
        let patience = self.config().queues.mailbox_patience;
        MemoryLink::new(self.inner.shards.clone(), id, patience)
    }

    fn controls(&self) -> Vec<mpsc::Sender<WorkerControl>> {
        let workers = self.inner.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().flatten().cloned().collect()
    }
}
