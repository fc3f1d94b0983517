//! Redis servers for tests: one alone, or a Cluster of three nodes. Nothing is kept on a disk, as
//! Sterna runs Redis: what a server forgets at its end is lost, which is what tests are after.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use redis::{Client, FromRedisValue, RedisResult};
use tempfile::TempDir;

use crate::process::Process;

/// A server on a free port of loopback.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    ports: Ports,
    settings: Vec<String>,
    directory: TempDir,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with further settings as `redis-server` takes them: `["--maxmemory", "1mb"]`.
    pub fn start_with(settings: &[&str]) -> Self {
        let settings: Vec<String> = settings.iter().map(|&text| text.to_owned()).collect();
        for _ in 0..STARTS {
            let directory = tempfile::tempdir().expect("a directory for the server");
            let ports = Ports::free();
            let process = launch(ports, directory.path(), &settings);
            let mut server = Self { process, ports, settings: settings.clone(), directory };
            if server.is_up() {
                return server;
            }
        }
        panic!("redis-server does not start on any of {STARTS} ports");
    }

    pub fn port(&self) -> u16 {
        self.ports.clients
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.ports.clients)
    }

    /// Runs one command and fails the test if the server refuses it.
    pub fn command<T: FromRedisValue>(&self, parts: &[&str]) -> T {
        self.try_command(parts).unwrap_or_else(|error| panic!("{parts:?}: {error}"))
    }

    /// Runs one command on a connection of its own.
    pub fn try_command<T: FromRedisValue>(&self, parts: &[&str]) -> RedisResult<T> {
        let mut connection = Client::open(self.url())?.get_connection_with_timeout(PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        let mut command = redis::cmd(parts[0]);
        command.arg(&parts[1..]);
        command.query(&mut connection)
    }

    /// Removes all keys that begin with a prefix: a flush for one of several users of a server.
    pub fn forget(&self, prefix: &str) {
        let forget = || -> RedisResult<()> {
            let mut connection = Client::open(self.url())?.get_connection_with_timeout(PATIENCE)?;
            let mut scan = redis::cmd("SCAN");
            scan.cursor_arg(0).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(1000);
            let keys: RedisResult<Vec<Vec<u8>>> = scan.iter(&mut connection)?.collect();
            for key in keys? {
                redis::cmd("DEL").arg(key).exec(&mut connection)?;
            }
            Ok(())
        };
        forget().unwrap_or_else(|error| panic!("keys of {prefix}: {error}"));
    }

    /// Ends the server as a crash does; everything in it is lost.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port, empty, killing it first if it runs.
    pub fn restart(&mut self) {
        self.process.kill();
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.process = launch(self.ports, self.directory.path(), &self.settings);
            if self.is_up() {
                return;
            }
            // Somebody may have had the port for a moment, as that of an outgoing connection.
            assert!(Instant::now() < deadline, "port {} is not free again", self.ports.clients);
        }
    }

    /// SIGSTOP: connections stay, nothing is answered.
    pub fn pause(&self) {
        self.process.pause();
    }

    /// SIGCONT after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Waits for the first answer; false if the process ends instead.
    fn is_up(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while self.process.is_running() {
            match self.try_command::<redis::Value>(&["PING"]) {
                Ok(_) => return true,
                // It wants a password or TLS, so it is there.
                Err(error) if !error.is_io_error() => return true,
                Err(_) if self.settings.iter().any(|setting| setting == "--tls-port") => {
                    if TcpListener::bind((Ipv4Addr::LOCALHOST, self.ports.clients)).is_err() {
                        return true;
                    }
                }
                Err(error) => assert!(Instant::now() < deadline, "no answer: {error}"),
            }
            thread::sleep(LOOK_AGAIN);
        }
        false
    }
}

