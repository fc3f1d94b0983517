//! Rates in memory.

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::{Ending, MemoryVolatile};
use crate::StorageError;
use crate::volatile::{Rate, RateCounters, Taken};

impl RateCounters for MemoryVolatile {
    fn take(
        &self,
        key: Bytes,
        cost: u32,
        rate: Rate,
    ) -> BoxFuture<'_, Result<Taken, StorageError>> {
        let now_us = u64::try_from(self.now().as_micros()).unwrap_or(u64::MAX);
        let mut content = self.content();
        content.buckets.make_room(|full_at_us| *full_at_us <= now_us);
        let full_at_us = content.buckets.map.get(&key).copied().unwrap_or(0);
        let taken = match rate.take(full_at_us, now_us, cost) {
            Err(retry_after) => Taken::Refused { retry_after },
            Ok(full_at_us) => {
                content.buckets.map.insert(key, full_at_us);
                Taken::Allowed
            }
        };
        ready(Ok(taken)).boxed()
    }
}

/// When each will be full, in microseconds.
pub(super) type Buckets = Ending<Bytes, u64>;
