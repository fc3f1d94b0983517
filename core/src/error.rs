//! Why the core cannot start or go on.

use sterna_storage::StorageError;

/// A node's own failure, as opposed to an error that a client hears.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    #[error("storage failed: {0}")]
    Storage(#[from] StorageError),
    #[error("{0}")]
    Config(String),
}
