//! Records become a segment, block by block. Pure: bytes go into a buffer of the caller's, who
//! brings them away; at most one block and one page of the index are held. Called by `upload.rs`.

use bytes::BufMut;
use prost::Message;
use sha2::{Digest as _, Sha256};
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{Links, Record, Run, RunAt, Sealed, SegmentKey};

use crate::format::*;
use crate::record::StoredRecord;

/// Why a record is not taken: it is out of order, or beyond what a segment may hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("{0:?} does not come behind the channel before it")]
    Channel(ChannelKey),
    #[error("the run of {0:?} holds no record")]
    EmptyRun(ChannelKey),
    #[error("record {found} comes where {expected} should")]
    Offset { found: u64, expected: u64 },
    #[error("a record before the first run")]
    NoRun,
    #[error("a segment without a run")]
    NoRuns,
    #[error("record {0} is {1} bytes long, above {RECORD_BYTES}")]
    Record(u64, usize),
    #[error("above {SEGMENT_BLOCKS} blocks or {SEGMENT_PAGES} pages of runs")]
    TooMany,
    #[error("bytes could not be packed: {0}")]
    Pack(String),
}

/// A segment in the making.
pub struct Encoder {
    header: Header,
    block_bytes: usize,
    page_bytes: usize,
    packer: zstd::bulk::Compressor<'static>,
    hash: Sha256,
    /// Of what was given away.
    position: u64,
    run: Option<OpenRun>,
    /// Items that are not packed yet.
    block: Vec<u8>,
    block_first: Offset,
    blocks: Vec<Block>,
    /// Entries that are not packed yet.
    page: Vec<u8>,
    page_first: ChannelKey,
    page_runs: u32,
    pages: Vec<Page>,
    summary: Summary,
}

/// The run that records go to.
#[derive(Debug)]
struct OpenRun {
    channel: ChannelKey,
    links: Links,
    /// Once it has a record.
    begun: Option<Begun>,
}

#[derive(Debug, Clone, Copy)]
struct Begun {
    first: Offset,
    last: Offset,
    block: u32,
    at: u32,
    /// The block of its last record.
    last_block: u32,
}

impl Encoder {
    /// Begins a segment: puts its header in front of `out`. `block_bytes` is when a block is closed,
    /// between [`LEAST_BLOCK_BYTES`] and [`MOST_BLOCK_BYTES`]; `page_bytes` when a page is, at most
    /// [`PAGE_BYTES`].
    pub fn new(
        header: Header,
        (block_bytes, page_bytes): (usize, usize),
        out: &mut Vec<u8>,
    ) -> Result<Self, Unfit> {
        let mut encoder = Self {
            header,
            block_bytes: block_bytes.clamp(LEAST_BLOCK_BYTES, MOST_BLOCK_BYTES),
            page_bytes: page_bytes.min(PAGE_BYTES),
            packer: zstd::bulk::Compressor::new(LEVEL).map_err(cannot_pack)?,
            hash: Sha256::new(),
            position: 0,
            run: None,
            block: Vec::new(),
            block_first: Offset::ZERO,
            blocks: Vec::new(),
            page: Vec::new(),
            page_first: ChannelKey([0; 16]),
            page_runs: 0,
            pages: Vec::new(),
            summary: Summary::EMPTY,
        };
        encoder.give(&encode_header(&header), out);
        Ok(encoder)
    }

    /// The records that follow are of this channel, which comes behind those before it.
    pub fn begin_run(
        &mut self,
        channel: ChannelKey,
        links: Links,
        out: &mut Vec<u8>,
    ) -> Result<(), Unfit> {
        if self.run.as_ref().is_some_and(|run| run.channel >= channel) {
            return Err(Unfit::Channel(channel));
        }
        self.end_run(out)?;
        self.run = Some(OpenRun { channel, links, begun: None });
        Ok(())
    }

