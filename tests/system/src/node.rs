//! The real node as a child process, on ports of its own and a data folder of its own: started,
//! killed, restarted in the same place, and asked through its own command line. What it printed is
//! shown when a test fails. Ends with the value: children are killed when dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Far above what a busy machine needs; reached only when something hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A node of `sterna dev`.
#[derive(Debug)]
pub struct Node {
    home: TempDir,
    data_dir: PathBuf,
    /// What the binary is started through: a program and its arguments, such as strace.
    launcher: Vec<String>,
    /// What `dev` is told beside ports and folder.
    options: Vec<String>,
    child: Option<Child>,
    client: SocketAddr,
    http: SocketAddr,
}

/// Bytes of a process in memory.
#[derive(Debug, Clone, Copy)]
pub struct Resident {
    pub now: u64,
    pub peak: u64,
}

impl Node {
    /// Starts a node on free ports and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more options of `dev`.
    pub async fn start_with(options: &[&str]) -> Self {
        let home = new_home();
        let data_dir = home.path().join("data");
        Self::start_at(home, data_dir, options).await.unwrap_or_else(|log| panic!("{log}"))
    }

    /// Starts a node whose keys and store are in this folder, or will be.
    pub async fn start_on(data_dir: PathBuf) -> Self {
        Self::try_start_on(data_dir).await.unwrap_or_else(|log| panic!("{log}"))
    }

    /// The same for a store that may be refused; the error is what the node said.
    pub async fn try_start_on(data_dir: PathBuf) -> Result<Self, String> {
        // Of the node that was here before.
        let _ = std::fs::remove_file(data_dir.join("dev.json"));
        Self::start_at(new_home(), data_dir, &[]).await
    }

    async fn start_at(home: TempDir, data_dir: PathBuf, options: &[&str]) -> Result<Self, String> {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let (launcher, client, http) = (Vec::new(), nowhere, nowhere);
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut node = Self { home, data_dir, launcher, options, child: None, client, http };
        node.spawn();
        let up_or_ended = wait_for("dev.json of the node", || {
            // In this order: what it says last, it says before it ends.
            let ended = node.child.as_mut().and_then(|child| child.try_wait().unwrap());
            node.addresses().map(Ok).or(ended.map(Err))
        });
        match up_or_ended.await {
            Ok(found) => (node.client, node.http) = found,
            Err(status) => return Err(format!("the node ended with {status}:\n{}", node.log())),
        }
        node.wait_ready().await;
        Ok(node)
    }

