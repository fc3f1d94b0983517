//! A server under measurement: a process of its own, on a core of its own where there is one, so
//! that the work of the load generator is not counted with its work.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::machine::{self, Usage};

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Launch {
    pub program: std::path::PathBuf,
    pub arguments: Vec<String>,
    pub address: SocketAddr,
}

/// A running server; ends with this.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(launch: &Launch) -> Result<Self> {
        let mut command = if machine::can_pin() {
            let mut pinned = Command::new("taskset");
            pinned.args(["-c", SERVER_CORE]).arg(&launch.program);
            pinned
        } else {
            Command::new(&launch.program)
        };
        let child = command
            .args(&launch.arguments)
            .env_remove(LOG)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log()?)
            .spawn()
            .with_context(|| format!("cannot start {}", launch.program.display()))?;
        Ok(Self { child, address: launch.address })
    }

    /// What it has used; an error when it has ended.
    pub fn usage(&mut self) -> Result<Usage> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server has ended: {status}; STERNA_BENCH_LOG=1 shows what it said");
        }
        machine::usage(self.child.id())
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

fn log() -> Result<Stdio> {
    Ok(if std::env::var_os(LOG).is_some() { Stdio::inherit() } else { Stdio::null() })
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port on loopback that nobody listens on, for UDP and for TCP.
pub fn free_address() -> Result<SocketAddr> {
    for _ in 0..100 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = tcp.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no port on loopback is free for both UDP and TCP")
}

/// How long a server may take until it answers.
pub const START_DEADLINE: Duration = Duration::from_secs(20);

/// When set, what servers write to standard error is shown.
const LOG: &str = "STERNA_BENCH_LOG";

const SERVER_CORE: &str = "0";
