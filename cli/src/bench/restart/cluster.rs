//! A private cluster: processes of this program on loopback, with keys and certificates of their
//! own. Everything goes with it.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rand::Rng as _;
use serde_json::json;
use sterna_proto::NodeId;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::args::{AuthorityArgs, ConnectArgs, NodeCertificateArgs};
use crate::bench::args::RestartArgs;
use crate::bench::field;
use crate::keys::{self, DevKeys};
use crate::verbs::certificate;
use crate::verbs::operator::Operator;

/// How long clients may take to leave a node.
const DRAIN_MS: u64 = 5000;

/// How long a node may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Enough to see why a node has ended.
const LAST_LINES: usize = 12;

/// Certificates are for one run.
const DAYS: u64 = 2;

pub(super) struct Cluster {
    home: TempDir,
    nodes: Vec<Node>,
    /// Where clients begin.
    edges: Vec<SocketAddr>,
}

struct Node {
    name: String,
    http: SocketAddr,
    operator: Operator,
    child: Option<Child>,
}

/// What a node is to be.
struct Plan {
    name: String,
    role: &'static str,
    link: SocketAddr,
    client: SocketAddr,
    http: SocketAddr,
}

impl Cluster {
    pub(super) async fn start(args: &RestartArgs) -> Result<Self> {
        let home = field::home(args.directory.as_deref())?;
        let keys = DevKeys::ensure(home.path())?;
        let links = home.path().join("links");
        certificate::make_authority(&AuthorityArgs { dir: links.clone(), days: DAYS })?;
        let api_key = keys::read_secret(&keys.api_key).map_err(anyhow::Error::msg)?;
        let mut cluster = Self { home, nodes: Vec::new(), edges: Vec::new() };
        let mut seeds: Vec<String> = Vec::new();
        let roles = (1..=args.cores()).map(|n| (format!("c{n}"), "core"));
        for (name, role) in roles.chain((1..=args.edges).map(|n| (format!("e{n}"), "edge"))) {
            let plan = Plan {
                name,
                role,
                link: free_address()?,
                client: free_address()?,
                http: free_address()?,
            };
            certificate::make_node(&NodeCertificateArgs {
                dir: links.clone(),
                cluster: NodeId::new("bench")?,
                name: NodeId::new(&plan.name)?,
                roles: vec![role.to_owned()],
                days: DAYS,
                out: None,
            })?;
            let config = plan.config(cluster.home.path(), &keys, &links, &seeds, args)?;
            std::fs::write(cluster.config(&plan.name), config)?;
            match role {
                "core" => seeds.push(plan.link.to_string()),
                _ => cluster.edges.push(plan.client),
            }
            let operator = Operator::new(plan.http, &api_key);
            let (name, http) = (plan.name, plan.http);
            cluster.nodes.push(Node { name: name.clone(), http, operator, child: None });
            cluster.launch(&name)?;
        }
        for node in &cluster.nodes {
            node.wait_until_ready().await?;
        }
        Ok(cluster)
    }

    /// In the order in which they are restarted: who owns channels first.
    pub(super) fn names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// How the client verbs find the n-th edge, counted round.
    pub(super) fn connect_args(&self, n: usize) -> Result<ConnectArgs> {
        let edge = self.edges[n % self.edges.len()];
        crate::bench::connect_args(edge.to_string(), self.home.path().to_owned())
    }

    /// Drains a node, waits until it has ended, and starts it again.
    pub(super) async fn restart(&mut self, name: &str) -> Result<()> {
        let node = self.node(name)?;
        let operator = node.operator.clone();
        let order = json!({ "deadline_ms": DRAIN_MS });
        tokio::task::spawn_blocking(move || operator.post("/api/v1/drain", &order)).await??;
        let child = node.child.as_mut().context("it runs")?;
        let status = timeout(PATIENCE, child.wait())
            .await
            .with_context(|| format!("{name} does not end"))??;
        ensure!(status.success(), "{name} ended with {status}:\n{}", self.last_words(name));
        self.launch(name)?;
        self.node(name)?.wait_until_ready().await
    }

