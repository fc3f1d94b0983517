//! The command lines of the measurements under load.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

/// What is measured, and what it is compared with.
#[derive(Debug, ClapArgs)]
pub(crate) struct FieldArgs {
    /// Only these, as in `sterna-quic,raw-quic`; default: all that are here
    #[arg(long, value_delimiter = ',', value_name = "TARGET")]
    pub(crate) only: Vec<TargetName>,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write a page with tables and plots
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TargetName {
    SternaQuic,
    SternaWss,
    RawQuic,
    RawWss,
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RawTransport {
    Quic,
    Wss,
}
