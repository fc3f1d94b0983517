//! What is measured: a node, a raw limit, or a peer; and how one of them is brought up with a crowd
//! of clients.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Access, Client, Transport, quic};
use crate::dialect::Dialect;
use crate::meter::Meter;
use crate::progress::Progress;
use crate::server::{Launch, START_DEADLINE, Server};

/// What a figure is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Sterna,
    /// The least code over the same libraries: see `sterna-bench-raw`.
    Raw,
    Peer,
}

/// A kind of server that can be started again and again.
pub struct Target {
    pub name: String,
    pub part: Part,
    pub transport: Transport,
    /// Makes a fresh one, with its files.
    pub prepare: Box<dyn Fn() -> Result<Prepared>>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("name", &self.name).finish_non_exhaustive()
    }
}

/// One that can be started now.
#[derive(Debug)]
pub struct Prepared {
    pub launch: Launch,
    pub dialect: Rc<dyn Dialect>,
    pub tls: Arc<rustls::ClientConfig>,
    /// Where it answers `GET /metrics`.
    pub metrics: Option<SocketAddr>,
    /// Its files; they go with it.
    pub home: Option<TempDir>,
}

/// One that runs.
#[derive(Debug)]
pub struct Running {
    pub access: Access,
    pub server: Server,
    pub metrics: Option<SocketAddr>,
    _home: Option<TempDir>,
}

impl Target {
    /// Starts the server and waits until a client gets in.
    pub async fn start(&self) -> Result<Running> {
        let mut left = STARTS;
        loop {
            left -= 1;
            match self.try_start().await? {
                Ok(running) => return Ok(running),
                Err(ended) if left == 0 => return Err(ended.context(self.name.clone())),
                Err(_) => {}
            }
        }
    }

    /// The inner error: it ended at once, as it does when somebody has taken its port meanwhile.
    async fn try_start(&self) -> Result<Result<Running>> {
        let Prepared { launch, dialect, tls, metrics, home } = (self.prepare)()?;
        let mut server = Server::start(&launch).with_context(|| self.name.clone())?;
        let quic = match self.transport {
            Transport::Quic => Some(quic::endpoint(&tls, dialect.alpn())?),
            Transport::Wss | Transport::Ws => None,
        };
        let access = Access {
            address: server.address,
            transport: self.transport,
            dialect,
            tls,
            quic,
            meter: Rc::new(Meter::default()),
        };
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            // QUIC does not notice by itself that nobody listens.
            let first = timeout(FIRST_PATIENCE, Client::connect(&access, "first"));
            let Err(error) = first.await.unwrap_or_else(|elapsed| Err(elapsed.into())) else {
                break;
            };
            if let Err(ended) = server.usage() {
                return Ok(Err(ended));
            }
            if Instant::now() > deadline {
                return Err(error.context(format!("{} lets nobody in", self.name)));
            }
            sleep(Duration::from_millis(20)).await;
        }
        let access = Access { meter: Rc::new(Meter::default()), ..access };
        Ok(Ok(Running { access, server, metrics, _home: home }))
    }
}

impl Running {
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.access.meter
    }

    /// Connects `count` clients. `channel` says what each subscribes to.
    pub async fn gather(
        &self,
        count: usize,
        channel: impl Fn(usize) -> Option<u32>,
        progress: &Progress,
    ) -> Result<Vec<Client>> {
        let join = |index: usize| {
            let channel = channel(index);
            async move {
                let client = Client::connect(&self.access, &format!("client-{index}")).await?;
                if let Some(channel) = channel {
                    client.subscribe(channel).await?;
                }
                progress.step();
                anyhow::Ok(client)
            }
        };
        stream::iter((0..count).map(join)).buffer_unordered(CONNECTING).try_collect().await
    }
}

/// How often a server is started before it is believed that it cannot be.
const STARTS: u32 = 3;

/// How long the first client waits until it tries again.
const FIRST_PATIENCE: Duration = Duration::from_secs(3);

/// Handshakes at a time.
const CONNECTING: usize = 32;
