//! Segments are put together while they are read, whatever fails meanwhile.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sterna_proto::{ChannelKey, Offset};
use sterna_storage::fault::FaultPoint;
use sterna_storage::{
    ManifestStore as _, PageLimit, PublicationLog, Record, SegmentState, Segments as _,
};
use sterna_storage_archive::{ArchiveConfig, Archiver, Compacted, status, verify};
use support::{Bed, OLD, WIDE, eager, key};
use tokio::task::JoinSet;

const NAMES: [&str; 3] = ["room", "other", "third"];

/// The slot that a compactor of a channel's shard owns.
fn first_slot(channel: ChannelKey) -> u16 {
    channel.slot() / 32 * 32
}

/// So many segments of each of these channels' shards.
async fn many_segments(bed: &Bed, names: &[&str], rounds: usize) {
    let mut archiver = bed.archiver(eager());
    let slots: Vec<u16> = names.iter().map(|name| key(name).slot()).collect();
    for round in 0..rounds {
        for name in names {
            bed.publish(name, 1 + round % 3, OLD).await;
        }
        archiver.pass(|slot| slots.contains(&slot), |_, _, _| {}).await.unwrap();
    }
    archiver.pass(|slot| slots.contains(&slot), |_, _, _| {}).await.unwrap();
}

async fn compact(archiver: &mut Archiver, names: &[&str]) -> Compacted {
    let slots: Vec<u16> = names.iter().map(|name| first_slot(key(name))).collect();
    archiver.compact(|slot| slots.contains(&slot), |_, _, _| {}).await.unwrap()
}

/// All of a channel by pages of several sizes, each as it was published.
async fn assert_reads(bed: &Bed, name: &str, seed: u64) {
    let log = bed.log();
    let head = bed.store.head(key(name)).await.unwrap().unwrap();
    let last = head.position.offset.0;
    let mut chance = StdRng::seed_from_u64(seed);
    for limit in [1, 7, 1_000] {
        let limit = PageLimit { records: limit, payload_bytes: usize::MAX };
        let mut all: Vec<Record> = Vec::new();
        while all.len() < last as usize {
            let after = all.last().map_or(Offset::ZERO, |last| last.position.offset);
            let page = log.read(key(name), after, limit).await.unwrap();
            assert!(!page.is_empty(), "{name} ends after {after:?}");
            all.extend(page);
        }
        for (n, record) in (1..).zip(&all) {
            assert_eq!(record.position.offset, Offset(n));
            assert_eq!(record.body.payload, format!("{name} {n}"));
        }
    }
    for _ in 0..10 {
        let after = chance.random_range(0..last);
        let page = log.read(key(name), Offset(after), WIDE).await.unwrap();
        assert_eq!(page[0].position.offset, Offset(after + 1));
    }
}

/// There is one segment for each shard, nothing is left behind, and all can be read.
async fn assert_clean(bed: &Bed, names: &[&str]) {
    let status = status(&bed.tiers).await.unwrap();
    assert_eq!((status.prepared, status.replaced), (0, 0), "{status:?}");
    assert_eq!(bed.segments.keys().len() as u64, status.segments, "no object is left over");
    let verified = verify(&bed.tiers, |_| {}).await.unwrap();
    assert!(verified.damages.is_empty(), "{:?}", verified.damages);
    for name in names {
        assert_reads(bed, name, 1).await;
    }
}

#[tokio::test]
async fn small_segments_become_one_and_read_as_before() {
    let bed = Bed::new();
    many_segments(&bed, &NAMES, 30).await;
    let before = status(&bed.tiers).await.unwrap();
    assert_eq!((before.segments, before.classes[0].segments), (90, 90));
    let mut archiver = bed.archiver(ArchiveConfig { grace: OLD, ..eager() });
    let compacted = compact(&mut archiver, &NAMES).await;
    assert_eq!((compacted.replaced, compacted.segments, compacted.records), (90, 3, 180));
    assert_eq!((compacted.dropped, compacted.given_up, compacted.failed), (0, 0, 0));
    let after = status(&bed.tiers).await.unwrap();
    assert_eq!((after.segments, after.replaced, after.saved_segments), (3, 90, 87));
    assert_eq!((after.records, after.runs), (180, 3), "runs that follow each other are one");
    // The old objects are there for who reads them, and then they are not.
    assert_eq!(archiver.collect().await.unwrap().replaced, 0);
    assert_eq!(bed.segments.keys().len(), 93);
    for name in NAMES {
        assert_reads(&bed, name, 1).await;
    }
    assert_eq!(bed.archiver(eager()).collect().await.unwrap().replaced, 90);
    assert_clean(&bed, &NAMES).await;
    let verified = verify(&bed.tiers, |_| {}).await.unwrap();
    assert_eq!((verified.replaced, verified.segments, verified.runs), (90, 3, 3));
    let again = compact(&mut archiver, &NAMES).await;
    assert_eq!(again, Compacted::default(), "nothing is left to be done");
}

