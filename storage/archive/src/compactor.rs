//! Puts small segments together, so that there are few, and writes those again of which much is to be
//! dropped.
//!
//! The new segment is announced, written and read back whole like any other. Then one step of the
//! manifest publishes it and says of all that it was made from that they are replaced by it; if one
//! of them is not as it was, another compactor was faster, and the new segment is given up. Nothing
//! else is changed: links and rows name segments as they were, and the [library](crate::library) goes
//! on to where they lie now. The old objects are there for another grace, for who is reading.
//!
//! A crash leaves an announced object that nobody refers to, for the collector, or replaced segments
//! whose objects it removes after the grace.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use ahash::RandomState;
use sterna_proto::Offset;
use sterna_storage::{
    Links, ManifestChange, ManifestError, Run, SegmentKey, SegmentState, Segments, StorageError,
    StorageErrorKind,
};

use crate::archiver::{CHANNELS_AT_ONCE, unix_now_ms};
use crate::chain::relink;
use crate::config::{SHARDS, SLOTS_OF_SHARD};
use crate::cuts::Cut;
use crate::entry::{MadeOf, Replaced, SegmentInfo};
use crate::merge::{Cursor, Held, Indexes};
use crate::plan::{Apart, Candidate, plan};
use crate::writing::{Open, manifest_error};
use crate::{Archiver, corrupt};

/// What compaction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Segments that were replaced, and those that they were replaced by.
    pub replaced: u64,
    pub segments: u64,
    /// Records that were written again, and those that were dropped.
    pub records: u64,
    pub dropped: u64,
    /// Of the objects of both.
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// Segments that were written in vain, since another compactor was faster.
    pub given_up: u64,
    /// Steps that were left, because of damage that was logged.
    pub failed: u64,
}

/// What a compactor remembers, so that it does not try in vain at every turn.
#[derive(Debug, Default)]
pub(crate) struct FoundOut {
    /// Segments that cannot be read.
    unfit: HashSet<SegmentKey>,
    apart: Apart,
    /// When segments were looked through for what is to be dropped.
    examined: HashMap<SegmentKey, u64, RandomState>,
}

/// Entries of each kind; all are forgotten when they are more.
const FOUND_OUT: usize = 16_384;

/// How a rewriting ended.
enum Outcome {
    /// By what the segments were replaced; by nothing if all was to be dropped.
    Replaced(Option<SegmentInfo>),
    /// Another compactor was faster, or none of it is any more what the manifest said.
    TooLate,
    /// Between these two runs of a channel are missing.
    Gap(SegmentKey, SegmentKey),
    /// This one cannot be read.
    Unfit(SegmentKey, StorageError),
}

impl Archiver {
    /// Goes once over the shards whose first slot `owns` names, and looks through every segment for
    /// what is to be dropped. `progress` hears after each shard how many of how many are done. May be
    /// dropped at any point.
    ///
    /// # Errors
    /// When the store or the archive does not answer; what was done until then stays.
    pub async fn compact(
        &mut self,
        owns: impl Fn(u16) -> bool,
        mut progress: impl FnMut(u16, u16, &Compacted),
    ) -> Result<Compacted, StorageError> {
        let mut report = Compacted::default();
        self.found_out.examined.clear();
        for shard in 0..SHARDS {
            if owns(shard * SLOTS_OF_SHARD) {
                self.compact_shard(shard, &mut report).await?;
            }
            progress(shard + 1, SHARDS, &report);
        }
        Ok(report)
    }

    pub(crate) async fn compact_shard(
        &mut self,
        shard: u16,
        report: &mut Compacted,
    ) -> Result<(), StorageError> {
        let mut segments = Vec::new();
        self.each_segment(shard, |info| {
            segments.extend((info.state == SegmentState::Published).then_some(info));
        })
        .await?;
        segments.sort_by_key(|info| (info.made_of.since_ms, info.key));
        if !self.fates.keep_all() {
            let mut at = 0;
            while at < segments.len() {
                let is_outlived = self.examine(&segments[at], report).await?;
                if !is_outlived || !self.replace(&mut segments, at..at + 1, report).await? {
                    at += 1;
                }
            }
        }
        loop {
            let candidates: Vec<_> = segments.iter().map(|info| self.candidate(info)).collect();
            let (bound, apart) = (self.config.segment_bytes, &self.found_out.apart);
            let Some(range) = plan(&candidates, bound, apart) else { return Ok(()) };
            if !self.replace(&mut segments, range, report).await? {
                return Ok(());
            }
        }
    }

