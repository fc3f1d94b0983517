//! What the archive writes into the opaque contents of the store: protobuf, so that later versions
//! may add to it.

use bytes::Bytes;
use prost::Message;
use sterna_proto::Offset;
use sterna_storage::{
    Archived, ManifestEntry, RunAt, Sealed, SegmentKey, SegmentState, StorageError,
};

use crate::chain::{Settled, Tail};
use crate::corrupt;

/// A segment as the manifest has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    pub key: SegmentKey,
    pub state: SegmentState,
    /// When its writing began.
    pub created_ms: u64,
    /// `None` while it is being written.
    pub sealed: Option<Sealed>,
    /// Payloads and what their records take beside, before compression; 0: nobody has counted it.
    pub weight: u64,
    pub made_of: MadeOf,
    /// Other segments hold what is kept of its publications.
    pub replaced: Option<Replaced>,
}

/// The segments of archivers that a segment was put together from; itself alone to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MadeOf {
    pub segments: u64,
    /// Of their objects.
    pub bytes: u64,
    /// When the writing of the first of them began.
    pub since_ms: u64,
}

/// What became of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// `None`: nothing of it was to be kept.
    pub by: Option<SegmentKey>,
    pub at_ms: u64,
}

impl SegmentInfo {
    /// One that is about to be written.
    pub(crate) fn prepared(key: SegmentKey, now_ms: u64) -> Self {
        Self {
            key,
            state: SegmentState::Prepared,
            created_ms: now_ms,
            sealed: None,
            weight: 0,
            made_of: MadeOf { segments: 1, bytes: 0, since_ms: now_ms },
            replaced: None,
        }
    }

    pub(crate) fn to_entry(&self) -> ManifestEntry {
        let sealed = self.sealed.map(|sealed| StoredSealed {
            bytes: sealed.bytes,
            records: sealed.records,
            runs: sealed.runs,
            first_ts_ms: sealed.first_ts_ms,
            last_ts_ms: sealed.last_ts_ms,
            sha256: Bytes::copy_from_slice(&sealed.sha256),
        });
        let MadeOf { segments, bytes, since_ms } = self.made_of;
        let is_itself = segments <= 1;
        let stored = StoredSegment {
            created_ms: self.created_ms,
            sealed,
            weight: self.weight,
            made_of: (!is_itself).then_some(StoredMadeOf { segments, bytes, since_ms }),
            replaced: self.replaced.map(|replaced| StoredReplaced {
                by: replaced.by.map(StoredKey::from),
                at_ms: replaced.at_ms,
            }),
        };
        let content = stored.encode_to_vec().into();
        ManifestEntry { key: self.key, state: self.state, content }
    }

    pub(crate) fn of_entry(entry: &ManifestEntry) -> Result<Self, StorageError> {
        let damaged = |what: &str| corrupt(format!("the manifest's {:?}: {what}", entry.key));
        let stored = StoredSegment::decode(entry.content.clone())
            .map_err(|error| damaged(&error.to_string()))?;
        let sealed = match stored.sealed {
            None => None,
            Some(sealed) => Some(Sealed {
                bytes: sealed.bytes,
                records: sealed.records,
                runs: sealed.runs,
                first_ts_ms: sealed.first_ts_ms,
                last_ts_ms: sealed.last_ts_ms,
                sha256: <[u8; 32]>::try_from(&sealed.sha256[..])
                    .map_err(|_| damaged("a digest has 32 bytes"))?,
            }),
        };
        let created_ms = stored.created_ms;
        let made_of = match stored.made_of {
            Some(StoredMadeOf { segments, bytes, since_ms }) if segments > 1 => {
                MadeOf { segments, bytes, since_ms }
            }
            _ => MadeOf {
                segments: 1,
                bytes: sealed.map_or(0, |sealed| sealed.bytes),
                since_ms: created_ms,
            },
        };
        let replaced = match stored.replaced {
            None => None,
            Some(StoredReplaced { by: None, at_ms }) => Some(Replaced { by: None, at_ms }),
            Some(StoredReplaced { by: Some(by), at_ms }) => {
                let by = by.key().ok_or_else(|| damaged("there is no such shard"))?;
                Some(Replaced { by: Some(by), at_ms })
            }
        };
        let (key, state, weight) = (entry.key, entry.state, stored.weight);
        Ok(Self { key, state, created_ms, sealed, weight, made_of, replaced })
    }
}

impl Tail {
    pub(crate) fn to_archived(self) -> Archived {
        let stored = StoredTail {
            first: self.first.0,
            at: Some(self.at.into()),
            jump: Some(self.jump.into()),
            leap: Some(self.leap.into()),
            settled: self.settled.upto.0,
            waiting: self.settled.waiting.0,
            waiting_since_ms: self.settled.since_ms,
            floor: self.floor.0,
        };
        Archived { upto: self.at.last, content: stored.encode_to_vec().into() }
    }

