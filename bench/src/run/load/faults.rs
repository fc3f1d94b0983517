//! What is done to a server at its peak. Every fault ends when it is dropped, and ends only what it
//! has started itself.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sterna_relay::{Impairment, Relay, RelayConfig};
use tokio::time::sleep;

use crate::server::{Server, on_the_core};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// A busy process beside the server, on its core.
    Processor,
    /// The server stands still now and again.
    Stall,
    /// The node's disk is slow: see [`SlowStore`](super::slow_store::SlowStore).
    Store,
    /// Newcomers come over a path with delay and loss.
    Network,
}

/// A process that does nothing, as fast as it can.
#[derive(Debug)]
pub(crate) struct Burner(Child);

impl Burner {
    pub(crate) fn start() -> Result<Self> {
        let mut command = on_the_core(Path::new("sh"));
        command.args(["-c", "while :; do :; done"]).stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self(command.spawn().context("cannot start a busy process")?))
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        // It cannot have ended by itself, and nothing can be done if it has.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Stops the server for a moment, again and again, for as long as this is polled.
pub(crate) async fn stall(server: &Server) -> Result<()> {
    loop {
        sleep(BETWEEN_STOPS).await;
        let stopped = Stopped::begin(server.pid())?;
        sleep(STOPPED).await;
        drop(stopped);
    }
}

/// A process that stands still; goes on when this is dropped.
struct Stopped(u32);

impl Stopped {
    fn begin(pid: u32) -> Result<Self> {
        signal("STOP", pid).context("cannot stop the server")?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It has ended if it cannot be told to go on.
        let _ = signal("CONT", self.0);
    }
}

/// Through a shell, which can send signals without a line of unsafe code.
pub(super) fn signal(name: &str, pid: u32) -> std::io::Result<()> {
    let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status()?;
    status.success().then_some(()).ok_or_else(|| std::io::Error::other("the signal was refused"))
}

/// A bad path to the server: some delay, some loss.
pub(crate) async fn bad_network(server: &Server, seed: u64) -> Result<Relay> {
    let path = Impairment {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(10),
        loss: 0.01,
        ..Impairment::default()
    };
    let config = RelayConfig::new(server.address).with_seed(seed).with_impairment(path);
    Relay::start(config).await.context("cannot start the relay")
}

const BETWEEN_STOPS: Duration = Duration::from_millis(700);
const STOPPED: Duration = Duration::from_millis(300);
