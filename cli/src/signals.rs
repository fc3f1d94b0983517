//! What the operating system and the terminal say to a node.

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// One of them.
pub(crate) enum Word {
    /// SIGTERM, SIGINT.
    End,
    /// SIGHUP: read the certificate again.
    Reload,
}

/// Where they are heard.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    pub(crate) async fn next(&mut self) -> Word {
        tokio::select! {
            _ = self.terminate.recv() => Word::End,
            _ = self.interrupt.recv() => Word::End,
            _ = self.hang_up.recv() => Word::Reload,
        }
    }

    /// Asked to end once more.
    pub(crate) async fn end(&mut self) {
        while !matches!(self.next().await, Word::End) {}
    }
}
