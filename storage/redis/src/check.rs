//! What an operator should know of the servers before trusting them with anything.

use std::collections::HashMap;

use redis::InfoDict;
use redis::aio::MultiplexedConnection;
use sterna_storage::StorageError;

use crate::RedisStore;
use crate::calls::told;
use crate::topology::{self, Address};

/// All servers, and what is to be seen to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisReport {
    /// Those that serve slots, by address.
    pub nodes: Vec<NodeReport>,
    /// Each a sentence for the operator. Nothing in them is fatal: Redis may lose everything.
    pub warnings: Vec<String>,
}

/// One server. What it does not tell is `None`, as where CONFIG is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// `host:port`.
    pub address: String,
    /// As the server says it, such as `7.2.4`.
    pub version: String,
    /// `standalone` or `cluster`.
    pub mode: Option<String>,
    /// `maxmemory-policy`.
    pub eviction: Option<String>,
    /// `cluster_state` of a node of a Cluster: `ok` or `fail`.
    pub cluster_state: Option<String>,
}

impl RedisStore {
    /// Asks every server for its version and settings. Fails if one of them cannot be reached.
    pub async fn check(&self) -> Result<RedisReport, StorageError> {
        let mut addresses: Vec<Address> =
            topology::runs(&self.calls).await?.into_iter().map(|run| run.node).collect();
        addresses.sort();
        addresses.dedup();
        let mut nodes = Vec::with_capacity(addresses.len());
        for address in addresses {
            nodes.push(self.ask(&address).await?);
        }
        let is_cluster = self.calls.connector().config().cluster;
        let warnings = nodes.iter().flat_map(|node| node.warnings(is_cluster)).collect();
        Ok(RedisReport { nodes, warnings })
    }

    async fn ask(&self, (host, port): &Address) -> Result<NodeReport, StorageError> {
        let connector = self.calls.connector();
        let mut node = connector.connect_node((host, *port), |_| {}).await.map_err(told)?;
        let info: InfoDict =
            redis::cmd("INFO").arg("server").query_async(&mut node).await.map_err(told)?;
        let mode: Option<String> = info.get("redis_mode");
        let cluster_state = match mode.as_deref() {
            Some("cluster") => {
                let info = redis::cmd("CLUSTER").arg("INFO").query_async(&mut node).await;
                info.map_err(told).map(|text: String| setting(&text, "cluster_state:"))?
            }
            _ => None,
        };
        Ok(NodeReport {
            address: format!("{host}:{port}"),
            version: info.get("redis_version").unwrap_or_default(),
            mode,
            eviction: eviction(&mut node).await,
            cluster_state,
        })
    }
}

/// Hosted servers often forbid CONFIG; then nobody knows from here.
async fn eviction(node: &mut MultiplexedConnection) -> Option<String> {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("maxmemory-policy");
    let mut found: HashMap<String, String> = command.query_async(node).await.ok()?;
    found.remove("maxmemory-policy")
}

fn setting(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

impl NodeReport {
    fn warnings(&self, is_cluster: bool) -> Vec<String> {
        let address = &self.address;
        let mut warnings = Vec::new();
        if !self.is_new_enough() {
            let version = &self.version;
            warnings.push(format!("{address} has version {version}; 7.0 or newer is needed"));
        }
        if let Some(policy) = self.eviction.as_ref().filter(|policy| *policy != "noeviction") {
            warnings.push(format!(
                "{address} has maxmemory-policy {policy}: when memory is short it drops sessions \
                 (sess:, edge:), routes (route:, rpv:), presence (pres:), idempotency keys (idem:) \
                 and the loss sentinel (boot:) without a word; set noeviction"
            ));
        }
        match (self.mode.as_deref(), is_cluster) {
            (Some("cluster"), false) => {
                warnings.push(format!("{address} is a node of a Cluster; set cluster = true"));
            }
            (Some("standalone"), true) => {
                warnings.push(format!("{address} is no node of a Cluster; set cluster = false"));
            }
            _ => {}
        }
        if let Some(state) = self.cluster_state.as_ref().filter(|state| *state != "ok") {
            warnings.push(format!("{address} says cluster_state {state}; see CLUSTER NODES"));
        }
        warnings
    }

    fn is_new_enough(&self) -> bool {
        let major = self.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        major.is_some_and(|major| major >= OLDEST_MAJOR)
    }
}

/// The first with sharded publishing, errors of scripts as tables and SET with NX and GET.
const OLDEST_MAJOR: u32 = 7;
