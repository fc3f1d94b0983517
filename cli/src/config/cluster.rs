//! What makes a node one of several: its roles, where it is, and its links to the others.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use sterna_core::CoreConfig;
use sterna_core::cluster::balance::BalanceConfig;
use sterna_core::cluster::placement::{MOST_WEIGHT, USUAL_WEIGHT};
use sterna_core::cluster::{ClusterConfig, NodeInfo, NodeState};
use sterna_link::{LinkConfig, LinkFiles, NodeIdentity};
use sterna_storage::volatile::VolatileStores;
use sterna_storage_redis::RedisConfig;

use super::{Config, Reader, StoreConfig};
use crate::keys;

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Roles {
    /// Has clients.
    pub(crate) edge: bool,
    /// Owns channels.
    pub(crate) core: bool,
}

/// Settings of a node's part in its cluster.
#[derive(Debug, Clone)]
pub(crate) struct ClusterSettings {
    pub(crate) roles: Roles,
    pub(crate) region: String,
    pub(crate) zone: String,
    pub(crate) links: LinkConfig,
    /// Where other nodes reach this one; empty: at the address of its links.
    pub(crate) advertise: String,
    pub(crate) beat: Duration,
    pub(crate) lease: Duration,
    pub(crate) patience: Duration,
    pub(crate) head_watch: Duration,
    /// Beside the weights of other nodes.
    pub(crate) weight: u32,
    pub(crate) balance: BalanceConfig,
    pub(crate) redis: Option<RedisConfig>,
    /// Opened from `redis`.
    pub(crate) volatile: Option<VolatileStores>,
}

impl ClusterSettings {
    /// The node as it shows itself to others. `clients`: how many connections it takes.
    pub(crate) fn to_core(
        &self,
        core: &CoreConfig,
        clients: usize,
        local_store: bool,
    ) -> ClusterConfig {
        let node = NodeInfo {
            name: core.node.clone(),
            incarnation: core.incarnation,
            edge: self.roles.edge,
            core: self.roles.core,
            local_store,
            region: self.region.clone(),
            zone: self.zone.clone(),
            link_address: self.advertise.clone(),
            client_address: String::new(),
            state: NodeState::Serving,
            sessions: 0,
            capacity: u32::try_from(clients).unwrap_or(u32::MAX),
            weight: self.weight,
        };
        let mut cluster = ClusterConfig::new(node);
        (cluster.beat, cluster.lease) = (self.beat, self.lease);
        cluster.patience = self.patience;
        cluster.balance = self.balance.clone();
        cluster.volatile = self.volatile.clone();
        cluster
    }
}

impl Config {
    /// Tells this process from every other of the same node.
    pub(crate) fn set_incarnation(&mut self, unix_ms: u64) -> anyhow::Result<()> {
        if let Some(cluster) = &self.cluster {
            self.core.incarnation = crate::incarnation::next(&self.data_dir, unix_ms)?;
            self.core.head_watch = Some(cluster.head_watch);
        }
        Ok(())
    }
}

impl Reader {
    pub(super) fn roles(&mut self) -> Option<Roles> {
        let mut roles = Roles { edge: false, core: false };
        for role in self.texts("node.roles") {
            match role.as_str() {
                "edge" => roles.edge = true,
                "core" => roles.core = true,
                _ => return self.refuse("node.roles", format!("`{role}` is none of edge, core")),
            }
        }
        if !roles.edge && !roles.core {
            return Some(Roles { edge: true, core: true });
        }
        Some(roles)
    }

    /// `Some(None)`: the node has no store and needs none.
    pub(super) fn store_of(
        &mut self,
        roles: Roles,
        data_dir: Option<&Path>,
    ) -> Option<Option<StoreConfig>> {
        if roles.core {
            return self.store(data_dir).map(Some);
        }
        if self.text("store.engine").is_some() {
            return self.refuse("store.engine", "a node that is no core has no store");
        }
        Some(None)
    }

