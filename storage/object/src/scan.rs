//! Reads a segment from its beginning to its end, some blocks at a time: one ranged read and one
//! unpacking of each block, however many runs it holds.

use std::ops::Range;

use bytes::Bytes;
use sterna_proto::Offset;
use sterna_storage::{Behind, PageLimit, Piece, Record, SegmentKey, StorageError};

use crate::failure::corrupt;
use crate::format::*;
use crate::name::name_of;
use crate::reader::blocks_for;
use crate::store::Inner;

/// Where a scan goes on: a run, and the offset before its next record.
struct Place {
    page: usize,
    at: usize,
    after: Offset,
}

impl Inner {
    pub(crate) async fn scan(
        &self,
        key: SegmentKey,
        behind: Option<Behind>,
        limit: PageLimit,
    ) -> Result<Vec<Piece>, StorageError> {
        let tail = self.tail(key).await?;
        let Some(place) = self.place_behind(&tail, behind).await? else { return Ok(Vec::new()) };
        let first = self.page(&tail, place.page).await?[place.at];
        let begin = tail.block_of(&first, place.after.next().max(first.run.first));
        // As many blocks as a page has room for, whichever runs they hold.
        let blocks = blocks_for(&tail, begin..tail.blocks.len(), limit, Offset(u64::MAX));
        let unpacked = self.unpack(&tail, blocks.clone()).await?;
        let (mut pieces, mut room) = (Vec::new(), limit.start());
        let Place { page: first_page, mut at, mut after } = place;
        for page in first_page..tail.pages.len() {
            let runs = self.page(&tail, page).await?;
            for entry in &runs[at..] {
                if entry.block as usize >= blocks.end {
                    return Ok(pieces);
                }
                let piece = self.piece(&tail, entry, after, (&blocks, &unpacked))?;
                let read = piece.records.len();
                let fits = |record: &Record| room.take(record.body.payload.len());
                let records: Vec<_> = piece.records.into_iter().take_while(fits).collect();
                let is_whole = records.len() == read
                    && records.last().is_none_or(|last| last.position.offset == entry.run.last);
                if !records.is_empty() {
                    pieces.push(Piece { run: entry.run, records });
                }
                if !is_whole {
                    return Ok(pieces);
                }
                after = Offset::ZERO;
            }
            at = 0;
        }
        Ok(pieces)
    }

    /// `None` behind the last record.
    async fn place_behind(
        &self,
        tail: &Tail,
        behind: Option<Behind>,
    ) -> Result<Option<Place>, StorageError> {
        let start = |page| Some(Place { page, at: 0, after: Offset::ZERO });
        let Some((channel, offset)) = behind else { return Ok(start(0)) };
        let Some(page) = tail.page_of(channel) else { return Ok(start(0)) };
        let runs = self.page(tail, page).await?;
        let at = match runs.binary_search_by_key(&channel, |entry| entry.run.channel) {
            Ok(at) if offset < runs[at].run.last => {
                return Ok(Some(Place { page, at, after: offset }));
            }
            Ok(at) => at + 1,
            Err(at) => at,
        };
        if at < runs.len() {
            return Ok(Some(Place { page, at, after: Offset::ZERO }));
        }
        Ok(start(page + 1).filter(|place| place.page < tail.pages.len()))
    }

    async fn unpack(&self, tail: &Tail, blocks: Range<usize>) -> Result<Vec<Bytes>, StorageError> {
        let begin = tail.blocks[blocks.start].place.position;
        let end = tail.blocks[blocks.end - 1].place.end();
        let decode = |bytes: &Bytes| {
            let places = blocks.clone().map(|block| (block, &tail.blocks[block].place));
            let unpacked = places.map(|(block, place)| {
                let packed = (place.position - begin) as usize..(place.end() - begin) as usize;
                tail.unpack_block(block, bytes.get(packed).unwrap_or_default())
            });
            unpacked.collect()
        };
        self.read_twice(tail.header.key, begin..end, decode).await
    }

    /// The records of a run behind an offset in blocks that are unpacked.
    fn piece(
        &self,
        tail: &Tail,
        entry: &RunEntry,
        after: Offset,
        (blocks, unpacked): (&Range<usize>, &[Bytes]),
    ) -> Result<Piece, StorageError> {
        let wanted = after.next().max(entry.run.first)..=entry.run.last;
        let end = (entry.block + entry.further) as usize + 1;
        let begin = blocks.start.max(entry.block as usize);
        let mut records = Vec::new();
        for block in begin..end.min(blocks.end) {
            let items = unpacked[block - blocks.start].clone();
            let decoded = tail.decode_items(entry, block, items, &wanted);
            records.extend(decoded.map_err(|damage| damaged(tail.header.key, &damage))?);
        }
        Ok(Piece { run: entry.run, records })
    }
}

fn damaged(key: SegmentKey, damage: &Damage) -> StorageError {
    corrupt(&name_of(&key), damage)
}