    pub(super) async fn stop(mut self) {
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                // Nobody is left who would have to move.
                let _ = child.kill().await;
            }
        }
    }

    fn launch(&mut self, name: &str) -> Result<()> {
        let config = self.config(name);
        let log = self.home.path().join(format!("{name}.log"));
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(field::program()?);
        command.args(["serve", "--wait-for-store", "30", "--config"]).arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        self.node(name)?.child = Some(child);
        Ok(())
    }

    /// The end of a node's log.
    fn last_words(&self, name: &str) -> String {
        let log = std::fs::read_to_string(self.home.path().join(format!("{name}.log")));
        let log = log.unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    fn node(&mut self, name: &str) -> Result<&mut Node> {
        let found = self.nodes.iter_mut().find(|node| node.name == name);
        found.with_context(|| format!("there is no node {name}"))
    }

    fn config(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(format!("{name}.toml"))
    }
}

impl Node {
    async fn wait_until_ready(&self) -> Result<()> {
        let began = Instant::now();
        while !self.is_ready().await {
            if began.elapsed() > PATIENCE {
                bail!("{} does not become ready", self.name);
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let ask = async {
            let mut stream = tokio::net::TcpStream::connect(self.http).await?;
            let request = "GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
        };
        ask.await.unwrap_or(false)
    }
}

impl Plan {
    fn config(
        &self,
        home: &Path,
        keys: &DevKeys,
        links: &Path,
        seeds: &[String],
        args: &RestartArgs,
    ) -> Result<String> {
        let Self { name, role, link, client, http } = self;
        let data = home.join(name);
        let mut text = String::new();
        write!(
            text,
            "[node]\nname = \"{name}\"\nroles = [\"{role}\"]\ndata_dir = {data:?}\n\
             [http]\naddress = \"{http}\"\n\
             [[http.api_keys]]\nid = \"bench\"\nsecret_file = {api:?}\n\
             [[auth.keys]]\nalgorithm = \"HS256\"\nfile = {secret:?}\n\
             [cluster]\naddress = \"{link}\"\ncertificate = {certificate:?}\n\
             private_key = {key:?}\nauthorities = {authorities:?}\nseeds = {seeds:?}\n\
             [channels]\ncreate_on_first_use = true\n[log]\nfilter = \"info\"\n",
            api = keys.api_key,
            secret = keys.token_secret,
            certificate = links.join(format!("{name}.pem")),
            key = links.join(format!("{name}.key")),
            authorities = links.join("authority.pem"),
        )?;
        if *role == "edge" {
            write!(
                text,
                "[client]\naddress = \"{client}\"\nworkers = 1\ncertificate = {chain:?}\n\
                 private_key = {key:?}\naddress_connections_per_second = 100000\n\
                 address_connection_burst = 100000\naddress_connections_open = 60000\n",
                chain = keys.tls.certificate_chain,
                key = keys.tls.private_key,
            )?;
        } else if let Some(url) = &args.database {
            write!(text, "[store]\nengine = \"sql\"\nurls = [\"{url}\"]\n")?;
        } else {
            write!(text, "[store]\nengine = \"rocksdb\"\ndirectory = {:?}\n", home.join("store"))?;
        }
        Ok(text)
    }
}

/// A node that starts again needs the port that others know: below the range from which systems
/// give ports to whoever wants any.
fn free_address() -> Result<SocketAddr> {
    for _ in 0..1000 {
        let port = rand::rng().random_range(20_000..32_000);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match (UdpSocket::bind(address), TcpListener::bind(address)) {
            (Ok(_), Ok(_)) => return Ok(address),
            (Err(error), _) | (_, Err(error)) if error.kind() == ErrorKind::AddrInUse => {}
            (Err(error), _) | (_, Err(error)) => return Err(error.into()),
        }
    }
    bail!("no port is free between 20000 and 32000");
}
