//! A segment becomes records again. Pure, and afraid of nothing: any bytes are what was written, or
//! a [`Damage`]. What is allocated is bounded by what is there, and for a block or a page by
//! [`UNPACKED_BYTES`].

use std::ops::RangeInclusive;

use bytes::{Buf, Bytes};
use prost::Message;
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{Links, Record, Run, RunAt, SegmentKey};

use crate::format::*;
use crate::record::StoredRecord;

/// The footer at the end of these bytes, which end where the segment does.
pub fn decode_footer(bytes: &[u8]) -> Result<Footer, Damage> {
    let Some(start) = bytes.len().checked_sub(FOOTER_BYTES) else {
        return Err(Damage::new(format!("{} bytes hold no footer", bytes.len()), 0));
    };
    let (content, mut crc) = bytes[start..].split_at(FOOTER_BYTES - 4);
    if crc32c::crc32c(content) != crc.get_u32() {
        return Err(Damage::new("the checksum of the footer does not match", start as u64));
    }
    let mut rest = content;
    let tail_bytes = rest.get_u32();
    let tail_crc32c = rest.get_u32();
    let bytes = rest.get_u64();
    let mut sha256 = [0; 32];
    rest.copy_to_slice(&mut sha256);
    let (version, magic) = (rest.get_u16(), rest);
    if version != VERSION || magic != END_MAGIC {
        return Err(Damage::new(format!("a footer of version {version}"), start as u64));
    }
    let least = LEAST_TAIL_BYTES..=TAIL_BYTES;
    let fits = bytes.checked_sub((HEADER_BYTES + FOOTER_BYTES) as u64);
    if !least.contains(&(tail_bytes as usize)) || fits.is_none_or(|fits| fits < tail_bytes.into()) {
        return Err(Damage::new(format!("a tail of {tail_bytes} bytes"), start as u64));
    }
    Ok(Footer { tail_bytes, tail_crc32c, bytes, sha256 })
}

impl Footer {
    /// Where the tail begins.
    pub fn tail_begin(&self) -> u64 {
        self.bytes.saturating_sub(FOOTER_BYTES as u64 + u64::from(self.tail_bytes))
    }
}

impl Tail {
    /// The tail of the segment of this key and of so many bytes, from exactly its bytes and the
    /// footer's.
    pub fn decode(bytes: &[u8], key: SegmentKey, segment_bytes: u64) -> Result<Self, Damage> {
        let begin = segment_bytes.saturating_sub(bytes.len() as u64);
        let damage = |what: String| Damage::new(what, begin);
        let footer =
            decode_footer(bytes).map_err(|error| Damage { at: begin + error.at, ..error })?;
        let tail = &bytes[..bytes.len() - FOOTER_BYTES];
        if footer.bytes != segment_bytes || footer.tail_bytes as usize != tail.len() {
            return Err(damage(format!(
                "{segment_bytes} bytes with a tail of {}, and the footer says {} and {}",
                tail.len(),
                footer.bytes,
                footer.tail_bytes
            )));
        }
        if crc32c::crc32c(tail) != footer.tail_crc32c {
            return Err(damage("the checksum of the tail does not match".to_owned()));
        }
        let mut rest = tail;
        let found = get_key(&mut rest);
        if found != key {
            return Err(damage(format!("it is {found:?}")));
        }
        let mut attempt = [0; 16];
        rest.copy_to_slice(&mut attempt);
        let summary = Summary {
            records: rest.get_u64(),
            runs: rest.get_u64(),
            payload_bytes: rest.get_u64(),
            first_ts_ms: rest.get_u64(),
            last_ts_ms: rest.get_u64(),
        };
        let (blocks, pages) = decode_entries(rest).map_err(damage)?;
        check_places(&blocks, &pages, begin).map_err(damage)?;
        if pages.iter().map(|page| u64::from(page.runs)).sum::<u64>() != summary.runs {
            return Err(damage("its pages have other runs than it says".to_owned()));
        }
        Ok(Self { header: Header { key, attempt }, summary, blocks, pages, footer })
    }

