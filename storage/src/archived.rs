//! Role: how far channels are archived.

use std::fmt::Debug;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sterna_proto::{ChannelKey, Offset};

use crate::StorageError;

/// How far a channel is archived, and where its archive begins to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The newest archived offset: this one and all before it lie in the archive.
    pub upto: Offset,
    /// What the archiver knows of where they lie, at most [`CONTENT_BYTES`]; opaque here.
    pub content: Bytes,
}

/// Longest [`Archived::content`].
pub const CONTENT_BYTES: usize = 4096;

/// Says how far a channel is archived, if what was said of it before is the expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedChange {
    pub channel: ChannelKey,
    /// `None`: nothing of it is archived yet.
    pub expected: Option<Archived>,
    /// Not before what is expected: what is archived stays archived.
    pub archived: Archived,
}

/// Why a change did not happen. The others of a call are not affected.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ArchivedError {
    /// Somebody else was there: take what is stored and decide anew.
    #[error("something else is stored of how far the channel is archived")]
    Conflict { found: Option<Archived> },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Compare-and-set for each channel. Writes are durable when they return: what is trimmed from the
/// log afterwards is found through this alone (I7).
pub trait ArchivedStore: Send + Sync + Debug + 'static {
    /// How far channels are archived, in the order asked for; `None` for one of which nothing is.
    fn archived(
        &self,
        channels: Vec<ChannelKey>,
    ) -> BoxFuture<'_, Result<Vec<Option<Archived>>, StorageError>>;

    /// Makes the changes, each with its own verdict, in the order given. No channel occurs twice
    /// in one call. An error of kind `Unknown` means that the change may have been made.
    fn change_archived(
        &self,
        changes: Vec<ArchivedChange>,
    ) -> BoxFuture<'_, Vec<Result<(), ArchivedError>>>;
}

/// What every engine decides of a change.
///
/// # Errors
/// [`ArchivedError::Conflict`] if something else is stored, or if less would be archived
/// afterwards than before.
pub fn decide(change: &ArchivedChange, found: Option<&Archived>) -> Result<(), ArchivedError> {
    let goes_back = found.is_some_and(|found| change.archived.upto < found.upto);
    if found != change.expected.as_ref() || goes_back {
        return Err(ArchivedError::Conflict { found: found.cloned() });
    }
    Ok(())
}
