//! An S3 server for tests: s3s-fs, which `s3.sh` beside this crate's manifest installs once. It knows
//! conditional writes, but compares first and writes later: of two that race both may win, as with
//! no service that a node may use.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::Process;

/// A server on a free port of loopback with one bucket, [`S3Server::BUCKET`].
#[derive(Debug)]
pub struct S3Server {
    process: Process,
    port: u16,
    directory: TempDir,
}

impl S3Server {
    pub const BUCKET: &'static str = "archive";
    pub const ACCESS_KEY: &'static str = "sterna-test";
    pub const SECRET_KEY: &'static str = "sterna-test-secret";

    /// Installs the server if it is missing, which takes minutes, starts it and waits for its port.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory for the server");
        std::fs::create_dir(directory.path().join(Self::BUCKET)).expect("a bucket");
        for _ in 0..STARTS {
            let port = free_port();
            let mut process = launch(port, directory.path());
            if is_up(&mut process, port) {
                return Self { process, port, directory };
            }
        }
        panic!("s3s-fs does not start on any of {STARTS} ports");
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where the objects of the bucket lie as files, for tests that damage them.
    pub fn bucket(&self) -> PathBuf {
        self.directory.path().join(Self::BUCKET)
    }

    /// Ends the server as a crash does; what it has stored stays.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port with what it had.
    pub fn restart(&mut self) {
        self.process.kill();
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.process = launch(self.port, self.directory.path());
            if is_up(&mut self.process, self.port) {
                return;
            }
            // Somebody may have had the port for a moment, as that of an outgoing connection.
            assert!(Instant::now() < deadline, "port {} is not free again", self.port);
        }
    }
}

fn launch(port: u16, directory: &Path) -> Process {
    let arguments = [
        "--host",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--access-key",
        S3Server::ACCESS_KEY,
        "--secret-key",
        S3Server::SECRET_KEY,
        &directory.display().to_string(),
    ];
    Process::start(program(), &arguments.map(str::to_owned))
}

/// Path of the program.
fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/s3.sh");
        let output = Command::new(script).output().expect("s3.sh is there");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {told}");
        String::from_utf8(output.stdout).expect("a path").trim().to_owned()
    })
}

fn is_up(process: &mut Process, port: u16) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while process.is_running() {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return true;
        }
        assert!(Instant::now() < deadline, "s3s-fs does not listen");
        thread::sleep(LOOK_AGAIN);
    }
    false
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on loopback");
    listener.local_addr().expect("it is bound").port()
}

/// Ports tried; another process may take one between our look and the server's.
const STARTS: usize = 5;

/// A machine under load may need this long; whole runs of tests wait on it, none asserts it.
const PATIENCE: Duration = Duration::from_secs(30);

const LOOK_AGAIN: Duration = Duration::from_millis(20);
