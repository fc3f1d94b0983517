//! Reads what is archived of a shard once, for whoever takes it elsewhere: each publication that
//! counts, in the order of channels and offsets.
//!
//! It goes through segments and not through channels, since that is one read for many records. What
//! is held is a page of each segment that has something from the wanted time.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{Record, SegmentKey, SegmentState, StorageError};

use crate::archiver::CHANNELS_AT_ONCE;
use crate::chain::Tail;
use crate::entry::SegmentInfo;
use crate::fate::Fates;
use crate::merge::{Cursor, Held, Indexes};
use crate::verify::shard_segments;
use crate::{Tiers, corrupt};

/// What of the archive is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// `None`: all.
    pub channels: Option<HashSet<ChannelKey>>,
    /// Server times in milliseconds.
    pub times: Range<u64>,
}

/// Publications on their way out.
#[derive(Debug)]
pub struct Export {
    tiers: Tiers,
    fates: Arc<dyn Fates>,
    wanted: Wanted,
    indexes: Indexes,
    cursors: Vec<(SegmentKey, Cursor)>,
    /// Channels that follow.
    batch: VecDeque<(Held, Kept)>,
    /// The next record of the first of them.
    next: Offset,
    read: u64,
}

/// What of a channel is given.
#[derive(Debug)]
struct Kept {
    offsets: std::ops::RangeInclusive<Offset>,
    redacted: Vec<Offset>,
}

/// The segments of a shard that may have something from these times.
///
/// # Errors
/// When the store does not answer, or an entry is damaged.
pub async fn segments_between(
    tiers: &Tiers,
    shard: u16,
    times: &Range<u64>,
) -> Result<Vec<SegmentInfo>, StorageError> {
    let mut all = shard_segments(tiers, shard).await?;
    all.retain(|info| {
        info.state == SegmentState::Published
            && info.sealed.is_some_and(|sealed| {
                sealed.first_ts_ms < times.end && times.start <= sealed.last_ts_ms
            })
    });
    all.sort_by_key(|info| (info.made_of.since_ms, info.key));
    Ok(all)
}

impl Export {
    /// Begins to read a shard, without what these say is to be dropped or blanked.
    ///
    /// # Errors
    /// When the store does not answer, or an entry is damaged.
    pub async fn begin(
        tiers: Tiers,
        fates: Arc<dyn Fates>,
        shard: u16,
        wanted: Wanted,
    ) -> Result<Self, StorageError> {
        let segments = segments_between(&tiers, shard, &wanted.times).await?;
        let keys = segments.iter().map(|info| info.key);
        let indexes = Indexes::new(tiers.segments.clone(), keys.clone());
        let cursors = keys.map(|key| (key, Cursor::new(key))).collect();
        let (batch, next, read) = Default::default();
        Ok(Self { tiers, fates, wanted, indexes, cursors, batch, next, read })
    }

    /// Records that were read so far, wanted or not.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Some records of a channel that follow; `None` at the end.
    ///
    /// # Errors
    /// When the store or the archive does not answer. A segment that
    /// [is missing](StorageError::is_missing) was replaced meanwhile, most likely: begin again.
    pub async fn next(&mut self) -> Result<Option<(ChannelKey, Vec<Record>)>, StorageError> {
        loop {
            let Some((held, kept)) = self.batch.front() else {
                if self.fill().await? {
                    continue;
                }
                return Ok(None);
            };
            let channel = held.channel;
            let from = self.next.max(*kept.offsets.start());
            let Some((place, from)) = next_of(held, from).filter(|it| it.1 <= *kept.offsets.end())
            else {
                self.batch.pop_front();
                self.next = Offset::ZERO;
                continue;
            };
            let cursor = &mut self.cursors[place].1;
            let mut records = cursor.take(&*self.tiers.segments, channel, from).await?;
            let Some(last) = records.last() else {
                return Err(corrupt(format!("{channel:?} has no offset {}", from.0)));
            };
            self.next = last.position.offset.next();
            self.read += records.len() as u64;
            let (offsets, times) = (&kept.offsets, &self.wanted.times);
            records.retain(|record| {
                offsets.contains(&record.position.offset)
                    && times.contains(&record.body.server_ts_ms)
            });
            for record in &mut records {
                if kept.redacted.binary_search(&record.position.offset).is_ok() {
                    record.body.payload = bytes::Bytes::new();
                }
            }
            if !records.is_empty() {
                return Ok(Some((channel, records)));
            }
        }
    }

    /// The channels that follow. False: there are none.
    async fn fill(&mut self) -> Result<bool, StorageError> {
        let mut held = self.indexes.batch(CHANNELS_AT_ONCE).await.map_err(|(_, error)| error)?;
        if held.is_empty() {
            return Ok(false);
        }
        if let Some(channels) = &self.wanted.channels {
            held.retain(|held| channels.contains(&held.channel));
        }
        let channels: Vec<ChannelKey> = held.iter().map(|held| held.channel).collect();
        let fates = self.fates.fates(channels.clone()).await?;
        let rows = self.tiers.archived.archived(channels).await?;
        for ((held, fate), row) in held.into_iter().zip(fates).zip(rows) {
            // What no row refers to is not archived, or not yet.
            let Some(row) = row else { continue };
            let tail = Tail::of_archived(&row)?;
            let offsets = tail.begins().max(fate.first)..=tail.at.last;
            self.batch.push_back((held, Kept { offsets, redacted: fate.redacted }));
        }
        Ok(true)
    }
}

/// Where a channel's next record from an offset on lies, and which that is: between segments of other
/// times some may not be here.
fn next_of(held: &Held, from: Offset) -> Option<(usize, Offset)> {
    let behind = held.runs.iter().filter(|(_, run)| from <= run.last);
    let next = behind.map(|(place, run)| (run.first.max(from), run.last, *place));
    let next = next.min_by_key(|(first, last, _)| (*first, std::cmp::Reverse(*last)));
    next.map(|(first, _, place)| (place, first))
}
