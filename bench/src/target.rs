//! What is measured: a node, a raw limit, or a peer; and how one of them is brought up with a crowd
//! of clients.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Access, Client, Transport, quic};
use crate::dialect::Dialect;
use crate::foreign::{self, Foreign};
use crate::http;
use crate::machine::Usage;
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
    pub prepare: Prepare,
}

/// Makes a fresh one, with its files.
pub enum Prepare {
    /// Its clients are those of the load generator.
    Ours(Box<dyn Fn() -> Result<Prepared>>),
    /// It brings a program for its clients.
    Foreign(Box<dyn Fn() -> Result<foreign::Prepared>>),
}

impl std::fmt::Debug for Prepare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ours(_) => "Ours",
            Self::Foreign(_) => "Foreign",
        })
    }
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
    /// Further processes that it needs, started before it.
    pub behind: Vec<Launch>,
    /// All of these answer `GET /readyz` before anybody connects.
    pub ready: Vec<SocketAddr>,
    pub dialect: Arc<dyn Dialect>,
    pub tls: Arc<rustls::ClientConfig>,
    /// Where the process that commits answers `GET /metrics`.
    pub metrics: Option<SocketAddr>,
    /// Its files; they go with it.
    pub home: Option<TempDir>,
}

/// One that runs.
#[derive(Debug)]
pub struct Running {
    pub access: Access,
    pub server: Server,
    behind: Vec<Server>,
    pub metrics: Option<SocketAddr>,
    _home: Option<TempDir>,
}

impl Target {
    /// Starts the server and its own clients at `work`; `None`: its clients are ours.
    pub(crate) async fn foreign(&self, work: &[String]) -> Result<Option<Foreign>> {
        let Prepare::Foreign(prepare) = &self.prepare else { return Ok(None) };
        let started = Foreign::start(prepare()?, work).await;
        Ok(Some(started.with_context(|| self.name.clone())?))
    }

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
        let Prepare::Ours(prepare) = &self.prepare else {
            bail!("{} is not measured at this: its clients are a program of its own", self.name);
        };
        let Prepared { launch, behind, ready, dialect, tls, metrics, home } = prepare()?;
        let start = |launch: &Launch| Server::start(launch).with_context(|| self.name.clone());
        let behind = behind.iter().map(start).collect::<Result<Vec<_>>>()?;
        let mut server = start(&launch)?;
        let quic = match self.transport {
            Transport::Quic => Some(quic::Endpoints::new(&tls, dialect.alpn())?),
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
        for address in ready {
            while let Err(error) = http::get(address, "/readyz").await {
                if let Err(ended) = server.usage() {
                    return Ok(Err(ended));
                }
                if Instant::now() > deadline {
                    return Err(error.context(format!("{} does not become ready", self.name)));
                }
                sleep(LOOK_AGAIN).await;
            }
        }
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
            sleep(LOOK_AGAIN).await;
        }
        let access = Access { meter: Rc::new(Meter::default()), ..access };
        Ok(Ok(Running { access, server, behind, metrics, _home: home }))
    }
}

impl Running {
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.access.meter
    }

    /// What all its processes have used; an error when one has ended.
    pub fn usage(&mut self) -> Result<Usage> {
        let mut sum = self.server.usage()?;
        for server in &mut self.behind {
            let usage = server.usage()?;
            sum.cpu += usage.cpu;
            sum.resident += usage.resident;
        }
        Ok(sum)
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

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How often a server is started before it is believed that it cannot be.
const STARTS: u32 = 3;

/// How long the first client waits until it tries again.
const FIRST_PATIENCE: Duration = Duration::from_secs(3);

/// Handshakes at a time.
const CONNECTING: usize = 32;
