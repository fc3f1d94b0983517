//! A CQL server for tests: Apache Cassandra, which `cql.sh` beside this crate's manifest installs once.
//! One node or several, each on an address of loopback of its own, with small buffers; what was
//! acknowledged is synced, as a real server has to be set up to do.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::place::Place;
use crate::process::Process;

/// Some nodes that make one cluster, with one token each.
#[derive(Debug)]
pub struct Cassandra {
    nodes: Vec<CassandraNode>,
    port: u16,
    keyspaces: AtomicU32,
}

/// One of them.
#[derive(Debug)]
pub struct CassandraNode {
    address: Ipv4Addr,
    port: u16,
    root: PathBuf,
    process: Mutex<Option<Process>>,
    // Behind the process, so that it goes after it.
    directory: Place,
}

impl Cassandra {
    /// What the nodes say of where they are.
    pub const DATACENTER: &'static str = "datacenter1";

    /// Installs Cassandra if it is missing, which takes minutes, and starts so many nodes, one after
    /// the other.
    pub fn start(nodes: u8) -> Self {
        Self::start_with(nodes, "")
    }

    /// The same with further settings, in YAML.
    pub fn start_with(nodes: u8, more: &str) -> Self {
        let root = install();
        let (port, storage) = (free_port(), free_port());
        let nodes = (1..=nodes).map(|number| {
            let node = CassandraNode::prepare(&root, number, port, storage, more);
            node.restart();
            node
        });
        Self { nodes: nodes.collect(), port, keyspaces: AtomicU32::new(0) }
    }

    /// The single node that the tests of one binary share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cassandra> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(1))
    }

    /// `host:port` of every node.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("{}:{}", node.address, self.port)).collect()
    }

    /// Where CQL is spoken, at every node's own address.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn nodes(&self) -> &[CassandraNode] {
        &self.nodes
    }

    /// A name that no keyspace has.
    pub fn fresh_keyspace(&self) -> String {
        format!("test{}", self.keyspaces.fetch_add(1, Ordering::Relaxed))
    }
}

impl CassandraNode {
    fn prepare(root: &Path, number: u8, port: u16, storage: u16, more: &str) -> Self {
        let directory = Place::new("cassandra");
        let address = Ipv4Addr::new(127, 0, 0, number);
        let settings = settings(directory.path(), address, number, port, storage);
        write(directory.path(), "cassandra.yaml", &format!("{settings}{more}"));
        write(directory.path(), "logback.xml", &log_settings(directory.path()));
        let (root, process) = (root.to_owned(), Mutex::new(None));
        Self { address, port, root, process, directory }
    }

    /// As `kill -9`: nothing is flushed.
    pub fn kill(&self) {
        drop(self.process().take());
    }

    /// Starts it, or starts it again on the same data, and waits until it takes connections.
    pub fn restart(&self) {
        self.kill();
        let mut process = Process::start("java", &arguments(&self.root, self.directory.path()));
        let end = Instant::now() + START_LIMIT;
        while TcpStream::connect((self.address, self.port)).is_err() {
            let (waits, runs) = (Instant::now() < end, process.is_running());
            assert!(waits && runs, "Cassandra does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        *self.process() = Some(process);
    }

    /// Stops it without its knowing; connections stay and nothing answers.
    pub fn pause(&self) {
        self.process().as_ref().expect("it runs").pause();
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn go_on(&self) {
        self.process().as_ref().expect("it runs").resume();
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn install() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("cql.sh");
    let told = Command::new(&script).output().expect("bash is there");
    let said = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{}: {said}", script.display());
    PathBuf::from(String::from_utf8_lossy(&told.stdout).trim())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).expect("temporary files can be written");
}

fn settings(at: &Path, address: Ipv4Addr, number: u8, port: u16, storage: u16) -> String {
    let at = at.display();
    let mut settings = String::from(SETTINGS);
    // Tokens are given, so that no node has to look for one, and each has a third where there are
    // three.
    let token = i128::from(i64::MIN) + i128::from(u64::MAX / 3) * i128::from(number - 1);
    writeln!(
        settings,
        "initial_token: {token}
listen_address: {address}
rpc_address: {address}
native_transport_port: {port}
storage_port: {storage}
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: \"127.0.0.1:{storage}\"}}]
data_file_directories: [{at}/data]
commitlog_directory: {at}/commitlog
saved_caches_directory: {at}/caches
hints_directory: {at}/hints
cdc_raw_directory: {at}/cdc"
    )
    .expect("a string takes it");
    settings
}

fn log_settings(at: &Path) -> String {
    format!(
        "<configuration><appender name=\"F\" class=\"ch.qos.logback.core.FileAppender\">\
         <file>{}/log</file><encoder><pattern>%-5level %d{{HH:mm:ss.SSS}} %logger{{0}} %msg%n\
         </pattern></encoder></appender><root level=\"INFO\"><appender-ref ref=\"F\"/></root>\
         </configuration>",
        at.display()
    )
}

fn arguments(root: &Path, at: &Path) -> Vec<String> {
    let (lib, at) = (root.join("lib"), at.display());
    let mut arguments = OPTIONS.map(str::to_owned).to_vec();
    for package in OPENED {
        for flag in ["--add-exports", "--add-opens"] {
            arguments.extend([flag.to_owned(), format!("{package}=ALL-UNNAMED")]);
        }
    }
    arguments.extend([
        format!("-javaagent:{}", lib.join("jamm-0.4.0.jar").display()),
        format!("-Dcassandra.config=file://{at}/cassandra.yaml"),
        format!("-Dlogback.configurationFile=file://{at}/logback.xml"),
        format!("-Dcassandra.storagedir={at}"),
        "-cp".to_owned(),
        format!("{}/*", lib.display()),
        "org.apache.cassandra.service.CassandraDaemon".to_owned(),
    ]);
    arguments
}

/// Small, every commit is synced, and nobody gives up because the machine is busy.
const SETTINGS: &str = "cluster_name: sterna
read_request_timeout: 15s
range_request_timeout: 15s
write_request_timeout: 15s
cas_contention_timeout: 15s
truncate_request_timeout: 60s
request_timeout: 15s
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
auto_bootstrap: false
auto_snapshot: false
commitlog_sync: batch
commitlog_segment_size: 32MiB
commitlog_total_space: 256MiB
memtable_heap_space: 128MiB
memtable_offheap_space: 128MiB
";

/// Neither waits for neighbours that are not there.
const OPTIONS: [&str; 10] = [
    "-Xms256m",
    "-Xmx1g",
    "-Xss512k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djdk.attach.allowAttachSelf=true",
    "-Dcassandra-foreground=yes",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=100",
    "-Dcassandra.allow_unsafe_join=true",
];

/// What Cassandra reaches for inside of Java 17.
const OPENED: [&str; 27] = [
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.lang.ref",
    "java.base/java.lang.reflect",
    "java.base/java.math",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.perf",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.util",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.rmi/sun.rmi.transport.tcp",
    "java.sql/java.sql",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.internal.jvmstat/sun.jvmstat.monitor",
    "jdk.management/com.sun.management.internal",
];

/// Patience with a loaded machine, no expectation.
const START_LIMIT: Duration = Duration::from_secs(180);