    fn candidate(&self, info: &SegmentInfo) -> Candidate {
        let (key, is_unfit) = (info.key, self.found_out.unfit.contains(&info.key));
        let weight = match info.sealed {
            Some(_) if info.weight > 0 && !is_unfit => info.weight,
            // An earlier version did not count. Texts are rarely packed better than this.
            Some(sealed) if !is_unfit => sealed.bytes.saturating_mul(8),
            _ => u64::MAX,
        };
        Candidate { key, weight }
    }

    /// Once a day is enough; what cannot be read is left alone.
    async fn examine(
        &mut self,
        info: &SegmentInfo,
        report: &mut Compacted,
    ) -> Result<bool, StorageError> {
        let now_ms = unix_now_ms();
        let examined_ms = self.found_out.examined.get(&info.key);
        let is_due = examined_ms.is_none_or(|at| now_ms.saturating_sub(*at) >= EXAMINE_EVERY_MS);
        if !is_due || self.found_out.unfit.contains(&info.key) {
            return Ok(false);
        }
        let is_outlived = match self.is_outlived(info).await {
            Err(error) if error.kind == StorageErrorKind::Corrupt => {
                self.note_unfit(info.key, &error, report);
                false
            }
            is_outlived => is_outlived?,
        };
        remember(&mut self.found_out.examined, info.key, now_ms);
        Ok(is_outlived)
    }

    fn note_unfit(&mut self, key: SegmentKey, error: &StorageError, report: &mut Compacted) {
        if error.is_missing() {
            // Most likely replaced and removed since; if it is lost, a reader says so.
            tracing::debug!(?key, %error, "a segment is not there any more");
        } else {
            tracing::error!(?key, %error, "a segment cannot be put together with others");
            report.failed += 1;
        }
        if self.found_out.unfit.len() >= FOUND_OUT {
            self.found_out.unfit.clear();
        }
        self.found_out.unfit.insert(key);
    }

    /// Writes some of the segments again as one, and puts that in their place in the list. False:
    /// there is no more to be done for now with the list as it is.
    async fn replace(
        &mut self,
        segments: &mut Vec<SegmentInfo>,
        range: std::ops::Range<usize>,
        report: &mut Compacted,
    ) -> Result<bool, StorageError> {
        let outcome = match self.rewrite(&segments[range.clone()], report).await {
            // What it had made was collected: it took longer than the grace.
            Err(error) if error.is_missing() => Outcome::TooLate,
            Err(error) if error.kind == StorageErrorKind::Corrupt => {
                tracing::error!(%error, "segments could not be put together");
                report.failed += 1;
                return Ok(false);
            }
            outcome => outcome?,
        };
        match outcome {
            Outcome::Replaced(by) => drop(segments.splice(range, by)),
            Outcome::TooLate => {
                report.given_up += 1;
                return Ok(false);
            }
            Outcome::Gap(one, other) => {
                tracing::debug!(?one, ?other, "runs are missing between two segments");
                if self.found_out.apart.len() >= FOUND_OUT {
                    self.found_out.apart.clear();
                }
                self.found_out.apart.insert((one, other));
            }
            Outcome::Unfit(key, error) => self.note_unfit(key, &error, report),
        }
        Ok(true)
    }

