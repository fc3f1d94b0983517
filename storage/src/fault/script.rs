//! When the stores of an archive fail: one script may stand behind several of them, so that whatever
//! they are asked is one row of calls.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::FaultPoint;
use crate::{StorageError, StorageErrorKind};

/// Shared by `Arc` between a test and what stands in the way of its calls.
#[derive(Debug, Default)]
pub struct Script {
    calls: AtomicU64,
    /// Calls until one fails; 0: none does.
    fails_in: AtomicU64,
    /// It takes effect first.
    strikes_late: AtomicBool,
    /// All that follow fail too.
    is_deadly: AtomicBool,
    is_dead: AtomicBool,
}

impl Script {
    /// The `count`-th call from now on fails as unavailable and has no effect; 0: none does.
    pub fn fail_in(&self, count: u64) {
        self.is_deadly.store(false, Ordering::SeqCst);
        self.strikes_late.store(false, Ordering::SeqCst);
        self.fails_in.store(count, Ordering::SeqCst);
    }

    /// With the `count`-th call from now on the process is as if it were dead, until
    /// [`revive`](Self::revive): that call has an effect or none, and whatever is called afterwards
    /// has none.
    pub fn die_in(&self, count: u64, point: FaultPoint) {
        self.is_deadly.store(true, Ordering::SeqCst);
        self.strikes_late.store(point == FaultPoint::AfterAppend, Ordering::SeqCst);
        self.fails_in.store(count, Ordering::SeqCst);
    }

    /// Another process stands there. Answers whether there was a death.
    pub fn revive(&self) -> bool {
        self.fails_in.store(0, Ordering::SeqCst);
        self.is_dead.swap(false, Ordering::SeqCst)
    }

    /// True while the scripted failure has not struck yet.
    pub fn is_armed(&self) -> bool {
        self.fails_in.load(Ordering::SeqCst) > 0
    }

    /// How many calls have been made, the failed ones included.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Counts a call. Fails it at once, or says that it fails once it is made.
    pub(super) fn enter(&self) -> Result<Late, StorageError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let count = |left: u64| left.checked_sub(1);
        let struck = self.fails_in.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count) == Ok(1);
        if self.is_dead.load(Ordering::SeqCst) {
            return Err(failure());
        }
        let dies = struck && self.is_deadly.load(Ordering::SeqCst);
        self.is_dead.fetch_or(dies, Ordering::SeqCst);
        let is_late = self.strikes_late.load(Ordering::SeqCst);
        if struck && !is_late { Err(failure()) } else { Ok(Late(struck)) }
    }
}

/// Whether a call fails though it was made.
#[must_use]
pub(super) struct Late(bool);

impl Late {
    pub(super) fn then<T>(self, made: T) -> Result<T, StorageError> {
        if self.0 { Err(failure()) } else { Ok(made) }
    }
}

fn failure() -> StorageError {
    StorageError::new(StorageErrorKind::Unavailable, "faulty", "a scripted failure")
}
