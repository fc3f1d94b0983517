//! The loss sentinel in Redis: a name that whoever finds none sets at random.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sterna_storage::StorageError;
use sterna_storage::volatile::{Boot, LossSentinel, Partition, Sentinel};

use crate::RedisStore;
use crate::calls::{Group, unexpected};

impl LossSentinel for RedisStore {
    fn check_loss(
        &self,
        partition: Partition,
        remembered: Option<Boot>,
    ) -> BoxFuture<'_, Result<Sentinel, StorageError>> {
        async move {
            let fresh: u128 = rand::random();
            let mut command = redis::cmd("SET");
            command.arg(self.keys.of_partition("boot", partition));
            command.arg(format!("{fresh:x}")).arg("NX").arg("GET");
            let found: Option<String> = self.calls.call(Group::Sentinel, &command).await?;
            let found = found.map(|text| u128::from_str_radix(&text, 16));
            let now = found.unwrap_or(Ok(fresh)).map_err(|_| unexpected("the name of a boot"))?;
            let is_same = remembered == Some(Boot(now));
            Ok(if is_same { Sentinel::Same } else { Sentinel::Lost { now: Boot(now) } })
        }
        .boxed()
    }
}
