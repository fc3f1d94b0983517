//! MariaDB, from the packages `mariadb-server` and `mariadb-client`; or [TiDB](crate::tidb), where the
//! environment names one.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::place::Place;
use crate::process::Process;
use crate::tidb;

/// A running server with a data directory of its own.
#[derive(Debug)]
pub struct MariaDb {
    site: Site,
    port: u16,
    databases: AtomicU32,
    /// Further options of the program.
    options: Vec<String>,
    process: Mutex<Option<Process>>,
    // Behind the process, so that it goes after it.
    directory: Place,
}

/// Where a server runs: its address, and the program and arguments that its own are put behind, as in
/// `ip netns exec NAME`.
#[derive(Debug, Clone)]
pub struct Site {
    pub address: Ipv4Addr,
    pub launcher: Vec<String>,
}

impl Site {
    /// On loopback, as itself.
    pub const HERE: Self = Self { address: Ipv4Addr::LOCALHOST, launcher: Vec::new() };
}

impl MariaDb {
    /// Initialises a data directory, which takes seconds, and starts a server on it.
    pub fn start() -> Self {
        Self::start_at(Site::HERE, &[])
    }

    /// The same elsewhere than on loopback, or with further options of MariaDB's program.
    pub fn start_at(site: Site, options: &[String]) -> Self {
        let directory = Place::new("mariadb");
        if tidb::program().is_none() {
            install(directory.path());
        }
        let server = Self {
            site,
            port: free_port(),
            databases: AtomicU32::new(0),
            options: options.to_vec(),
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
        format!("mysql://{USER}:{PASSWORD}@{}:{}/{name}", self.site.address, self.port)
    }

    /// The database of the newest URL.
    pub fn newest(&self) -> String {
        format!("test{}", self.databases.load(Ordering::Relaxed).saturating_sub(1))
    }

    /// Where it listens on its address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is TiDB: what only MariaDB tells, tests look for elsewhere then.
    pub fn is_tidb() -> bool {
        tidb::program().is_some()
    }

    /// Executes SQL as the superuser and answers with what it prints, tabs between columns.
    pub fn execute(&self, sql: &str) -> String {
        self.try_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The same for SQL that may be refused; the error is what the server said.
    pub fn try_execute(&self, sql: &str) -> Result<String, String> {
        let done = self.client(sql);
        let said = if done.status.success() { &done.stdout } else { &done.stderr };
        let said = String::from_utf8_lossy(said).into_owned();
        if done.status.success() { Ok(said) } else { Err(said) }
    }

    /// As `kill -9`: nothing is flushed.
    pub fn kill(&self) {
        drop(self.process().take());
    }

    /// Starts it again on the same data and port, and waits until it answers.
    pub fn restart(&self) {
        self.kill();
        let at = self.directory.path();
        let mut command = self.site.launcher.clone();
        match tidb::program() {
            None => {
                command.push("mariadbd".to_owned());
                command.extend(self.arguments());
            }
            Some(program) => {
                command.push(program.display().to_string());
                command.extend(tidb::arguments(at, self.site.address, self.port));
            }
        }
        *self.process() = Some(Process::start(&command[0], &command[1..]));
        let end = Instant::now() + START_LIMIT;
        while !self.client("SELECT 1").status.success() {
            let log = std::fs::read_to_string(at.join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "the server does not answer:\n{log}");
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
            // A server that starts removes what it finds of temporary tables, whose ever they are.
            format!("--tmpdir={at}"),
            format!("--pid-file={at}/pid"),
            format!("--port={}", self.port),
            format!("--bind-address={}", self.site.address),
            format!("--log-error={at}/log"),
        ]);
        arguments.extend(OPTIONS.map(str::to_owned));
        arguments.extend_from_slice(&self.options);
        arguments
    }
}

fn install(directory: &Path) {
    let installed = Command::new("mariadb-install-db")
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .arg(format!("--user={}", user_name()))
        .arg(format!("--datadir={}", directory.join("data").display()))
        .env("TMPDIR", directory)
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
const OPTIONS: [&str; 8] = [
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
