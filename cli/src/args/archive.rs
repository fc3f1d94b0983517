//! Flags of `sterna archive`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::{ConfigArgs, OperatorArgs};

#[derive(Debug, ClapArgs)]
pub(crate) struct ArchiveArgs {
    #[command(subcommand)]
    pub(crate) verb: ArchiveVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ArchiveVerb {
    /// Say what lies in the archive
    Status(ArchiveOf),
    /// Archive at once what is old enough, as nodes do by themselves
    Run(ArchiveOf),
    /// Read all of it again: every segment, and every channel's way through them
    Verify(ArchiveOf),
    /// Rebuild a store that was lost from the objects alone: into an empty one, with a new epoch
    ///
    /// What the objects do not hold is lost: names and settings of channels, cursors, inboxes, and
    /// what was not archived yet. Every channel goes on behind what is there.
    Restore(ArchiveRestoreArgs),
    /// Write archived publications as Parquet files, one for each day and part of the channels
    Export(ExportArgs),
}

/// A day's files from before are replaced.
#[derive(Debug, ClapArgs)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// A folder, or s3://bucket/folder and the like, with the keys of the archive if that lies in the
    /// same kind of place
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) to: String,
    /// Only this channel; may be given several times
    #[arg(long = "channel", value_name = "CHANNEL")]
    pub(crate) channels: Vec<String>,
    /// Only what was published at this time or later: 2026-11-29, or 2026-11-29T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only what was published before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
}

/// Whose archive: that of a running node, which is asked, or what a configuration names. With a
/// configuration whose store a running node holds, that node is asked.
#[derive(Debug, ClapArgs)]
pub(crate) struct ArchiveOf {
    /// The configuration file
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) config: Option<PathBuf>,
    /// Override one key, as in `--set node.name=a`; wins over the environment and the file
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "config")]
    pub(crate) overrides: Vec<String>,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ArchiveRestoreArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Read everything and say what would be rebuilt; the store is not even opened
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Rebuild what can be: channels with missing segments begin behind the gap, channels whose
    /// segments contradict each other are left out
    #[arg(long)]
    pub(crate) accept_loss: bool,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
