//! Compares a whole segment with its tail, in one pass and in bounded room: what blocks say of runs
//! and what pages say of them become two digests, which have to agree.

use sha2::{Digest as _, Sha256};
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::Sealed;

use crate::decode::{Item, decode_header, decode_record, next_item, unpack};
use crate::encode::seal;
use crate::format::*;

/// Compares a whole segment, which comes in pieces of any size, with its tail.
#[derive(Debug)]
pub struct Verifier {
    tail: Tail,
    hash: Sha256,
    position: u64,
    /// Bytes of the part that is not complete yet.
    held: Vec<u8>,
    part: Part,
    /// The next block and page.
    block: usize,
    page: usize,
    /// Of runs as blocks have them, and as pages do.
    of_blocks: Sha256,
    of_pages: Sha256,
    run: Option<SeenRun>,
    summary: Summary,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Header,
    Block,
    Page,
    /// The tail; the digest covers it.
    Rest,
}

/// A run of which not all records were seen yet.
#[derive(Debug, Clone, Copy)]
struct SeenRun {
    channel: ChannelKey,
    first: Offset,
    /// Of the record that follows.
    next: Offset,
    block: u32,
    at: u32,
    last_block: u32,
}

impl Verifier {
    /// Of a segment whose tail was read.
    pub fn new(tail: Tail) -> Self {
        Self {
            tail,
            hash: Sha256::new(),
            position: 0,
            held: Vec::new(),
            part: Part::Header,
            block: 0,
            page: 0,
            of_blocks: Sha256::new(),
            of_pages: Sha256::new(),
            run: None,
            summary: Summary::EMPTY,
        }
    }

    /// What is to be read before [`finish`](Self::finish): everything up to the footer.
    pub fn bytes(&self) -> u64 {
        self.tail.footer.bytes - FOOTER_BYTES as u64
    }

    /// Takes the bytes that follow.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Damage> {
        self.hash.update(bytes);
        loop {
            let wanted = match self.part {
                Part::Header => HEADER_BYTES,
                Part::Block => self.tail.blocks[self.block].place.length as usize,
                Part::Page => self.tail.pages[self.page].place.length as usize,
                Part::Rest => {
                    self.position += bytes.len() as u64;
                    return Ok(());
                }
            };
            let taken = (wanted - self.held.len()).min(bytes.len());
            self.held.extend_from_slice(&bytes[..taken]);
            self.position += taken as u64;
            bytes = &bytes[taken..];
            if self.held.len() < wanted {
                return Ok(());
            }
            let held = std::mem::take(&mut self.held);
            self.close_part(&held)?;
            self.part = self.next_part();
            self.held = held;
            self.held.clear();
        }
    }

    /// What the segment is, if it is whole.
    pub fn finish(mut self) -> Result<Sealed, Damage> {
        if self.position != self.bytes() {
            return Err(Damage::new("cut", self.position));
        }
        if <[u8; 32]>::from(self.hash.finalize_reset()) != self.tail.footer.sha256 {
            return Err(Damage::new("the SHA-256 does not match", 0));
        }
        self.end_run()?;
        if self.of_blocks.finalize_reset() != self.of_pages.finalize_reset() {
            return Err(Damage::new("the index has other runs than the blocks", self.position));
        }
        if self.summary != self.tail.summary {
            return Err(Damage::new("the summary is not that of the records", self.position));
        }
        Ok(seal(&self.tail.footer, &self.summary))
    }

    /// The tail has them without a gap.
    fn next_part(&self) -> Part {
        let is_next = |place: Option<Place>| place.is_some_and(|it| it.position == self.position);
        if is_next(self.tail.blocks.get(self.block).map(|block| block.place)) {
            Part::Block
        } else if is_next(self.tail.pages.get(self.page).map(|page| page.place)) {
            Part::Page
        } else {
            Part::Rest
        }
    }

    fn close_part(&mut self, held: &[u8]) -> Result<(), Damage> {
        match self.part {
            Part::Header => {
                if decode_header(held)? != self.tail.header {
                    return Err(Damage::new("another header in front than in the tail", 0));
                }
            }
            Part::Block => {
                let Block { first, place } = self.tail.blocks[self.block];
                let damage = |what: String| Damage::new(what, place.position);
                let items = unpack(&place, held).map_err(damage)?;
                self.walk(first, items).map_err(damage)?;
                self.block += 1;
            }
            Part::Page => {
                for RunEntry { run, block, at, further } in
                    self.tail.decode_page(self.page, held)?
                {
                    let range = (run.first, run.last);
                    digest(&mut self.of_pages, run.channel, range, (block, at, further));
                }
                self.page += 1;
            }
            Part::Rest => {}
        }
        Ok(())
    }

    /// Goes through a block whose first record should have this offset.
    fn walk(&mut self, first: Offset, mut items: bytes::Bytes) -> Result<(), String> {
        let (all, block) = (items.len(), self.block as u32);
        let mut begins = None;
        loop {
            let at = (all - items.len()) as u32;
            let Some(item) = next_item(&mut items)? else { break };
            match item {
                Item::Mark(channel, first) => {
                    if self.run.is_some_and(|run| run.channel >= channel) {
                        return Err(format!("{channel:?} is out of order"));
                    }
                    self.end_run().map_err(|damage| damage.what)?;
                    let next = first;
                    self.run = Some(SeenRun { channel, first, next, block, at, last_block: block });
                    self.summary.runs += 1;
                }
                Item::Record(bytes) => {
                    let Some(run) = &mut self.run else {
                        return Err("a record before the first run".to_owned());
                    };
                    let record = decode_record(bytes, run.next)?;
                    begins.get_or_insert(run.next);
                    (run.next, run.last_block) = (run.next.next(), block);
                    self.summary.add(record.body.payload.len(), record.body.server_ts_ms);
                }
            }
        }
        if begins == Some(first) { Ok(()) } else { Err("a block begins elsewhere".to_owned()) }
    }

    fn end_run(&mut self) -> Result<(), Damage> {
        let Some(run) = self.run.take() else { return Ok(()) };
        if run.next == run.first {
            return Err(Damage::new(format!("{:?} has no record", run.channel), self.position));
        }
        let range = (run.first, Offset(run.next.0 - 1));
        let place = (run.block, run.at, run.last_block - run.block);
        digest(&mut self.of_blocks, run.channel, range, place);
        Ok(())
    }
}

fn digest(
    hash: &mut Sha256,
    channel: ChannelKey,
    (first, last): (Offset, Offset),
    (block, at, further): (u32, u32, u32),
) {
    hash.update(channel.0);
    hash.update(first.0.to_be_bytes());
    hash.update(last.0.to_be_bytes());
    for number in [block, at, further] {
        hash.update(number.to_be_bytes());
    }
}
