//! The files of a private cluster: keys, certificates, and a configuration for each node.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rand::Rng as _;
use sterna_proto::NodeId;

use crate::args::{AuthorityArgs, NodeCertificateArgs};
use crate::keys::{self, DevKeys};
use crate::verbs::certificate;

/// What a private cluster consists of.
#[derive(Debug, Clone)]
pub(in crate::bench) struct Shape {
    pub(in crate::bench) cores: u16,
    pub(in crate::bench) edges: u16,
    /// The lines of `[store]`; one that cores share, if there are several.
    pub(in crate::bench) store: String,
    /// The Redis of all nodes.
    pub(in crate::bench) redis: Option<String>,
    /// What one edge takes.
    pub(in crate::bench) connections: u32,
}

#[derive(Debug)]
pub(in crate::bench) struct Files {
    pub(in crate::bench) keys: DevKeys,
    /// Of the HTTP interfaces of all nodes.
    pub(in crate::bench) api_key: String,
    /// Cores first.
    pub(in crate::bench) nodes: Vec<NodeFiles>,
}

/// One node, and what it is to be.
#[derive(Debug)]
pub(in crate::bench) struct NodeFiles {
    pub(in crate::bench) name: String,
    pub(in crate::bench) role: &'static str,
    pub(in crate::bench) client: SocketAddr,
    pub(in crate::bench) http: SocketAddr,
    pub(in crate::bench) config: PathBuf,
    link: SocketAddr,
}

impl Files {
    pub(in crate::bench) fn write(home: &Path, shape: &Shape) -> Result<Self> {
        let keys = DevKeys::ensure(home)?;
        let links = home.join("links");
        certificate::make_authority(&AuthorityArgs { dir: links.clone(), days: DAYS })?;
        let api_key = keys::read_secret(&keys.api_key).map_err(anyhow::Error::msg)?;
        let mut files = Self { keys, api_key, nodes: Vec::new() };
        let cores = (1..=shape.cores).map(|n| (format!("c{n}"), "core"));
        for (name, role) in cores.chain((1..=shape.edges).map(|n| (format!("e{n}"), "edge"))) {
            certificate::make_node(&NodeCertificateArgs {
                dir: links.clone(),
                cluster: NodeId::new("bench")?,
                name: NodeId::new(&name)?,
                roles: vec![role.to_owned()],
                days: DAYS,
                out: None,
            })?;
            let config = home.join(format!("{name}.toml"));
            let (link, client, http) = (free_address()?, free_address()?, free_address()?);
            let node = NodeFiles { name, role, client, http, config, link };
            std::fs::write(&node.config, files.config(&node, home, shape)?)?;
            files.nodes.push(node);
        }
        Ok(files)
    }

    /// The nodes of a role.
    pub(in crate::bench) fn of(&self, role: &str) -> impl Iterator<Item = &NodeFiles> {
        self.nodes.iter().filter(move |node| node.role == role)
    }

    fn config(&self, node: &NodeFiles, home: &Path, shape: &Shape) -> Result<String> {
        let NodeFiles { name, role, link, client, http, .. } = node;
        let (links, keys) = (home.join("links"), &self.keys);
        let seeds: Vec<String> = self.of("core").map(|core| core.link.to_string()).collect();
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
            data = home.join(name),
            api = keys.api_key,
            secret = keys.token_secret,
            certificate = links.join(format!("{name}.pem")),
            key = links.join(format!("{name}.key")),
            authorities = links.join("authority.pem"),
        )?;
        if let Some(redis) = &shape.redis {
            writeln!(text, "[redis]\nurls = [{redis:?}]")?;
        }
        match *role {
            "edge" => text.push_str(&client_lines(*client, keys, shape.connections)?),
            _ => writeln!(text, "[store]\n{}", shape.store)?,
        }
        Ok(text)
    }
}

/// An edge with limits that one machine does not reach by itself.
pub(in crate::bench) fn client_lines(
    address: SocketAddr,
    keys: &DevKeys,
    connections: u32,
) -> Result<String> {
    let mut text = String::new();
    write!(
        text,
        "[client]\naddress = \"{address}\"\nworkers = 1\ncertificate = {chain:?}\n\
         private_key = {key:?}\nconnections = {connections}\n\
         address_connections_per_second = 100000\naddress_connection_burst = 100000\n\
         address_connections_open = 60000\n\
         [sessions]\npublish_per_second = 1000000\npublish_burst = 1000000\n\
         user_publish_per_second = 1000000\nuser_publish_burst = 1000000\n\
         commands_per_second = 1000000\ncommand_burst = 1000000\n",
        chain = keys.tls.certificate_chain,
        key = keys.tls.private_key,
    )?;
    Ok(text)
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

/// Certificates are for one run.
const DAYS: u64 = 2;
