//! A node inside this process, for measuring: loopback, memory, keys in a directory that goes with
//! it, and limits that one machine alone does not reach.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use metrics_exporter_prometheus::PrometheusBuilder;
use sterna_core::Threads;
use sterna_proto::v1;
use tempfile::TempDir;

use crate::args::{ConnectArgs, DevArgs, StoreArgs};
use crate::config::StoreConfig;
use crate::dev;
use crate::jobs::WorkedOn;
use crate::keys::{self, DevKeys};
use crate::running::Running;
use crate::serve;
use crate::stores;

/// Nobody is left who would have to move.
const NO_DRAIN: Duration = Duration::ZERO;

/// Far above what a bench does in a minute.
const PATH_CHANGES_PER_MINUTE: u32 = 100_000;

/// How long its threads may take to end, with nothing left to do.
const THREADS_END: Duration = Duration::from_secs(10);

pub(super) struct PrivateNode {
    running: Running,
    threads: Option<Threads>,
    home: TempDir,
}

impl PrivateNode {
    pub(super) async fn start() -> Result<Self> {
        let home = tempfile::Builder::new().prefix("sterna-bench-").tempdir()?;
        let args = DevArgs {
            data_dir: home.path().to_owned(),
            client_ip: Ipv4Addr::LOCALHOST.into(),
            client_port: 0,
            http_port: 0,
            workers: Some(2),
            store: StoreArgs::default(),
            log: "off".into(),
        };
        let mut config = dev::config(&args, &DevKeys::ensure(home.path())?)?;
        let store = StoreConfig::Memory;
        config.core.durability = v1::Durability::Memory;
        if let Some(clients) = &mut config.clients {
            clients.limits.path_changes_per_minute = PATH_CHANGES_PER_MINUTE;
        }
        let (stores, _) = stores::open_stores(&store, StoreArgs::default())?;
        config.store = Some(store);
        let node_secret = keys::node_secret(home.path())?;
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let threads = serve::start_threads(&config)?;
        let parts = (config, Some(stores), WorkedOn::default());
        let running = Running::start(parts, threads.as_ref(), node_secret, metrics)
            .await
            .context("the private node does not start")?;
        Ok(Self { running, threads, home })
    }

    /// How a client verb finds it.
    pub(super) fn connect_args(&self) -> Result<ConnectArgs> {
        let client = self.running.addresses().client.context("a private node has clients")?;
        let server = client.to_string();
        super::connect_args(server, self.home.path().to_owned())
    }

    pub(super) async fn stop(self) {
        self.running.stop(NO_DRAIN, String::new()).await;
        if let Some(threads) = self.threads {
            threads.end(THREADS_END).await;
        }
    }
}
