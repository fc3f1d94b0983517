//! Assembles a node from its parts, waits for a reason to end, and takes it apart in order:
//! clients move away, the HTTP surface answers what it has begun, the shards commit, the store
//! closes.
//!
//! Exit codes: 0 drained, 1 could not start, 3 something did not end in time, 4 storage failed
//! for good, 5 broken by a panic, 6 another process has this node's name, 130 told to end twice.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use sterna_core::{Clock as _, Node, SystemClock, Tasks, Threads};
use sterna_edge::auth::Authenticator;
use sterna_edge::http::{DrainOrder, HttpParts, HttpSurface, Jobs, ReadyProbe};
use sterna_edge::{Edge, EdgeConfig};
use sterna_link::Links;
use sterna_storage::Stores;
use sterna_storage_redis::RedisStore;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::args::{ServeArgs, StoreArgs};
use crate::config::{ClientsConfig, ClusterSettings, Config, StoreConfig};
use crate::jobs::{NodeJobs, WorkedOn};
use crate::keeping::Kept;
use crate::pages;
use crate::raw_config::{RawConfig, environment};
use crate::stores::{connect_database, keep_sql, open_redis, open_stores, watch_redis};
use crate::telemetry::Telemetry;
use crate::{farewell, keeping, keys, output};

/// How long shards and store may take once the clients are gone.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// How often old metrics make room.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

const LATE: u8 = 3;
const STORAGE_FAILED: u8 = 4;
const BROKEN: u8 = 5;
const SUPERSEDED: u8 = 6;
const INTERRUPTED: u8 = 130;

/// Where a started node can be found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    /// `None` on a node without clients.
    pub(crate) client: Option<SocketAddr>,
    pub(crate) http: SocketAddr,
}

/// The verb `serve`.
pub(crate) fn run_configured(args: &ServeArgs) -> Result<ExitCode> {
    let raw = RawConfig::gather(&args.config.config, environment(), &args.config.overrides);
    match Config::from_raw(raw) {
        Ok(config) => run(config, args.store, |addresses| {
            let client = addresses.client.map(|address| address.to_string());
            tracing::info!(client, http = %addresses.http, "node is up");
            Ok(())
        }),
        Err(complaints) => {
            complaints.iter().for_each(|it| output::complain(&anyhow::anyhow!("{it}")));
            bail!("the configuration has {} errors; nothing was started", complaints.len());
        }
    }
}

/// Runs a node until somebody or something ends it. `announce` hears when clients can come.
pub(crate) fn run(
    mut config: Config,
    store: StoreArgs,
    announce: impl FnOnce(Addresses) -> Result<()>,
) -> Result<ExitCode> {
    let telemetry = Telemetry::start(&config.log)?;
    let local = config.store.as_ref().filter(|engine| !matches!(engine, StoreConfig::Sql(_)));
    let opened = local.map(|engine| open_stores(engine, store)).transpose()?;
    let (stores, rocks) = opened.map_or((None, None), |(stores, rocks)| (Some(stores), rocks));
    config.set_incarnation(SystemClock.unix_ms())?;
    let node_secret = keys::node_secret(&config.data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("sterna-core")
        .build()
        .context("cannot start the runtime")?;
    let threads = start_threads(&config)?;
    let code = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let upkeep = Tasks::new();
        let mut stores = match &config.store {
            Some(StoreConfig::Sql(database)) => tokio::select! {
                connected = connect_database(database, store) => {
                    let (sql, stores) = connected?;
                    upkeep.spawn("sql upkeep", keep_sql(upkeep.clone(), sql));
                    Some(stores)
                }
                () = signals.end() => return Ok(ExitCode::from(INTERRUPTED)),
            },
            _ => stores,
        };
        let shared = connect_redis(&mut config, &upkeep)?;
        let kept = match &mut stores {
            Some(stores) => Some(put_in_front(&mut config, stores, shared)?),
            None => None,
        };
        let archive = kept.as_ref().and_then(|kept| kept.archive.clone());
        let worked_on = WorkedOn { archive, rocks };
        let metrics = telemetry.metrics.clone();
        let parts = (config, stores, worked_on);
        let running = Running::start(parts, threads.as_ref(), node_secret, metrics).await?;
        if let Some(kept) = kept {
            running.keep(kept);
        }
        if let Err(error) = announce(running.addresses()) {
            running.stop(Duration::ZERO, String::new()).await;
            return Err(error);
        }
        let ending = running.wait(&mut signals).await;
        tracing::info!(?ending, "node is leaving");
        // A second signal means now, whatever is still open.
        let code = tokio::select! {
            code = running.end(ending) => code,
            () = signals.end() => ExitCode::from(INTERRUPTED),
        };
        upkeep.shutdown(Duration::from_secs(1)).await;
        Ok(code)
    });
    // In order they have nothing left to do; otherwise this is the end of it.
    if let Some(threads) = threads
        && !runtime.block_on(threads.end(SHUTDOWN))
    {
        tracing::warn!("a thread of workers has not ended in time");
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(telemetry);
    code
}

/// Those of workers and shards; `None` for a node without clients, whose shards need none.
pub(crate) fn start_threads(config: &Config) -> Result<Option<Threads>> {
    let threads = config.clients.as_ref().map(|clients| Threads::start(clients.workers));
    threads.transpose().context("cannot start the threads of workers")
}

/// Redis, if there is one, which is looked after from now on; given to whoever keeps pages there.
fn connect_redis(config: &mut Config, upkeep: &Tasks) -> Result<Option<RedisStore>> {
    let Some(cluster) = &mut config.cluster else { return Ok(None) };
    let Some(redis) = cluster.redis.take() else { return Ok(None) };
    let redis = open_redis(redis)?;
    cluster.volatile = Some(redis.stores());
    let shared = config.pages_in_redis.then(|| redis.clone());
    upkeep.spawn("redis", watch_redis(upkeep.clone(), redis));
    Ok(shared)
}

/// Puts before the stores what the core knows nothing of: an archive, caches of pages, what channels
/// keep.
fn put_in_front(
    config: &mut Config,
    stores: &mut Stores,
    shared: Option<RedisStore>,
) -> Result<Kept> {
    let is_shared = matches!(config.store, Some(StoreConfig::Sql(_)));
    let (archive, retention) = (config.archive.take(), config.retention.clone());
    let caches = |stores: &mut Stores| pages::put_in_front(stores, config.pages.as_ref(), shared);
    keeping::open(archive, retention, stores, is_shared, caches)
}

/// Why a node ends.
#[derive(Debug)]
enum Ending {
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
    fn keep(&self, Kept { archive, sweeping }: Kept) {
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

    async fn wait(&self, signals: &mut Signals) -> Ending {
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

    async fn end(self, ending: Ending) -> ExitCode {
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

enum Word {
    /// SIGTERM, SIGINT.
    End,
    /// SIGHUP: read the certificate again.
    Reload,
}

/// What the operating system and the terminal say.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Word {
        tokio::select! {
            _ = self.terminate.recv() => Word::End,
            _ = self.interrupt.recv() => Word::End,
            _ = self.hang_up.recv() => Word::Reload,
        }
    }

    /// Asked to end once more.
    async fn end(&mut self) {
        while !matches!(self.next().await, Word::End) {}
    }
}
