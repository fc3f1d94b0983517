//! The command lines of the measurements under load.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use sterna_bench::progress::Progress;

use crate::args::parse_duration;

/// What is measured, and what it is compared with.
#[derive(Debug, ClapArgs)]
pub(crate) struct FieldArgs {
    /// Only these, as in `sterna-quic,raw-quic`; default: all that are here; `cluster-quic` and
    /// `cluster-wss`, an edge with a core behind it, only when they are named
    #[arg(long, value_delimiter = ',', value_name = "TARGET")]
    pub(crate) only: Vec<TargetName>,
    #[command(flatten)]
    pub(crate) shown: ShownArgs,
}

/// How a report is shown.
#[derive(Debug, ClapArgs)]
pub(crate) struct ShownArgs {
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write a page with tables and plots
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
}

impl ShownArgs {
    /// For whoever waits; programs do not look.
    pub(super) fn progress(&self, what: &str) -> Progress {
        if self.json { Progress::hidden() } else { Progress::new(what, 0) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TargetName {
    SternaQuic,
    SternaWss,
    ClusterQuic,
    ClusterWss,
    RawQuic,
    RawWss,
    NatsWss,
    MosquittoWss,
    RumqttdWss,
    CentrifugeWss,
    SockudoWss,
    MoqRelayQuic,
    MoqRelayGroupsQuic,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    pub(crate) field: FieldArgs,
    /// Channels that are published to in turn
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) channels: u32,
    /// Subscribers of each channel
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub(crate) subscribers: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 128, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub(crate) payload: u32,
    /// Publications on their way at a time
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) in_flight: u32,
    /// Publications a second over all channels, in place of as many as are delivered
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: Option<u32>,
    /// How long a round watches a target
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// Rounds over all targets; the best of each counts
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    pub(crate) field: FieldArgs,
    /// Sessions; memory is read at a quarter, a half, three quarters and all of them
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=100_000))]
    pub(crate) sessions: u32,
}

/// What is stored, and where.
#[derive(Debug, ClapArgs)]
pub(crate) struct DiskArgs {
    /// What an acknowledgement proves
    #[arg(long, value_enum, default_value_t = DurabilityArg::Fsync)]
    pub(crate) durability: DurabilityArg,
    /// A server of databases in place of files, as in `mysql://user:password@host:3306`: each node
    /// begins with a new database that goes afterwards
    #[arg(long, value_name = "URL", conflicts_with = "durability")]
    pub(crate) database: Option<String>,
    /// Where stores are made, on the disk that is meant; default: where temporary files go
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArg {
    Memory,
    Os,
    Fsync,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    pub(crate) field: FieldArgs,
    #[command(flatten)]
    pub(crate) disk: DiskArgs,
    /// Clients
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,
    /// Publications of each client that are not acknowledged yet
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) in_flight: u32,
    /// Channels that they publish to
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) channels: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 1024, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub(crate) payload: u32,
    /// How long a round watches a target
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// Rounds over all targets; the best of each counts
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ArchiveBenchArgs {
    /// Publications that are archived
    #[arg(long, default_value_t = 200_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) publications: u64,
    /// Channels that they lie in
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) channels: u64,
    /// Bytes of a payload: words
    #[arg(long, default_value_t = 200, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) payload: u32,
    /// Rounds; the one that archives fastest counts
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Where stores and segments are made, on the disk that is meant; default: where temporary files go
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// A Redis to have pages in as well, as in redis://127.0.0.1:6379; without it that is left out
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
    #[command(flatten)]
    pub(crate) shown: ShownArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LatencyArgs {
    #[command(flatten)]
    pub(crate) field: FieldArgs,
    #[command(flatten)]
    pub(crate) disk: DiskArgs,
    /// Clients, each with a channel of its own
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 128, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub(crate) payload: u32,
    /// Publications a second in all, in place of half of what the node stands
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: Option<u32>,
    /// How long a round watches a target
    #[arg(long, default_value_t = 4, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// Rounds over all targets; the best of each counts
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct HandshakeArgs {
    #[command(flatten)]
    pub(crate) field: FieldArgs,
    /// Connects at a time
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) concurrent: u32,
    /// How long a round watches full, and then resumed handshakes of a target
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// Rounds over all targets; the best of each counts
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StormArgs {
    #[command(flatten)]
    pub(crate) field: FieldArgs,
    /// Clients that connect at the same moment
    #[arg(long, default_value_t = 4000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub(crate) clients: u32,
    /// Connections that a node takes; default: half of the clients
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=18_000))]
    pub(crate) room: Option<u32>,
    /// How long each client tries
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) patience: u64,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ScaleArgs {
    #[command(flatten)]
    pub(crate) field: FieldArgs,
    /// Sessions at which deliveries are measured, ascending; each takes a file here and there
    #[arg(long, value_delimiter = ',', default_value = "1000,4000,10000", value_name = "N,N,…", value_parser = clap::value_parser!(u32).range(10..=19_000))]
    pub(crate) sessions_steps: Vec<u32>,
    /// Subscribers of each channel
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) room: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 128, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(16..=65_536))]
    pub(crate) payload: u32,
    /// Deliveries a second in all
    #[arg(long, default_value_t = 10000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: u32,
    /// How long a round watches a step
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// Rounds over all targets, each on fresh servers; the best of each step counts
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
}

