//! Rebuilds a store from the archive alone, when its database is lost and only the objects are there.
//!
//! [`plan`] reads every segment again and decides; nothing is changed by it. [`rebuild`] writes what
//! was decided into a store that has nothing: the manifest, how far each channel is archived, and a
//! log for each channel that begins behind its archive, with an epoch that nobody has seen (I5) and
//! with ids above all that may have been given (I10).
//!
//! Runs of a channel may overlap: of two archivers of which one was faster, or of a store that was put
//! back to an earlier time and went on from there. What counts is the chain whose newest record has the
//! latest epoch, and of that the highest offset: its store is the one that lived longest. Every other
//! run must tell the same of the offsets and epochs that it shares with that chain, or nobody can say
//! what was published, and the channel is refused.
//!
//! What segments do not hold is not rebuilt: names and settings of channels, cursors, inboxes, first
//! members, what was not archived yet, under which origins publications were stored (I3), and what was
//! ordered of channels: retention, redactions, and the keys of sealed payloads.

mod choose;
mod replay;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use sterna_proto::{ChannelKey, Position};
use sterna_storage::{
    EpochStart, MembershipChange, Run, RunAt, Sealed, SegmentKey, Segments, StorageError,
    StorageErrorKind,
};

use crate::SHARDS;
use crate::chain::Tail;

use choose::{Choice, choose};
use replay::{compare, replaced, replay};
pub use write::{NewStore, Rebuilt, check_empty, rebuild};

/// What is to be written, and what cannot be.
#[derive(Debug, Default)]
pub struct Plan {
    pub survey: Survey,
    channels: Vec<ChannelPlan>,
    /// Segments with a run that counts.
    segments: Vec<(SegmentKey, Sealed)>,
    /// Segments that are gone, and which hold what they held.
    replaced: BTreeMap<SegmentKey, SegmentKey>,
    highest_id_ms: u64,
    accept_loss: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// Segments that can be read, and their bytes.
    pub segments: u64,
    pub bytes: u64,
    /// Channels that are to be rebuilt, with the runs, records and members that count.
    pub channels: u64,
    pub runs: u64,
    pub records: u64,
    pub members: u64,
    /// Records whose payloads are sealed with keys that only the lost store had.
    pub sealed: u64,
    /// Records that say that others were redacted, which only the lost store knew to hide.
    pub redactions: u64,
    /// Runs that say nothing else than those that count, or are of a life of the store that ended.
    pub spare_runs: u64,
    /// Segments that cannot be read; one sentence for each.
    pub damages: Vec<String>,
    /// Channels that are not whole, or of which runs contradict each other; one sentence for each.
    pub refused: Vec<String>,
    /// Channels of which older publications are missing and are given up; one sentence for each.
    pub gaps: Vec<String>,
}

/// How far a plan or a rebuilding has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Segments that were read again.
    Segments { done: u64, of: u64 },
    /// Shards whose channels were followed.
    Shards { done: u64, of: u64 },
    /// Channels that were written.
    Channels { done: u64, of: u64 },
}

/// What becomes of a channel.
#[derive(Debug)]
struct ChannelPlan {
    channel: ChannelKey,
    tail: Tail,
    last: Position,
    last_ts_ms: u64,
    epochs: Vec<EpochStart>,
    members: Vec<MembershipChange>,
}

/// A run and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    at: RunAt,
    run: Run,
}

/// Reads the whole archive and decides what a store rebuilt from it would be. With `accept_loss` a
/// channel whose older segments are missing begins behind the gap; otherwise it is refused.
///
/// # Errors
/// When the archive does not answer. Damage is told in the survey.
pub async fn plan(
    segments: &dyn Segments,
    accept_loss: bool,
    mut told: impl FnMut(Step),
) -> Result<Plan, StorageError> {
    let mut plan = Plan { accept_loss, ..Plan::default() };
    let found = list(segments).await?;
    let of = found.values().map(|keys| keys.len() as u64).sum();
    let mut done = 0;
    let mut readable: BTreeMap<u16, Vec<(SegmentKey, Sealed)>> = BTreeMap::new();
    for (shard, keys) in found {
        for key in keys {
            match segments.verify(key).await {
                Ok(sealed) => {
                    plan.survey.segments += 1;
                    plan.survey.bytes += sealed.bytes;
                    readable.entry(shard).or_default().push((key, sealed));
                }
                Err(error) => plan.survey.damages.push(damage(error)?),
            }
            done += 1;
            told(Step::Segments { done, of });
        }
    }
    for (done, (_, keys)) in (1..).zip(&readable) {
        plan.add_shard(segments, keys).await?;
        told(Step::Shards { done, of: readable.len() as u64 });
    }
    Ok(plan)
}

