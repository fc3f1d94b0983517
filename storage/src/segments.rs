//! Role: the archive's segments, immutable objects in a store of objects.
//!
//! A segment holds runs of many channels; which of them count is said elsewhere, by the
//! [manifest](crate::manifest) and by [how far a channel is archived](crate::archived).

use std::fmt::Debug;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sterna_proto::{ChannelKey, Offset};

use crate::{PageLimit, Record, SegmentKey, StorageError, TierLookups};

/// A run and the segment that it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunAt {
    pub segment: SegmentKey,
    pub first: Offset,
    pub last: Offset,
    /// Runs of the channel before this one.
    pub depth: u32,
}

/// From a run to older ones of its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Links {
    pub depth: u32,
    /// The run before; `None` for a channel's first.
    pub back: Option<RunAt>,
    /// One further back, so that any offset is found in a few steps.
    pub jump: Option<RunAt>,
}

/// Publications of one channel with neighbouring offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub channel: ChannelKey,
    pub first: Offset,
    pub last: Offset,
    pub links: Links,
}

/// Records of a run that follow each other: all of it, or a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub run: Run,
    /// At least one.
    pub records: Vec<Record>,
}

/// A place in a segment: behind this record of this channel. Runs lie in the order of channels.
pub type Behind = (ChannelKey, Offset);

/// What a finished segment came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// Size of the object.
    pub bytes: u64,
    pub records: u64,
    pub runs: u64,
    /// Earliest and latest server time of its records.
    pub first_ts_ms: u64,
    pub last_ts_ms: u64,
    /// Of the whole object but for what holds the digest.
    pub sha256: [u8; 32],
}

/// An object is written once and never changed. What is read is what was written, or the answer is
/// an error of kind `Corrupt`; an object that is not there is one too, whose source is
/// [`Missing`](crate::Missing).
pub trait Segments: Send + Sync + Debug + 'static {
    /// Begins a segment. Nothing is to be seen of it before it is finished.
    fn create(
        &self,
        key: SegmentKey,
    ) -> BoxFuture<'_, Result<Box<dyn SegmentWriter>, StorageError>>;

    /// The run of a channel in a segment, `None` if the segment holds none.
    fn run(
        &self,
        key: SegmentKey,
        channel: ChannelKey,
    ) -> BoxFuture<'_, Result<Option<Run>, StorageError>>;

    /// A page of a channel's run after an offset, oldest first; it ends with the run.
    fn read(
        &self,
        key: SegmentKey,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Record>, StorageError>>;

    /// Runs in key order after `after`, at most `limit`.
    fn runs(
        &self,
        key: SegmentKey,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Run>, StorageError>>;

    /// The records behind a place, through neighbouring runs, for whoever reads the whole segment. It
    /// brings something until there is nothing more, and no more than the limit allows but for the
    /// first record.
    fn scan(
        &self,
        key: SegmentKey,
        behind: Option<Behind>,
        limit: PageLimit,
    ) -> BoxFuture<'_, Result<Vec<Piece>, StorageError>> {
        scan_by_runs(self, key, behind, limit).boxed()
    }

    /// Reads the whole object again: every checksum, order, counts, the digest.
    fn verify(&self, key: SegmentKey) -> BoxFuture<'_, Result<Sealed, StorageError>>;

    /// Takes the object away; one that is not there is as good.
    fn remove(&self, key: SegmentKey) -> BoxFuture<'_, Result<(), StorageError>>;

    /// How often what has to be known of a segment to read from it was in memory. For operators.
    fn lookups(&self) -> Vec<TierLookups> {
        Vec::new()
    }

    /// The finished objects of a shard in key order after `after`, at most `limit`.
    fn list(
        &self,
        shard: u16,
        after: Option<SegmentKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SegmentKey>, StorageError>>;
}

/// The scan of an engine that has no better one.
async fn scan_by_runs<S: Segments + ?Sized>(
    segments: &S,
    key: SegmentKey,
    behind: Option<Behind>,
    limit: PageLimit,
) -> Result<Vec<Piece>, StorageError> {
    let mut room = limit.start();
    let mut pieces = Vec::new();
    let mut next = match behind {
        None => None,
        Some((channel, offset)) => segments.run(key, channel).await?.map(|run| (run, offset)),
    };
    let mut channel = behind.map(|(channel, _)| channel);
    loop {
        let (run, after) = match next.take() {
            Some(next) => next,
            None => match segments.runs(key, channel, 1).await?.pop() {
                Some(run) => (run, Offset::ZERO),
                None => return Ok(pieces),
            },
        };
        channel = Some(run.channel);
        let page = segments.read(key, run.channel, after, limit).await?;
        let read = page.len();
        let fits = |record: &Record| room.take(record.body.payload.len());
        let records: Vec<Record> = page.into_iter().take_while(fits).collect();
        let taken = records.len();
        let ends = records.last().is_none_or(|last| last.position.offset == run.last);
        if taken > 0 {
            pieces.push(Piece { run, records });
        }
        if taken < read || !ends || room.is_full() {
            return Ok(pieces);
        }
    }
}

/// Writes one segment. Runs come in the order of their channels, records of a run in the order of
/// their offsets without a hole; another order is refused. Dropped, it leaves nothing to be seen.
pub trait SegmentWriter: Send {
    /// The records that follow are of this channel.
    fn begin_run(&mut self, channel: ChannelKey, links: Links) -> Result<(), StorageError>;

    fn push(&mut self, record: Record) -> BoxFuture<'_, Result<(), StorageError>>;

    /// Makes the object, whole. One that is there already is not replaced but an error.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Sealed, StorageError>>;

    /// Gives up what was uploaded, as far as that can be done.
    fn abort(self: Box<Self>) -> BoxFuture<'static, ()>;
}