    async fn rewrite(
        &mut self,
        inputs: &[SegmentInfo],
        report: &mut Compacted,
    ) -> Result<Outcome, StorageError> {
        let mut work = Rewriting::new(inputs);
        let ended = self.copy(&mut work).await;
        let Rewriting { open, dropped, .. } = work;
        match ended {
            Ok(None) => {}
            Ok(Some(outcome)) => {
                if let Some(open) = open {
                    self.give_up(open).await?;
                }
                return Ok(outcome);
            }
            Err(error) => {
                // Announced, for the collector.
                if let Some(open) = open {
                    open.abort().await;
                }
                return Err(error);
            }
        }
        let made = match open {
            Some(open) => Some(self.seal(open).await?),
            None => None,
        };
        let made = made.map(|info| SegmentInfo { made_of: made_of(inputs), ..info });
        let Some(made) = self.exchange(inputs, made).await? else { return Ok(Outcome::TooLate) };
        let read_bytes = inputs.iter().filter_map(|info| info.sealed).map(|it| it.bytes).sum();
        let sealed = made.as_ref().and_then(|info| info.sealed);
        let (records, written) = sealed.map_or((0, 0), |sealed| (sealed.records, sealed.bytes));
        report.replaced += inputs.len() as u64;
        report.segments += u64::from(made.is_some());
        report.records += records;
        report.dropped += dropped;
        report.read_bytes += read_bytes;
        report.written_bytes += written;
        metrics::counter!("sterna_archive_compactions_total").increment(1);
        metrics::counter!("sterna_archive_replaced_total").increment(inputs.len() as u64);
        metrics::counter!("sterna_archive_dropped_total").increment(dropped);
        metrics::counter!("sterna_archive_compaction_read_bytes").increment(read_bytes);
        metrics::counter!("sterna_archive_compaction_written_bytes").increment(written);
        Ok(Outcome::Replaced(made))
    }

    /// Writes what is kept of the inputs; answers why it does not come to an end, if so.
    async fn copy(&mut self, work: &mut Rewriting) -> Result<Option<Outcome>, StorageError> {
        let segments = self.tiers.segments.clone();
        let keys = work.inputs.iter().map(|(key, _)| *key);
        let mut indexes = Indexes::new(segments.clone(), keys);
        loop {
            let batch = match indexes.batch(CHANNELS_AT_ONCE).await {
                Err((place, error)) => return work.stop(place, error),
                Ok(batch) if batch.is_empty() => return Ok(None),
                Ok(batch) => batch,
            };
            let cuts = self.cuts(batch.iter().map(|held| held.channel).collect()).await?;
            for (held, cut) in batch.iter().zip(&cuts) {
                let stopped = self.copy_channel(&*segments, work, held, cut).await?;
                if stopped.is_some() {
                    return Ok(stopped);
                }
            }
        }
    }

    async fn copy_channel(
        &mut self,
        segments: &dyn Segments,
        work: &mut Rewriting,
        held: &Held,
        cut: &Cut,
    ) -> Result<Option<Outcome>, StorageError> {
        let joined = match join(&held.runs, cut.first) {
            Ok(joined) => joined,
            Err((one, other)) => {
                return Ok(Some(Outcome::Gap(work.inputs[one].0, work.inputs[other].0)));
            }
        };
        work.dropped += joined.dropped;
        let Some((links, mut next, last)) = joined.kept else { return Ok(None) };
        let merged = (next, last, links);
        let links = match relink(&self.library, held.channel, merged, cut.first).await {
            // Damage of others; what is here is none the worse.
            Err(error) if error.kind == StorageErrorKind::Corrupt => links,
            links => links?,
        };
        let open = match &mut work.open {
            Some(open) => open,
            None => work.open.insert(self.create(work.key).await?),
        };
        open.begin_run(held.channel, links)?;
        while next <= last {
            let holding =
                held.runs.iter().filter(|(_, run)| (run.first..=run.last).contains(&next));
            let Some((place, _)) = holding.max_by_key(|(_, run)| run.last) else {
                return Err(corrupt(format!("{:?}: no run has {}", held.channel, next.0)));
            };
            let records = match work.inputs[*place].1.take(segments, held.channel, next).await {
                Err(error) => return work.stop(*place, error),
                Ok(records) => records,
            };
            self.breathe(records.len()).await;
            let Some(open) = &mut work.open else { return Ok(Some(Outcome::TooLate)) };
            for mut record in records {
                if cut.blanks(record.position.offset) {
                    record.body.payload = bytes::Bytes::new();
                }
                next = record.position.offset.next();
                open.push(record).await?;
            }
        }
        Ok(None)
    }

