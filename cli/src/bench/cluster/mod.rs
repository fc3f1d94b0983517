//! A private cluster: processes of this program on loopback, with keys and certificates of their
//! own. Everything goes with it.

mod files;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use sterna_bench::http;
use sterna_bench::machine::{self, Usage};
use sterna_bench::server::not_for_nodes;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::field;
use crate::args::ConnectArgs;
use crate::keys::DevKeys;
use crate::verbs::operator::Operator;

pub(super) use files::{Files, NodeFiles, Shape, client_lines};

/// How long clients may take to leave a node.
const DRAIN_MS: u64 = 5000;

/// How long a node may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Enough to see why a node has ended.
const LAST_LINES: usize = 12;

pub(super) struct Cluster {
    home: TempDir,
    files: Files,
    /// As long as [`Files::nodes`]; those that do not run are `None`.
    children: Vec<Option<Child>>,
}

impl Cluster {
    /// Starts all nodes, with their files in `directory`, and waits until they are ready.
    pub(super) async fn start(shape: &Shape, directory: Option<&Path>) -> Result<Self> {
        let home = field::home(directory)?;
        let files = Files::write(home.path(), shape)?;
        let mut cluster = Self { home, files, children: Vec::new() };
        for at in 0..cluster.files.nodes.len() {
            let child = cluster.launch(at)?;
            cluster.children.push(Some(child));
        }
        for at in 0..cluster.files.nodes.len() {
            cluster.wait_until_ready(at).await?;
        }
        Ok(cluster)
    }

    /// In the order in which they are restarted: who owns channels first.
    pub(super) fn names(&self) -> Vec<String> {
        self.files.nodes.iter().map(|node| node.name.clone()).collect()
    }

    pub(super) fn keys(&self) -> &DevKeys {
        &self.files.keys
    }

    /// Where clients begin.
    pub(super) fn edges(&self) -> Vec<SocketAddr> {
        self.files.of("edge").map(|node| node.client).collect()
    }

    /// Where the nodes that run answer HTTP.
    pub(super) fn http(&self) -> Vec<SocketAddr> {
        self.running().map(|(node, _)| node.http).collect()
    }

    /// How the client verbs find the n-th edge, counted round.
    pub(super) fn connect_args(&self, n: usize) -> Result<ConnectArgs> {
        let edges = self.edges();
        let edge = edges[n % edges.len()];
        super::connect_args(edge.to_string(), self.home.path().to_owned())
    }

    /// What the nodes that run have used so far.
    pub(super) fn usage(&self) -> Result<Usage> {
        let mut sum = Usage::default();
        for (node, child) in self.running() {
            let pid = child.id().with_context(|| format!("{} has ended", node.name))?;
            let usage = machine::usage(pid)?;
            sum.cpu += usage.cpu;
            sum.resident += usage.resident;
        }
        Ok(sum)
    }

    /// Drains a node, waits until it has ended, and starts it again.
    pub(super) async fn restart(&mut self, name: &str) -> Result<()> {
        let at = self.at(name)?;
        let operator = Operator::new(self.files.nodes[at].http, &self.files.api_key);
        let order = json!({ "deadline_ms": DRAIN_MS });
        tokio::task::spawn_blocking(move || operator.post("/api/v1/drain", &order)).await??;
        let child = self.children[at].as_mut().with_context(|| format!("{name} does not run"))?;
        let status = timeout(PATIENCE, child.wait())
            .await
            .with_context(|| format!("{name} does not end"))??;
        ensure!(status.success(), "{name} ended with {status}:\n{}", self.last_words(name));
        self.children[at] = Some(self.launch(at)?);
        self.wait_until_ready(at).await
    }

    /// Ends a node as a crash does.
    pub(super) async fn kill(&mut self, name: &str) -> Result<()> {
        let at = self.at(name)?;
        let mut child = self.children[at].take().with_context(|| format!("{name} does not run"))?;
        Ok(child.kill().await?)
    }

    pub(super) async fn stop(mut self) {
        for child in &mut self.children {
            if let Some(mut child) = child.take() {
                // Nobody is left who would have to move.
                let _ = child.kill().await;
            }
        }
    }

    fn running(&self) -> impl Iterator<Item = (&NodeFiles, &Child)> {
        let nodes = self.files.nodes.iter().zip(&self.children);
        nodes.filter_map(|(node, child)| Some((node, child.as_ref()?)))
    }

    fn launch(&self, at: usize) -> Result<Child> {
        let NodeFiles { name, config, .. } = &self.files.nodes[at];
        let log = self.home.path().join(format!("{name}.log"));
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(field::program()?);
        command.args(["serve", "--wait-for-store", "30", "--config"]).arg(config);
        not_for_nodes().for_each(|name| {
            command.env_remove(name);
        });
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        command.spawn().with_context(|| format!("{name} cannot be started"))
    }

    async fn wait_until_ready(&mut self, at: usize) -> Result<()> {
        let NodeFiles { name, http, .. } = &self.files.nodes[at];
        let began = Instant::now();
        while http::get(*http, "/readyz").await.is_err() {
            if let Some(child) = &mut self.children[at]
                && let Some(status) = child.try_wait()?
            {
                bail!("{name} ended with {status}:\n{}", self.last_words(name));
            }
            if began.elapsed() > PATIENCE {
                bail!("{name} does not become ready:\n{}", self.last_words(name));
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// The end of a node's log.
    fn last_words(&self, name: &str) -> String {
        let log = std::fs::read_to_string(self.home.path().join(format!("{name}.log")));
        let log = log.unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    fn at(&self, name: &str) -> Result<usize> {
        let found = self.files.nodes.iter().position(|node| node.name == name);
        found.with_context(|| format!("there is no node {name}"))
    }
}
