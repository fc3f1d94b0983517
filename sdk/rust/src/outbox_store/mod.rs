//! Where publications wait when the process ends: the interface of a store, and the one that this
//! crate brings ([`FileOutbox`]). The builder loads it, the driver writes to it, off the runtime's
//! threads and one batch at a time; nobody else touches it. It ends with the client.

mod file;
#[cfg(test)]
mod fuzz_tests;
mod journal;

use std::path::PathBuf;

use sterna_proto::v1;

pub use file::FileOutbox;

/// Keeps the outbox across restarts of the process.
///
/// A client with a store publishes exactly once across restarts: a publication is inserted, and on
/// disk, before it is sent for the first time; it is removed only after the server has answered for
/// it; what is found by the next process is sent again under the same client id and number, by which
/// the server knows what it has already. Without a store the outbox lives in memory and ends with
/// the client.
///
/// A publication reaches the store soon after [`Publish::start`](crate::Publish::start), and before
/// [`Client::close`](crate::Client::close) returns; what a process was about to write when it died
/// is not sent by anybody.
///
/// One store belongs to one client id and, since the server tells publications apart by user and
/// client id, to one user: an application in which several users log in keeps one store for each.
///
/// The methods may block. They are called one at a time: [`load`](Self::load) once, by
/// [`ClientBuilder::build`](crate::ClientBuilder::build), then [`write`](Self::write) on a thread for
/// blocking work.
pub trait OutboxStore: std::fmt::Debug + Send + 'static {
    /// What an earlier process has left. A store that belongs to nobody yet belongs to `client_id`
    /// from here on, and says so after every restart.
    fn load(&mut self, client_id: &str) -> Result<StoredOutbox, OutboxStoreError>;

    /// Makes the changes in their order. When it returns without an error, every
    /// [`OutboxChange::Insert`] among them survives a loss of power; the others may be lost, and
    /// then a publication is sent once more than needed. With an error none of the changes counts.
    fn write(&mut self, changes: &[OutboxChange]) -> Result<(), OutboxStoreError>;
}

/// What a store holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoredOutbox {
    /// Under which the publications have to be sent.
    pub client_id: String,
    /// The highest number that was ever inserted, or 0. Numbers below are not used again.
    pub last_seq: u64,
    /// In the order of their numbers.
    pub publications: Vec<StoredPublication>,
    /// Entries that could not be read and are lost.
    pub damaged: u64,
}

/// A publication that no server has answered for.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPublication {
    /// As it is sent, its number (`client_seq`) included.
    pub publish: v1::Publish,
    /// It was sent at least once, so the server may have it.
    pub attempted: bool,
}

/// One step in the life of a stored publication.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum OutboxChange {
    /// It was published. Nothing is sent before this is on disk.
    Insert(v1::Publish),
    /// It is sent for the first time.
    Attempted {
        /// Its number.
        client_seq: u64,
    },
    /// The server has stored or refused it, or it was dropped by the outbox's policy.
    Remove {
        /// Its number.
        client_seq: u64,
    },
}

/// Why a store does not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxStoreError {
    /// Another client, of this process or another, has it open.
    #[error("{0} is in use by another client; give each its own file, or close the other first")]
    InUse(PathBuf),
    /// The file is none of ours, or nothing in it can be read.
    #[error("{0} is not an outbox that this version can read; move it away or name another file")]
    Unreadable(PathBuf),
    /// The operating system refused.
    #[error("cannot {doing} {path}: {error}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// How that failed.
        error: std::io::Error,
    },
    /// A failed write could not be undone, so that nothing more is written behind it.
    #[error("{0} was left half written by an earlier failure; restart the client to repair it")]
    Broken(PathBuf),
    /// A failure of a store outside this crate.
    #[error("{0}")]
    Other(String),
}
