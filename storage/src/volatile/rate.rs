//! Role: rates that all nodes share.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::StorageError;

/// A bucket of `limit` that fills evenly once in `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Not 0; taken as 1 if it is.
    pub limit: u32,
    /// In whole milliseconds, at least one.
    pub window: Duration,
}

/// Whether something may happen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Allowed,
    /// Nothing was taken. The same cost fits after this long, if nobody else takes meanwhile.
    Refused {
        retry_after: Duration,
    },
}

/// Buckets are counted by the engine's own clock, so those of nodes need not agree.
pub trait RateCounters: Send + Sync + Debug + 'static {
    /// Takes `cost` out of the key's bucket if that much is in it. A cost above the limit is refused
    /// whenever it comes, with the window as its delay.
    fn take(&self, key: Bytes, cost: u32, rate: Rate)
    -> BoxFuture<'_, Result<Taken, StorageError>>;
}

impl Rate {
    /// The decision, as every engine takes it. `full_at_us` is when the bucket will be full, in
    /// microseconds of some clock; the new value of it comes back if something was taken.
    pub(super) fn take(self, full_at_us: u64, now_us: u64, cost: u32) -> Result<u64, Duration> {
        let window_us = self.window_ms() * 1000;
        if cost > self.limit() {
            return Err(self.window);
        }
        // Smaller than the window, which is a u64.
        let cost_us = (u128::from(cost) * u128::from(window_us) / u128::from(self.limit())) as u64;
        let full_at_us = full_at_us.max(now_us) + cost_us;
        match full_at_us.saturating_sub(now_us + window_us) {
            0 => Ok(full_at_us),
            over => Err(Duration::from_micros(over)),
        }
    }

    /// As every engine counts it.
    pub fn limit(self) -> u32 {
        self.limit.max(1)
    }

    /// As every engine counts it; at most a year.
    pub fn window_ms(self) -> u64 {
        const YEAR_MS: u64 = 366 * 24 * 3600 * 1000;
        u64::try_from(self.window.as_millis()).unwrap_or(YEAR_MS).clamp(1, YEAR_MS)
    }
}
