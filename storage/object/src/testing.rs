//! Segments for tests of this crate.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use sterna_proto::{ChannelKey, ClientId, Epoch, Offset, Position, PublicationId, UserId};
use sterna_storage::{Links, NewRecord, Origin, Record, RunAt, SegmentKey};

use crate::encode::{Encoder, encode_footer, encode_run, encode_tail};
use crate::format::*;

pub(crate) const KEY: SegmentKey = SegmentKey { shard: 7, first_ts_ms: 1_000_000, segment: 42 };

pub(crate) const HEADER: Header = Header { key: KEY, attempt: [9; 16] };

/// A run as it goes into a segment.
pub(crate) type SampleRun = (ChannelKey, Links, Vec<Record>);

/// The n-th channel in key order.
pub(crate) fn channel(n: u64) -> ChannelKey {
    let mut key = [0x55; 16];
    key[..8].copy_from_slice(&n.to_be_bytes());
    ChannelKey(key)
}

/// All kinds of links in turn.
pub(crate) fn links(n: u64) -> Links {
    let at = |depth: u32| RunAt {
        segment: SegmentKey { segment: n + u64::from(depth), ..KEY },
        first: Offset(n + 1),
        last: Offset(n + 100),
        depth,
    };
    match n % 3 {
        0 => Links { depth: 0, back: None, jump: None },
        1 => Links { depth: 1, back: Some(at(0)), jump: Some(at(0)) },
        _ => Links { depth: 8, back: Some(at(7)), jump: Some(at(3)) },
    }
}

/// Texts of many lengths that pack a little, as people write them; every seventh begins an epoch.
pub(crate) fn record(offset: u64, payload_bytes: usize) -> Record {
    let payload: Bytes =
        (0..payload_bytes as u64).map(|n| ((offset * 31 + n * n / 7) % 97) as u8 + 32).collect();
    let client_id = ClientId::new("phone").unwrap();
    let body = NewRecord {
        id: PublicationId(9_000 + offset),
        sender: UserId::new("alice").unwrap(),
        origin: (!offset.is_multiple_of(3)).then_some(Origin { client_id, client_seq: offset }),
        client_msg_id: Bytes::from_static(if offset.is_multiple_of(2) { &[4; 16] } else { &[] }),
        server_ts_ms: 1_000_000 + offset * 17 % 11,
        client_ts_ms: 999_000 + offset,
        kind: (offset % 4) as i32,
        target_offset: Offset(offset % 5),
        payload,
    };
    let epoch = Epoch((7 + offset / 7) as u32);
    Record::new(Position { epoch, offset: Offset(offset) }, body)
}

/// So many runs of so many records of so many bytes; each begins at another offset.
pub(crate) fn runs(count: u64, records: u64, payload_bytes: usize) -> Vec<SampleRun> {
    (0..count)
        .map(|n| {
            let first = 1 + n * 13 % 50;
            let records = (first..first + records).map(|offset| record(offset, payload_bytes));
            (channel(n), links(n), records.collect())
        })
        .collect()
}

/// In blocks and pages that are closed when they are so long.
pub(crate) fn encode(runs: &[SampleRun], block_bytes: usize, page_bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(HEADER, (block_bytes, page_bytes), &mut out).unwrap();
    for (channel, links, records) in runs {
        encoder.begin_run(*channel, *links, &mut out).unwrap();
        for record in records {
            encoder.push(record, &mut out).unwrap();
        }
    }
    let (footer, sealed) = encoder.finish(&mut out).unwrap();
    assert_eq!((footer.bytes, sealed.bytes), (out.len() as u64, out.len() as u64));
    assert_eq!(sealed.runs, runs.len() as u64);
    out
}

/// In blocks of the smallest size and small pages.
pub(crate) fn segment(runs: &[SampleRun]) -> Vec<u8> {
    encode(runs, LEAST_BLOCK_BYTES, 300)
}

pub(crate) fn tail_of(segment: &[u8]) -> Tail {
    let footer = crate::decode::decode_footer(segment).unwrap();
    let begin = footer.tail_begin() as usize;
    Tail::decode(&segment[begin..], KEY, segment.len() as u64).unwrap()
}

pub(crate) fn part<'a>(segment: &'a [u8], place: &Place) -> &'a [u8] {
    segment.get(place.position as usize..place.end() as usize).unwrap_or_default()
}

/// All runs, page by page.
pub(crate) fn runs_of(segment: &[u8], tail: &Tail) -> Vec<RunEntry> {
    let page = |n: usize| tail.decode_page(n, part(segment, &tail.pages[n].place)).unwrap();
    (0..tail.pages.len()).flat_map(page).collect()
}

/// The segment with another tail of the same size, under checksums that are right again.
pub(crate) fn with_tail(segment: &[u8], tail: &Tail) -> Vec<u8> {
    let mut crafted = segment[..tail.footer.tail_begin() as usize].to_vec();
    close(&mut crafted, tail);
    crafted
}

/// The segment with all its runs in one other page of the index, at its end.
pub(crate) fn with_index(segment: &[u8], entries: &[RunEntry]) -> (Vec<u8>, Tail) {
    let mut tail = tail_of(segment);
    let mut crafted = segment[..HEADER_BYTES].to_vec();
    for block in &mut tail.blocks {
        let bytes = part(segment, &block.place);
        block.place.position = crafted.len() as u64;
        crafted.extend_from_slice(bytes);
    }
    let mut page = Vec::new();
    for entry in entries {
        encode_run(entry, &mut page);
    }
    let packed = zstd::bulk::compress(&page, 1).unwrap();
    let place = Place {
        position: crafted.len() as u64,
        length: packed.len() as u32,
        unpacked: page.len() as u32,
        crc32c: crc32c::crc32c(&packed),
    };
    crafted.extend_from_slice(&packed);
    tail.pages = vec![Page { first: entries[0].run.channel, runs: entries.len() as u32, place }];
    close(&mut crafted, &tail);
    let tail = tail_of(&crafted);
    (crafted, tail)
}

fn close(crafted: &mut Vec<u8>, tail: &Tail) {
    let bytes = encode_tail(&tail.header, &tail.summary, &tail.blocks, &tail.pages);
    crafted.extend_from_slice(&bytes);
    let footer = Footer {
        tail_bytes: bytes.len() as u32,
        tail_crc32c: crc32c::crc32c(&bytes),
        bytes: (crafted.len() + FOOTER_BYTES) as u64,
        sha256: Sha256::digest(&*crafted).into(),
    };
    crafted.extend_from_slice(&encode_footer(&footer));
}
