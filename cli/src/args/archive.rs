//! Flags of `sterna archive`.

use clap::{Args as ClapArgs, Subcommand};

use super::ConfigArgs;

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
}

/// Whose archive. A store on this machine is open at one process at a time: end the node first.
#[derive(Debug, ClapArgs)]
pub(crate) struct ArchiveOf {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
