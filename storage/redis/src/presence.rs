//! Presence deltas in Redis: a stream for each partition.

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sterna_storage::StorageError;
use sterna_storage::volatile::{DELTAS_KEPT, Delta, DeltaId, DeltaPage, Partition, PresenceDeltas};

use crate::calls::{Group, unexpected};
use crate::{RedisStore, script};

impl PresenceDeltas for RedisStore {
    fn append_delta(
        &self,
        partition: Partition,
        payload: Bytes,
    ) -> BoxFuture<'_, Result<DeltaId, StorageError>> {
        async move {
            let (key, kept) = (self.stream_key(partition), DELTAS_KEPT.to_string());
            let arguments: [&[u8]; 2] = [&payload, kept.as_bytes()];
            let id: String =
                self.calls.run(GROUP, &script::DELTA_APPEND, &[&key], &arguments).await?;
            parse_id(id.as_bytes()).ok_or_else(|| unexpected("the id of a delta"))
        }
        .boxed()
    }

    fn deltas(
        &self,
        partition: Partition,
        after: DeltaId,
        limit: usize,
    ) -> BoxFuture<'_, Result<DeltaPage, StorageError>> {
        async move {
            let (after, limit) = (format!("{}-{}", after.ms, after.nth), limit.to_string());
            let arguments = [after.as_bytes(), limit.as_bytes()];
            let key = self.stream_key(partition);
            let answer: Vec<Vec<u8>> =
                self.calls.run(GROUP, &script::DELTA_READ, &[&key], &arguments).await?;
            parse_page(answer).ok_or_else(|| unexpected("presence deltas"))
        }
        .boxed()
    }
}

impl RedisStore {
    fn stream_key(&self, partition: Partition) -> Vec<u8> {
        self.keys.within("pres", partition, b"d")
    }
}

fn parse_page(answer: Vec<Vec<u8>>) -> Option<DeltaPage> {
    let mut parts = answer.into_iter();
    match &*parts.next()? {
        b"trimmed" => Some(DeltaPage::Trimmed { tail: parse_id(&parts.next()?)? }),
        b"deltas" => {
            let mut deltas = Vec::with_capacity(parts.len() / 2);
            while let Some(id) = parts.next() {
                deltas.push(Delta { id: parse_id(&id)?, payload: parts.next()?.into() });
            }
            Some(DeltaPage::Deltas(deltas))
        }
        _ => None,
    }
}

fn parse_id(text: &[u8]) -> Option<DeltaId> {
    let (ms, nth) = std::str::from_utf8(text).ok()?.split_once('-')?;
    Some(DeltaId { ms: ms.parse().ok()?, nth: nth.parse().ok()? })
}

const GROUP: Group = Group::Presence;
