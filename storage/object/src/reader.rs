//! From a key and a channel to records: the tail of the segment says which page of the index has the
//! run, the page says which blocks, and only those are read that are wanted. Tails and pages are
//! kept. Whatever comes is compared with its checksum, and read once more if it is not what was
//! written, since bytes are also damaged on their way.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{PageLimit, Record, Run, Sealed, SegmentKey, StorageError, StorageErrorKind};

use crate::decode::decode_footer;
use crate::failure::corrupt;
use crate::format::*;
use crate::name::name_of;
use crate::store::Inner;
use crate::verifier::Verifier;

impl Inner {
    pub(crate) async fn run(
        &self,
        key: SegmentKey,
        channel: ChannelKey,
    ) -> Result<Option<Run>, StorageError> {
        self.note_lookup(key, channel);
        let tail = self.tail(key).await?;
        Ok(self.entry(&tail, channel).await?.map(|entry| entry.run))
    }

    pub(crate) async fn runs(
        &self,
        key: SegmentKey,
        after: Option<ChannelKey>,
        limit: usize,
    ) -> Result<Vec<Run>, StorageError> {
        let tail = self.tail(key).await?;
        let begin = after.and_then(|after| tail.page_of(after)).unwrap_or(0);
        let mut found = Vec::new();
        for page in begin..tail.pages.len() {
            let runs = self.page(&tail, page).await?;
            let behind = runs.iter().map(|entry| entry.run);
            let behind = behind.filter(|run| after.is_none_or(|after| run.channel > after));
            found.extend(behind.take(limit.saturating_sub(found.len())));
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    pub(crate) async fn read(
        &self,
        key: SegmentKey,
        channel: ChannelKey,
        after: Offset,
        limit: PageLimit,
    ) -> Result<Vec<Record>, StorageError> {
        self.note_lookup(key, channel);
        let tail = self.tail(key).await?;
        let mut page = Vec::new();
        let Some(entry) = self.entry(&tail, channel).await? else { return Ok(page) };
        if after >= entry.run.last {
            return Ok(page);
        }
        let first = after.next().max(entry.run.first);
        let most = limit.records.max(1) as u64 - 1;
        let wanted = first..=Offset(first.0.saturating_add(most)).min(entry.run.last);
        let mut room = limit.start();
        let mut block = tail.block_of(&entry, first);
        let end = (entry.block + entry.further) as usize;
        loop {
            let blocks = blocks_for(&tail, block..end + 1, limit, *wanted.end());
            block = blocks.end;
            for record in self.read_blocks(&tail, &entry, blocks, &wanted).await? {
                if !room.take(record.body.payload.len()) {
                    return Ok(page);
                }
                page.push(record);
            }
            if room.is_full() || block > end || tail.blocks[block].first > *wanted.end() {
                return Ok(page);
            }
        }
    }

    /// A channel's run is looked for: with what is in memory, or not.
    fn note_lookup(&self, key: SegmentKey, channel: ChannelKey) {
        let page = |tail: Arc<Tail>| match tail.page_of(channel) {
            Some(page) => self.kept.page(key, page).is_some(),
            None => true,
        };
        let is_hit = self.kept.tail(key).is_some_and(page);
        self.lookups.note(usize::from(is_hit), usize::from(!is_hit));
    }

    /// Reads the whole object anew, the tail too.
    pub(crate) async fn verify(&self, key: SegmentKey) -> Result<Sealed, StorageError> {
        let name = name_of(&key);
        let damaged = |damage| corrupt(&name, &damage);
        self.kept.forget(key);
        let tail = self.tail(key).await?;
        let mut verifier = Verifier::new((*tail).clone());
        let (mut position, end) = (0, verifier.bytes());
        while position < end {
            let next = (position + CHUNK_BYTES).min(end);
            let bytes = self.objects.read(&name, position..next).await?;
            for piece in bytes.chunks(PIECE_BYTES) {
                verifier.push(piece).map_err(damaged)?;
                // Unpacking takes a while, and others have work too.
                tokio::task::yield_now().await;
            }
            position = next;
        }
        verifier.finish().map_err(damaged)
    }

    /// The tail of a segment, from memory or in one read, two if it is long.
    pub(crate) async fn tail(&self, key: SegmentKey) -> Result<Arc<Tail>, StorageError> {
        if let Some(tail) = self.kept.tail(key) {
            return Ok(tail);
        }
        count_miss("tail");
        let name = name_of(&key);
        let tail = match self.read_tail(&name, key).await {
            Err(error) if is_damage(&error) => {
                tracing::warn!(%error, "read again");
                self.read_tail(&name, key).await?
            }
            tail => tail?,
        };
        let tail = Arc::new(tail);
        self.kept.keep_tail(tail.clone());
        Ok(tail)
    }

    async fn read_tail(&self, name: &str, key: SegmentKey) -> Result<Tail, StorageError> {
        let damaged = |damage| corrupt(name, &damage);
        let bytes = self.objects.bytes(name).await?;
        let begin = bytes.saturating_sub(TAIL_GUESS);
        let mut end = self.objects.read(name, begin..bytes).await?;
        let at = |damage: Damage| Damage { at: begin + damage.at, ..damage };
        let footer = decode_footer(&end).map_err(|damage| damaged(at(damage)))?;
        if footer.bytes != bytes {
            let what = format!("{bytes} bytes instead of {}", footer.bytes);
            return Err(damaged(Damage::new(what, begin)));
        }
        let tail = footer.tail_begin();
        if tail < begin {
            end = self.objects.read(name, tail..bytes).await?;
        } else {
            end = end.slice((tail - begin) as usize..);
        }
        Tail::decode(&end, key, bytes).map_err(damaged)
    }

    /// Where a channel's run lies, if the segment has one.
    pub(crate) async fn entry(
        &self,
        tail: &Tail,
        channel: ChannelKey,
    ) -> Result<Option<RunEntry>, StorageError> {
        let Some(page) = tail.page_of(channel) else { return Ok(None) };
        let runs = self.page(tail, page).await?;
        let found = runs.binary_search_by_key(&channel, |entry| entry.run.channel);
        Ok(found.ok().map(|at| runs[at]))
    }

    pub(crate) async fn page(
        &self,
        tail: &Tail,
        page: usize,
    ) -> Result<Arc<Vec<RunEntry>>, StorageError> {
        let key = tail.header.key;
        if let Some(runs) = self.kept.page(key, page) {
            return Ok(runs);
        }
        count_miss("page");
        let place = tail.pages[page].place;
        let decode = |bytes: &Bytes| tail.decode_page(page, bytes);
        let runs = self.read_twice(key, place.position..place.end(), decode).await?;
        let runs = Arc::new(runs);
        self.kept.keep_page(key, page, runs.clone());
        Ok(runs)
    }

    /// The wanted records of a run in blocks that lie together, in one read.
    async fn read_blocks(
        &self,
        tail: &Tail,
        entry: &RunEntry,
        blocks: Range<usize>,
        wanted: &RangeInclusive<Offset>,
    ) -> Result<Vec<Record>, StorageError> {
        let places = &tail.blocks[blocks.clone()];
        let (Some(first), Some(last)) = (places.first(), places.last()) else {
            return Ok(Vec::new());
        };
        let (begin, end) = (first.place.position, last.place.end());
        let decode = |bytes: &Bytes| {
            let mut records = Vec::new();
            for block in blocks.clone() {
                let place = &tail.blocks[block].place;
                let packed = (place.position - begin) as usize..(place.end() - begin) as usize;
                records.extend(tail.decode_block(entry, block, &bytes[packed], wanted)?);
            }
            Ok(records)
        };
        self.read_twice(tail.header.key, begin..end, decode).await
    }

    pub(crate) async fn read_twice<T>(
        &self,
        key: SegmentKey,
        range: Range<u64>,
        decode: impl Fn(&Bytes) -> Result<T, Damage>,
    ) -> Result<T, StorageError> {
        let name = name_of(&key);
        let first = match self.objects.read(&name, range.clone()).await {
            Ok(bytes) => decode(&bytes).map_err(|damage| corrupt(&name, &damage)),
            Err(error) => Err(error),
        };
        match first {
            Err(error) if is_damage(&error) => {
                tracing::warn!(%error, "read again");
                let bytes = self.objects.read(&name, range).await?;
                decode(&bytes).map_err(|damage| corrupt(&name, &damage))
            }
            answer => answer,
        }
    }
}

/// What may read well when it is read again.
fn is_damage(error: &StorageError) -> bool {
    error.kind == StorageErrorKind::Corrupt && !error.is_missing()
}

fn count_miss(part: &'static str) {
    metrics::counter!("sterna_storage_object_index_misses_total", "part" => part).increment(1);
}

/// How many blocks a page needs at most, as far as the index tells: a page that is limited to few
/// records reads few blocks, and none reads more than [`READ_BYTES`] at once. At least one.
pub(crate) fn blocks_for(
    tail: &Tail,
    all: Range<usize>,
    limit: PageLimit,
    last: Offset,
) -> Range<usize> {
    // Unpacked blocks hold more than payloads, so this many hold at least the limit.
    let most_bytes = limit.payload_bytes.min(READ_BYTES);
    let (mut end, mut bytes) = (all.start, 0);
    while end < all.end {
        let block = &tail.blocks[end];
        if end > all.start && (block.first > last || bytes >= most_bytes) {
            break;
        }
        bytes += block.place.unpacked as usize;
        end += 1;
    }
    all.start..end
}

/// Unpacked blocks of one read, and one more.
const READ_BYTES: usize = 1024 * 1024;

/// Read at once when a segment is verified; what is held.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;

/// Worked on at once.
const PIECE_BYTES: usize = 128 * 1024;

/// The tails of segments of 64 MiB with some 100,000 runs are no longer.
const TAIL_GUESS: u64 = 64 * 1024;
