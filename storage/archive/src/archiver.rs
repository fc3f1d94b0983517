//! Copies what is old enough from the log into segments, and says so.
//!
//! A segment is announced in the manifest, written, read back whole, published in the manifest, and
//! only then do its channels refer to it. A crash leaves an announced object that nobody refers to,
//! for the collector, or a published one whose runs do not count; what is archived is archived once
//! a channel refers to it, never before.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{
    Archived, ArchivedChange, ArchivedError, Head, ManifestChange, PageLimit, ReadError, Record,
    RunAt, SegmentKey, SegmentState, StorageError, StorageErrorKind,
};

use crate::chain::Tail;
use crate::compactor::FoundOut;
use crate::config::{SHARDS, shard_of};
use crate::fate::{Fates, KeepAll};
use crate::library::Library;
use crate::pace::Pace;
use crate::passes::slots_of;
use crate::pressure::Pressure;
use crate::writing::manifest_error;
use crate::{ArchiveConfig, Tiers, corrupt};

/// What one pass over the channels came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PassReport {
    /// Channels that were looked at.
    pub channels: u64,
    /// Segments, records and bytes of objects that were published.
    pub segments: u64,
    pub records: u64,
    pub bytes: u64,
    /// Runs that do not count, since another archiver was faster.
    pub lost_runs: u64,
    /// Records that were trimmed from the log.
    pub trimmed: u64,
    /// Channels that were left as they are, because of an error that was logged.
    pub failed: u64,
}

/// Archives the channels of some slots.
#[derive(Debug)]
pub struct Archiver {
    pub(crate) tiers: Tiers,
    pub(crate) config: ArchiveConfig,
    pub(crate) library: Arc<Library>,
    pub(crate) fates: Arc<dyn Fates>,
    pub(crate) pressure: Arc<dyn Pressure>,
    pub(crate) pace: Pace,
    /// What compaction has found out, and nobody has to know after a restart.
    pub(crate) found_out: FoundOut,
}

impl Archiver {
    pub fn new(tiers: Tiers, config: ArchiveConfig, pressure: Arc<dyn Pressure>) -> Self {
        let pace = Pace::new(config.records_per_second);
        let library = Arc::new(Library::new(&tiers));
        let (fates, found_out) = (Arc::new(KeepAll), FoundOut::default());
        Self { tiers, config, library, fates, pressure, pace, found_out }
    }

    /// Drops and blanks what these say when segments are written again. Without, all is kept.
    #[must_use]
    pub fn with_fates(self, fates: Arc<dyn Fates>) -> Self {
        Self { fates, ..self }
    }

    /// Archives at once what of the slots that `owns` names is old enough, whether it is due or not,
    /// shard by shard. `progress` hears after each shard how many of how many are done. May be
    /// dropped at any point.
    ///
    /// # Errors
    /// When the store or the archive does not answer; what was published until then stays.
    pub async fn pass(
        &mut self,
        owns: impl Fn(u16) -> bool,
        mut progress: impl FnMut(u16, u16, &PassReport),
    ) -> Result<PassReport, StorageError> {
        let mut report = PassReport::default();
        for (done, shard) in (1..).zip(self.order()) {
            let slots: Vec<u16> = slots_of(shard).filter(|slot| owns(*slot)).collect();
            if !slots.is_empty() {
                self.archive_shard(&slots, &mut report).await?;
            }
            progress(done, SHARDS, &report);
        }
        metrics::counter!("sterna_archive_passes_total").increment(1);
        Ok(report)
    }

    pub(crate) async fn archive_shard(
        &mut self,
        slots: &[u16],
        report: &mut PassReport,
    ) -> Result<(), StorageError> {
        let mut open = None;
        for slot in slots {
            let mut after = None;
            loop {
                let heads = self.tiers.log.slot_heads(*slot, after, CHANNELS_AT_ONCE).await?;
                let Some((last, _)) = heads.last() else { break };
                after = Some(*last);
                let keys = heads.iter().map(|(channel, _)| *channel).collect();
                let archived = self.tiers.archived.archived(keys).await?;
                for ((channel, head), archived) in heads.into_iter().zip(archived) {
                    report.channels += 1;
                    self.visit(&mut open, channel, head, archived, report).await?;
                }
            }
        }
        self.publish(open, report).await
    }