    pub(crate) fn of_archived(archived: &Archived) -> Result<Self, StorageError> {
        let damaged = |what: &str| corrupt(format!("how far a channel is archived: {what}"));
        let stored = StoredTail::decode(archived.content.clone())
            .map_err(|error| damaged(&error.to_string()))?;
        let run = |run: Option<StoredRun>| {
            run.and_then(StoredRun::run).ok_or_else(|| damaged("it names no run"))
        };
        let tail = Self {
            first: Offset(stored.first),
            floor: Offset(stored.floor),
            at: run(stored.at)?,
            jump: run(stored.jump)?,
            leap: run(stored.leap)?,
            settled: Settled {
                upto: Offset(stored.settled),
                waiting: Offset(stored.waiting),
                since_ms: stored.waiting_since_ms,
            },
        };
        if tail.at.last != archived.upto {
            return Err(damaged("its newest run ends elsewhere"));
        }
        Ok(tail)
    }
}

impl From<RunAt> for StoredRun {
    fn from(run: RunAt) -> Self {
        Self {
            shard: run.segment.shard.into(),
            first_ts_ms: run.segment.first_ts_ms,
            segment: run.segment.segment,
            first: run.first.0,
            last: run.last.0,
            depth: run.depth,
        }
    }
}

impl StoredRun {
    fn run(self) -> Option<RunAt> {
        let shard = u16::try_from(self.shard).ok()?;
        let (first_ts_ms, segment) = (self.first_ts_ms, self.segment);
        let segment = SegmentKey { shard, first_ts_ms, segment };
        let (first, last) = (Offset(self.first), Offset(self.last));
        // The run that follows lies one deeper.
        let is_run = first <= last && self.depth < u32::MAX;
        is_run.then_some(RunAt { segment, first, last, depth: self.depth })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredSegment {
    #[prost(uint64, tag = "1")]
    created_ms: u64,
    #[prost(message, optional, tag = "2")]
    sealed: Option<StoredSealed>,
    #[prost(uint64, tag = "3")]
    weight: u64,
    #[prost(message, optional, tag = "4")]
    made_of: Option<StoredMadeOf>,
    #[prost(message, optional, tag = "5")]
    replaced: Option<StoredReplaced>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct StoredMadeOf {
    #[prost(uint64, tag = "1")]
    segments: u64,
    #[prost(uint64, tag = "2")]
    bytes: u64,
    #[prost(uint64, tag = "3")]
    since_ms: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct StoredReplaced {
    #[prost(message, optional, tag = "1")]
    by: Option<StoredKey>,
    #[prost(uint64, tag = "2")]
    at_ms: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct StoredKey {
    #[prost(uint32, tag = "1")]
    shard: u32,
    #[prost(uint64, tag = "2")]
    first_ts_ms: u64,
    #[prost(uint64, tag = "3")]
    segment: u64,
}

impl From<SegmentKey> for StoredKey {
    fn from(key: SegmentKey) -> Self {
        let SegmentKey { shard, first_ts_ms, segment } = key;
        Self { shard: shard.into(), first_ts_ms, segment }
    }
}

impl StoredKey {
    fn key(self) -> Option<SegmentKey> {
        let Self { shard, first_ts_ms, segment } = self;
        Some(SegmentKey { shard: u16::try_from(shard).ok()?, first_ts_ms, segment })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredSealed {
    #[prost(uint64, tag = "1")]
    bytes: u64,
    #[prost(uint64, tag = "2")]
    records: u64,
    #[prost(uint64, tag = "3")]
    runs: u64,
    #[prost(uint64, tag = "4")]
    first_ts_ms: u64,
    #[prost(uint64, tag = "5")]
    last_ts_ms: u64,
    #[prost(bytes = "bytes", tag = "6")]
    sha256: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredTail {
    #[prost(uint64, tag = "1")]
    first: u64,
    #[prost(message, optional, tag = "2")]
    at: Option<StoredRun>,
    #[prost(message, optional, tag = "3")]
    jump: Option<StoredRun>,
    #[prost(message, optional, tag = "4")]
    leap: Option<StoredRun>,
    #[prost(uint64, tag = "5")]
    settled: u64,
    #[prost(uint64, tag = "6")]
    waiting: u64,
    #[prost(uint64, tag = "7")]
    waiting_since_ms: u64,
    #[prost(uint64, tag = "8")]
    floor: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct StoredRun {
    #[prost(uint32, tag = "1")]
    shard: u32,
    #[prost(uint64, tag = "2")]
    first_ts_ms: u64,
    #[prost(uint64, tag = "3")]
    segment: u64,
    #[prost(uint64, tag = "4")]
    first: u64,
    #[prost(uint64, tag = "5")]
    last: u64,
    #[prost(uint32, tag = "6")]
    depth: u32,
}
