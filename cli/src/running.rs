//! A node with everything around it: assembled from its parts, it waits for a reason to end, and is
//! taken apart in order: clients move away, the HTTP surface answers what it has begun, the shards
//! commit, the store closes.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use sterna_core::{Node, SystemClock, Tasks, Threads};
use sterna_edge::auth::Authenticator;
use sterna_edge::http::{DrainOrder, HttpParts, HttpSurface, Jobs, ReadyProbe};
use sterna_edge::{Edge, EdgeConfig};
use sterna_link::Links;
use sterna_storage::Stores;
use tokio::sync::watch;

use crate::config::{ClientsConfig, ClusterSettings, Config, StoreConfig};
use crate::farewell;
use crate::jobs::{NodeJobs, WorkedOn};
use crate::keeping::Kept;
use crate::signals::{Signals, Word};

/// How long shards and store may take once the clients are gone.
pub(crate) const SHUTDOWN: Duration = Duration::from_secs(10);

/// How often old metrics make room.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

const LATE: u8 = 3;
const STORAGE_FAILED: u8 = 4;
const BROKEN: u8 = 5;
const SUPERSEDED: u8 = 6;

/// Where a started node can be found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    /// `None` on a node without clients.
    pub(crate) client: Option<SocketAddr>,
    pub(crate) http: SocketAddr,
}

/// Why a node ends.
#[derive(Debug)]
pub(crate) enum Ending {
    Signal,
    Ordered(DrainOrder),
    StorageFailed(String),
    /// A part of the process has panicked that the rest is of little use without.
    Broken,
    /// Another process has this node's name.
    Superseded(String),
}

/// A node with everything around it.
pub(crate) struct Running {
    node: Node,
    /// `None` on a node without clients.
    edge: Option<Edge>,
    /// `None` on a node that is alone.
    links: Option<Links>,
    http: HttpSurface,
    orders: watch::Receiver<Option<DrainOrder>>,
    /// Upkeep of this process itself.
    tasks: Tasks,
    drain_deadline: Duration,
}

impl Running {
    pub(crate) async fn start(
        (mut config, stores, worked_on): (Config, Option<Stores>, WorkedOn),
        threads: Option<&Threads>,
        node_secret: [u8; 32],
        metrics: PrometheusHandle,
    ) -> Result<Self> {
        let has_store = stores.is_some();
        let auth = Authenticator::new(config.auth)?;
        auth.read_published_keys().await;
        let clock = Arc::new(SystemClock);
        let connections = config.clients.as_ref().map_or(0, |clients| clients.limits.connections);
        config.core.threads = threads.cloned();
        let node = match (&config.cluster, stores) {
            (None, Some(stores)) => Node::start(config.core, stores, clock).await?,
            (None, None) => bail!("a node that is alone needs a store"),
            (Some(cluster), stores) => {
                let sql = matches!(config.store, Some(StoreConfig::Sql(_)));
                let own = cluster.to_core(&config.core, connections, stores.is_some() && !sql);
                Node::join(config.core, stores, clock, own).await?
            }
        };
        let auth = Arc::new(auth.sharing(node.revocations().clone()));
        let mut parts = Parts { node, edge: None, links: None };
        match parts
            .open(config.cluster, config.clients, threads, node_secret, config.node_number, &auth)
            .await
        {
            Ok(()) => {}
            Err(error) => {
                parts.close().await;
                return Err(error);
            }
        }
        let Parts { node, edge, links } = parts;
        let (drain, orders) = watch::channel(None);
        let ready = ReadyProbe { client_address: edge.as_ref().map(Edge::local_address) };
        let tasks = Tasks::new();
        tasks.spawn("metrics upkeep", upkeep(tasks.clone(), metrics.clone()));
        tasks.spawn("published keys", keep_keys(tasks.clone(), Arc::clone(&auth)));
        let connections = edge.as_ref().map(Edge::connections);
        let jobs = has_store.then(|| {
            let (name, router) = (node.config().node.to_string(), node.router().cloned());
            let jobs = NodeJobs::new(worked_on, config.backup, name, tasks.clone(), router);
            Arc::new(jobs) as Arc<dyn Jobs>
        });
        let node_of_http = node.clone();
        let http_parts =
            HttpParts { node: node_of_http, auth, metrics, ready, connections, drain, jobs };
        match HttpSurface::start(config.http, http_parts).await {
            Ok(http) => {
                let drain_deadline = config.drain_deadline;
                Ok(Self { node, edge, links, http, orders, tasks, drain_deadline })
            }
            Err(error) => {
                tasks.shutdown(SHUTDOWN).await;
                Parts { node, edge, links }.close().await;
                Err(error.into())
            }
        }
    }

