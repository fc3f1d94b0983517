//! Flags of the verbs that say what channels keep.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use sterna_proto::ChannelId;
use sterna_storage::keeping::Retention;

use super::OperatorArgs;
use crate::config::parse_retention;

#[derive(Debug, ClapArgs)]
pub(crate) struct RetentionArgs {
    /// Of which channel
    #[arg(value_name = "CHANNEL")]
    pub(crate) channel: ChannelId,
    /// How long publications stay: a duration as in 30d, forever, or default, which is what the
    /// configuration says; without it what the channel keeps is printed
    #[arg(value_name = "RETENTION", value_parser = parse_own)]
    pub(crate) retention: Option<OwnRetention>,
    /// Why
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) reason: String,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

/// What a channel is to have of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OwnRetention {
    Default,
    Own(Retention),
}

fn parse_own(text: &str) -> Result<OwnRetention, String> {
    match text {
        "default" => Ok(OwnRetention::Default),
        text => parse_retention(text).map(OwnRetention::Own),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SwitchArgs {
    /// Which channel
    #[arg(value_name = "CHANNEL")]
    pub(crate) channel: ChannelId,
    #[arg(value_enum, value_name = "on|off")]
    pub(crate) switch: Switch,
    /// Why; kept with the order
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RedactArgs {
    /// In which channel
    #[arg(value_name = "CHANNEL")]
    pub(crate) channel: ChannelId,
    /// Which publications, at most 100 at once
    #[arg(value_name = "OFFSET", required = true, num_args = 1..=100)]
    pub(crate) offsets: Vec<u64>,
    /// Why; kept with the order
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct EraseArgs {
    /// Which channel
    #[arg(value_name = "CHANNEL")]
    pub(crate) channel: ChannelId,
    /// Why; kept with the order
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct KeyArgs {
    /// The file of `archive.master_key_file`: a new key is put before those that are there. Without
    /// it the key is printed
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}
