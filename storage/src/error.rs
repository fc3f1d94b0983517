//! What can go wrong in an engine, and what the caller may do about it.

use std::sync::Arc;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageErrorKind {
    /// Not done, and may succeed later.
    Unavailable,
    /// It is not known whether it was done: look before trying again.
    Unknown,
    /// Stored bytes are not what was written. Never skipped silently.
    Corrupt,
    /// The engine must not be used any more: the process has to stop and say why (I1: a failed
    /// fsync is never retried).
    Fatal,
}

/// An engine's failure with its cause.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{engine}: {message}")]
pub struct StorageError {
    pub kind: StorageErrorKind,
    pub engine: &'static str,
    pub message: String,
    #[source]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl StorageError {
    pub fn new(kind: StorageErrorKind, engine: &'static str, message: impl Into<String>) -> Self {
        Self { kind, engine, message: message.into(), source: None }
    }

    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Of kind `Corrupt`, since what was referred to is not there at all: [`Missing`] is its source.
    /// Whoever knows where it may have gone looks there.
    pub fn is_missing(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.is::<Missing>())
    }
}

/// The source of an error about what is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not there")]
pub struct Missing;
