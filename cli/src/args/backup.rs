//! Flags of `sterna backup`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::OperatorArgs;

#[derive(Debug, ClapArgs)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    pub(crate) verb: BackupVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupVerb {
    /// Have a running node make one, or make one of a stopped node's store
    Create(BackupCreateArgs),
    /// Read one again and compare every byte
    Verify(BackupVerifyArgs),
    /// Print which there are, the oldest first
    List(BackupListArgs),
    /// Send one to an object store, but for the files that are there already
    Push(BackupPushArgs),
    /// Put one back, as a data directory's store with a new epoch in every channel
    Restore(BackupRestoreArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct BackupCreateArgs {
    /// A name in the node's `backup.directory`, default: one of the time; with --store the folder
    #[arg(value_name = "TO")]
    pub(crate) to: Option<PathBuf>,
    /// The directory of a store that no node has open
    #[arg(long, value_name = "DIR", requires = "to", conflicts_with = "url")]
    pub(crate) store: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) operator: OperatorArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct BackupVerifyArgs {
    /// Its folder, or URL/NAME of one that was pushed
    #[arg(value_name = "BACKUP")]
    pub(crate) backup: String,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct BackupListArgs {
    /// A folder of backups, or the URL of an object store's
    #[arg(value_name = "WHERE", default_value = ".sterna/backups")]
    pub(crate) of: String,
    /// One JSON object a backup
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct BackupPushArgs {
    /// Its folder
    #[arg(value_name = "BACKUP")]
    pub(crate) backup: PathBuf,
    /// Where to, as in s3://bucket/folder; file:///folder is another disk
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    /// Print what was sent as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct BackupRestoreArgs {
    /// Its folder, or URL/NAME of one that was pushed
    #[arg(value_name = "BACKUP")]
    pub(crate) backup: String,
    /// The store's directory, `store` in a node's data directory: not there yet, or empty
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// How an object store is reached, as in `[archive]` of a configuration.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct PlaceArgs {
    /// Where the object store is, if not at its maker's
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// File with the name of the key; default: as the maker's own tools find it
    #[arg(long, value_name = "FILE", requires = "secret_file")]
    pub(crate) key_id_file: Option<PathBuf>,
    /// File with the key
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
}
