//! What all roles share: the way to the nodes, the statements, and what was settled at the store's
//! birth.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sterna_proto::Epoch;
use sterna_storage::StorageError;

use crate::cql::Cql;
use crate::failure::unavailable;
use crate::intents::Turns;
use crate::statements::{Channels, Extras, Heads, Hints, Lists, Owed, Rows};
use crate::tip::Tips;

/// An open store.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) cql: Cql,
    pub(crate) heads: Heads,
    pub(crate) lists: Lists,
    pub(crate) rows: Rows,
    pub(crate) extras: Extras,
    pub(crate) hints: Hints,
    pub(crate) owed: Owed,
    pub(crate) channels: Channels,
    pub(crate) birth: Epoch,
    pub(crate) tips: Tips,
    pub(crate) turns: Turns,
    pub(crate) bucket_records: u64,
    pub(crate) bucket_bytes: u64,
    pub(crate) retries: u32,
    pub(crate) closed: AtomicBool,
}

impl Engine {
    pub(crate) fn check_open(&self) -> Result<(), StorageError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(unavailable("closed; nothing was stored"));
        }
        Ok(())
    }
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Statements of one call that are on their way together.
pub(crate) const AT_ONCE: usize = 16;
