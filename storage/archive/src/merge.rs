//! Several segments of a shard, read side by side in the order of their channels.

use std::collections::VecDeque;
use std::sync::Arc;

use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{Behind, PageLimit, Piece, Record, Run, SegmentKey, Segments, StorageError};

use crate::corrupt;

/// A channel, and its runs in those of the segments that hold one, by their place in the list.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) channel: ChannelKey,
    pub(crate) runs: Vec<(usize, Run)>,
}

/// The channels of segments, in order.
#[derive(Debug)]
pub(crate) struct Indexes {
    segments: Arc<dyn Segments>,
    indexes: Vec<Index>,
}

#[derive(Debug)]
struct Index {
    key: SegmentKey,
    runs: VecDeque<Run>,
    last: Option<ChannelKey>,
    is_done: bool,
}

impl Indexes {
    pub(crate) fn new(
        segments: Arc<dyn Segments>,
        keys: impl IntoIterator<Item = SegmentKey>,
    ) -> Self {
        let index = |key| Index { key, runs: VecDeque::new(), last: None, is_done: false };
        Self { segments, indexes: keys.into_iter().map(index).collect() }
    }

    /// The channels that follow, at most `limit`; none at the end. An error comes with the place of
    /// the segment that it is about.
    pub(crate) async fn batch(&mut self, limit: usize) -> Result<Vec<Held>, (usize, StorageError)> {
        let mut batch = Vec::new();
        while batch.len() < limit {
            for (place, index) in self.indexes.iter_mut().enumerate() {
                index.fill(&*self.segments).await.map_err(|error| (place, error))?;
            }
            let fronts = self.indexes.iter().filter_map(|index| index.runs.front());
            let Some(channel) = fronts.map(|run| run.channel).min() else { break };
            let mut runs = Vec::new();
            for (place, index) in self.indexes.iter_mut().enumerate() {
                let run = index.runs.pop_front_if(|run| run.channel == channel);
                runs.extend(run.map(|run| (place, run)));
            }
            batch.push(Held { channel, runs });
        }
        Ok(batch)
    }
}

impl Index {
    async fn fill(&mut self, segments: &dyn Segments) -> Result<(), StorageError> {
        if self.runs.is_empty() && !self.is_done {
            self.runs = segments.runs(self.key, self.last, RUNS).await?.into();
            self.last = self.runs.back().map(|run| run.channel);
            self.is_done = self.runs.is_empty();
        }
        Ok(())
    }
}

/// Records of one segment, in its order; what is not asked for is passed over.
#[derive(Debug)]
pub(crate) struct Cursor {
    key: SegmentKey,
    pieces: VecDeque<Piece>,
    /// The last record of the pieces.
    read_upto: Option<Behind>,
}

impl Cursor {
    pub(crate) fn new(key: SegmentKey) -> Self {
        Self { key, pieces: VecDeque::new(), read_upto: None }
    }

    /// Records of a channel from an offset on, which its run has: at least one, and as many as come
    /// at once. Channels and offsets are asked for in order.
    pub(crate) async fn take(
        &mut self,
        segments: &dyn Segments,
        channel: ChannelKey,
        from: Offset,
    ) -> Result<Vec<Record>, StorageError> {
        let before = Offset(from.0.saturating_sub(1));
        loop {
            let is_behind = |piece: &mut Piece| {
                let last = piece.records.last().map(|record| record.position.offset);
                (piece.run.channel, last) < (channel, Some(from))
            };
            while self.pieces.pop_front_if(is_behind).is_some() {}
            if let Some(mut piece) = self.pieces.pop_front_if(|piece| piece.run.channel == channel)
            {
                piece.records.retain(|record| record.position.offset >= from);
                if piece.records.first().is_some_and(|first| first.position.offset == from) {
                    return Ok(piece.records);
                }
            }
            let behind = self.read_upto.max(Some((channel, before)));
            if !self.pieces.is_empty() || self.read_upto > Some((channel, before)) {
                let key = self.key;
                return Err(corrupt(format!("{key:?}: {channel:?} has no offset {}", from.0)));
            }
            self.pieces = segments.scan(self.key, behind, PAGE).await?.into();
            let last = self
                .pieces
                .back()
                .and_then(|piece| Some((piece.run.channel, piece.records.last()?.position.offset)));
            self.read_upto = Some(last.unwrap_or((ChannelKey([u8::MAX; 16]), Offset(u64::MAX))));
        }
    }
}

/// Runs that are held of each segment.
const RUNS: usize = 200;

/// What is held of each segment's records.
const PAGE: PageLimit = PageLimit { records: 500, payload_bytes: 256 * 1024 };