#[tokio::test]
async fn what_comes_after_a_compaction_is_linked_to_what_it_made() {
    let bed = Bed::new();
    let mut archiver = bed.archiver(eager());
    let (mut replaced, mut written) = (0, 0);
    for round in 0..12 {
        many_segments(&bed, &NAMES, 5 + round % 4).await;
        let compacted = compact(&mut archiver, &NAMES).await;
        (replaced, written) = (replaced + compacted.replaced, written + compacted.records);
        archiver.collect().await.unwrap();
        assert_clean(&bed, &NAMES).await;
    }
    let status = status(&bed.tiers).await.unwrap();
    assert!(status.segments < 3 * 16 && replaced > 150, "{replaced}: {status:?}");
    assert!(written < 4 * status.records, "{written} of {} were written again", status.records);
}

#[tokio::test]
async fn thousands_of_runs_are_searched_in_few_steps_whenever_they_are_put_together() {
    for (seed, rounds) in [(0, 2_000), (1, 500), (2, 500)] {
        let bed = Bed::new();
        let mut chance = StdRng::seed_from_u64(seed);
        let small = ArchiveConfig { segment_bytes: 1 << (12 + 2 * seed), ..eager() };
        let mut archiver = bed.archiver(small);
        let slot = key("room").slot();
        for _ in 0..rounds {
            bed.publish("room", 1, OLD).await;
            archiver.pass(|it| it == slot, |_, _, _| {}).await.unwrap();
            if chance.random_bool(0.02) {
                compact(&mut archiver, &["room"]).await;
            }
            if chance.random_bool(0.02) {
                archiver.collect().await.unwrap();
            }
        }
        let status = status(&bed.tiers).await.unwrap();
        assert!(status.saved_segments > rounds / 2, "seed {seed}: {status:?}");
        let log = bed.log();
        let limit = PageLimit { records: 1, payload_bytes: 1000 };
        let mut most = 0;
        // The second time what segments were replaced by is known.
        for is_known in [false, true] {
            for after in 0..rounds {
                let before = bed.faults.calls();
                let page = log.read(key("room"), Offset(after), limit).await.unwrap();
                assert_eq!(page[0].position.offset, Offset(after + 1));
                assert_eq!(page[0].body.payload, format!("room {}", after + 1));
                most = most.max(if is_known { bed.faults.calls() - before } else { 0 });
            }
        }
        // Without what merged runs jump over it is one for each of 100 segments.
        let bound = 3 * u64::from(rounds.ilog2());
        assert!(most <= bound, "seed {seed}: {most} looks among {} segments", status.segments);
    }
}

