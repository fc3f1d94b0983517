//! What an operator should know of the servers before trusting them with anything.

use std::collections::HashMap;
use std::fmt;

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
    /// Nothing in them is fatal: Redis may lose everything (I6).
    pub warnings: Vec<RedisWarning>,
}

/// What is to be seen to at one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisWarning {
    /// `host:port`.
    pub address: String,
    /// What the server is or says, as the rest of a sentence about it.
    pub what: String,
    /// Why that matters.
    pub why: &'static str,
    /// What to do.
    pub fix: &'static str,
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
            nodes.push(self.ask(&address).await.map_err(|error| at(&address, error))?);
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

/// Which of them it is.
fn at((host, port): &Address, error: StorageError) -> StorageError {
    StorageError { message: format!("{host}:{port}: {}", error.message), ..error }
}

impl fmt::Display for RedisWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, what, why, fix } = self;
        write!(f, "{address} {what}: {why}; {fix}")
    }
}

impl NodeReport {
    fn warnings(&self, is_cluster: bool) -> Vec<RedisWarning> {
        let found = [self.age(), self.dropping(), self.kind(is_cluster), self.wholeness()];
        found.into_iter().flatten().collect()
    }

    fn warning(&self, what: String, why: &'static str, fix: &'static str) -> Option<RedisWarning> {
        Some(RedisWarning { address: self.address.clone(), what, why, fix })
    }

    fn age(&self) -> Option<RedisWarning> {
        if self.is_new_enough() {
            return None;
        }
        self.warning(
            format!("has version {}", self.version),
            "it does not know all commands that are sent to it",
            "upgrade it to 7.0 or newer",
        )
    }

    fn dropping(&self) -> Option<RedisWarning> {
        let policy = self.eviction.as_ref().filter(|policy| *policy != "noeviction")?;
        self.warning(
            format!("has maxmemory-policy {policy}"),
            "when memory is short it drops sessions (sess:, edge:), routes (route:, rpv:), presence \
             (pres:), idempotency keys (idem:) and the loss sentinel (boot:) without a word",
            "`CONFIG SET maxmemory-policy noeviction`, and in redis.conf",
        )
    }

    fn kind(&self, is_cluster: bool) -> Option<RedisWarning> {
        match (self.mode.as_deref(), is_cluster) {
            (Some("cluster"), false) => self.warning(
                "is a node of a Cluster".into(),
                "it refuses every key that another one serves",
                "set `redis.cluster = true`",
            ),
            (Some("standalone"), true) => self.warning(
                "is no node of a Cluster".into(),
                "it cannot be asked which node serves a key",
                "set `redis.cluster = false`",
            ),
            _ => None,
        }
    }

    fn wholeness(&self) -> Option<RedisWarning> {
        let state = self.cluster_state.as_ref().filter(|state| *state != "ok")?;
        self.warning(
            format!("says cluster_state {state}"),
            "a Cluster that is not whole answers nobody",
            "see CLUSTER NODES, and bring back or replace what has failed",
        )
    }

    fn is_new_enough(&self) -> bool {
        let major = self.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        major.is_some_and(|major| major >= OLDEST_MAJOR)
    }
}

/// The first with sharded publishing, errors of scripts as tables and SET with NX and GET.
const OLDEST_MAJOR: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeReport {
        NodeReport {
            address: "r1:6379".into(),
            version: "7.2.4".into(),
            mode: Some("cluster".into()),
            eviction: Some("noeviction".into()),
            cluster_state: Some("ok".into()),
        }
    }

    fn warned(node: &NodeReport, is_cluster: bool) -> Vec<String> {
        node.warnings(is_cluster).iter().map(RedisWarning::to_string).collect()
    }

    #[test]
    fn a_server_that_is_as_it_should_be_or_does_not_tell_is_not_warned_of() {
        assert_eq!(warned(&node(), true), Vec::<String>::new());
        let silent = NodeReport { mode: None, eviction: None, cluster_state: None, ..node() };
        assert_eq!(warned(&silent, true), Vec::<String>::new());
        assert_eq!(warned(&silent, false), Vec::<String>::new());
    }

    #[test]
    fn each_wrong_setting_is_found_with_its_fix() {
        let standalone = || NodeReport { mode: Some("standalone".into()), ..node() };
        for (node, is_cluster, what, fix) in [
            (NodeReport { version: "6.2.14".into(), ..node() }, true, "version 6.2.14", "7.0"),
            (NodeReport { version: "new".into(), ..node() }, true, "version new", "7.0"),
            (
                NodeReport { eviction: Some("allkeys-lru".into()), ..node() },
                true,
                "maxmemory-policy allkeys-lru",
                "maxmemory-policy noeviction",
            ),
            (node(), false, "a node of a Cluster", "redis.cluster = true"),
            (standalone(), true, "no node of a Cluster", "redis.cluster = false"),
            (
                NodeReport { cluster_state: Some("fail".into()), ..node() },
                true,
                "cluster_state fail",
                "CLUSTER NODES",
            ),
        ] {
            let warned = warned(&node, is_cluster);
            assert_eq!(warned.len(), 1, "{warned:?}");
            assert!(warned[0].starts_with("r1:6379 "), "{warned:?}");
            assert!(warned[0].contains(what) && warned[0].contains(fix), "{warned:?}");
        }
    }
}
