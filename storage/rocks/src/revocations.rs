//! Revocations: a row of the latest time for each user, and one without a user for everybody.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use sterna_proto::UserId;
use sterna_storage::{BoxFuture, Revocation, RevocationStore, StorageError};

use crate::RocksStore;
use crate::database::Database;
use crate::encoding::{Damaged, decode_number, decode_user};
use crate::group::Sync;
use crate::options::Family;

impl RevocationStore for RocksStore {
    fn keep_revocation(&self, revocation: Revocation) -> BoxFuture<'_, Result<(), StorageError>> {
        let Revocation { user, before_ms } = revocation;
        self.engine.write(move |group| {
            let key = [PREFIX, user.as_ref().map_or("", UserId::as_str).as_bytes()].concat();
            let kept = group.get_as(Family::Meta, &key, decode_number)?;
            if kept.unwrap_or(0) < before_ms {
                group.put(Sync::Now, Family::Meta, key, before_ms.to_be_bytes().into());
            }
            Ok(())
        })
    }

    fn revocations(&self, most: usize) -> BoxFuture<'_, Result<Vec<Revocation>, StorageError>> {
        self.engine.read(move |database| latest(database, most))
    }
}

fn latest(database: &Database, most: usize) -> Result<Vec<Revocation>, StorageError> {
    // The earliest on top, to make room for a later one.
    let mut latest = BinaryHeap::new();
    database.scan(Family::Meta, PREFIX, None, |key, content| {
        let damage = |damaged| database.corrupt(Family::Meta, key, damaged);
        let user = decode_revoked(&key[PREFIX.len()..]).map_err(damage)?;
        latest.push(Reverse((decode_number(content).map_err(damage)?, user)));
        if latest.len() > most {
            latest.pop();
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let told = |Reverse((before_ms, user))| Revocation { user, before_ms };
    Ok(latest.into_sorted_vec().into_iter().map(told).collect())
}

pub(crate) fn decode_revoked(text: &[u8]) -> Result<Option<UserId>, Damaged> {
    if text.is_empty() { Ok(None) } else { decode_user(text).map(Some) }
}

const PREFIX: &[u8] = b"revoked/";