    /// They end before the store does.
    pub(crate) fn keep(&self, Kept { archive, sweeping }: Kept) {
        if let Some(archive) = archive {
            let router = self.node.router().cloned();
            self.tasks.spawn("archiver", archive.keep(self.tasks.clone(), router));
        }
        self.tasks.spawn("retention", sweeping.keep(self.tasks.clone(), self.node.clone()));
    }

    pub(crate) fn addresses(&self) -> Addresses {
        let client = self.edge.as_ref().map(Edge::local_address);
        Addresses { client, http: self.http.local_address() }
    }

    pub(crate) async fn wait(&self, signals: &mut Signals) -> Ending {
        let mut orders = self.orders.clone();
        let ordered = async move {
            match orders.wait_for(Option::is_some).await.map(|order| order.clone()) {
                Ok(Some(order)) => order,
                // The surface that takes orders is gone; nobody can give one.
                _ => std::future::pending().await,
            }
        };
        tokio::pin!(ordered);
        loop {
            tokio::select! {
                order = &mut ordered => return Ending::Ordered(order),
                reason = self.node.failed() => return Ending::StorageFailed(reason),
                () = self.node.broken() => return Ending::Broken,
                () = edge_broken(self.edge.as_ref()) => return Ending::Broken,
                reason = superseded(&self.node) => return Ending::Superseded(reason),
                word = signals.next() => match word {
                    Word::End => return Ending::Signal,
                    Word::Reload => self.reload(),
                },
            }
        }
    }

    fn reload(&self) {
        if let Some(edge) = &self.edge {
            note_reload("clients", edge.reload_certificate().map_err(anyhow::Error::from));
        }
        if let Some(links) = &self.links {
            note_reload("links", links.reload_certificate().map_err(anyhow::Error::from));
        }
    }

    pub(crate) async fn end(self, ending: Ending) -> ExitCode {
        let deadline = self.drain_deadline;
        match ending {
            Ending::Signal => ended(self.stop(deadline, String::new()).await),
            Ending::Ordered(order) => ended(self.stop(order.deadline, order.successor).await),
            Ending::StorageFailed(reason) => {
                tracing::error!(
                    reason,
                    "storage failed for good; acknowledged publications are safe"
                );
                self.stop(Duration::from_secs(1), String::new()).await;
                ExitCode::from(STORAGE_FAILED)
            }
            Ending::Broken => {
                tracing::error!("a part of the node has panicked; only a new process is whole");
                self.stop(Duration::from_secs(1), String::new()).await;
                ExitCode::from(BROKEN)
            }
            Ending::Superseded(reason) => {
                tracing::error!(reason, "this process ends");
                self.stop(Duration::from_secs(1), String::new()).await;
                ExitCode::from(SUPERSEDED)
            }
        }
    }

    /// In the order in which the parts depend on each other. False: something was late.
    pub(crate) async fn stop(self, deadline: Duration, successor: String) -> bool {
        self.node.start_drain(deadline, successor.clone()).await;
        let edge = match self.edge {
            Some(edge) => {
                let connections = edge.connections();
                let leaving = edge.drain(deadline, successor);
                farewell::told(&self.node, &connections, leaving).await
            }
            None => true,
        };
        // Channels find their new owners while the old one still answers.
        self.node.given_away(deadline).await;
        let http = self.http.shutdown(SHUTDOWN).await;
        let tasks = self.tasks.shutdown(SHUTDOWN).await;
        let links = match self.links {
            Some(links) => links.shutdown(SHUTDOWN).await,
            None => true,
        };
        let node = self.node.shutdown(SHUTDOWN).await;
        if !(edge && http && tasks && links && node) {
            tracing::warn!(edge, http, tasks, links, node, "not everything ended in time");
        }
        edge && http && tasks && links && node
    }
}