    /// `Some(None)`: the node is alone.
    pub(super) fn cluster(&mut self, roles: Roles) -> Option<Option<ClusterSettings>> {
        let balance = self.balance(roles);
        let weight = self.integer("node.weight", USUAL_WEIGHT.into(), 1..=MOST_WEIGHT.into());
        let redis = self.redis();
        let Some(text) = self.text("cluster.address") else {
            redis?;
            if roles.edge && roles.core {
                return Some(None);
            }
            return self.missing("cluster.address");
        };
        let address = self.address("cluster.address", &text);
        let advertise = self.text("cluster.advertise").unwrap_or_default();
        let files = self.link_files(roles);
        let seeds = self.texts("cluster.seeds");
        let beat = self.duration("cluster.beat", "500ms", "50ms", "1m");
        let lease = self.duration("cluster.lease", "5s", "1s", "10m");
        let idle = self.duration("cluster.idle_timeout", "3s", "500ms", "10m");
        let patience = self.duration("cluster.patience", "5s", "1s", "1m");
        let head_watch = self.duration("cluster.head_watch", "2s", "100ms", "1h");
        let (beat, lease) = (beat?, lease?);
        if lease < beat * 3 {
            let reason = "at least three times `cluster.beat`, or one lost beat ends a node";
            return self.refuse("cluster.lease", reason);
        }
        let address = self.reachable(address?, &advertise)?;
        if !roles.core && seeds.is_empty() {
            let reason = "name at least one core, host:port: a node without a store has nobody else \
                          to ask";
            return self.refuse("cluster.seeds", reason);
        }
        let mut links = LinkConfig::new(address, files?);
        (links.seeds, links.idle_timeout) = (seeds, idle?);
        Some(Some(ClusterSettings {
            roles,
            region: self.text("node.region").unwrap_or_default(),
            zone: self.text("node.zone").unwrap_or_default(),
            links,
            advertise,
            beat,
            lease,
            patience: patience?,
            head_watch: head_watch?,
            weight: weight? as u32,
            balance: balance?,
            redis: redis?,
            volatile: None,
        }))
    }

    /// Other nodes have to be told something that they can dial.
    fn reachable(&mut self, address: SocketAddr, advertise: &str) -> Option<SocketAddr> {
        if address.ip().is_unspecified() && advertise.is_empty() {
            let reason = "name the host:port at which other nodes reach this one: \
                          `cluster.address` stands for every address of this machine";
            return self.refuse("cluster.advertise", reason);
        }
        Some(address)
    }

    fn link_files(&mut self, roles: Roles) -> Option<LinkFiles> {
        let mut file = |key: &str| self.path(key).or_else(|| self.missing(key));
        let chain = file("cluster.certificate");
        let key = file("cluster.private_key");
        let authorities = file("cluster.authorities");
        let (certificate_chain, private_key, authorities) = (chain?, key?, authorities?);
        if let Err(text) = keys::check_pair(&certificate_chain, &private_key) {
            return self.refuse("cluster.certificate", text);
        }
        if let Err(text) = keys::read_chain(&authorities) {
            return self.refuse("cluster.authorities", text);
        }
        let identity = keys::read_chain(&certificate_chain).and_then(|chain| {
            NodeIdentity::from_certificate(&chain[0]).map_err(|error| error.to_string())
        });
        let identity = match identity {
            Ok(identity) => identity,
            Err(text) => return self.refuse("cluster.certificate", text),
        };
        let named = self.text("node.name").unwrap_or_else(|| "node-1".to_owned());
        if identity.name.as_str() != named {
            let reason = format!("it is that of node `{}`, this is `{named}`", identity.name);
            return self.refuse("cluster.certificate", reason);
        }
        if (roles.edge && !identity.edge) || (roles.core && !identity.core) {
            let reason = format!("`{}` does not allow the roles of this node", identity.to_uri());
            return self.refuse("cluster.certificate", reason);
        }
        Some(LinkFiles { certificate_chain, private_key, authorities })
    }
}