    /// Archives what is old enough of a channel, into as many segments as it takes.
    async fn visit(
        &mut self,
        open: &mut Option<Open>,
        channel: ChannelKey,
        head: Head,
        mut archived: Option<Archived>,
        report: &mut PassReport,
    ) -> Result<(), StorageError> {
        match self.trim(channel, &head, archived.as_ref()).await {
            Ok(trimmed) => report.trimmed += trimmed,
            // The rest of the pass is not worse off.
            Err(error) if error.kind == StorageErrorKind::Corrupt => {
                tracing::error!(?channel, %error, "a channel is not trimmed");
                report.failed += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        loop {
            let is_full = self.write_run(open, channel, &head, archived.as_ref()).await?;
            if !is_full {
                return Ok(());
            }
            self.publish(open.take(), report).await?;
            archived = self.tiers.archived.archived(vec![channel]).await?.pop().flatten();
        }
    }

    /// Writes what is old enough of a channel into the open segment. True: the segment is full.
    async fn write_run(
        &mut self,
        open: &mut Option<Open>,
        channel: ChannelKey,
        head: &Head,
        archived: Option<&Archived>,
    ) -> Result<bool, StorageError> {
        let tail = archived.map(Tail::of_archived).transpose()?;
        // Where the log was trimmed beyond the archive, nothing before is given to anybody: a chain
        // begins anew.
        let tail = tail.filter(|tail| tail.at.last.next() >= head.first);
        let begins = Offset(head.first.0.saturating_sub(1));
        let mut run = RunWriter {
            channel,
            expected: archived.cloned(),
            tail,
            at: None,
            last: tail.map_or(begins, |tail| tail.at.last),
        };
        let cutoff_ms = unix_now_ms().saturating_sub(millis(self.config.after));
        while run.last < head.position.offset {
            self.breathe(0).await;
            let page = match self.tiers.log.read(channel, run.last, PAGE).await {
                Ok(page) => page,
                // Another archiver has come further, and the log was trimmed behind it.
                Err(ReadError::Trimmed { .. }) => break,
                Err(ReadError::Storage(error)) => return Err(error),
            };
            let read = page.len();
            self.pace.take(read).await;
            let old = page.into_iter().take_while(|record| record.body.server_ts_ms < cutoff_ms);
            let mut taken = 0;
            for record in old {
                if let Some(open) = open.as_mut()
                    && open.segment.info.weight >= self.config.segment_bytes
                {
                    run.end(open);
                    return Ok(true);
                }
                let open = match open {
                    Some(open) => open,
                    None => open.insert(self.begin(channel, &record).await?),
                };
                run.push(open, record).await?;
                taken += 1;
            }
            if taken < read || read == 0 {
                break;
            }
        }
        if let Some(open) = open {
            run.end(open);
        }
        Ok(false)
    }

    async fn begin(&self, channel: ChannelKey, first: &Record) -> Result<Open, StorageError> {
        let key = SegmentKey {
            shard: shard_of(channel.slot()),
            first_ts_ms: first.body.server_ts_ms,
            segment: rand::random(),
        };
        Ok(Open { segment: self.create(key).await?, runs: Vec::new() })
    }

    /// Finishes a segment, reads it back, publishes it, and has its channels refer to it.
    async fn publish(
        &self,
        open: Option<Open>,
        report: &mut PassReport,
    ) -> Result<(), StorageError> {
        let Some(Open { segment, runs }) = open else { return Ok(()) };
        let info = self.seal(segment).await?;
        let change =
            ManifestChange { expected: Some(SegmentState::Prepared), entry: info.to_entry() };
        self.tiers.manifest.change_manifest(vec![change]).await.map_err(manifest_error)?;
        for some in runs.chunks(CHANNELS_AT_ONCE) {
            let mut changes = Vec::with_capacity(some.len());
            for run in some {
                changes.push(self.refer(run, info.key).await?);
            }
            for verdict in self.tiers.archived.change_archived(changes).await {
                match verdict {
                    Ok(()) => {}
                    Err(ArchivedError::Conflict { .. }) => {
                        metrics::counter!("sterna_archive_conflicts_total").increment(1);
                        report.lost_runs += 1;
                    }
                    // It may have been made; the next pass goes by what is stored.
                    Err(ArchivedError::Storage(error)) => return Err(error),
                }
            }
        }
        metrics::counter!("sterna_archive_segments_total").increment(1);
        let (records, bytes) = info.sealed.map_or((0, 0), |sealed| (sealed.records, sealed.bytes));
        metrics::counter!("sterna_archive_records_total").increment(records);
        metrics::counter!("sterna_archive_bytes_total").increment(bytes);
        report.segments += 1;
        report.records += records;
        report.bytes += bytes;
        Ok(())
    }

    async fn refer(
        &self,
        written: &WrittenRun,
        segment: SegmentKey,
    ) -> Result<ArchivedChange, StorageError> {
        let WrittenRun { channel, expected, tail, first, last } = written;
        let depth = tail.map_or(0, |tail| tail.at.depth + 1);
        let at = RunAt { segment, first: *first, last: *last, depth };
        let now = (unix_now_ms(), self.config.grace);
        let tail = match tail {
            None => Tail::first(at, now.0),
            Some(tail) => tail.followed_by(&self.library, *channel, at, now).await?,
        };
        let archived = tail.to_archived();
        Ok(ArchivedChange { channel: *channel, expected: expected.clone(), archived })
    }
}

/// A segment that is being written, and what its channels are to be told.
struct Open {
    segment: crate::writing::Open,
    runs: Vec<WrittenRun>,
}

/// A run in it.
#[derive(Debug)]
struct WrittenRun {
    channel: ChannelKey,
    expected: Option<Archived>,
    tail: Option<Tail>,
    first: Offset,
    last: Offset,
}

/// The run of a channel while it is written.
struct RunWriter {
    channel: ChannelKey,
    expected: Option<Archived>,
    tail: Option<Tail>,
    /// Its first offset, once there is one.
    at: Option<Offset>,
    last: Offset,
}

impl RunWriter {
    async fn push(&mut self, open: &mut Open, record: Record) -> Result<(), StorageError> {
        let offset = record.position.offset;
        if offset != self.last.next() {
            let channel = self.channel;
            return Err(corrupt(format!("{channel:?}: {} comes after {}", offset.0, self.last.0)));
        }
        if self.at.is_none() {
            let first = sterna_storage::Links { depth: 0, back: None, jump: None };
            let links = self.tail.map_or(first, |tail| tail.next_links());
            open.segment.begin_run(self.channel, links)?;
            self.at = Some(offset);
        }
        open.segment.push(record).await?;
        self.last = offset;
        Ok(())
    }

    fn end(&self, open: &mut Open) {
        let Some(first) = self.at else { return };
        open.runs.push(WrittenRun {
            channel: self.channel,
            expected: self.expected.clone(),
            tail: self.tail,
            first,
            last: self.last,
        });
    }
}

/// The wall clock.
pub(crate) fn unix_now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Channels that are looked up in one call.
pub(crate) const CHANNELS_AT_ONCE: usize = 200;

/// What is read of a channel in one call.
const PAGE: PageLimit = PageLimit { records: 500, payload_bytes: 1 << 20 };