/// Three nodes that share all slots and have no replicas.
#[derive(Debug)]
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts the nodes, deals out the slots and waits until each calls the cluster whole.
    pub fn start() -> Self {
        let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        let nodes: Vec<_> = (0..3).map(|_| RedisServer::start_with(&settings)).collect();
        for (node, (first, last)) in nodes.iter().zip(SHARES) {
            let (first, last) = (first.to_string(), last.to_string());
            node.command::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        }
        for node in &nodes[1..] {
            let (port, bus) = (node.ports.clients.to_string(), node.ports.bus.to_string());
            nodes[0].command::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        let cluster = Self { nodes };
        cluster.wait_until_whole();
        cluster
    }

    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// Waits until every node sees all slots served.
    pub fn wait_until_whole(&self) {
        let deadline = Instant::now() + PATIENCE;
        let is_whole = |node: &RedisServer| {
            let info = node.try_command::<String>(&["CLUSTER", "INFO"]).unwrap_or_default();
            let nodes = node.try_command::<String>(&["CLUSTER", "NODES"]).unwrap_or_default();
            info.contains("cluster_state:ok") && nodes.lines().count() == self.nodes.len()
        };
        while !self.nodes.iter().all(is_whole) {
            assert!(Instant::now() < deadline, "the cluster is not whole");
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Which of the nodes serves a slot, as the first one sees it.
    pub fn owner(&self, slot: u16) -> usize {
        type Row = (u16, u16, (String, u16, String, Vec<String>));
        let rows: Vec<Row> = self.nodes[0].command(&["CLUSTER", "SLOTS"]);
        let row = rows.iter().find(|row| (row.0..=row.1).contains(&slot));
        let port = row.unwrap_or_else(|| panic!("slot {slot} is served by nobody")).2.1;
        self.nodes.iter().position(|node| node.port() == port).expect("a node of ours")
    }

    /// From now on `from` answers ASK for keys of the slot that it does not have.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let (source, target) = (self.id(from), self.id(to));
        self.nodes[to].command::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]);
        self.nodes[from].command::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]);
    }

    /// Moves the slot's keys that are there now.
    pub fn move_keys(&self, slot: u16, from: usize, to: usize) {
        let (slot, port) = (slot.to_string(), self.nodes[to].port().to_string());
        loop {
            let keys: Vec<String> =
                self.nodes[from].command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            if keys.is_empty() {
                return;
            }
            let mut parts = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            parts.extend(keys.iter().map(String::as_str));
            self.nodes[from].command::<()>(&parts);
        }
    }

    /// Everybody learns the slot's new place: `from` answers MOVED.
    pub fn end_move(&self, slot: u16, to: usize) {
        let (slot, target) = (slot.to_string(), self.id(to));
        // The new place first, so that there is always one that serves the slot.
        let mut order: Vec<_> = (0..self.nodes.len()).collect();
        order.sort_by_key(|node| *node != to);
        for node in order {
            self.nodes[node].command::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
        }
    }

    fn id(&self, node: usize) -> String {
        self.nodes[node].command(&["CLUSTER", "MYID"])
    }
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    clients: u16,
    /// Between the nodes of a Cluster.
    bus: u16,
}

impl Ports {
    fn free() -> Self {
        // Held together, so that they differ.
        let listeners = [(); 2].map(|()| {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on loopback")
        });
        let [clients, bus] =
            listeners.each_ref().map(|listener| listener.local_addr().expect("it is bound").port());
        Self { clients, bus }
    }
}

fn launch(ports: Ports, directory: &Path, settings: &[String]) -> Process {
    let is_tls = settings.iter().any(|setting| setting == "--tls-port");
    let mut arguments = vec![
        ["--bind", "127.0.0.1"].map(str::to_owned),
        ["--port".to_owned(), if is_tls { 0 } else { ports.clients }.to_string()],
        ["--dir".to_owned(), directory.display().to_string()],
        ["--logfile".to_owned(), directory.join("redis.log").display().to_string()],
        ["--save", ""].map(str::to_owned),
        ["--appendonly", "no"].map(str::to_owned),
    ];
    if settings.iter().any(|setting| setting == "--cluster-enabled") {
        arguments.push(["--cluster-port".to_owned(), ports.bus.to_string()]);
    }
    let settings = settings.iter().map(|text| match text.as_str() {
        PORT_HERE => ports.clients.to_string(),
        _ => text.clone(),
    });
    let arguments: Vec<String> = arguments.into_iter().flatten().chain(settings).collect();
    Process::start("redis-server", &arguments)
}

/// Stands for the server's port in the settings of [`RedisServer::start_with`], as for `--tls-port`.
pub const PORT_HERE: &str = "PORT";

/// The slots of the three nodes.
const SHARES: [(u16, u16); 3] = [(0, 5461), (5462, 10_922), (10_923, 16_383)];

/// Ports tried; another process may take one between our look and the server's.
const STARTS: usize = 5;

/// A machine under load may need this long; whole runs of tests wait on it, none asserts it.
const PATIENCE: Duration = Duration::from_secs(30);

const LOOK_AGAIN: Duration = Duration::from_millis(20);
