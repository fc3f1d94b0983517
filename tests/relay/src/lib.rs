//! A network path that can be broken on purpose: it stands between clients and one node, on UDP
//! and TCP alike, and delays, loses, reorders, doubles, damages, blocks and moves what passes.
//!
//! Owns one listening port, its tasks and every upstream connection. Used by tests and by
//! `sterna bench`; never by a node. All faults come from a seed ([`impairment`]), because kernels
//! without netem are common. Ends with [`Relay::shutdown`], or at once when dropped.
//!
//! ```no_run
//! # async fn example(node: std::net::SocketAddr) -> std::io::Result<()> {
//! use sterna_relay::{Direction, Impairment, Relay, RelayConfig};
//! let relay = Relay::start(RelayConfig::new(node)).await?;
//! relay.set_both(Impairment::delayed(std::time::Duration::from_millis(25)));
//! relay.set(Direction::Up, Impairment { loss: 0.1, ..Default::default() });
//! // Clients connect to relay.address().
//! relay.rebind().await?;
//! relay.shutdown().await;
//! # Ok(())
//! # }
//! ```

pub mod impairment;
mod schedule;
mod stats;
mod tcp;
mod udp;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use impairment::{Direction, Impairment};
pub use stats::{PathStats, RelayStats};

use impairment::Path;
use stats::Counters;
use udp::{Move, MoveCommand};

/// How to start a relay.
#[derive(Debug, Clone, Copy)]
pub struct RelayConfig {
    /// Where the node listens, on UDP and TCP.
    pub target: SocketAddr,
    /// Where clients connect; port 0 picks one that is free on both.
    pub listen: SocketAddr,
    pub seed: u64,
    pub up: Impairment,
    pub down: Impairment,
}

impl RelayConfig {
    /// A perfect path to `target` on a free loopback port, with seed 1.
    pub fn new(target: SocketAddr) -> Self {
        Self {
            target,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            up: Impairment::default(),
            down: Impairment::default(),
        }
    }

    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The same impairment both ways: a delay of 25 ms makes a round trip of 50 ms.
    #[must_use]
    pub fn with_impairment(mut self, impairment: Impairment) -> Self {
        self.up = impairment;
        self.down = impairment;
        self
    }
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    moves: mpsc::Sender<MoveCommand>,
    cancelled: CancellationToken,
    tasks: JoinSet<()>,
}

impl Relay {
    /// Binds and starts forwarding.
    pub async fn start(config: RelayConfig) -> io::Result<Self> {
        let (listener, front) = bind_both(config.listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(config));
        let cancelled = CancellationToken::new();
        let (moves, move_commands) = mpsc::channel(MOVE_COMMANDS);
        let mut tasks = JoinSet::new();
        tasks.spawn(udp::run(front, Arc::clone(&shared), move_commands, cancelled.clone()));
        tasks.spawn(tcp::run(listener, Arc::clone(&shared), cancelled.clone()));
        Ok(Self { address, shared, moves, cancelled, tasks })
    }

    /// Where clients connect, on UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the node listens now. UDP flows follow at once, TCP connections stay where they are.
    pub fn set_target(&self, target: SocketAddr) {
        self.shared.route().target = target;
    }

    /// Changes one direction; what is on its way keeps its time.
    pub fn set(&self, direction: Direction, impairment: Impairment) {
        self.shared.path(direction, |path| path.set(impairment));
    }

    /// Changes both directions.
    pub fn set_both(&self, impairment: Impairment) {
        Direction::ALL.into_iter().for_each(|direction| self.set(direction, impairment));
    }

    /// NAT rebinding: the node sees every UDP flow come from a new port, and what it sends to the
    /// old one is lost.
    pub async fn rebind(&self) -> io::Result<()> {
        self.move_flows(Move::Port).await
    }

    /// Another network: the node sees every UDP flow, and every later TCP connection, come from
    /// another address (127.0.0.2 and up). Open TCP connections are left alone; see
    /// [`cut_tcp`](Self::cut_tcp) and [`freeze_tcp`](Self::freeze_tcp).
    pub async fn change_address(&self) -> io::Result<()> {
        let next = self.shared.route().next_source()?;
        self.shared.counters.address_changes.add(1);
        self.move_flows(Move::Address(next)).await
    }

    /// Nothing passes: UDP is dropped, TCP stands still without an error.
    pub fn block(&self) {
        self.shared.gate.send_modify(|gate| gate.blocked = true);
    }

