//! Bounds of issued ids (I10). A bound is never below the floor that a repair has left.

use sterna_storage::{BoxFuture, IdBoundStore, StorageError};

use crate::RocksStore;
use crate::encoding::decode_number;
use crate::group::Sync;
use crate::options::Family;

impl IdBoundStore for RocksStore {
    fn id_bound(&self, worker: u16) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.engine.look(|database| {
            let bound = database.get_as(Family::Meta, &bound_key(worker), decode_number)?;
            let floor = database.get_as(Family::Meta, FLOOR_KEY, decode_number)?;
            Ok(bound.unwrap_or(0).max(floor.unwrap_or(0)))
        })
    }

    fn raise_id_bound(
        &self,
        worker: u16,
        expected_ms: u64,
        bound_ms: u64,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        self.engine.write(move |group| {
            let key = bound_key(worker);
            let bound = group.get_as(Family::Meta, &key, decode_number)?.unwrap_or(0);
            let floor = group.get_as(Family::Meta, FLOOR_KEY, decode_number)?.unwrap_or(0);
            if bound.max(floor) != expected_ms {
                return Ok(false);
            }
            if expected_ms < bound_ms {
                group.put(Sync::Now, Family::Meta, key, bound_ms.to_be_bytes().into());
            }
            Ok(true)
        })
    }
}

fn bound_key(worker: u16) -> Vec<u8> {
    [BOUND_PREFIX, &worker.to_be_bytes()].concat()
}

pub(crate) const BOUND_PREFIX: &[u8] = b"id bound/";
pub(crate) const FLOOR_KEY: &[u8] = b"id floor";

/// 2024-01-01 00:00 UTC.
pub(crate) const IDS_BEGIN_UNIX_MS: u64 = 1_704_067_200_000;
