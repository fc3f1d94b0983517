//! The tip of a channel: its newest bucket, whose statics are the head. How it is found, and what is
//! remembered of it so that the next look is short.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sterna_proto::{ChannelKey, Offset, Position};
use sterna_storage::{EpochStart, Head, StorageError};

use crate::columns::{Columns, Value, Values, big, boolean, int, key};
use crate::engine::Engine;
use crate::failure::corrupt;

/// The statics of a bucket. Those of a sealed one never change again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) bucket: i32,
    /// The first offset that is, or will be, in it.
    pub(crate) base: Offset,
    pub(crate) head: Head,
    /// The newest record that came with changes of members; 0 for none.
    pub(crate) changed: Offset,
    /// Octets of payload in it.
    pub(crate) bytes: u64,
    pub(crate) sealed: bool,
}

/// How much a look at a head has to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Whatever was decided before, and it is settled then.
    Settled,
    /// What somebody was told is stored.
    Seen,
}

impl Tip {
    /// What [`crate::statements::Heads::begin`] sets, in its order, and its keys.
    pub(crate) fn beginning(&self, channel: ChannelKey) -> Values {
        let Head { position, first, last_ts_ms, epochs } = &self.head;
        vec![
            big(position.offset.0),
            big(position.epoch.0),
            big(first.0),
            big(*last_ts_ms),
            crate::columns::bytes(encode_epochs(epochs)),
            big(self.changed.0),
            big(self.base.0),
            big(self.bytes),
            key(channel),
            int(self.bucket),
        ]
    }

    /// The keys of its bucket, then what has to be so still.
    pub(crate) fn unchanged(&self, channel: ChannelKey) -> [Value; 5] {
        let Head { position, first, .. } = &self.head;
        [
            key(channel),
            int(self.bucket),
            big(position.offset.0),
            big(position.epoch.0),
            big(first.0),
        ]
    }
}

impl Engine {
    /// The tip; `None` for a channel without records.
    pub(crate) async fn tip(
        &self,
        channel: ChannelKey,
        look: Look,
    ) -> Result<Option<Tip>, StorageError> {
        let known = self.tips.bucket(channel);
        let Some(mut tip) = self.bucket(channel, known.unwrap_or(0), look).await? else {
            return match known {
                None => Ok(None),
                Some(bucket) => Err(corrupt(format!("bucket {bucket} of a channel is missing"))),
            };
        };
        if tip.sealed {
            let found = self.cql.rows("buckets", (&self.lists.newest_bucket, vec![key(channel)]));
            // It may be in the list and have no records yet, or be older than what was known.
            if let Some(mut row) = found.await?.into_iter().next()
                && let Ok(newest) = i32::try_from(row.integer()?)
                && newest > tip.bucket
                && let Some(found) = self.bucket(channel, newest, look).await?
            {
                tip = found;
            }
        }
        while tip.sealed {
            match self.bucket(channel, tip.bucket + 1, look).await? {
                Some(next) => tip = next,
                None => break,
            }
        }
        if tip.bucket > 0 && known != Some(tip.bucket) {
            self.tips.learn(channel, tip.bucket);
        }
        Ok(Some(tip))
    }

    /// The statics of one bucket.
    async fn bucket(
        &self,
        channel: ChannelKey,
        bucket: i32,
        look: Look,
    ) -> Result<Option<Tip>, StorageError> {
        let statement = match look {
            Look::Settled => &self.heads.settled,
            Look::Seen => &self.heads.seen,
        };
        let found = self.cql.rows("log", (statement, vec![key(channel), int(bucket)])).await?;
        found.into_iter().next().map_or(Ok(None), |row| decode(bucket, row))
    }
}