    /// The one step: what was made is there, and what it was made from is replaced. `None`: they are
    /// not any more what they were.
    async fn exchange(
        &self,
        inputs: &[SegmentInfo],
        made: Option<SegmentInfo>,
    ) -> Result<Option<Option<SegmentInfo>>, StorageError> {
        let at_ms = unix_now_ms();
        let put = |expected, info: SegmentInfo| ManifestChange {
            expected: Some(expected),
            entry: info.to_entry(),
        };
        let mut changes = Vec::with_capacity(inputs.len() + 1);
        changes.extend(made.clone().map(|made| put(SegmentState::Prepared, made)));
        for input in inputs {
            let replaced = Some(Replaced { by: made.as_ref().map(|made| made.key), at_ms });
            let input = SegmentInfo { state: SegmentState::Replaced, replaced, ..input.clone() };
            changes.push(put(SegmentState::Published, input));
        }
        match self.tiers.manifest.change_manifest(changes).await {
            Ok(()) => Ok(Some(made)),
            Err(ManifestError::Conflict { .. }) => {
                metrics::counter!("sterna_archive_conflicts_total").increment(1);
                if let Some(made) = made {
                    let made = SegmentInfo { state: SegmentState::Prepared, ..made };
                    self.remove(made).await?;
                }
                Ok(None)
            }
            Err(error) => Err(manifest_error(error)),
        }
    }

    async fn give_up(&self, open: Open) -> Result<(), StorageError> {
        let info = open.info.clone();
        open.abort().await;
        self.remove(info).await.map(drop)
    }
}

/// A segment that is made from others.
struct Rewriting {
    key: SegmentKey,
    inputs: Vec<(SegmentKey, Cursor)>,
    /// Once there is something to be kept.
    open: Option<Open>,
    dropped: u64,
}

impl Rewriting {
    fn new(inputs: &[SegmentInfo]) -> Self {
        let keys = inputs.iter().map(|info| info.key);
        let first_ts_ms = keys.clone().map(|key| key.first_ts_ms).min().unwrap_or_default();
        let shard = keys.clone().next().map_or(0, |key| key.shard);
        let key = SegmentKey { shard, first_ts_ms, segment: rand::random() };
        let inputs = keys.map(|key| (key, Cursor::new(key))).collect();
        Self { key, inputs, open: None, dropped: 0 }
    }

    /// An input cannot be read.
    fn stop(&self, place: usize, error: StorageError) -> Result<Option<Outcome>, StorageError> {
        match error.kind {
            StorageErrorKind::Corrupt => Ok(Some(Outcome::Unfit(self.inputs[place].0, error))),
            _ => Err(error),
        }
    }
}

/// What runs of one channel come to.
struct Joined {
    /// The links of the oldest run that is kept, and the first and last offset; `None`: nothing is.
    kept: Option<(Links, Offset, Offset)>,
    dropped: u64,
}

/// Runs of one channel that follow each other, without what lies before `first`. Two archivers may
/// have written the same publications; they count once. Fails with the two between which something
/// is missing.
fn join(runs: &[(usize, Run)], first: Offset) -> Result<Joined, (usize, usize)> {
    let mut runs: Vec<_> = runs.iter().collect();
    runs.sort_by_key(|(_, run)| (run.first, std::cmp::Reverse(run.last)));
    let mut joined = Joined { kept: None, dropped: 0 };
    // The last place and offset seen, and where the run of all began.
    let mut seen: Option<(usize, Offset)> = None;
    for (place, run) in runs {
        if let Some((before, last)) = seen
            && run.first > last.next()
            && last.next() >= first
        {
            return Err((before, *place));
        }
        let begins = seen.map_or(run.first, |(_, last)| run.first.max(last.next()));
        joined.dropped += first.min(run.last.next()).0.saturating_sub(begins.0);
        if run.last >= first {
            joined.kept = Some(match joined.kept {
                None => (run.links, run.first.max(first), run.last),
                Some((links, begins, last)) => (links, begins, last.max(run.last)),
            });
        }
        if seen.is_none_or(|(_, last)| last < run.last) {
            seen = Some((*place, run.last));
        }
    }
    Ok(joined)
}

pub(crate) fn made_of(inputs: &[SegmentInfo]) -> MadeOf {
    let all = || inputs.iter().map(|info| info.made_of);
    MadeOf {
        segments: all().map(|made_of| made_of.segments).fold(0, u64::saturating_add),
        bytes: all().map(|made_of| made_of.bytes).fold(0, u64::saturating_add),
        since_ms: all().map(|made_of| made_of.since_ms).min().unwrap_or_default(),
    }
}

fn remember<K: Hash + Eq, V>(found: &mut HashMap<K, V, RandomState>, key: K, value: V) {
    if found.len() >= FOUND_OUT {
        found.clear();
    }
    found.insert(key, value);
}

/// Between two looks at a segment for what is to be dropped.
const EXAMINE_EVERY_MS: u64 = 24 * 3600 * 1000;
