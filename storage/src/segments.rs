//! Role: the archive's segments, immutable objects in a store of objects.
//!
//! A segment holds runs of many channels; which of them count is said elsewhere, by the
//! [manifest](crate::manifest) and by [how far a channel is archived](crate::archived).

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use sterna_proto::{ChannelKey, Offset};

use crate::{PageLimit, Record, SegmentKey, StorageError};

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
/// an error of kind `Corrupt`; an object that is not there is an error too.
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

    /// Reads the whole object again: every checksum, order, counts, the digest.
    fn verify(&self, key: SegmentKey) -> BoxFuture<'_, Result<Sealed, StorageError>>;

    /// Takes the object away; one that is not there is as good.
    fn remove(&self, key: SegmentKey) -> BoxFuture<'_, Result<(), StorageError>>;

    /// The finished objects of a shard in key order after `after`, at most `limit`.
    fn list(
        &self,
        shard: u16,
        after: Option<SegmentKey>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SegmentKey>, StorageError>>;
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
