//! What lies between nodes and the database, and how it is cut: a network of hosts in namespaces
//! where the machine has that, or else relays, which come between fewer of them: a relay stands
//! before a node and not between two.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sterna_relay::{Direction, Impairment, Relay, RelayConfig};
use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::network::{Host, Network};
use sterna_test_engines::{MariaDb, Site, commits};

/// The other end of a way that leads to the database.
pub(super) const DATABASE: &str = "database";

/// See the module.
pub(super) enum Wires {
    /// Loopback, which nobody cuts.
    Whole,
    /// The same, with a relay before the database that knows a COMMIT.
    Commits(Option<commits::Relay>),
    /// Each node and the database on a host of its own.
    Hosts(Option<Network>, Option<Host>),
    /// Before the links of each node, and before the database as each core sees it.
    Relays { nodes: BTreeMap<&'static str, Relay>, databases: BTreeMap<&'static str, Relay> },
}

/// Which way nothing passes any more, seen from the first of two.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    Both,
    There,
    Back,
}

impl Wires {
    /// The error is why this machine has no namespaces.
    pub(super) fn hosts() -> Result<Self, String> {
        Ok(Self::Hosts(Some(Network::make()?), None))
    }

    pub(super) fn commits() -> Self {
        Self::Commits(None)
    }

    pub(super) fn relays() -> Self {
        Self::Relays { nodes: BTreeMap::new(), databases: BTreeMap::new() }
    }

    /// A cluster without nodes, and a running database.
    pub(super) async fn begin(&mut self) -> (Cluster, MariaDb) {
        let (mut network, mut site) = (None, Site::HERE);
        if let Self::Hosts(made, database) = self {
            network = made.take();
            let host = network.as_mut().map(Network::add_host);
            if let Some(host) = &host {
                site = Site { address: host.address, launcher: host.launcher() };
            }
            *database = host;
        }
        let database = tokio::task::block_in_place(|| MariaDb::start_at(site, &[]));
        (Cluster::on(network).await, database)
    }

    /// Where a core finds the database.
    pub(super) async fn database_url(
        &mut self,
        core: &'static str,
        url: &str,
        port: u16,
    ) -> String {
        if let Self::Commits(relay) = self {
            return match relay {
                Some(relay) => relay.url(url, port),
                None => relay.insert(commits::Relay::start(port).await).url(url, port),
            };
        }
        let Self::Relays { databases, .. } = self else { return url.to_owned() };
        let relay = start_relay(SocketAddr::from(([127, 0, 0, 1], port))).await;
        let url = url.replace(&format!(":{port}/"), &format!(":{}/", relay.address().port()));
        databases.insert(core, relay);
        url
    }

    /// What a node's configuration says of the address at which others reach it.
    pub(super) async fn advertised(&mut self, node: &'static str) -> Option<String> {
        let Self::Relays { nodes, .. } = self else { return None };
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let relay = nodes.entry(node).or_insert(start_relay(nowhere).await);
        Some(format!("cluster.advertise={}", relay.address()))
    }

    /// The node will be there.
    pub(super) fn lead_to(&self, node: &str, address: SocketAddr) {
        if let Self::Relays { nodes, .. } = self {
            nodes[node].set_target(address);
        }
    }

    /// The relay that knows a COMMIT.
    pub(super) fn commit_relay(&self) -> &commits::Relay {
        match self {
            Self::Commits(Some(relay)) => relay,
            _ => panic!("no COMMIT passes a relay here"),
        }
    }

    /// From now on nothing passes between two nodes, or a core and the database.
    pub(super) fn cut(&self, cluster: &Cluster, from: &str, to: &str, cut: Cut) {
        match self {
            Self::Whole | Self::Commits(_) => {}
            Self::Hosts(_, database) => {
                let Some((network, database)) = cluster.network().zip(database.as_ref()) else {
                    return;
                };
                let address = |name| match name {
                    DATABASE => database.address.into(),
                    node => cluster.address(node).ip(),
                };
                let (from, to) = (address(from), address(to));
                if matches!(cut, Cut::Both | Cut::There) {
                    network.cut(from, to);
                }
                if matches!(cut, Cut::Both | Cut::Back) {
                    network.cut(to, from);
                }
            }
            Self::Relays { databases, .. } if to == DATABASE => databases[from].block(),
            Self::Relays { nodes, .. } => {
                // What lies before an edge nobody may ever use.
                let relay = &nodes[to];
                let nothing = Impairment { loss: 1.0, ..Impairment::default() };
                if matches!(cut, Cut::Both | Cut::There) {
                    relay.set(Direction::Up, nothing);
                }
                if matches!(cut, Cut::Both | Cut::Back) {
                    relay.set(Direction::Down, nothing);
                }
            }
        }
    }

    /// Everything passes again.
    pub(super) fn mend(&self, cluster: &Cluster) {
        match self {
            Self::Whole | Self::Commits(_) => {}
            Self::Hosts(..) => cluster.network().into_iter().for_each(Network::mend),
            Self::Relays { nodes, databases } => {
                nodes.values().for_each(|relay| relay.set_both(Impairment::default()));
                databases.values().for_each(Relay::unblock);
            }
        }
    }
}

async fn start_relay(target: SocketAddr) -> Relay {
    Relay::start(RelayConfig::new(target)).await.unwrap()
}
