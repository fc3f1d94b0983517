//! Turns: what is due is archived, put together and collected, shard by shard, and noted, so that a
//! node that starts goes on where it stopped, and a slot that another node gets is not gone over
//! again at once.
//!
//! When a slot was gone over last stands in the manifest, below numbers that no shard of segments
//! has. A note is not compared with the one before: its slot's owner alone writes it, and if two
//! nodes think they are that, one look too many or a look put off by `every` is all that comes of it.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use sterna_storage::{
    ManifestChange, ManifestEntry, ManifestError, SegmentKey, SegmentState, StorageError,
};

use crate::archiver::{PassReport, millis, unix_now_ms};
use crate::collector::Collected;
use crate::compactor::Compacted;
use crate::config::{SHARDS, SLOTS_OF_SHARD};
use crate::{Archiver, corrupt};

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// Slots that were due and were gone over.
    pub slots: u16,
    pub passed: PassReport,
    pub compacted: Compacted,
    pub collected: Collected,
    /// When the next slot is due, from the end of the turn.
    pub next: Duration,
}

impl Archiver {
    /// Goes over those of the slots that `owns` names which nobody has gone over for
    /// [`every`](crate::ArchiveConfig::every). Who owns the first slot of a shard puts its segments
    /// together and collects. `progress` hears after each shard how many of how many are done. May be
    /// dropped at any point, and goes on from there.
    ///
    /// # Errors
    /// When the store or the archive does not answer; what was done until then stays.
    pub async fn turn(
        &mut self,
        owns: impl Fn(u16) -> bool,
        mut progress: impl FnMut(u16, u16, &Turn),
    ) -> Result<Turn, StorageError> {
        let every_ms = millis(self.config.every);
        let mut turn = Turn::default();
        let mut next_ms = unix_now_ms().saturating_add(every_ms);
        for (done, shard) in (1..).zip(self.order()) {
            let slots: Vec<u16> = slots_of(shard).filter(|slot| owns(*slot)).collect();
            if !slots.is_empty() {
                let noted = self.noted(shard).await?;
                let due_ms =
                    |slot: &u16| noted.get(slot).map_or(0, |at| at.saturating_add(every_ms));
                let now_ms = unix_now_ms();
                // A note from the future is that of a clock that was wrong.
                let is_due = |slot: &u16| {
                    due_ms(slot) <= now_ms || noted.get(slot).is_some_and(|at| *at > now_ms)
                };
                let (due, waiting): (Vec<u16>, Vec<u16>) = slots.into_iter().partition(is_due);
                next_ms = waiting.iter().map(due_ms).fold(next_ms, u64::min);
                if !due.is_empty() {
                    self.turn_shard(shard, &due, &mut turn).await?;
                    self.note(shard, &due, &noted).await?;
                }
            }
            progress(done, SHARDS, &turn);
        }
        if turn.slots > 0 {
            metrics::counter!("sterna_archive_passes_total").increment(1);
        }
        turn.next = Duration::from_millis(next_ms.saturating_sub(unix_now_ms()));
        Ok(turn)
    }

    async fn turn_shard(
        &mut self,
        shard: u16,
        due: &[u16],
        turn: &mut Turn,
    ) -> Result<(), StorageError> {
        turn.slots += due.len() as u16;
        self.archive_shard(due, &mut turn.passed).await?;
        if due.first() == Some(&(shard * SLOTS_OF_SHARD)) {
            if self.config.compact {
                self.compact_shard(shard, &mut turn.compacted).await?;
            }
            self.collect_shard(shard, &mut turn.collected).await?;
        }
        Ok(())
    }

    /// The shards in an order of the day and of the node, so that nodes do not all do the same at one
    /// time, and none is the last every day.
    pub(crate) fn order(&self) -> Vec<u16> {
        let day = unix_now_ms() / (24 * 3600 * 1000);
        let mut random = StdRng::seed_from_u64(day.wrapping_mul(DAY) ^ self.config.order);
        let mut shards: Vec<u16> = (0..SHARDS).collect();
        shards.shuffle(&mut random);
        shards
    }

    /// When slots of a shard were gone over last.
    async fn noted(&self, shard: u16) -> Result<HashMap<u16, u64>, StorageError> {
        let most = usize::from(SLOTS_OF_SHARD);
        let entries = self.tiers.manifest.segments(NOTES | shard, None, most).await?;
        entries.into_iter().map(read_note).collect()
    }

    async fn note(
        &self,
        shard: u16,
        slots: &[u16],
        noted: &HashMap<u16, u64>,
    ) -> Result<(), StorageError> {
        let content: Bytes = Note { ended_ms: unix_now_ms() }.encode_to_vec().into();
        let change = |slot: &u16| {
            let segment = u64::from(*slot);
            let key = SegmentKey { shard: NOTES | shard, first_ts_ms: 0, segment };
            let state = SegmentState::Published;
            let expected = noted.contains_key(slot).then_some(state);
            ManifestChange {
                expected,
                entry: ManifestEntry { key, state, content: content.clone() },
            }
        };
        match self.tiers.manifest.change_manifest(slots.iter().map(change).collect()).await {
            // Somebody has noted one of them for the first time: it is done twice, and noted then.
            Ok(()) | Err(ManifestError::Conflict { .. }) => Ok(()),
            Err(ManifestError::Storage(error)) => Err(error),
        }
    }
}

/// A slot, and when it was gone over.
pub(crate) fn read_note(entry: ManifestEntry) -> Result<(u16, u64), StorageError> {
    let note = Note::decode(entry.content)
        .map_err(|error| corrupt(format!("the manifest's note {:?}: {error}", entry.key)))?;
    let slot = u16::try_from(entry.key.segment).unwrap_or(u16::MAX);
    Ok((slot, note.ended_ms))
}

pub(crate) fn slots_of(shard: u16) -> std::ops::Range<u16> {
    let first = shard * SLOTS_OF_SHARD;
    first..first + SLOTS_OF_SHARD
}

/// In the manifest, notes on a shard stand where no shard's segments do.
const NOTES: u16 = 0x8000;

/// Neighbouring days have orders that have nothing to do with each other.
const DAY: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Note {
    #[prost(uint64, tag = "1")]
    ended_ms: u64,
}
