//! Rates in Redis: for each bucket the moment at which it will be full, by the server's clock.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sterna_storage::StorageError;
use sterna_storage::volatile::{Rate, RateCounters, Taken};

use crate::calls::Group;
use crate::{RedisStore, script};

impl RateCounters for RedisStore {
    fn take(
        &self,
        key: Bytes,
        cost: u32,
        rate: Rate,
    ) -> BoxFuture<'_, Result<Taken, StorageError>> {
        async move {
            if cost > rate.limit() {
                return Ok(Taken::Refused { retry_after: rate.window });
            }
            let numbers = [u64::from(cost), u64::from(rate.limit()), rate.window_ms()]
                .map(|number| number.to_string());
            let arguments = numbers.each_ref().map(|text| text.as_bytes());
            let bucket = self.keys.within("rl", self.keys.partitions.of_bytes(&key), &key);
            let wait_us: u64 =
                self.calls.run(Group::Rates, &script::RATE_TAKE, &[&bucket], &arguments).await?;
            Ok(match wait_us {
                0 => Taken::Allowed,
                us => Taken::Refused { retry_after: Duration::from_micros(us) },
            })
        }
        .boxed()
    }
}