    /// Takes the next record of the run.
    pub fn push(&mut self, record: &Record, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let offset = record.position.offset;
        let Some(run) = &mut self.run else { return Err(Unfit::NoRun) };
        let expected = run.begun.map_or(offset.max(Offset(1)), |begun| begun.last.next());
        if offset != expected {
            return Err(Unfit::Offset { found: offset.0, expected: expected.0 });
        }
        let stored = StoredRecord::of(record);
        let length = stored.encoded_len();
        if length > RECORD_BYTES {
            return Err(Unfit::Record(offset.0, length));
        }
        if self.block.is_empty() {
            self.block_first = offset;
        }
        let block = self.blocks.len() as u32;
        match &mut run.begun {
            Some(begun) => (begun.last, begun.last_block) = (offset, block),
            None => {
                let at = self.block.len() as u32;
                self.block.put_u32(MARK);
                self.block.extend_from_slice(&run.channel.0);
                self.block.put_u64(offset.0);
                let begun = Begun { first: offset, last: offset, block, at, last_block: block };
                run.begun = Some(begun);
            }
        }
        self.block.put_u32(length as u32);
        stored.encode_raw(&mut self.block);
        self.summary.add(record.body.payload.len(), record.body.server_ts_ms);
        if self.block.len() >= self.block_bytes { self.close_block(out) } else { Ok(()) }
    }

    /// Puts the tail and the footer behind what was given away and says what the segment has become.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(Footer, Sealed), Unfit> {
        self.end_run(out)?;
        if self.summary.runs == 0 {
            return Err(Unfit::NoRuns);
        }
        if !self.block.is_empty() {
            self.close_block(out)?;
        }
        if self.page_runs > 0 {
            self.close_page(out)?;
        }
        let tail = encode_tail(&self.header, &self.summary, &self.blocks, &self.pages);
        self.give(&tail, out);
        let footer = Footer {
            tail_bytes: tail.len() as u32,
            tail_crc32c: crc32c::crc32c(&tail),
            bytes: self.position + FOOTER_BYTES as u64,
            sha256: self.hash.finalize().into(),
        };
        out.extend_from_slice(&encode_footer(&footer));
        Ok((footer, seal(&footer, &self.summary)))
    }

    fn end_run(&mut self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        let Some(OpenRun { channel, links, begun }) = self.run.take() else { return Ok(()) };
        let Some(begun) = begun else { return Err(Unfit::EmptyRun(channel)) };
        let Begun { first, last, block, at, last_block } = begun;
        if self.page_runs == 0 {
            self.page_first = channel;
        }
        let run = Run { channel, first, last, links };
        let entry = RunEntry { run, block, at, further: last_block - block };
        encode_run(&entry, &mut self.page);
        self.page_runs += 1;
        self.summary.runs += 1;
        if self.page.len() >= self.page_bytes { self.close_page(out) } else { Ok(()) }
    }

    fn close_block(&mut self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self.blocks.len() == SEGMENT_BLOCKS {
            return Err(Unfit::TooMany);
        }
        let items = std::mem::take(&mut self.block);
        let place = self.give_packed(&items, out)?;
        self.blocks.push(Block { first: self.block_first, place });
        self.block = reuse(items);
        Ok(())
    }

    fn close_page(&mut self, out: &mut Vec<u8>) -> Result<(), Unfit> {
        if self.pages.len() == SEGMENT_PAGES {
            return Err(Unfit::TooMany);
        }
        let entries = std::mem::take(&mut self.page);
        let place = self.give_packed(&entries, out)?;
        self.pages.push(Page { first: self.page_first, runs: self.page_runs, place });
        self.page_runs = 0;
        self.page = reuse(entries);
        Ok(())
    }

    fn give_packed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Place, Unfit> {
        let packed = self.packer.compress(bytes).map_err(cannot_pack)?;
        let place = Place {
            position: self.position,
            length: packed.len() as u32,
            unpacked: bytes.len() as u32,
            crc32c: crc32c::crc32c(&packed),
        };
        self.give(&packed, out);
        Ok(place)
    }

    fn give(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.hash.update(bytes);
        self.position += bytes.len() as u64;
        out.extend_from_slice(bytes);
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("header", &self.header)
            .field("run", &self.run)
            .field("position", &self.position)
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}

/// The room of what was packed, for what comes next.
fn reuse(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.clear();
    bytes
}