/// `None` if nobody has opened the bucket.
fn decode(bucket: i32, mut row: Columns) -> Result<Option<Tip>, StorageError> {
    let Some(last) = row.optional(crate::columns::integer)? else { return Ok(None) };
    let offset = Offset(last.cast_unsigned());
    let position = Position { epoch: row.epoch()?, offset };
    let (first, last_ts_ms) = (row.offset()?, row.bits()?);
    let epochs = decode_epochs(&row.bytes()?)
        .ok_or_else(|| row.damaged("its list of epochs is cut or empty"))?;
    let head = Head { position, first, last_ts_ms, epochs };
    let (changed, base, bytes) = (row.offset()?, row.offset()?, row.bits()?);
    let sealed = row.optional(boolean)?.unwrap_or(false);
    Ok(Some(Tip { bucket, base, head, changed, bytes, sealed }))
}

/// Twelve octets for each epoch: its number, and its first offset.
pub(crate) fn encode_epochs(epochs: &[EpochStart]) -> Vec<u8> {
    let mut out = Vec::with_capacity(epochs.len() * EPOCH_BYTES);
    for EpochStart { epoch, first } in epochs {
        out.extend(epoch.0.to_be_bytes());
        out.extend(first.0.to_be_bytes());
    }
    out
}

pub(crate) fn decode_epochs(stored: &[u8]) -> Option<Vec<EpochStart>> {
    let (all, rest) = stored.as_chunks::<EPOCH_BYTES>();
    if all.is_empty() || !rest.is_empty() {
        return None;
    }
    let decode = |[a, b, c, d, first @ ..]: &[u8; EPOCH_BYTES]| EpochStart {
        epoch: sterna_proto::Epoch(u32::from_be_bytes([*a, *b, *c, *d])),
        first: Offset(u64::from_be_bytes(*first)),
    };
    Some(all.iter().map(decode).collect())
}

const EPOCH_BYTES: usize = 12;

/// The buckets that tips were last seen in, where it is not the first. A hint: a bucket that was the
/// newest leads to the one that is. Two generations, so that what is asked for stays.
#[derive(Debug, Default)]
pub(crate) struct Tips {
    known: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: Buckets,
    old: Buckets,
}

type Buckets = HashMap<ChannelKey, i32, ahash::RandomState>;

impl Tips {
    pub(crate) fn bucket(&self, channel: ChannelKey) -> Option<i32> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = known.young.get(&channel) {
            return Some(*bucket);
        }
        let bucket = known.old.remove(&channel)?;
        known.put(channel, bucket);
        Some(bucket)
    }

    pub(crate) fn learn(&self, channel: ChannelKey, bucket: i32) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.put(channel, bucket);
    }
}

impl Generations {
    fn put(&mut self, channel: ChannelKey, bucket: i32) {
        self.young.insert(channel, bucket);
        if self.young.len() >= TIPS_PER_GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

/// Channels whose newest bucket is remembered, in each of two generations; about 2 MiB together.
const TIPS_PER_GENERATION: usize = 32_768;

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_proto::{ChannelId, Epoch};

    #[test]
    fn lists_of_epochs_come_back_and_damage_is_noticed() {
        let one = EpochStart { epoch: Epoch(7), first: Offset(1) };
        let other = EpochStart { epoch: Epoch(u32::MAX), first: Offset(u64::MAX) };
        let stored = encode_epochs(&[one, other]);
        assert_eq!(decode_epochs(&stored), Some(vec![one, other]));
        for damaged in [&stored[..0], &stored[..11], &stored[..23]] {
            assert_eq!(decode_epochs(damaged), None);
        }
    }

    #[test]
    fn what_is_asked_for_is_remembered_and_the_rest_forgotten() {
        let key = |n: usize| ChannelId::new(&format!("room:{n}")).unwrap().key();
        let tips = Tips::default();
        tips.learn(key(0), 5);
        for n in 1..TIPS_PER_GENERATION * 3 {
            tips.learn(key(n), 1);
            assert_eq!(tips.bucket(key(0)), Some(5), "after {n}");
        }
        assert_eq!(tips.bucket(key(1)), None);
        let known = tips.known.lock().unwrap();
        assert!(known.young.len() + known.old.len() <= 2 * TIPS_PER_GENERATION);
    }
}
