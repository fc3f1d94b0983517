//! The command lines of what befalls a whole cluster.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args as ClapArgs;

use super::args::ShownArgs;
use super::cluster::Shape;
use super::databases::Databases;
use super::field::sql_lines;
use crate::args::parse_duration;

/// A private cluster on this machine.
#[derive(Debug, ClapArgs)]
pub(crate) struct ClusterArgs {
    /// A server of databases, as in `mysql://user:password@host:3306`: the cores share a new one that
    /// goes afterwards. Without it there is a single core, whose end nobody makes up for
    #[arg(long, value_name = "URL")]
    pub(crate) database: Option<String>,
    /// A Redis of the nodes, as in `redis://host:6379`
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
    /// Cores on the database
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=16))]
    cores: u16,
    /// Edges
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=16))]
    pub(crate) edges: u16,
    /// Where files lie; default: where the system puts temporary ones
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
}

impl ClusterArgs {
    /// The cluster, on a new database if it has any.
    pub(super) fn shape(&self, databases: Option<&Databases>, connections: u32) -> Result<Shape> {
        let store = match databases {
            Some(databases) => sql_lines(&databases.fresh()?),
            None => "engine = \"rocksdb\"".to_owned(),
        };
        let (cores, edges, redis) = (self.cores(), self.edges, self.redis.clone());
        Ok(Shape { cores, edges, store, redis, connections })
    }

    /// Without a database that they share there cannot be several.
    pub(crate) fn cores(&self) -> u16 {
        if self.database.is_some() { self.cores } else { 1 }
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    pub(crate) shown: ShownArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Channels, each with a publisher and two subscribers
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) channels: u16,
    /// Publications a second in each
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=500))]
    pub(crate) rate: u32,
    /// How often all nodes are restarted
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: u16,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct FailoverArgs {
    #[command(flatten)]
    pub(crate) shown: ShownArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Sessions on the edge that dies, on WebSockets; each takes a file here and there
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=18_000))]
    pub(crate) sessions: u32,
    /// Subscribers of each channel
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) room: u32,
    /// Publications a second over all channels
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// Clients wait up to so long before they connect again, each for a time of its own
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) jitter: Duration,
    /// How long calm stages are watched
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
}
