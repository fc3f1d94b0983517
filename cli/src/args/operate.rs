//! Flags of the verbs that ask a node's HTTP surface.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use sterna_proto::{ChannelId, UserId};

use super::parse_duration;

/// Which node is asked, and by what right.
#[derive(Debug, ClapArgs)]
pub(crate) struct OperatorArgs {
    /// The node's HTTP address, as in `http://10.0.0.1:4480` or HOST:PORT; default: the dev node's
    #[arg(long, visible_aliases = ["http", "node"], value_name = "URL")]
    pub(crate) url: Option<String>,
    /// File with the API key; default: the dev node's
    #[arg(long, value_name = "FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Directory of the dev node
    #[arg(long, default_value = ".sterna", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct TopArgs {
    /// Print the view once, and end
    #[arg(long)]
    pub(crate) once: bool,
    /// Print what the node says, one JSON object each time
    #[arg(long)]
    pub(crate) json: bool,
    /// How often the node is asked
    #[arg(long, default_value = "2s", value_parser = parse_interval, value_name = "DURATION")]
    pub(crate) interval: Duration,
    /// Most sessions, and most channels, to show
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=200))]
    pub(crate) most: u8,
    /// What nodes are sorted by
    #[arg(long, value_enum, default_value_t = SortArg::Name)]
    pub(crate) sort: SortArg,
    /// Show only what has this text in it
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) filter: String,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

/// What nodes are sorted by: names from A, figures from the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortArg {
    Name,
    Sessions,
    Publications,
    Deliveries,
    Behind,
    Append,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RevokeArgs {
    /// Whose tokens
    #[arg(value_name = "USER")]
    pub(crate) user: UserId,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SessionArgs {
    /// Its id, as `sterna top --json` names it
    #[arg(value_name = "ID", value_parser = parse_session)]
    pub(crate) session: String,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct TraceArgs {
    /// Whose next publication
    #[arg(value_name = "CHANNEL")]
    pub(crate) channel: ChannelId,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

fn parse_session(text: &str) -> Result<String, String> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits { Ok(text.to_owned()) } else { Err("a session id is 32 hexadecimal digits".into()) }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DrainArgs {
    /// Where clients are to go; default: what the node thinks best
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) successor: Option<String>,
    /// How long clients may take to leave
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub(crate) deadline: Duration,
    /// Leave the order, and do not watch what comes of it
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// One JSON object for each step
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

/// Often enough to follow, seldom enough to cost the node nothing.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    match interval {
        _ if interval < Duration::from_millis(200) => Err("at least 200ms".into()),
        _ if interval > Duration::from_secs(3600) => Err("at most 1h".into()),
        _ => Ok(interval),
    }
}