    /// Which page has a channel's run, if any has.
    pub fn page_of(&self, channel: ChannelKey) -> Option<usize> {
        self.pages.partition_point(|page| page.first <= channel).checked_sub(1)
    }

    /// The runs of a page, from exactly its bytes.
    pub fn decode_page(&self, page: usize, packed: &[u8]) -> Result<Vec<RunEntry>, Damage> {
        let Some(found) = self.pages.get(page) else {
            return Err(Damage::new(format!("no page {page}"), 0));
        };
        let damage = |what: String| Damage::new(what, found.place.position);
        let unpacked = unpack(&found.place, packed).map_err(damage)?;
        let runs = decode_runs(&unpacked, found.runs as usize).map_err(damage)?;
        let next = self.pages.get(page + 1).map(|next| next.first);
        let is_in_order = runs.is_sorted_by(|a, b| a.run.channel < b.run.channel)
            && runs.first().is_some_and(|run| run.run.channel == found.first)
            && runs.last().is_some_and(|run| next.is_none_or(|next| run.run.channel < next));
        if !is_in_order {
            return Err(damage("runs are out of order".to_owned()));
        }
        match runs.iter().find(|entry| !self.holds(entry)) {
            Some(entry) => Err(damage(format!("{:?} is beyond the blocks", entry.run.channel))),
            None => Ok(runs),
        }
    }

    fn holds(&self, entry: &RunEntry) -> bool {
        let last = entry.block.checked_add(entry.further);
        last.is_some_and(|last| (last as usize) < self.blocks.len())
            && entry.at < self.blocks[entry.block as usize].place.unpacked
    }

    /// Which block of a run holds this offset; the run's own are asked for.
    pub fn block_of(&self, entry: &RunEntry, offset: Offset) -> usize {
        let (first, further) = (entry.block as usize, entry.further as usize);
        let behind = self.blocks.get(first + 1..=first + further).unwrap_or_default();
        first + behind.partition_point(|block| block.first <= offset)
    }

    /// The records of a run in a block of it, as far as they are wanted, from exactly its bytes.
    pub fn decode_block(
        &self,
        entry: &RunEntry,
        block: usize,
        packed: &[u8],
        wanted: &RangeInclusive<Offset>,
    ) -> Result<Vec<Record>, Damage> {
        let items = self.unpack_block(block, packed)?;
        self.decode_items(entry, block, items, wanted)
    }

    /// What a block holds, from exactly its bytes.
    pub(crate) fn unpack_block(&self, block: usize, packed: &[u8]) -> Result<Bytes, Damage> {
        let Some(found) = self.blocks.get(block) else {
            return Err(Damage::new(format!("no block {block}"), 0));
        };
        unpack(&found.place, packed).map_err(|what| Damage::new(what, found.place.position))
    }

    /// The same as [`decode_block`](Self::decode_block) of one that is unpacked.
    pub(crate) fn decode_items(
        &self,
        entry: &RunEntry,
        block: usize,
        mut items: Bytes,
        wanted: &RangeInclusive<Offset>,
    ) -> Result<Vec<Record>, Damage> {
        let Some(found) = self.blocks.get(block) else {
            return Err(Damage::new(format!("no block {block}"), 0));
        };
        let damage = |what: String| Damage::new(what, found.place.position);
        let mut next = found.first;
        if block == entry.block as usize {
            items.advance(items.len().min(entry.at as usize));
            let run = &entry.run;
            match next_item(&mut items).map_err(damage)? {
                Some(Item::Mark(channel, first))
                    if (channel, first) == (run.channel, run.first) =>
                {
                    next = first;
                }
                other => return Err(damage(format!("instead of a run there is {other:?}"))),
            }
        }
        let mut records = Vec::new();
        while next <= entry.run.last && next <= *wanted.end() {
            match next_item(&mut items).map_err(damage)? {
                Some(Item::Record(bytes)) if wanted.contains(&next) => {
                    records.push(decode_record(bytes, next).map_err(damage)?);
                }
                Some(Item::Record(_)) => {}
                None if block < entry.block.saturating_add(entry.further) as usize => break,
                other => {
                    return Err(damage(format!("instead of record {} there is {other:?}", next.0)));
                }
            }
            next = next.next();
        }
        Ok(records)
    }
}