fn cannot_pack(error: std::io::Error) -> Unfit {
    Unfit::Pack(error.to_string())
}

pub(crate) fn seal(footer: &Footer, summary: &Summary) -> Sealed {
    Sealed {
        bytes: footer.bytes,
        records: summary.records,
        runs: summary.runs,
        first_ts_ms: summary.first_ts_ms,
        last_ts_ms: summary.last_ts_ms,
        sha256: footer.sha256,
    }
}

fn encode_key(key: &SegmentKey, out: &mut Vec<u8>) {
    out.put_u16(key.shard);
    out.put_u64(key.first_ts_ms);
    out.put_u64(key.segment);
}

/// A header as it stands in a segment.
pub fn encode_header(header: &Header) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(MAGIC);
    out.put_u16(VERSION);
    encode_key(&header.key, &mut out);
    out.extend_from_slice(&header.attempt);
    let crc32c = crc32c::crc32c(&out);
    out.put_u32(crc32c);
    out
}

/// An entry of a run as it stands in a page.
pub fn encode_run(entry: &RunEntry, out: &mut Vec<u8>) {
    let Run { channel, first, last, links } = &entry.run;
    out.extend_from_slice(&channel.0);
    out.put_u64(first.0);
    out.put_u64(last.0);
    out.put_u32(entry.block);
    out.put_u32(entry.at);
    out.put_u32(entry.further);
    out.put_u32(links.depth);
    let is_same = links.jump.is_some() && links.jump == links.back;
    let has_jump = links.jump.is_some() && !is_same;
    let which = if links.back.is_some() { HAS_BACK } else { 0 }
        | if has_jump { HAS_JUMP } else { 0 }
        | if is_same { JUMP_IS_BACK } else { 0 };
    out.put_u8(which);
    for link in links.back.iter().chain(links.jump.iter().filter(|_| has_jump)) {
        encode_link(link, out);
    }
}

fn encode_link(link: &RunAt, out: &mut Vec<u8>) {
    encode_key(&link.segment, out);
    out.put_u64(link.first.0);
    out.put_u64(link.last.0);
    out.put_u32(link.depth);
}

/// A tail as it stands in a segment.
pub(crate) fn encode_tail(
    header: &Header,
    summary: &Summary,
    blocks: &[Block],
    pages: &[Page],
) -> Vec<u8> {
    let entries = blocks.len() * BLOCK_ENTRY_BYTES + pages.len() * PAGE_ENTRY_BYTES;
    let mut out = Vec::with_capacity(LEAST_TAIL_BYTES + entries);
    encode_key(&header.key, &mut out);
    out.extend_from_slice(&header.attempt);
    let Summary { records, runs, payload_bytes, first_ts_ms, last_ts_ms } = *summary;
    for number in [records, runs, payload_bytes, first_ts_ms, last_ts_ms] {
        out.put_u64(number);
    }
    out.put_u32(blocks.len() as u32);
    out.put_u32(pages.len() as u32);
    for Block { first, place } in blocks {
        out.put_u64(first.0);
        out.put_u64(place.position);
        out.put_u32(place.length);
        out.put_u32(place.unpacked);
        out.put_u32(place.crc32c);
    }
    for Page { first, runs, place } in pages {
        out.extend_from_slice(&first.0);
        out.put_u64(place.position);
        out.put_u32(place.length);
        out.put_u32(place.unpacked);
        out.put_u32(*runs);
        out.put_u32(place.crc32c);
    }
    out
}

/// The last bytes of a segment.
pub fn encode_footer(footer: &Footer) -> Vec<u8> {
    let mut out = Vec::with_capacity(FOOTER_BYTES);
    out.put_u32(footer.tail_bytes);
    out.put_u32(footer.tail_crc32c);
    out.put_u64(footer.bytes);
    out.extend_from_slice(&footer.sha256);
    out.put_u16(VERSION);
    out.extend_from_slice(END_MAGIC);
    let crc32c = crc32c::crc32c(&out);
    out.put_u32(crc32c);
    out
}

/// zstd's own default: packs texts 3:1 at some 200 MB/s.
const LEVEL: i32 = 3;
