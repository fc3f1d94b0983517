//! Role: what became of a command that came with an idempotency key.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{StorageError, StorageErrorKind};

/// The right to finish what was begun; 128 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim(pub u128);

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is yours: do it, then finish or abandon it before the lease is over.
    New { claim: Claim },
    /// Somebody is at it.
    Running,
    /// It was done, with this result.
    Done(Bytes),
    /// The key was used for something else.
    Mismatch,
}

/// `fingerprint` names the command: the same key with another one is a mistake of the client's. A
/// claim holds while its lease runs; afterwards the next `begin` is `New`, and the old claim can
/// neither finish nor abandon.
pub trait IdempotencyStore: Send + Sync + Debug + 'static {
    /// `key` has at most [`KEY_BYTES`] and includes whose key it is.
    fn begin(
        &self,
        key: Bytes,
        fingerprint: u64,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Begun, StorageError>>;

    /// Keeps the result, at most [`RESULT_BYTES`], for that long; false if the claim does not hold.
    fn finish(
        &self,
        key: Bytes,
        claim: Claim,
        result: Bytes,
        keep: Duration,
    ) -> BoxFuture<'_, Result<bool, StorageError>>;

    /// It was not done: the next `begin` is `New`. False if the claim does not hold.
    fn abandon(&self, key: Bytes, claim: Claim) -> BoxFuture<'_, Result<bool, StorageError>>;
}

/// Longer keys are refused as unavailable.
pub const KEY_BYTES: usize = 512;

/// Longer results are refused as unavailable.
pub const RESULT_BYTES: usize = 64 * 1024;

/// Refuses a key that is too long, before an engine sees it.
pub fn check_key(engine: &'static str, key: &[u8]) -> Result<(), StorageError> {
    check_length(engine, "an idempotency key", key.len(), KEY_BYTES)
}

/// Refuses a result that is too long, before an engine sees it.
pub fn check_result(engine: &'static str, result: &[u8]) -> Result<(), StorageError> {
    check_length(engine, "a kept result", result.len(), RESULT_BYTES)
}

fn check_length(
    engine: &'static str,
    what: &str,
    length: usize,
    limit: usize,
) -> Result<(), StorageError> {
    if length <= limit {
        return Ok(());
    }
    let message = format!("{what} has at most {limit} bytes, this one {length}; nothing was done");
    Err(StorageError::new(StorageErrorKind::Unavailable, engine, message))
}
