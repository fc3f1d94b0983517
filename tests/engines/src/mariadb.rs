//! MariaDB, from the packages `mariadb-server` and `mariadb-client`.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Process;

/// A running server with a data directory of its own.
#[derive(Debug)]
pub struct MariaDb {
    port: u16,
    databases: AtomicU32,
    process: Mutex<Option<Process>>,
    // Behind the process, so that it goes after it.
    directory: TempDir,
}

impl MariaDb {
    /// Initialises a data directory, which takes seconds, and starts a server on it.
    pub fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("sterna-mariadb").tempdir();
        let directory = directory.expect("there is a place for temporary files");
        install(directory.path());
        let server = Self {
            port: free_port(),
            databases: AtomicU32::new(0),
            process: Mutex::new(None),
            directory,
        };
        server.restart();
        server.execute(&format!(
            "CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO '{USER}'@'%'"
        ));
        server
    }

    /// The server that the tests of one binary share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<MariaDb> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A URL of a new, empty database.
    pub fn fresh_url(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE DATABASE {name}"));
        format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{}/{name}", self.port)
    }

    /// Where it listens on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Executes SQL as the superuser and answers with what it prints, tabs between columns.
    pub fn execute(&self, sql: &str) -> String {
        let done = self.client(sql);
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("the client speaks UTF-8")
    }

    /// As `kill -9`: nothing is flushed.
    pub fn kill(&self) {
        drop(self.process().take());
    }

    /// Starts it again on the same data and port, and waits until it answers.
    pub fn restart(&self) {
        self.kill();
        let at = self.directory.path();
        *self.process() = Some(Process::start("mariadbd", &self.arguments()));
        let end = Instant::now() + START_LIMIT;
        while !self.client("SELECT 1").status.success() {
            let log = std::fs::read_to_string(at.join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "mariadbd does not answer:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it without its knowing; connections stay and nothing answers.
    pub fn pause(&self) {
        self.process().as_ref().expect("it runs").pause();
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn go_on(&self) {
        self.process().as_ref().expect("it runs").resume();
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, sql: &str) -> Output {
        Command::new("mariadb")
            .args(["--no-defaults", "--batch", "--skip-column-names", "--user=root"])
            .arg(format!("--socket={}", self.directory.path().join("socket").display()))
            .args(["--execute", sql])
            .output()
            .expect("the package mariadb-client is installed")
    }

    fn arguments(&self) -> Vec<String> {
        let at = self.directory.path().display();
        let mut arguments = vec!["--no-defaults".to_owned()];
        arguments.extend([
            format!("--user={}", user_name()),
            format!("--datadir={at}/data"),
            format!("--socket={at}/socket"),
            format!("--pid-file={at}/pid"),
            format!("--port={}", self.port),
            format!("--log-error={at}/log"),
        ]);
        arguments.extend(OPTIONS.map(str::to_owned));
        arguments
    }
}

fn install(directory: &Path) {
    let installed = Command::new("mariadb-install-db")
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .arg(format!("--user={}", user_name()))
        .arg(format!("--datadir={}", directory.join("data").display()))
        .output()
        .expect("the package mariadb-server is installed");
    let said = String::from_utf8_lossy(&installed.stderr);
    assert!(installed.status.success(), "mariadb-install-db: {said}");
}

/// Who runs the tests: the server must not change to another user, who could not read the data.
fn user_name() -> String {
    let named = Command::new("id").arg("-un").output().expect("id is there");
    String::from_utf8_lossy(&named.stdout).trim().to_owned()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Small buffers; every commit is synced, as a real server does.
const OPTIONS: [&str; 9] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--innodb-file-per-table=OFF",
    "--innodb-flush-log-at-trx-commit=1",
    "--performance-schema=OFF",
    "--max-connections=1000",
    "--table-open-cache=400",
];

const USER: &str = "sterna";
const PASSWORD: &str = "sterna";

/// Patience with a loaded machine, no expectation.
const START_LIMIT: Duration = Duration::from_secs(90);
