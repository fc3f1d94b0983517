//! Several nodes of `sterna serve` with links between them: certificates from the node's own command
//! line, one process each, on loopback or each on a host of a [`Network`]. A node keeps its addresses
//! over its restarts.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::network::{Host, Network};
use crate::node::{binary, sum_of_metric};
use crate::served::{Authority, Served, run, said};

/// A cluster and the places of its nodes, running or not.
#[derive(Debug)]
pub struct Cluster {
    pub authority: Authority,
    /// Of links, beside that of clients.
    links: TempDir,
    members: BTreeMap<&'static str, Member>,
    // Behind the nodes, so that it goes after them.
    network: Option<Network>,
}

#[derive(Debug)]
struct Member {
    served: Served,
    flags: Vec<String>,
    /// Of its links.
    address: SocketAddr,
}

impl Cluster {
    pub async fn new() -> Self {
        Self::on(None).await
    }

    /// With every node on a host of its own, if there is a network.
    pub async fn on(network: Option<Network>) -> Self {
        let links = tempfile::Builder::new().prefix("sterna-links-").tempdir().unwrap();
        let mut command = Command::new(binary());
        command.args(["certificate", "authority", "--dir"]).arg(links.path());
        let output = run(command).await;
        assert!(output.status.success(), "{}", said(&output));
        Self { authority: Authority::new("clients"), links, members: BTreeMap::new(), network }
    }

    /// Makes a place for a node with these roles, as in `edge,core`, and starts it. `more` are
    /// further keys, as in `node.region=far`. Edges ask the cores that are there already.
    pub async fn add(&mut self, name: &'static str, roles: &str, more: &[&str]) {
        self.prepare(name, roles, more).await;
        self.start(name).await;
    }

    /// The same without the start.
    pub async fn prepare(&mut self, name: &'static str, roles: &str, more: &[&str]) {
        let mut command = Command::new(binary());
        command.args(["certificate", "node", "--cluster", "tests", "--name", name]);
        command.args(["--roles", roles, "--dir"]).arg(self.links.path());
        let output = run(command).await;
        assert!(output.status.success(), "{}", said(&output));
        let host = self.network.as_mut().map(Network::add_host);
        let ip = host.as_ref().map_or(Ipv4Addr::LOCALHOST, |host| host.address);
        let address = SocketAddr::from((ip, free_port()));
        let file = |kind: &str| self.links.path().join(kind).display().to_string();
        let seeds: Vec<String> = self.members.values().map(|it| it.address.to_string()).collect();
        let mut keys = vec![
            format!("node.name={name}"),
            format!("node.roles={roles}"),
            format!("cluster.address={address}"),
            format!("cluster.certificate={}", file(&format!("{name}.pem"))),
            format!("cluster.private_key={}", file(&format!("{name}.key"))),
            format!("cluster.authorities={}", file("authority.pem")),
            format!("http.address={ip}:0"),
        ];
        if roles.contains("edge") {
            keys.push(format!("client.address={ip}:{}", free_port()));
        }
        if !seeds.is_empty() {
            keys.push(format!("cluster.seeds={}", seeds.join(",")));
        }
        keys.extend(more.iter().map(|key| (*key).to_owned()));
        let flags = keys.into_iter().flat_map(|key| ["--set".to_owned(), key]).collect();
        let mut served = Served::prepare(&self.authority, "");
        served.install_certificate_of(&self.authority, 2100, &ip.to_string());
        served.launch_through(host.as_ref().map(Host::launcher).unwrap_or_default());
        self.members.insert(name, Member { served, flags, address });
    }

    /// Starts a node that does not run.
    pub async fn start(&mut self, name: &str) {
        let member = self.members.get_mut(name).expect("a node of that name");
        let flags: Vec<&str> = member.flags.iter().map(String::as_str).collect();
        member.served.start(&[], &flags).await;
    }

    /// The hosts, where nodes have some.
    pub fn network(&self) -> Option<&Network> {
        self.network.as_ref()
    }

