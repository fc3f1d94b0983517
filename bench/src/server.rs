//! A server under measurement: a process of its own, on a core of its own where there is one, so
//! that the work of the load generator is not counted with its work.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
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
    /// What it writes to standard error; `None` when that is shown anyway.
    said: Option<File>,
}

impl Server {
    pub fn start(launch: &Launch) -> Result<Self> {
        let said = std::env::var_os(LOG).is_none().then(tempfile::tempfile).transpose()?;
        let log = match &said {
            Some(file) => file.try_clone()?.into(),
            None => Stdio::inherit(),
        };
        let mut command = on_the_core(&launch.program);
        for name in not_for_nodes() {
            command.env_remove(name);
        }
        let child = command
            .args(&launch.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", launch.program.display()))?;
        Ok(Self { child, address: launch.address, said })
    }

    /// What it has used; an error when it has ended.
    pub fn usage(&mut self) -> Result<Usage> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the server has ended: {status}; {}", self.last_words());
        }
        machine::usage(self.child.id())
    }

    fn last_words(&mut self) -> String {
        let Some(said) = &mut self.said else { return "it said why above".to_owned() };
        let mut text = String::new();
        // Without them the status has to do.
        let _ = said.rewind().and_then(|()| said.take(SAID_BYTES).read_to_string(&mut text));
        if text.trim().is_empty() {
            return "it said nothing".to_owned();
        }
        format!("it said: {}", text.trim())
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

/// Variables of this process that a node would take for its configuration.
pub fn not_for_nodes() -> impl Iterator<Item = OsString> {
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(|name| name.as_encoded_bytes().starts_with(b"STERNA_"))
}

/// A program on the core of the servers, where there are several.
pub(crate) fn on_the_core(program: &Path) -> Command {
    if machine::can_pin() {
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", SERVER_CORE]).arg(program);
        pinned
    } else {
        Command::new(program)
    }
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

/// As much of what an ended server has said is shown.
const SAID_BYTES: u64 = 2048;

const SERVER_CORE: &str = "0";
