//! What `sterna bench` measures.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use sterna_proto::ChannelId;

use super::TransportArg;
use crate::bench::args::{
    ArchiveBenchArgs, FanoutArgs, HandshakeArgs, IdleArgs, LatencyArgs, LoadArgs, PublishArgs,
    RawCommitArgs, RawServerArgs, RawStallsArgs, ScaleArgs, ShownArgs, StormArgs,
};
use crate::bench::cluster_args::{FailoverArgs, RestartArgs};

#[derive(Debug, ClapArgs)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) subject: BenchSubject,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchSubject {
    /// How long a change of network silences a subscription, on QUIC and on WebSocket
    ///
    /// Two subscribers, each behind a relay of its own that changes its network. Exit code 1 when
    /// anything that was acknowledged was lost or came twice. Beside them, through the same changes,
    /// the raw limits: bare quinn, and a bare WebSocket that is opened again.
    ///
    /// Kinds of switch: `none` measures the same without one; `rebind` moves the client to another
    /// port and `address` to another address, and nobody tells it; `hard` moves it to another
    /// address behind 100 ms of darkness, and then it is told. A WebSocket is reset at once and
    /// told in all of them, which is the best that can happen to it.
    ///
    /// With --netns nothing is reset, and every client is told: `address` brings the other uplink
    /// up before the one in use goes, `hard` takes that one away 100 ms earlier.
    Handover(HandoverArgs),
    /// What a delivery costs: one publication to many subscribers
    ///
    /// Every server is a process of its own, kept to one core where there are several, and only its
    /// processor time is counted. `raw` is the least code over the same libraries.
    Fanout(FanoutArgs),
    /// What a session costs that says nothing: memory, here and in the kernel
    Idle(IdleArgs),
    /// What an acknowledged publication costs: many clients, each waiting for its own
    ///
    /// `raw` is a loop that commits to the same store as many publications at a time as clients
    /// wait, on the same disk.
    Publish(PublishArgs),
    /// How long a publication takes to its subscriber, at half of what the node stands
    ///
    /// `raw` is an echo over the same transport at the same rate; a delivery is held against two of
    /// them and one sync of the disk.
    Latency(LatencyArgs),
    /// What it costs to let a client in, with full and with resumed handshakes
    Handshake(HandshakeArgs),
    /// Far more clients than a node takes, all at the same moment
    Storm(StormArgs),
    /// Whether a delivery costs more when there are more sessions
    Scale(ScaleArgs),
    /// Arrivals, lifetimes, heartbeats and publications, up to a peak and through faults
    ///
    /// Arrivals are a Poisson process, lifetimes exponential. Stages: baseline, steps to the peak,
    /// the peak, and at the peak: half of the processor taken away, the node stopped for a moment,
    /// its disk slow (with strace, where it may attach), the network bad; then the baseline again. Afterwards every acknowledged publication is read
    /// back; exit code 1 when one is missing or there twice.
    Load(LoadArgs),
    /// What archiving costs beside packing alone, and what a publication takes in each tier
    Archive(ArchiveBenchArgs),
    /// How long a client hears nothing while every node of a cluster is restarted in turn
    ///
    /// A private cluster on this machine: each node is drained, ends, and starts again, under
    /// steady talk. Exit code 1 when anything that was acknowledged was lost or came
    /// twice.
    Restart(RestartArgs),
    /// How soon thousands of clients are back after the death of their edge
    ///
    /// A private cluster on this machine, one of whose edges is killed; its clients connect to
    /// another and go on where they were. With `--redis` also what a session and a publication ask
    /// of Redis. Exit code 1 when anything that was acknowledged did not come, or came twice.
    Failover(FailoverArgs),
    /// The commit loop that `publish` is held against
    #[command(hide = true)]
    RawCommit(RawCommitArgs),
    /// The least code over the same libraries
    #[command(hide = true)]
    RawServer(RawServerArgs),
    /// The loop over the clock that `latency` is read beside
    #[command(hide = true)]
    RawStalls(RawStallsArgs),
    /// A subscriber of `handover --netns`, inside its network
    #[command(hide = true)]
    Traveller(TravellerArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct HandoverArgs {
    /// Switches of each kind
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) switches: u32,
    /// Time on the way to the node, and again on the way back
    #[arg(long, default_value_t = 25, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=500))]
    pub(crate) delay_ms: u64,
    /// Publications a second
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=500))]
    pub(crate) rate: u32,
    #[command(flatten)]
    pub(crate) shown: ShownArgs,
    /// Put the clients into a network of their own and really switch its uplink, in place of
    /// relays that pretend to; needs root on Linux, and `ip`
    #[arg(long, conflicts_with = "server")]
    pub(crate) netns: bool,
    /// Node to measure, on a loopback address; default: a private one that stores in memory
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) server: Option<String>,
    /// PEM certificates to trust; default: the dev node's
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(crate) ca: Option<PathBuf>,
    /// Access token; default: one made with the dev node's secret
    #[arg(long, value_name = "JWT", requires = "server")]
    pub(crate) token: Option<String>,
    /// Directory of the dev node
    #[arg(long, default_value = ".sterna", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct TravellerArgs {
    #[arg(long)]
    pub(crate) server: String,
    #[arg(long)]
    pub(crate) connect_to: SocketAddr,
    #[arg(long)]
    pub(crate) channel: ChannelId,
    #[arg(long, value_enum)]
    pub(crate) transport: TransportArg,
    #[arg(long)]
    pub(crate) data_dir: PathBuf,
}
