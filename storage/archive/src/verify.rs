//! Looks at the archive as a whole.

use sterna_proto::id::SLOTS;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{SegmentState, StorageError, StorageErrorKind};

use crate::chain::{Tail, run_at};
use crate::config::SHARDS;
use crate::entry::SegmentInfo;
use crate::{Fates, Tiers, corrupt};

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// Segments that are read from, with their records and bytes.
    pub segments: u64,
    pub records: u64,
    pub runs: u64,
    pub bytes: u64,
    /// Being written, or left behind by who wrote them.
    pub prepared: u64,
    /// Server times of the oldest and the newest archived publication.
    pub first_ts_ms: Option<u64>,
    pub last_ts_ms: Option<u64>,
}

/// Adds up the manifest.
///
/// # Errors
/// When the store does not answer, or an entry is damaged.
pub async fn status(tiers: &Tiers) -> Result<Status, StorageError> {
    let mut status = Status::default();
    for shard in 0..SHARDS {
        for info in shard_segments(tiers, shard).await? {
            let Some(sealed) = info.sealed.filter(|_| info.state == SegmentState::Published) else {
                status.prepared += u64::from(info.state == SegmentState::Prepared);
                continue;
            };
            status.segments += 1;
            status.records += sealed.records;
            status.runs += sealed.runs;
            status.bytes += sealed.bytes;
            let earlier =
                status.first_ts_ms.map_or(sealed.first_ts_ms, |at| at.min(sealed.first_ts_ms));
            let later = status.last_ts_ms.map_or(sealed.last_ts_ms, |at| at.max(sealed.last_ts_ms));
            (status.first_ts_ms, status.last_ts_ms) = (Some(earlier), Some(later));
        }
    }
    Ok(status)
}

/// What was checked, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    pub segments: u64,
    pub bytes: u64,
    pub channels: u64,
    pub runs: u64,
    /// One sentence for each.
    pub damages: Vec<String>,
}

/// How far a verification has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Of so many segments so many were read again.
    Segments { done: u64, of: u64 },
    /// Of so many slots the chains of so many were followed.
    Slots { done: u16, of: u16 },
}

/// Reads every published segment again and compares it with what was written, and follows every
/// channel's chain from the newest run to the oldest: no run is missing, none overlaps, and where the
/// log begins the archive has everything before. Damage is told, and the rest is looked at.
///
/// # Errors
/// When the store or the archive does not answer.
pub async fn verify(
    tiers: &Tiers,
    progress: impl FnMut(Progress),
) -> Result<Verified, StorageError> {
    verify_beside(tiers, None, progress).await
}

/// The same, and what channels have given up need not be there.
///
/// # Errors
/// When the store or the archive does not answer.
pub async fn verify_beside(
    tiers: &Tiers,
    fates: Option<&dyn Fates>,
    mut progress: impl FnMut(Progress),
) -> Result<Verified, StorageError> {
    let mut verified = Verified::default();
    let mut published = Vec::new();
    for shard in 0..SHARDS {
        let all = shard_segments(tiers, shard).await?;
        published.extend(all.into_iter().filter(|info| info.state == SegmentState::Published));
    }
    let of = published.len() as u64;
    for info in published {
        match tiers.segments.verify(info.key).await {
            Ok(found) if Some(found) == info.sealed => verified.bytes += found.bytes,
            Ok(found) => verified
                .damages
                .push(format!("{:?} is {found:?}, and {:?} was written", info.key, info.sealed)),
            Err(error) => verified.note(error)?,
        }
        verified.segments += 1;
        progress(Progress::Segments { done: verified.segments, of });
    }
    for slot in 0..SLOTS {
        let mut after = None;
        loop {
            let heads = tiers.log.slot_heads(slot, after, CHANNELS_AT_ONCE).await?;
            let Some((last, _)) = heads.last() else { break };
            after = Some(*last);
            for (channel, head) in heads {
                match follow(tiers, fates, channel, head.first).await {
                    Ok(runs) => verified.runs += runs,
                    Err(error) => verified.note(error)?,
                }
                verified.channels += 1;
            }
        }
        progress(Progress::Slots { done: slot + 1, of: SLOTS });
    }
    Ok(verified)
}

impl Verified {
    /// Damage is noted; whoever does not answer ends it.
    fn note(&mut self, error: StorageError) -> Result<(), StorageError> {
        if error.kind != StorageErrorKind::Corrupt {
            return Err(error);
        }
        self.damages.push(error.message);
        Ok(())
    }
}

/// Follows a channel's chain; answers how many runs it has.
async fn follow(
    tiers: &Tiers,
    fates: Option<&dyn Fates>,
    channel: ChannelKey,
    log_begins: Offset,
) -> Result<u64, StorageError> {
    let archived = tiers.archived.archived(vec![channel]).await?.pop().flatten();
    let Some(tail) = archived.as_ref().map(Tail::of_archived).transpose()? else { return Ok(0) };
    if tail.at.last.next() < log_begins {
        let fate = match fates {
            Some(fates) => fates.fates(vec![channel]).await?.pop(),
            None => None,
        };
        if fate.is_some_and(|fate| fate.first >= log_begins) {
            return Ok(0);
        }
        return Err(corrupt(format!(
            "{channel:?}: offsets {} to {} are neither in the archive nor in the log",
            tail.at.last.next().0,
            log_begins.0 - 1
        )));
    }
    let (mut at, mut runs) = (tail.at, 1);
    loop {
        let links = run_at(&*tiers.segments, channel, &at).await?.links;
        // Behind a gap that was accepted the chain begins here.
        let Some(back) = links.back.filter(|_| at.first > tail.first) else { break };
        if back.last.next() != at.first || back.depth + 1 != at.depth {
            return Err(corrupt(format!("{channel:?}: {back:?} is linked from {at:?}")));
        }
        if let Some(jump) = links.jump.filter(|jump| jump.first >= tail.first) {
            run_at(&*tiers.segments, channel, &jump).await?;
        }
        at = back;
        runs += 1;
    }
    if at.first != tail.first {
        return Err(corrupt(format!(
            "{channel:?}: the archive should begin at {}, and its chain ends at {}",
            tail.first.0, at.first.0
        )));
    }
    Ok(runs)
}

async fn shard_segments(tiers: &Tiers, shard: u16) -> Result<Vec<SegmentInfo>, StorageError> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let entries = tiers.manifest.segments(shard, after, ENTRIES).await?;
        let Some(last) = entries.last() else { return Ok(all) };
        after = Some(last.key);
        for entry in &entries {
            all.push(SegmentInfo::of_entry(entry)?);
        }
    }
}

const ENTRIES: usize = 500;

const CHANNELS_AT_ONCE: usize = 200;
