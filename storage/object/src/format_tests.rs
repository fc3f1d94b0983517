//! Segments come back as they were, and damage of any kind is noticed before anything is made of it.

use proptest::prelude::*;
use sterna_proto::Offset;
use sterna_storage::Sealed;

use crate::decode::*;
use crate::encode::*;
use crate::format::*;
use crate::testing::{self, SampleRun};
use crate::verifier::Verifier;

const ALL: std::ops::RangeInclusive<Offset> = Offset(0)..=Offset(u64::MAX);

/// All that a reader can get, as reads do it.
fn read_all(segment: &[u8]) -> Result<Vec<SampleRun>, Damage> {
    let footer = decode_footer(segment)?;
    let begin = (footer.tail_begin() as usize).min(segment.len());
    let tail = Tail::decode(&segment[begin..], testing::KEY, segment.len() as u64)?;
    let mut found = Vec::new();
    for (n, page) in tail.pages.iter().enumerate() {
        for entry in tail.decode_page(n, testing::part(segment, &page.place))? {
            let mut records = Vec::new();
            for block in entry.block as usize..=(entry.block + entry.further) as usize {
                let packed = testing::part(segment, &tail.blocks[block].place);
                records.extend(tail.decode_block(&entry, block, packed, &ALL)?);
            }
            found.push((entry.run.channel, entry.run.links, records));
        }
    }
    Ok(found)
}

fn verify(segment: &[u8], tail: &Tail, step: usize) -> Result<Sealed, Damage> {
    let mut verifier = Verifier::new(tail.clone());
    let content = &segment[..(verifier.bytes() as usize).min(segment.len())];
    for piece in content.chunks(step) {
        verifier.push(piece)?;
    }
    verifier.finish()
}

#[test]
fn a_segment_comes_back_as_it_was() {
    for (count, records, payload_bytes) in
        [(1, 1, 0), (1, 1, 60_000), (1, 200, 100), (3, 20, 5_000), (100, 3, 10), (50, 40, 90)]
    {
        let runs = testing::runs(count, records, payload_bytes);
        let segment = testing::segment(&runs);
        assert_eq!(read_all(&segment).unwrap(), runs);
        let tail = testing::tail_of(&segment);
        assert_eq!(tail.header, testing::HEADER);
        assert_eq!((tail.summary.runs, tail.summary.records), (count, count * records));
        assert_eq!(tail.summary.payload_bytes, count * records * payload_bytes as u64);
        let times = runs.iter().flat_map(|(_, _, records)| records);
        let times = times.map(|record| record.body.server_ts_ms);
        assert_eq!(Some(tail.summary.first_ts_ms), times.clone().min());
        assert_eq!(Some(tail.summary.last_ts_ms), times.max());
        for step in [1, 7, 1 << 20] {
            let sealed = verify(&segment, &tail, step).unwrap();
            assert_eq!((sealed.records, sealed.bytes), (count * records, segment.len() as u64));
            assert_eq!(sealed.sha256, tail.footer.sha256);
        }
    }
}

/// What lies in stores is read for ever: this segment was written by the first version.
#[test]
fn a_kept_segment_of_the_first_version_is_read() {
    let kept: &[u8] = include_bytes!("../tests/data/v1.seg");
    let runs = testing::runs(7, 30, 60);
    let tail = testing::tail_of(kept);
    assert!(tail.blocks.len() > 2 && tail.pages.len() > 1);
    assert_eq!(read_all(kept).unwrap(), runs);
    assert_eq!(verify(kept, &tail, 1000).unwrap().records, 210);
}

#[test]
fn an_offset_is_found_in_its_block() {
    let runs = testing::runs(5, 300, 60);
    let segment = testing::segment(&runs);
    let tail = testing::tail_of(&segment);
    for (entry, (_, _, records)) in testing::runs_of(&segment, &tail).iter().zip(&runs) {
        assert!(entry.further > 1, "several blocks");
        for record in records {
            let offset = record.position.offset;
            let block = tail.block_of(entry, offset);
            let packed = testing::part(&segment, &tail.blocks[block].place);
            let found = tail.decode_block(entry, block, packed, &(offset..=offset)).unwrap();
            assert_eq!(found, std::slice::from_ref(record));
        }
    }
}

