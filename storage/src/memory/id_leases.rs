//! Worker numbers of ids in memory: for tests, and for engines that serve one process, in which
//! nobody else can hold a number.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use crate::id_lease::{LeasedWorker, choose_id_worker};
use crate::{IdLeaseStore, StorageError};

/// Leases that end with the process.
#[derive(Debug)]
pub struct MemoryIdLeases {
    start: Instant,
    leased: Mutex<Vec<LeasedWorker>>,
}

impl MemoryIdLeases {
    fn now_ms(&self) -> u64 {
        millis(self.start.elapsed())
    }

    /// Calls `change` with the lease that the holder has on the number, and says whether it had one.
    fn change(
        &self,
        worker: u16,
        holder: &str,
        change: impl FnOnce(&mut LeasedWorker, u64),
    ) -> bool {
        let now_ms = self.now_ms();
        let mut leased = self.leased.lock().unwrap_or_else(PoisonError::into_inner);
        let held = leased
            .iter_mut()
            .find(|one| one.worker == worker && one.holder == holder && one.until_ms > now_ms);
        held.map(|held| change(held, now_ms)).is_some()
    }
}

impl Default for MemoryIdLeases {
    fn default() -> Self {
        Self { start: Instant::now(), leased: Mutex::default() }
    }
}

impl IdLeaseStore for MemoryIdLeases {
    fn lease_id_worker<'a>(
        &'a self,
        holder: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Option<u16>, StorageError>> {
        let now_ms = self.now_ms();
        let mut leased = self.leased.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = choose_id_worker(&leased, holder, now_ms);
        if let Some(worker) = chosen {
            leased.retain(|one| one.worker != worker);
            let until_ms = now_ms.saturating_add(millis(lease));
            leased.push(LeasedWorker { worker, holder: holder.to_owned(), until_ms });
        }
        ready(Ok(chosen)).boxed()
    }

    fn renew_id_worker<'a>(
        &'a self,
        worker: u16,
        holder: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, StorageError>> {
        let held = self.change(worker, holder, |held, now_ms| {
            held.until_ms = now_ms.saturating_add(millis(lease));
        });
        ready(Ok(held)).boxed()
    }

    fn release_id_worker<'a>(
        &'a self,
        worker: u16,
        holder: &'a str,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        self.change(worker, holder, |held, now_ms| held.until_ms = now_ms);
        ready(Ok(())).boxed()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