#[tokio::test]
async fn a_compactor_that_dies_at_any_step_costs_nothing_but_time() {
    for point in [FaultPoint::BeforeAppend, FaultPoint::AfterAppend] {
        let mut step = 0;
        loop {
            step += 1;
            let bed = Bed::mortal();
            many_segments(&bed, &["room", "other"], 9).await;
            bed.script.die_in(step, point);
            let mut archiver = bed.archiver(eager());
            let slots = [first_slot(key("room")), first_slot(key("other"))];
            let compacted = archiver.compact(|slot| slots.contains(&slot), |_, _, _| {}).await;
            let ended = match compacted {
                Ok(_) => archiver.collect().await.map(drop),
                Err(error) => Err(error),
            };
            if !bed.script.revive() {
                ended.unwrap();
                assert!(step > 60, "only {step} steps were tried");
                break;
            }
            assert!(ended.is_err(), "step {step} has failed");
            // As the next process finds it.
            for name in ["room", "other"] {
                assert_reads(&bed, name, step).await;
            }
            let verified = verify(&bed.tiers, |_| {}).await.unwrap();
            assert!(verified.damages.is_empty(), "step {step}: {:?}", verified.damages);
            let mut archiver = bed.archiver(eager());
            compact(&mut archiver, &["room", "other"]).await;
            archiver.collect().await.unwrap();
            assert_clean(&bed, &["room", "other"]).await;
            assert_eq!(status(&bed.tiers).await.unwrap().segments, 2, "step {step}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_compactor_may_be_dropped_at_any_point() {
    for seed in 0..40 {
        let bed = Bed::new();
        many_segments(&bed, &["room"], 20).await;
        let slow = ArchiveConfig { records_per_second: 1, ..eager() };
        let mut chance = StdRng::seed_from_u64(seed);
        let mut archiver = bed.archiver(slow);
        for _ in 0..3 {
            let patience = Duration::from_millis(chance.random_range(0..60_000));
            let slot = first_slot(key("room"));
            let work = archiver.compact(|it| it == slot, |_, _, _| {});
            drop(tokio::time::timeout(patience, work).await);
            assert_reads(&bed, "room", seed).await;
        }
        let mut archiver = bed.archiver(eager());
        compact(&mut archiver, &["room"]).await;
        archiver.collect().await.unwrap();
        assert_clean(&bed, &["room"]).await;
        assert_eq!(status(&bed.tiers).await.unwrap().segments, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i5_who_reads_while_segments_are_replaced_and_removed_finds_every_offset() {
    let bed = Arc::new(Bed::new());
    many_segments(&bed, &NAMES, 10).await;
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for seed in 0..3 {
        let (bed, done) = (bed.clone(), done.clone());
        readers.spawn(async move {
            let (log, mut pages) = (bed.log(), 0_u64);
            let mut chance = StdRng::seed_from_u64(seed);
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let name = NAMES[chance.random_range(0..NAMES.len())];
                let head = bed.store.head(key(name)).await.unwrap().unwrap();
                let after = chance.random_range(0..head.position.offset.0);
                let page = log.read(key(name), Offset(after), WIDE).await.unwrap();
                for (n, record) in (after + 1..).zip(&page) {
                    assert_eq!(record.body.payload, format!("{name} {n}"));
                }
                assert!(!page.is_empty(), "{name} does not end after {after}");
                pages += 1;
                tokio::task::yield_now().await;
            }
            pages
        });
    }
    let mut archiver = bed.archiver(eager());
    for _ in 0..15 {
        many_segments(&bed, &NAMES, 9).await;
        compact(&mut archiver, &NAMES).await;
        archiver.collect().await.unwrap();
    }
    done.store(true, std::sync::atomic::Ordering::SeqCst);
    while let Some(pages) = readers.join_next().await {
        assert!(pages.unwrap() > 0);
    }
    assert_clean(&bed, &NAMES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_compactors_one_counts_and_nothing_is_lost() {
    let bed = Arc::new(Bed::new());
    for _ in 0..20 {
        many_segments(&bed, &["room"], 9).await;
        let mut works = JoinSet::new();
        for _ in 0..2 {
            let bed = bed.clone();
            works.spawn(async move {
                let mut archiver = bed.archiver(eager());
                let compacted = compact(&mut archiver, &["room"]).await;
                archiver.collect().await.unwrap();
                compacted
            });
        }
        while let Some(compacted) = works.join_next().await {
            assert_eq!(compacted.unwrap().failed, 0);
        }
        bed.archiver(eager()).collect().await.unwrap();
        assert_clean(&bed, &["room"]).await;
    }
}

#[tokio::test]
async fn a_compactor_that_was_slower_gives_up_what_it_has_made() {
    let bed = Bed::new();
    many_segments(&bed, &["room"], 9).await;
    // Replaced by nothing, as another compactor might while this one writes.
    let shard = key("room").slot() / 32;
    let mut slow = bed.archiver(ArchiveConfig { records_per_second: 50, ..eager() });
    let other = async {
        let mut quick = bed.archiver(eager());
        compact(&mut quick, &["room"]).await
    };
    let names = ["room"];
    let (late, quick) = tokio::join!(compact(&mut slow, &names), other);
    assert_eq!((late.given_up, late.segments), (1, 0), "{late:?}");
    assert_eq!((quick.given_up, quick.segments), (0, 1), "{quick:?}");
    let entries = bed.store.segments(shard, None, 100).await.unwrap();
    let of = |state| entries.iter().filter(|entry| entry.state == state).count();
    assert_eq!(of(SegmentState::Removed), 1, "what was made in vain");
    assert_eq!((of(SegmentState::Published), of(SegmentState::Replaced)), (1, 9));
    slow.collect().await.unwrap();
    assert_clean(&bed, &["room"]).await;
}

/// Both wait for their pace when they have read, so that one of them comes too late.
#[tokio::test(start_paused = true)]
async fn what_two_archivers_wrote_twice_is_kept_once() {
    let bed = Bed::new();
    let slot = key("room").slot();
    for _ in 0..8 {
        bed.publish("room", 5, OLD).await;
        let (mut one, mut other) = (bed.archiver(eager()), bed.archiver(eager()));
        let all = |it: u16| it == slot;
        let (one, other) = tokio::join!(one.pass(all, |_, _, _| {}), other.pass(all, |_, _, _| {}));
        assert!(one.unwrap().records + other.unwrap().records >= 5);
    }
    bed.archiver(eager()).pass(|it| it == slot, |_, _, _| {}).await.unwrap();
    let before = status(&bed.tiers).await.unwrap();
    assert!(before.records > 40, "nothing was written twice");
    let mut archiver = bed.archiver(eager());
    compact(&mut archiver, &["room"]).await;
    archiver.collect().await.unwrap();
    assert_eq!(status(&bed.tiers).await.unwrap().records, 40);
    assert_clean(&bed, &["room"]).await;
}

#[tokio::test]
async fn a_segment_that_cannot_be_read_is_left_alone_and_the_rest_is_not() {
    let bed = Bed::new();
    many_segments(&bed, &["room"], 30).await;
    let mut found = Vec::new();
    for segment in bed.segments.keys() {
        let run = bed.segments.run(segment, key("room")).await.unwrap().unwrap();
        found.push((run.first, segment));
    }
    found.sort();
    let lost = found[15].1;
    bed.segments.lose(lost);
    let mut archiver = bed.archiver(eager());
    let compacted = compact(&mut archiver, &["room"]).await;
    // Of those that were written in one millisecond it is not known which came first, so that one of
    // a few may be on the wrong side of what is lost.
    assert!(compacted.replaced >= 16 && compacted.segments >= 1, "{compacted:?}");
    archiver.collect().await.unwrap();
    let verified = verify(&bed.tiers, |_| {}).await.unwrap();
    assert_eq!(verified.damages.len(), 2, "lost, and missed: {:?}", verified.damages);
    let again = compact(&mut archiver, &["room"]).await;
    assert_eq!(again, Compacted::default(), "it is not tried for ever");
}

#[tokio::test]
async fn what_compaction_does_is_counted() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let bed = Bed::new();
    many_segments(&bed, &["room"], 9).await;
    compact(&mut bed.archiver(eager()), &["room"]).await;
    let moved = snapshotter.snapshot().into_vec();
    let count = |name: &str| {
        let found = moved.iter().find(|(key, _, _, _)| key.key().name() == name);
        match found.unwrap().3 {
            metrics_util::debugging::DebugValue::Counter(count) => count,
            ref other => panic!("{name} is {other:?}"),
        }
    };
    assert_eq!(count("sterna_archive_compactions_total"), 1);
    assert_eq!(count("sterna_archive_replaced_total"), 9);
    assert_eq!(count("sterna_archive_dropped_total"), 0);
    assert!(count("sterna_archive_compaction_read_bytes") > 0);
    let (read, written) = (
        count("sterna_archive_compaction_read_bytes"),
        count("sterna_archive_compaction_written_bytes"),
    );
    assert_eq!(read, written, "in memory nothing is packed");
}