#[test]
fn blocks_are_bounded_both_ways_and_small_runs_share_them() {
    let segment = testing::segment(&testing::runs(400, 3, 30));
    let tail = testing::tail_of(&segment);
    assert!((5..100).contains(&tail.blocks.len()), "{} blocks", tail.blocks.len());
    assert!(tail.pages.len() > 10, "{} pages", tail.pages.len());
    let (last, others) = tail.blocks.split_last().unwrap();
    let bounds = LEAST_BLOCK_BYTES as u32..=LEAST_BLOCK_BYTES as u32 + 300;
    assert!(others.iter().all(|block| bounds.contains(&block.place.unpacked)), "{others:?}");
    assert!(last.place.unpacked <= *bounds.end());
    assert!(tail.pages.iter().all(|page| page.place.unpacked as usize <= 300 + MOST_RUN_BYTES));
}

/// What a node keeps of a segment with very many channels is small, and one of them costs a page.
#[test]
fn of_many_runs_only_a_page_is_read_for_one() {
    let runs = testing::runs(20_000, 1, 8);
    let segment = testing::encode(&runs, BLOCK_BYTES, PAGE_BYTES);
    let tail = testing::tail_of(&segment);
    let pages = tail.pages.len();
    assert!((20..80).contains(&pages), "{pages} pages");
    assert!((tail.footer.tail_bytes as usize) < segment.len() / 50);
    for n in [0, 1, 9_999, 19_999] {
        let channel = testing::channel(n);
        let page = tail.page_of(channel).unwrap();
        let runs =
            tail.decode_page(page, testing::part(&segment, &tail.pages[page].place)).unwrap();
        assert!(runs.iter().any(|entry| entry.run.channel == channel), "run {n}");
    }
}

#[test]
fn what_is_out_of_order_or_beyond_a_segment_is_refused() {
    let begin =
        |out: &mut Vec<u8>| Encoder::new(testing::HEADER, (BLOCK_BYTES, PAGE_BYTES), out).unwrap();
    let (mut out, links) = (Vec::new(), testing::links(0));
    assert_eq!(begin(&mut out).push(&testing::record(1, 1), &mut out), Err(Unfit::NoRun));
    assert_eq!(begin(&mut out).finish(&mut out).unwrap_err(), Unfit::NoRuns);
    let mut encoder = begin(&mut out);
    encoder.begin_run(testing::channel(5), links, &mut out).unwrap();
    encoder.push(&testing::record(3, 1), &mut out).unwrap();
    for other in [2, 3, 5] {
        let refused = encoder.push(&testing::record(other, 1), &mut out);
        assert_eq!(refused, Err(Unfit::Offset { found: other, expected: 4 }));
    }
    let refused = encoder.push(&testing::record(4, RECORD_BYTES), &mut out);
    assert!(matches!(refused, Err(Unfit::Record(4, _))), "{refused:?}");
    for other in [4, 5] {
        let refused = encoder.begin_run(testing::channel(other), links, &mut out);
        assert_eq!(refused, Err(Unfit::Channel(testing::channel(other))));
    }
    let mut encoder = begin(&mut out);
    encoder.begin_run(testing::channel(5), links, &mut out).unwrap();
    let zero = encoder.push(&testing::record(0, 1), &mut out);
    assert_eq!(zero, Err(Unfit::Offset { found: 0, expected: 1 }));
    let refused = encoder.begin_run(testing::channel(6), links, &mut out);
    assert_eq!(refused, Err(Unfit::EmptyRun(testing::channel(5))));
}

/// Several blocks and pages in few bytes.
fn packs_well() -> (Vec<u8>, Vec<SampleRun>) {
    let mut runs = testing::runs(7, 3, 0);
    for (_, _, records) in &mut runs {
        for record in records {
            record.body.payload = vec![b'a'; 500].into();
        }
    }
    (testing::segment(&runs), runs)
}

