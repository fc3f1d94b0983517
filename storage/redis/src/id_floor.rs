//! The second guard of publication ids in Redis.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sterna_storage::StorageError;
use sterna_storage::volatile::IdFloor;

use crate::calls::Group;
use crate::{RedisStore, script};

impl IdFloor for RedisStore {
    fn raise_floor(&self, worker: u16, floor_ms: u64) -> BoxFuture<'_, Result<u64, StorageError>> {
        async move {
            let (worker, floor) = (worker.to_string(), floor_ms.to_string());
            let partition = self.keys.partitions.of_bytes(worker.as_bytes());
            let key = self.keys.within("idf", partition, worker.as_bytes());
            let arguments = [floor.as_bytes()];
            self.calls.run(Group::IdFloor, &script::FLOOR_RAISE, &[&key], &arguments).await
        }
        .boxed()
    }
}