/// The objects of each shard.
async fn list(segments: &dyn Segments) -> Result<BTreeMap<u16, Vec<SegmentKey>>, StorageError> {
    let mut found = BTreeMap::new();
    for shard in 0..SHARDS {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = segments.list(shard, after, AT_ONCE).await?;
            let Some(last) = page.last() else { break };
            after = Some(*last);
            all.extend(page);
        }
        found.insert(shard, all);
    }
    Ok(found)
}

impl Plan {
    /// Whether it may be written: everything can be rebuilt, or what cannot was accepted. A segment that
    /// cannot be read may hold the newest publications of any channel.
    pub fn is_acceptable(&self) -> bool {
        self.accept_loss || (self.survey.refused.is_empty() && self.survey.damages.is_empty())
    }

    async fn add_shard(
        &mut self,
        segments: &dyn Segments,
        keys: &[(SegmentKey, Sealed)],
    ) -> Result<(), StorageError> {
        let mut channels: BTreeMap<ChannelKey, Vec<Piece>> = BTreeMap::new();
        for (key, _) in keys {
            let mut after = None;
            loop {
                let runs = segments.runs(*key, after, AT_ONCE).await?;
                let Some(last) = runs.last() else { break };
                after = Some(last.channel);
                for run in runs {
                    channels.entry(run.channel).or_default().push(Piece::of(*key, run));
                }
            }
        }
        let mut used = BTreeSet::new();
        for (channel, pieces) in channels {
            match self.add_channel(segments, channel, pieces).await {
                Ok(Some(counted)) => used.extend(counted),
                Ok(None) => {}
                Err(error) => self.survey.refused.push(format!("{channel:?}: {}", damage(error)?)),
            }
        }
        self.segments.extend(keys.iter().filter(|(key, _)| used.contains(key)));
        Ok(())
    }

    /// The segments that count of a channel; `None`: it is refused.
    async fn add_channel(
        &mut self,
        segments: &dyn Segments,
        channel: ChannelKey,
        pieces: Vec<Piece>,
    ) -> Result<Option<Vec<SegmentKey>>, StorageError> {
        let all = pieces.len();
        let Choice { chain, spare, missing } = choose(segments, channel, pieces).await?;
        if let Some(missing) = missing {
            let what = format!(
                "{channel:?}: the run of offsets {} to {} in {:?} is missing",
                missing.first.0, missing.last.0, missing.segment
            );
            if !self.accept_loss {
                self.survey.refused.push(what);
                return Ok(None);
            }
            self.survey.gaps.push(what);
        }
        if let Some(what) = compare(segments, channel, &chain, &spare).await? {
            self.survey.refused.push(format!("{channel:?}: {what}"));
            return Ok(None);
        }
        let replayed = replay(segments, channel, &chain).await?;
        for (gone, by) in replaced(&chain) {
            let known = *self.replaced.entry(gone).or_insert(by);
            if known != by {
                let what = format!("{channel:?}: {gone:?} is held by {by:?} and by {known:?}");
                self.survey.refused.push(what);
                return Ok(None);
            }
        }
        self.highest_id_ms = self.highest_id_ms.max(replayed.highest_id_ms);
        self.survey.channels += 1;
        self.survey.runs += chain.len() as u64;
        self.survey.spare_runs += (all - chain.len()) as u64;
        self.survey.records += replayed.records;
        self.survey.sealed += replayed.sealed;
        self.survey.redactions += replayed.redactions;
        self.survey.members += replayed.plan.members.len() as u64;
        self.channels.push(replayed.plan);
        Ok(Some(chain.iter().map(|piece| piece.at.segment).collect()))
    }
}

impl Piece {
    fn of(segment: SegmentKey, run: Run) -> Self {
        let Run { first, last, links, .. } = run;
        Self { at: RunAt { segment, first, last, depth: links.depth }, run }
    }
}

/// Damage in words; whoever does not answer ends it.
fn damage(error: StorageError) -> Result<String, StorageError> {
    if error.kind == StorageErrorKind::Corrupt { Ok(error.message) } else { Err(error) }
}

/// Segments, and runs, that are listed in one call.
const AT_ONCE: usize = 500;
