//! The archive's manifest.

use bytes::{Buf as _, Bytes};
use futures_util::FutureExt as _;
use sterna_storage::{
    BoxFuture, ManifestChange, ManifestEntry, ManifestError, ManifestStore, SegmentKey,
    SegmentState, StorageError,
};

use crate::RocksStore;
use crate::channels::until_full;
use crate::encoding::{Damaged, check_len};
use crate::group::{Group, Sync};
use crate::options::Family;

impl ManifestStore for RocksStore {
    fn change_manifest(
        &self,
        changes: Vec<ManifestChange>,
    ) -> BoxFuture<'_, Result<(), ManifestError>> {
        let written = self.engine.write(move |group| Ok(change(group, &changes)));
        written.map(|outcome| outcome.unwrap_or_else(|error| Err(error.into()))).boxed()
    }

    fn segment(
        &self,
        key: SegmentKey,
    ) -> BoxFuture<'_, Result<Option<ManifestEntry>, StorageError>> {
        let decode = |content: &[u8]| decode_entry(key, content);
        self.engine.look(|database| database.get_as(Family::Archive, &encode_key(key), decode))
    }

    fn segments(
        &self,
        shard: u16,
        after: Option<SegmentKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ManifestEntry>, StorageError>> {
        self.engine.read(move |database| {
            let mut found = Vec::new();
            if limit == 0 {
                return Ok(found);
            }
            let prefix = shard.to_be_bytes();
            let after = after.filter(|after| after.shard == shard).map(encode_key);
            let after = after.as_ref().map(|key| &key[prefix.len()..]);
            database.scan(Family::Archive, &prefix, after, |key, content| {
                let entry = decode_key(key)
                    .and_then(|key| decode_entry(key, content))
                    .map_err(|damaged| database.corrupt(Family::Archive, key, damaged))?;
                found.push(entry);
                Ok(until_full(found.len(), limit))
            })?;
            Ok(found)
        })
    }
}

/// Compares all before it stages any. An entry that the call itself changes is compared with that.
fn change(group: &mut Group, changes: &[ManifestChange]) -> Result<(), ManifestError> {
    for (index, ManifestChange { expected, entry }) in changes.iter().enumerate() {
        let earlier = changes[..index].iter().rev().find(|other| other.entry.key == entry.key);
        let found = match earlier {
            Some(earlier) => Some(earlier.entry.clone()),
            None => {
                let decode = |content: &[u8]| decode_entry(entry.key, content);
                group.get_as(Family::Archive, &encode_key(entry.key), decode)?
            }
        };
        if found.as_ref().map(|found| found.state) != *expected {
            return Err(ManifestError::Conflict { index, found });
        }
    }
    for ManifestChange { entry, .. } in changes {
        let content = [&[number_of(entry.state)], &entry.content[..]].concat();
        group.put(Sync::Now, Family::Archive, encode_key(entry.key).into(), content);
    }
    Ok(())
}

/// shard . first time . segment
pub(crate) fn encode_key(key: SegmentKey) -> [u8; KEY_BYTES] {
    let mut bytes = [0; KEY_BYTES];
    bytes[..2].copy_from_slice(&key.shard.to_be_bytes());
    bytes[2..10].copy_from_slice(&key.first_ts_ms.to_be_bytes());
    bytes[10..].copy_from_slice(&key.segment.to_be_bytes());
    bytes
}

pub(crate) fn decode_key(mut bytes: &[u8]) -> Result<SegmentKey, Damaged> {
    check_len(bytes, KEY_BYTES)?;
    let (shard, first_ts_ms) = (bytes.get_u16(), bytes.get_u64());
    Ok(SegmentKey { shard, first_ts_ms, segment: bytes.get_u64() })
}

pub(crate) fn decode_entry(key: SegmentKey, content: &[u8]) -> Result<ManifestEntry, Damaged> {
    let Some((number, content)) = content.split_first() else {
        return Err(Damaged("an entry without a state".to_owned()));
    };
    let state = STATES.iter().find(|state| number_of(**state) == *number).copied();
    let state = state.ok_or_else(|| Damaged(format!("unknown segment state {number}")))?;
    Ok(ManifestEntry { key, state, content: Bytes::copy_from_slice(content) })
}

/// As it is stored; a number is never used twice.
fn number_of(state: SegmentState) -> u8 {
    match state {
        SegmentState::Prepared => 1,
        SegmentState::Published => 2,
        SegmentState::Replaced => 3,
        SegmentState::Removed => 4,
    }
}

const STATES: [SegmentState; 4] = [
    SegmentState::Prepared,
    SegmentState::Published,
    SegmentState::Replaced,
    SegmentState::Removed,
];

const KEY_BYTES: usize = 18;