    /// Where clients connect, on UDP and TCP.
    pub fn client_address(&self) -> SocketAddr {
        self.client
    }

    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone()
    }

    /// Sockets that the process holds, those of half-open connections too.
    pub fn open_sockets(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap();
        // A file may be closed between the two looks.
        let targets = files.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    }

    /// Of the process that runs.
    pub fn id(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).expect("the node runs")
    }

    /// Memory of the process that is resident now, and the most that ever was.
    pub fn resident_bytes(&self) -> Resident {
        let id = self.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let bytes = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
            kib * 1024
        };
        Resident { now: bytes("VmRSS:"), peak: bytes("VmHWM:") }
    }

    /// From now on the peak is counted anew, from what is resident now.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.id()), "5").unwrap();
    }

    /// kill -9: nothing is flushed, nobody is told.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("the node runs");
        child.kill().await.unwrap();
    }

    /// SIGTERM, and the exit status that follows.
    pub async fn terminate(&mut self) -> ExitStatus {
        signal(self.child.as_ref().expect("the node runs"), libc::SIGTERM);
        self.ended().await
    }

    /// Waits until the process ends, for whatever reason.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the node runs");
        timeout(PATIENCE, child.wait()).await.expect("the node ends").unwrap()
    }

    /// The exit status, when the process ends by itself before `patience` does.
    pub async fn ended_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("the node runs");
        let status = timeout(patience, child.wait()).await.ok()?.unwrap();
        self.child = None;
        Some(status)
    }

    /// As [`restart`](Self::restart), for a node that may end instead of becoming ready.
    pub async fn try_restart(&mut self) -> Result<(), ExitStatus> {
        assert!(self.child.is_none(), "the node runs already");
        let start = Instant::now();
        loop {
            let said_before = self.log().len();
            self.spawn();
            let Err(status) = self.ready_or_ended().await else { return Ok(()) };
            self.child = None;
            // While the node was down, its port was free for anybody's outgoing connection.
            let said = self.log().get(said_before..).unwrap_or_default().to_owned();
            let is_taken = said.contains("another process uses this port");
            if !is_taken || start.elapsed() > PATIENCE {
                return Err(status);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// From the next start on the binary is started through this command; empty: directly. The
    /// launcher has to become the binary or to pass its exit status on.
    pub fn launch_through(&mut self, launcher: &[&str]) {
        self.launcher = launcher.iter().map(|&part| part.to_owned()).collect();
    }

    /// Waits until the node ends by itself.
    pub async fn wait_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the node runs");
        timeout(PATIENCE, child.wait()).await.expect("the node ends").unwrap()
    }

    /// Starts again in the same place after [`kill`](Self::kill) or
    /// [`terminate`](Self::terminate).
    pub async fn restart(&mut self) {
        if let Err(status) = self.try_restart().await {
            panic!("the node ended with {status} instead of becoming ready:\n{}", self.log());
        }
    }

    /// One of the verbs that talk to a node, against `server`.
    pub fn verb(&self, verb: &[&str], server: SocketAddr, user: &str) -> Command {
        let mut command = self.local_verb(verb);
        command.args(["--server", &server.to_string(), "--user", user]);
        command
    }

    /// A verb that reads the node's data folder.
    pub fn local_verb(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(verb).arg("--data-dir").arg(self.data_dir());
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// The text of `GET path` on the HTTP port, with the status.
    pub async fn http_get(&self, path: &str) -> std::io::Result<(u16, String)> {
        http_get(self.http, path).await
    }

    /// The sum of a metric over all its labels; `None` when it has not moved yet.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        self.metric_of(name, "").await
    }

    /// The same over those whose labels contain `label`, as in `how="new"`.
    pub async fn metric_of(&self, name: &str, label: &str) -> Option<f64> {
        sum_of_metric(&self.http_get("/metrics").await.ok()?.1, name, label)
    }

    /// What the node printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn spawn(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut words = self.launcher.iter().map(String::as_str).chain([binary_text()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .args(["dev", "--client-port", &self.client.port().to_string()])
            .args(["--http-port", &self.http.port().to_string()])
            .arg("--data-dir")
            .arg(self.data_dir())
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true);
        self.child = Some(command.spawn().unwrap());
    }

    async fn wait_ready(&mut self) {
        if let Err(status) = self.ready_or_ended().await {
            panic!("the node ended with {status} instead of becoming ready:\n{}", self.log());
        }
    }

    async fn ready_or_ended(&mut self) -> Result<(), ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                return Err(status);
            }
            let answer = timeout(Duration::from_secs(2), self.http_get("/readyz")).await;
            if matches!(answer, Ok(Ok((200, _)))) {
                return Ok(());
            }
            assert!(start.elapsed() < PATIENCE, "the node is not ready:\n{}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        let text = std::fs::read_to_string(self.data_dir().join("dev.json")).ok()?;
        // Read while it is being written: not there yet.
        let found: Value = serde_json::from_str(&text).ok()?;
        let address = |key: &str| found[key].as_str().and_then(|text| text.parse().ok());
        Some((address("client")?, address("http")?))
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("node.log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(LOG_BYTES);
            let tail: String = log.chars().skip(from).collect();
            eprintln!("--- the node's log ---\n{tail}\n---");
        }
    }
}

fn new_home() -> TempDir {
    tempfile::Builder::new().prefix("sterna-test-").tempdir().unwrap()
}

/// Status and text of `GET path` from whoever listens at `address`.
pub async fn http_get(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    http_get_with(address, path, "").await
}

/// The same with another header, which ends with a line's end.
pub async fn http_get_with(
    address: SocketAddr,
    path: &str,
    header: &str,
) -> std::io::Result<(u16, String)> {
    let mut connection = TcpStream::connect(address).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{header}Connection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// What `GET /metrics` says of a metric, summed over those of its labels that contain `label`.
pub fn sum_of_metric(text: &str, name: &str, label: &str) -> Option<f64> {
    let values: Vec<f64> = text
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']) && rest.contains(label))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse().ok())
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// Sends a signal to a child that has not been waited for.
#[allow(unsafe_code)]
pub fn signal(child: &Child, signal: i32) {
    let Some(id) = child.id() else { return };
    // SAFETY: the child has not been waited for, so its id still names it.
    unsafe { libc::kill(id as libc::pid_t, signal) };
}

/// Waits until `find` finds something.
pub async fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// The binary under test: `STERNA_BIN`, or built once from this checkout.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("STERNA_BIN") {
        Some(path) => path.into(),
        None => build(),
    })
}

fn binary_text() -> &'static str {
    binary().to_str().expect("the path of the binary is text")
}

fn build() -> PathBuf {
    let root = crate::source::root();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let status = std::process::Command::new(cargo)
        .args(["build", "--quiet", "--package", "sterna", "--bin", "sterna"])
        .current_dir(&root)
        .status()
        .unwrap();
    assert!(status.success(), "the binary did not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    target.join("debug/sterna")
}

const POLL: Duration = Duration::from_millis(20);
const LOG_BYTES: usize = 8 * 1024;