#[test]
fn every_flipped_bit_of_a_small_segment_is_noticed() {
    let (segment, runs) = packs_well();
    let tail = testing::tail_of(&segment);
    assert!(tail.blocks.len() > 1 && tail.pages.len() > 1);
    let mut damaged = segment.clone();
    for bit in 0..segment.len() * 8 {
        damaged[bit / 8] ^= 1 << (bit % 8);
        // What is read is exact or is not; only the header in front is no part of it.
        match read_all(&damaged) {
            Ok(found) => {
                assert!(bit / 8 < HEADER_BYTES, "bit {bit} was not noticed");
                assert_eq!(found, runs);
            }
            Err(damage) => assert!(damage.at <= segment.len() as u64, "{damage:?}"),
        }
        // Verification sees it wherever it is, also with a tail that was read before.
        let whole = decode_footer(&damaged).is_ok() && verify(&damaged, &tail, 4096).is_ok();
        assert!(!whole, "bit {bit} was not noticed");
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn every_cut_of_a_small_segment_is_noticed() {
    let (segment, _) = packs_well();
    let tail = testing::tail_of(&segment);
    for length in 0..segment.len() {
        let cut = &segment[..length];
        assert!(read_all(cut).is_err(), "cut to {length}");
        let whole = decode_footer(cut).is_ok() && verify(cut, &tail, 4096).is_ok();
        assert!(!whole, "cut to {length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damage_anywhere_in_larger_segments_is_noticed(
        count in 1u64..60,
        records in 1u64..60,
        payload_bytes in 0usize..1_000,
        block_bytes in 0usize..200_000,
        page_bytes in 0usize..3_000,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..20),
    ) {
        let runs = testing::runs(count, records, payload_bytes);
        let segment = testing::encode(&runs, block_bytes, page_bytes);
        let tail = testing::tail_of(&segment);
        prop_assert_eq!(&read_all(&segment).unwrap(), &runs);
        prop_assert!(verify(&segment, &tail, 65_536).is_ok());
        for (place, bit) in flips {
            let mut damaged = segment.clone();
            let at = place.index(segment.len());
            damaged[at] ^= 1 << bit;
            match read_all(&damaged) {
                Ok(found) => {
                    prop_assert!(at < HEADER_BYTES, "byte {}", at);
                    prop_assert_eq!(&found, &runs);
                }
                Err(damage) => prop_assert!(damage.at <= segment.len() as u64),
            }
            let whole = decode_footer(&damaged).is_ok() && verify(&damaged, &tail, 65_536).is_ok();
            prop_assert!(!whole, "byte {}", at);
        }
    }
}

/// A segment under another's name is not taken for it.
#[test]
fn another_segment_is_noticed() {
    let segment = testing::segment(&testing::runs(1, 1, 1));
    let begin = decode_footer(&segment).unwrap().tail_begin() as usize;
    let other = sterna_storage::SegmentKey { segment: 1, ..testing::KEY };
    let refused = Tail::decode(&segment[begin..], other, segment.len() as u64).unwrap_err();
    assert!(refused.what.contains("it is SegmentKey"), "{refused:?}");
}

/// An index that names the wrong runs is noticed, though every checksum is right.
#[test]
fn an_index_that_disagrees_with_its_blocks_is_noticed() {
    let runs = testing::runs(3, 4, 40);
    let segment = testing::segment(&runs);
    let tail = testing::tail_of(&segment);
    let entries = testing::runs_of(&segment, &tail);
    let wrong: [fn(&mut RunEntry); 4] = [
        |entry| entry.run.last = Offset(entry.run.last.0 - 1),
        |entry| entry.run.last = entry.run.last.next(),
        |entry| entry.at += 1,
        |entry| entry.run.first = entry.run.first.next(),
    ];
    for change in wrong {
        let mut changed = entries.clone();
        change(&mut changed[1]);
        let (crafted, tail) = testing::with_index(&segment, &changed);
        assert!(verify(&crafted, &tail, 4096).is_err(), "{:?}", changed[1]);
    }
    let (crafted, tail) = testing::with_index(&segment, &entries);
    assert!(verify(&crafted, &tail, 4096).is_ok(), "the same index is as good");
}

/// A crafted block is not unpacked beyond what the tail says, whatever it holds.
#[test]
fn a_block_that_would_unpack_to_more_is_refused() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    assert!(bomb.len() < 10_000);
    let segment = testing::segment(&testing::runs(1, 3, 10));
    let mut tail = testing::tail_of(&segment);
    let entry = testing::runs_of(&segment, &tail)[0];
    tail.blocks[0].place.length = bomb.len() as u32;
    tail.blocks[0].place.crc32c = crc32c::crc32c(&bomb);
    let refused = tail.decode_block(&entry, 0, &bomb, &ALL).unwrap_err();
    assert!(refused.what.contains("unpack"), "{refused:?}");
}

/// A tail cannot say that blocks unpack to more than blocks may.
#[test]
fn an_entry_that_asks_for_too_much_is_refused() {
    let segment = testing::segment(&testing::runs(1, 3, 10));
    let mut tail = testing::tail_of(&segment);
    tail.blocks[0].place.unpacked = u32::MAX;
    let crafted = testing::with_tail(&segment, &tail);
    let begin = tail.footer.tail_begin() as usize;
    let refused = Tail::decode(&crafted[begin..], testing::KEY, crafted.len() as u64).unwrap_err();
    assert!(refused.what.contains("of no size"), "{refused:?}");
}