/// The commit loop, in a process of its own.
#[derive(Debug, ClapArgs)]
pub(crate) struct RawCommitArgs {
    #[arg(long, required_unless_present = "database")]
    pub(crate) directory: Option<PathBuf>,
    #[arg(long)]
    pub(crate) database: Option<String>,
    #[arg(long)]
    pub(crate) batch: usize,
    #[arg(long)]
    pub(crate) bytes: usize,
    #[arg(long)]
    pub(crate) milliseconds: u64,
    #[arg(long)]
    pub(crate) unsynced: bool,
}

/// The loop over the clock, in a process of its own.
#[derive(Debug, ClapArgs)]
pub(crate) struct RawStallsArgs {
    #[arg(long)]
    pub(crate) milliseconds: u64,
}

/// A raw server, in a process of its own.
#[derive(Debug, ClapArgs)]
pub(crate) struct RawServerArgs {
    #[arg(long)]
    pub(crate) transport: RawTransport,
    #[arg(long)]
    pub(crate) address: SocketAddr,
    #[arg(long)]
    pub(crate) certificate: PathBuf,
    #[arg(long)]
    pub(crate) private_key: PathBuf,
    /// A new directory for what is published; without, it is acknowledged at once
    #[arg(long)]
    pub(crate) directory: Option<PathBuf>,
    #[arg(long)]
    pub(crate) unsynced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RawTransport {
    Quic,
    Wss,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) field: FieldArgs,
    #[command(flatten)]
    pub(crate) disk: DiskArgs,
    /// How clients come to a node: on QUIC, on WebSockets, or on both in turn
    #[arg(long, value_enum, default_value_t = LoadTransport::Both)]
    pub(crate) transport: LoadTransport,
    /// Arrivals a second before and after the peak
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) baseline: u32,
    /// Arrivals a second at the peak that is tried for; what the machine does not stand is given up
    #[arg(long, default_value_t = 2400, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) peak: u32,
    /// Mean of the lifetimes of sessions
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) lifetime: Duration,
    /// How often a session says that it is there
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) heartbeat: Duration,
    /// Mean time between two publications of a session
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) publish_every: Duration,
    /// Members of a room, on average, at the predicted peak
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) room: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 128, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(64..=65_536))]
    pub(crate) payload: u32,
    /// How long each stage is watched, after the sessions have had time to gather
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,
    /// Chance: the same number makes the same arrivals, lifetimes and publications
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LoadTransport {
    Quic,
    Wss,
    Both,
}