/// What stands in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// Here a run begins, with this offset.
    Mark(ChannelKey, Offset),
    Record(Bytes),
}

/// The next item; `None` at the end.
pub(crate) fn next_item(items: &mut Bytes) -> Result<Option<Item>, String> {
    if items.is_empty() {
        return Ok(None);
    }
    let length = items.try_get_u32().map_err(|_| "an item is cut".to_owned())?;
    if length == MARK {
        if items.len() < MARK_BYTES - 4 {
            return Err("the mark of a run is cut".to_owned());
        }
        let mut channel = [0; 16];
        items.copy_to_slice(&mut channel);
        return Ok(Some(Item::Mark(ChannelKey(channel), Offset(items.get_u64()))));
    }
    if length as usize > items.len() {
        return Err("a record is cut".to_owned());
    }
    Ok(Some(Item::Record(items.split_to(length as usize))))
}

pub(crate) fn decode_record(bytes: Bytes, offset: Offset) -> Result<Record, String> {
    let failed = |error: &dyn std::fmt::Display| format!("record {}: {error}", offset.0);
    let stored = StoredRecord::decode(bytes).map_err(|error| failed(&error))?;
    stored.into_record(offset).map_err(|error| failed(&error))
}

/// What was packed there, from exactly its bytes.
pub(crate) fn unpack(place: &Place, packed: &[u8]) -> Result<Bytes, String> {
    if packed.len() != place.length as usize {
        return Err(format!("{} bytes instead of {}", packed.len(), place.length));
    }
    if crc32c::crc32c(packed) != place.crc32c {
        return Err("a checksum does not match".to_owned());
    }
    let unpacked = zstd::bulk::decompress(packed, place.unpacked as usize)
        .map_err(|error| format!("it does not unpack: {error}"))?;
    if unpacked.len() != place.unpacked as usize {
        return Err(format!("it unpacks to {} bytes", unpacked.len()));
    }
    Ok(unpacked.into())
}

fn decode_entries(mut rest: &[u8]) -> Result<(Vec<Block>, Vec<Page>), String> {
    let (count, pages) = (rest.get_u32() as usize, rest.get_u32() as usize);
    let wanted = count
        .saturating_mul(BLOCK_ENTRY_BYTES)
        .saturating_add(pages.saturating_mul(PAGE_ENTRY_BYTES));
    if rest.len() != wanted {
        return Err(format!("{count} blocks and {pages} pages in {} bytes", rest.len()));
    }
    let (mut blocks, mut page_entries) = rest.split_at(count * BLOCK_ENTRY_BYTES);
    let mut found = (Vec::with_capacity(count), Vec::with_capacity(pages));
    while blocks.has_remaining() {
        let first = Offset(blocks.get_u64());
        let (position, length) = (blocks.get_u64(), blocks.get_u32());
        let (unpacked, crc32c) = (blocks.get_u32(), blocks.get_u32());
        found.0.push(Block { first, place: Place { position, length, unpacked, crc32c } });
    }
    while page_entries.has_remaining() {
        let mut first = [0; 16];
        page_entries.copy_to_slice(&mut first);
        let (position, length) = (page_entries.get_u64(), page_entries.get_u32());
        let (unpacked, runs) = (page_entries.get_u32(), page_entries.get_u32());
        let place = Place { position, length, unpacked, crc32c: page_entries.get_u32() };
        found.1.push(Page { first: ChannelKey(first), runs, place });
    }
    Ok(found)
}

