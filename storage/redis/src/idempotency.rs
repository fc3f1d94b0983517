//! Idempotency keys in Redis: a hash that ends with its lease or its time to be kept.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sterna_storage::StorageError;
use sterna_storage::volatile::idempotency::{check_key, check_result};
use sterna_storage::volatile::{Begun, Claim, IdempotencyStore};

use crate::calls::{Group, unexpected};
use crate::routes::millis;
use crate::{ENGINE, RedisStore, script};

impl IdempotencyStore for RedisStore {
    fn begin(
        &self,
        key: Bytes,
        fingerprint: u64,
        lease: Duration,
    ) -> BoxFuture<'_, Result<Begun, StorageError>> {
        async move {
            check_key(ENGINE, &key)?;
            let claim = Claim(rand::random());
            let (fingerprint, lease) = (fingerprint.to_string(), millis(lease).to_string());
            let claimed = claim.0.to_string();
            let arguments = [&*fingerprint, &*claimed, &*lease].map(str::as_bytes);
            let key = self.idempotency_key(&key);
            let answer: Vec<Vec<u8>> =
                self.calls.run(GROUP, &script::KEY_BEGIN, &[&key], &arguments).await?;
            let mut parts = answer.into_iter();
            match (parts.next().as_deref(), parts.next()) {
                (Some(b"new"), None) => Ok(Begun::New { claim }),
                (Some(b"running"), None) => Ok(Begun::Running),
                (Some(b"mismatch"), None) => Ok(Begun::Mismatch),
                (Some(b"done"), Some(result)) => Ok(Begun::Done(result.into())),
                _ => Err(unexpected("an idempotency key")),
            }
        }
        .boxed()
    }

    fn finish(
        &self,
        key: Bytes,
        claim: Claim,
        result: Bytes,
        keep: Duration,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        async move {
            check_result(ENGINE, &result)?;
            let (claim, keep) = (claim.0.to_string(), millis(keep).to_string());
            let arguments: [&[u8]; 3] = [claim.as_bytes(), &result, keep.as_bytes()];
            let key = self.idempotency_key(&key);
            self.calls.run(GROUP, &script::KEY_FINISH, &[&key], &arguments).await
        }
        .boxed()
    }

    fn abandon(&self, key: Bytes, claim: Claim) -> BoxFuture<'_, Result<bool, StorageError>> {
        async move {
            let (key, claim) = (self.idempotency_key(&key), claim.0.to_string());
            self.calls.run(GROUP, &script::KEY_ABANDON, &[&key], &[claim.as_bytes()]).await
        }
        .boxed()
    }
}

impl RedisStore {
    fn idempotency_key(&self, key: &[u8]) -> Vec<u8> {
        self.keys.within("idem", self.keys.partitions.of_bytes(key), key)
    }
}

const GROUP: Group = Group::Idempotency;