    /// Ends [`block`](Self::block).
    pub fn unblock(&self) {
        self.shared.gate.send_modify(|gate| gate.blocked = false);
    }

    /// Blocks for `duration`. Unblocks when dropped early.
    pub async fn blackout(&self, duration: Duration) {
        struct Unblock<'a>(&'a Relay);
        impl Drop for Unblock<'_> {
            fn drop(&mut self) {
                self.0.unblock();
            }
        }
        self.block();
        let _unblock = Unblock(self);
        tokio::time::sleep(duration).await;
    }

    /// A network that lets no UDP pass, as some offices and hotels.
    pub fn block_udp(&self, blocked: bool) {
        self.shared.gate.send_modify(|gate| gate.udp_blocked = blocked);
    }

    /// TCP stands still without an error, as after a switch from one network to another.
    pub fn freeze_tcp(&self, frozen: bool) {
        self.shared.gate.send_modify(|gate| gate.tcp_frozen = frozen);
    }

    /// Resets all TCP connections, on both sides.
    pub fn cut_tcp(&self) {
        self.shared.gate.send_modify(|gate| gate.cuts += 1);
    }

    pub fn stats(&self) -> RelayStats {
        self.shared.counters.snapshot()
    }

    /// Ends everything and waits for it.
    pub async fn shutdown(mut self) {
        self.cancelled.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    async fn move_flows(&self, to: Move) -> io::Result<()> {
        let ended = || io::Error::other("the relay has ended");
        let (done, outcome) = oneshot::channel();
        self.moves.send(MoveCommand { to, done }).await.map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?
    }
}

/// What the relay's tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    route: Mutex<Route>,
    paths: Mutex<[Path; 2]>,
    pub(crate) gate: watch::Sender<Gate>,
    pub(crate) counters: Counters,
}

impl Shared {
    fn new(config: RelayConfig) -> Self {
        let source = match config.target.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        };
        // Two streams of chance from one seed.
        let up = Path::new(config.seed, config.up);
        let down = Path::new(config.seed ^ 0x9e37_79b9_7f4a_7c15, config.down);
        Self {
            route: Mutex::new(Route { target: config.target, source }),
            paths: Mutex::new([up, down]),
            gate: watch::Sender::new(Gate::default()),
            counters: Counters::default(),
        }
    }

    pub(crate) fn route(&self) -> std::sync::MutexGuard<'_, Route> {
        self.route.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn path<T>(&self, direction: Direction, with: impl FnOnce(&mut Path) -> T) -> T {
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        with(&mut paths[direction.index()])
    }
}

/// Where the node is, and where traffic to it seems to come from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    pub(crate) target: SocketAddr,
    pub(crate) source: IpAddr,
}

impl Route {
    /// Moves on to the next loopback address.
    fn next_source(&mut self) -> io::Result<IpAddr> {
        let IpAddr::V4(source) = self.source else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "an address change needs a target on IPv4 loopback",
            ));
        };
        let last = source.octets()[3];
        let next = if last >= 254 { 2 } else { last.max(1) + 1 };
        self.source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, next));
        Ok(self.source)
    }
}

/// What may pass.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gate {
    blocked: bool,
    udp_blocked: bool,
    tcp_frozen: bool,
    /// Counts resets of all TCP connections.
    pub(crate) cuts: u64,
}

impl Gate {
    pub(crate) fn passes_udp(&self) -> bool {
        !self.blocked && !self.udp_blocked
    }

    pub(crate) fn passes_tcp(&self) -> bool {
        !self.blocked && !self.tcp_frozen
    }
}

/// Finds a port that is free on both transports.
async fn bind_both(address: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut attempts = 0;
    loop {
        let listener = TcpListener::bind(address).await?;
        match UdpSocket::bind(listener.local_addr()?).await {
            Ok(socket) => {
                // Bursts of many clients meet in this one socket. The kernel may grant less.
                let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(FRONT_BUFFER_BYTES);
                return Ok((listener, socket));
            }
            Err(error) if address.port() != 0 || attempts >= BIND_ATTEMPTS => return Err(error),
            Err(_) => attempts += 1,
        }
    }
}

/// Moves that wait; a caller waits for its own.
const MOVE_COMMANDS: usize = 16;
const BIND_ATTEMPTS: usize = 50;
const FRONT_BUFFER_BYTES: usize = 4 * 1024 * 1024;