/// Blocks and pages lie one behind the other, from the header to the tail.
fn check_places(blocks: &[Block], pages: &[Page], end: u64) -> Result<(), String> {
    if blocks.is_empty() || !pages.is_sorted_by(|a, b| a.first < b.first) {
        return Err("no blocks, or pages out of order".to_owned());
    }
    let (mut blocks, mut pages) = (blocks.iter().peekable(), pages.iter().peekable());
    let mut position = HEADER_BYTES as u64;
    loop {
        let block = blocks.next_if(|block| block.place.position == position);
        let place = match block {
            Some(block) => block.place,
            None => match pages.next_if(|page| page.place.position == position) {
                Some(page) => page.place,
                None => break,
            },
        };
        let is_bounded =
            place.length as usize <= PACKED_BYTES && place.unpacked as usize <= UNPACKED_BYTES;
        // What is empty would be there for ever.
        if place.length == 0 || !is_bounded {
            return Err(format!("what lies at {position} is of no size"));
        }
        position = place.end();
    }
    if position != end || blocks.next().is_some() || pages.next().is_some() {
        return Err(format!("blocks and pages end at {position} instead of {end}"));
    }
    Ok(())
}

fn decode_runs(mut rest: &[u8], count: usize) -> Result<Vec<RunEntry>, String> {
    let mut runs = Vec::with_capacity(count.min(rest.len() / LEAST_RUN_BYTES));
    while rest.has_remaining() {
        runs.push(decode_run(&mut rest)?);
    }
    if runs.len() == count { Ok(runs) } else { Err(format!("{} runs, not {count}", runs.len())) }
}

/// An entry of a run, from the bytes that begin with it.
pub fn decode_run(rest: &mut &[u8]) -> Result<RunEntry, String> {
    if rest.len() < LEAST_RUN_BYTES {
        return Err("the entry of a run is cut".to_owned());
    }
    let mut channel = [0; 16];
    rest.copy_to_slice(&mut channel);
    let (first, last) = (Offset(rest.get_u64()), Offset(rest.get_u64()));
    let (block, at, further) = (rest.get_u32(), rest.get_u32(), rest.get_u32());
    let (depth, which) = (rest.get_u32(), rest.get_u8());
    let mut link = |wanted: u8| -> Result<Option<RunAt>, String> {
        if which & wanted == 0 { Ok(None) } else { decode_link(rest).map(Some) }
    };
    let (back, mut jump) = (link(HAS_BACK)?, link(HAS_JUMP)?);
    match which {
        0 | HAS_BACK => {}
        which if which & !(HAS_BACK | HAS_JUMP) == 0 && jump != back => {}
        which if which == HAS_BACK | JUMP_IS_BACK => jump = back,
        _ => return Err(format!("links of kind {which}")),
    }
    if first == Offset::ZERO || last < first {
        return Err("a run of no range".to_owned());
    }
    let links = Links { depth, back, jump };
    Ok(RunEntry {
        run: Run { channel: ChannelKey(channel), first, last, links },
        block,
        at,
        further,
    })
}

fn decode_link(rest: &mut &[u8]) -> Result<RunAt, String> {
    if rest.len() < KEY_BYTES + 20 {
        return Err("a link is cut".to_owned());
    }
    let segment = get_key(rest);
    let (first, last) = (Offset(rest.get_u64()), Offset(rest.get_u64()));
    Ok(RunAt { segment, first, last, depth: rest.get_u32() })
}

fn get_key(rest: &mut &[u8]) -> SegmentKey {
    SegmentKey { shard: rest.get_u16(), first_ts_ms: rest.get_u64(), segment: rest.get_u64() }
}

/// A header, from exactly its bytes.
pub fn decode_header(bytes: &[u8]) -> Result<Header, Damage> {
    let damage = |what: &str| Damage::new(what, 0);
    if bytes.len() != HEADER_BYTES || &bytes[..8] != MAGIC {
        return Err(damage("no header"));
    }
    let (content, mut crc) = bytes.split_at(HEADER_BYTES - 4);
    if crc32c::crc32c(content) != crc.get_u32() {
        return Err(damage("the checksum of the header does not match"));
    }
    let mut rest = &content[8..];
    let version = rest.get_u16();
    if version != VERSION {
        return Err(Damage::new(format!("a header of version {version}"), 0));
    }
    let key = get_key(&mut rest);
    let mut attempt = [0; 16];
    rest.copy_to_slice(&mut attempt);
    Ok(Header { key, attempt })
}
