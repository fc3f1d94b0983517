//! Fuzz target of what lies in an object store: no bytes make a decoder panic, and what is taken for
//! a part of a segment says itself again.

use sterna_fuzz::{Script, check};
use sterna_proto::Offset;

use crate::decode::{decode_footer, decode_header, decode_run};
use crate::encode::{encode_header, encode_run};
use crate::format::*;
use crate::name::{name_of, parse_name};
use crate::testing;
use crate::verifier::Verifier;

/// Bytes in place of some of a segment's, with checksums that are right again, so that what is behind
/// them is reached.
#[test]
fn fuzz_segment() {
    check!("segment", |bytes: &[u8]| {
        let mut script = Script::new(bytes);
        match script.below(6) {
            0 => drop(decode_footer(script.rest())),
            1 => {
                if let Ok(header) = decode_header(script.rest()) {
                    assert_eq!(decode_header(&encode_header(&header)), Ok(header));
                }
            }
            2 => {
                let name = String::from_utf8_lossy(script.rest());
                if let Some(key) = parse_name(&name) {
                    assert_eq!(name_of(&key), name);
                }
            }
            3 => {
                let mut rest = script.rest();
                while let Ok(entry) = decode_run(&mut rest) {
                    let mut again = Vec::new();
                    encode_run(&entry, &mut again);
                    assert_eq!(decode_run(&mut &again[..]), Ok(entry));
                }
            }
            4 => {
                let segment = testing::segment(&testing::runs(4, 4, 400));
                let at = usize::from(script.byte()) * 3;
                write_over_tail(&segment, at, script.rest());
            }
            _ => {
                let is_block = script.byte().is_multiple_of(2);
                write_over_part(is_block, script.rest());
            }
        }
    });
}

fn write_over_tail(segment: &[u8], at: usize, bytes: &[u8]) {
    let footer = decode_footer(segment).unwrap();
    let begin = footer.tail_begin() as usize;
    let end = segment.len() - FOOTER_BYTES;
    let mut crafted = segment.to_vec();
    let at = (begin + at).min(end);
    let length = bytes.len().min(end - at);
    crafted[at..at + length].copy_from_slice(&bytes[..length]);
    let tail_crc32c = crc32c::crc32c(&crafted[begin..end]);
    crafted.truncate(end);
    crafted.extend_from_slice(&crate::encode::encode_footer(&Footer { tail_crc32c, ..footer }));
    let Ok(tail) = Tail::decode(&crafted[begin..], testing::KEY, crafted.len() as u64) else {
        return;
    };
    read(&crafted, &tail);
}

/// A page or a block with this content.
fn write_over_part(is_block: bool, content: &[u8]) {
    let segment = testing::segment(&testing::runs(4, 4, 400));
    let mut tail = testing::tail_of(&segment);
    let packed = zstd::bulk::compress(content, 1).unwrap();
    let place = if is_block { &mut tail.blocks[0].place } else { &mut tail.pages[0].place };
    place.length = packed.len() as u32;
    place.unpacked = content.len() as u32;
    place.crc32c = crc32c::crc32c(&packed);
    let begin = place.position as usize;
    let mut crafted = segment[..begin].to_vec();
    crafted.extend_from_slice(&packed);
    read(&crafted, &tail);
}

fn read(segment: &[u8], tail: &Tail) {
    for (n, page) in tail.pages.iter().enumerate() {
        let Ok(runs) = tail.decode_page(n, testing::part(segment, &page.place)) else { continue };
        for entry in runs {
            for block in [entry.block, entry.block + entry.further] {
                let packed = testing::part(segment, &tail.blocks[block as usize].place);
                let wanted = Offset(0)..=Offset(u64::MAX);
                let Ok(records) = tail.decode_block(&entry, block as usize, packed, &wanted) else {
                    continue;
                };
                let range = entry.run.first..=entry.run.last;
                assert!(records.iter().all(|record| range.contains(&record.position.offset)));
            }
        }
    }
    let mut verifier = Verifier::new(tail.clone());
    if verifier.push(segment).is_ok() {
        drop(verifier.finish());
    }
}