/// What has been opened while a node starts.
struct Parts {
    node: Node,
    edge: Option<Edge>,
    links: Option<Links>,
}

impl Parts {
    async fn open(
        &mut self,
        cluster: Option<ClusterSettings>,
        clients: Option<ClientsConfig>,
        threads: Option<&Threads>,
        node_secret: [u8; 32],
        node_number: u32,
        auth: &Arc<Authenticator>,
    ) -> Result<()> {
        if let (Some(cluster), Some(router)) = (cluster, self.node.router()) {
            let links = Links::start(cluster.links, router.clone())?;
            if cluster.advertise.is_empty() {
                router.set_link_address(links.local_address()?.to_string());
            }
            self.links = Some(links);
        }
        let (Some(clients), Some(threads)) = (clients, threads) else { return Ok(()) };
        let config = EdgeConfig {
            client_address: clients.address,
            tls: clients.tls,
            allowed_origins: clients.allowed_origins,
            early_data: clients.early_data,
            node_secret,
            cluster_secrets: clients.cluster_secrets,
            connection_ids: clients.connection_ids,
            node_number,
            limits: clients.limits,
        };
        let edge = Edge::start(config, threads, self.node.clone(), Arc::clone(auth)).await?;
        if let Some(router) = self.node.router() {
            router.set_client_address(reached_at(&edge, clients.advertise));
        }
        self.edge = Some(edge);
        Ok(())
    }

    async fn close(self) {
        if let Some(edge) = self.edge {
            edge.drain(Duration::ZERO, String::new()).await;
        }
        if let Some(links) = self.links {
            links.shutdown(SHUTDOWN).await;
        }
        self.node.shutdown(SHUTDOWN).await;
    }
}

/// Where clients reach the edge. Empty where that is not known, so that nobody is sent to it: an
/// address that stands for all of a machine leads nobody there.
fn reached_at(edge: &Edge, advertise: String) -> String {
    let own = edge.local_address();
    match advertise.is_empty() {
        true if own.ip().is_unspecified() => String::new(),
        true => own.to_string(),
        false => advertise,
    }
}

async fn edge_broken(edge: Option<&Edge>) {
    match edge {
        Some(edge) => edge.broken().await,
        None => std::future::pending().await,
    }
}

async fn superseded(node: &Node) -> String {
    match node.router() {
        Some(router) => router.superseded().await,
        None => std::future::pending().await,
    }
}

fn note_reload(whose: &'static str, outcome: Result<()>) {
    let result = match outcome {
        Ok(()) => {
            tracing::info!(whose, "certificate read again");
            "ok"
        }
        Err(error) => {
            tracing::error!(whose, %error, "the old certificate stays in use");
            "failed"
        }
    };
    metrics::counter!("sterna_edge_certificate_reloads_total", "result" => result).increment(1);
}

fn ended(in_time: bool) -> ExitCode {
    if in_time { ExitCode::SUCCESS } else { ExitCode::from(LATE) }
}

async fn upkeep(tasks: Tasks, metrics: PrometheusHandle) {
    let mut ticks = tokio::time::interval(METRICS_UPKEEP);
    loop {
        tokio::select! {
            () = tasks.shutdown_started() => return,
            _ = ticks.tick() => metrics.run_upkeep(),
        }
    }
}

async fn keep_keys(tasks: Tasks, auth: Arc<Authenticator>) {
    tokio::select! {
        () = tasks.shutdown_started() => {}
        () = auth.keep_fresh() => {}
    }
}
