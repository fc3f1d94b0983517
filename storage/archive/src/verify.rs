//! Looks whether all of the archive can be read.

use std::collections::HashMap;

use sterna_proto::id::SLOTS;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{SegmentKey, SegmentState, StorageError, StorageErrorKind};

use crate::chain::{Tail, run_at};
use crate::config::SHARDS;
use crate::entry::{Replaced, SegmentInfo};
use crate::library::Library;
use crate::{Fates, Tiers, corrupt};

/// What was checked, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    pub segments: u64,
    /// Segments that others have replaced; where they lead to was followed.
    pub replaced: u64,
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
/// channel's chain from the newest run to the oldest, by way of what segments were replaced by: no run
/// is missing, each follows on another, and where the log begins the archive has everything before. Damage is told, and the rest is looked at.
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
        verified.follow_replaced(&all);
        published.extend(all.into_iter().filter(|info| info.state == SegmentState::Published));
    }
    let library = Library::new(tiers);
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
                match follow(tiers, (&library, fates), channel, head.first).await {
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
    /// Whatever was replaced leads, over others perhaps, to what is published, or to nothing.
    fn follow_replaced(&mut self, all: &[SegmentInfo]) {
        let by_key: HashMap<SegmentKey, &SegmentInfo> =
            all.iter().map(|info| (info.key, info)).collect();
        for info in all.iter().filter(|info| info.replaced.is_some()) {
            self.replaced += 1;
            let (mut at, mut steps) = (info, 0);
            let end = loop {
                let Some(Replaced { by, .. }) = at.replaced else { break Some(at) };
                let Some(by) = by else { break None };
                steps += 1;
                match by_key.get(&by) {
                    Some(next) if steps <= all.len() => at = next,
                    _ => break Some(at),
                }
            };
            if end.is_some_and(|end| end.state != SegmentState::Published) {
                let key = info.key;
                self.damages.push(format!("{key:?} was replaced, and what by leads to {end:?}"));
            }
        }
    }

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
    (library, fates): (&Library, Option<&dyn Fates>),
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
    let (mut at, mut runs) = (tail.at, 0);
    // What lies before the floor was given up, and its runs with it.
    while at.last >= tail.floor {
        let run = run_at(library, channel, &at, tail.floor).await?;
        runs += 1;
        if run.first <= tail.floor {
            return Ok(runs);
        }
        if let Some(jump) = run.links.jump.filter(|jump| jump.last >= tail.begins()) {
            run_at(library, channel, &jump, tail.floor).await?;
        }
        // Behind a gap that was accepted the chain begins here.
        let Some(back) = run.links.back.filter(|_| run.first > tail.first) else {
            if run.first == tail.first {
                return Ok(runs);
            }
            return Err(corrupt(format!(
                "{channel:?}: the archive should begin at {}, and its chain ends at {}",
                tail.first.0, run.first.0
            )));
        };
        if back.last.next() != run.first || back.depth + 1 != run.links.depth {
            return Err(corrupt(format!("{channel:?}: {back:?} is linked from {run:?}")));
        }
        at = back;
    }
    Ok(runs)
}

pub(crate) async fn shard_segments(
    tiers: &Tiers,
    shard: u16,
) -> Result<Vec<SegmentInfo>, StorageError> {
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