    /// Where other nodes reach this one.
    pub fn address(&self, name: &str) -> SocketAddr {
        self.members[name].address
    }

    pub fn node(&self, name: &str) -> &Served {
        &self.members[name].served
    }

    pub fn node_mut(&mut self, name: &str) -> &mut Served {
        &mut self.members.get_mut(name).expect("a node of that name").served
    }

    /// Waits until every running node has a way to an owner.
    pub async fn ready(&self) {
        for member in self.members.values().filter(|member| member.served.is_running()) {
            member.served.wait_ready(200).await;
        }
    }

    /// Writes a secret that all nodes can read, and returns where it is.
    pub fn secret(&self, name: &str, secret: &str) -> String {
        let path = self.links.path().join(name);
        std::fs::write(&path, secret).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    /// Waits until a node knows so many, itself included.
    pub async fn knows(&self, node: &str, count: usize) {
        self.node(node).wait_metric("sterna_core_nodes_active", "", count as f64).await;
    }

    /// A verb of the command line as a user of one node.
    pub async fn verb(&self, node: &str, user: &str, verb: &[&str]) -> Command {
        self.node(node).verb(&self.authority, user, verb).await
    }

    /// The same through something that is in front of the node.
    pub async fn verb_through(
        &self,
        server: SocketAddr,
        node: &str,
        user: &str,
        verb: &[&str],
    ) -> Command {
        let node = self.node(node);
        node.verb_through(server, &self.authority, &node.token(user).await, verb)
    }

    /// A verb that reads the configuration of one node, with the keys that are told by flags.
    pub fn configured_verb(&self, node: &str, verb: &str) -> Command {
        self.configured_verbs(node, &[verb])
    }

    /// The same of a verb that has verbs of its own.
    pub fn configured_verbs(&self, node: &str, verbs: &[&str]) -> Command {
        let member = &self.members[node];
        let mut command = member.served.configured_verbs(verbs);
        command.args(&member.flags);
        command
    }

    /// The authority that clients trust, on the node's place.
    pub fn clients_ca(&self, node: &str) -> PathBuf {
        self.node(node).path("clients.pem")
    }

    /// Ends every node that runs, in the order of their names, and insists that each ends well.
    pub async fn stop(mut self) {
        let names: Vec<&'static str> = self.members.keys().rev().copied().collect();
        for name in names {
            let served = self.node_mut(name);
            if served.is_running() {
                served.signal(libc::SIGTERM);
                let status = served.ended().await;
                assert!(status.success(), "{name}: {status}\n{}", served.log());
            }
        }
    }

    /// The sum of a metric over the running nodes, of labels that contain `label`.
    pub async fn metric_of(&self, name: &str, label: &str) -> f64 {
        let mut sum = 0.0;
        for member in self.members.values().filter(|member| member.served.is_running()) {
            let (_, text) = member.served.http_get("/metrics").await;
            sum += sum_of_metric(&text, name, label).unwrap_or(0.0);
        }
        sum
    }

    /// Copies the logs of all nodes into a new folder that stays, and names it.
    pub fn keep_logs(&self) -> PathBuf {
        let folder = tempfile::Builder::new().prefix("sterna-logs-").tempdir().unwrap().keep();
        for (name, member) in &self.members {
            std::fs::write(folder.join(format!("{name}.log")), member.served.log()).unwrap();
        }
        folder
    }

    /// What one node has logged with this text.
    pub fn logged(&self, node: &str, text: &str) -> Vec<Value> {
        self.node(node).logged(text)
    }
}

/// A node that starts again has to have the port that others know, so it is chosen here. Below the
/// range from which systems give ports to clients.
fn free_port() -> u16 {
    loop {
        let port = 20_000 + rand::random::<u16>() % 12_000;
        let here = (Ipv4Addr::LOCALHOST, port);
        if UdpSocket::bind(here).is_ok() && TcpListener::bind(here).is_ok() {
            return port;
        }
    }
}
