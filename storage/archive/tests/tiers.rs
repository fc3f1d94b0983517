//! One numbering over log and archive, whatever happens while publications move.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use sterna_proto::Offset;
use sterna_storage::page::MemoryPages;
use sterna_storage::{
    PageLimit, PublicationLog, ReadError, Record, SegmentState, Segments, StorageErrorKind,
};
use sterna_storage_archive::{ArchiveConfig, Fate, Fates, status, verify, verify_beside};
use sterna_storage_pages::CachedLog;
use support::{Bed, OLD, WIDE, eager, key};

#[tokio::test]
async fn what_is_old_lies_in_the_archive_and_reads_as_before() {
    let bed = Bed::new();
    bed.publish("room", 30, OLD).await;
    bed.publish("room", 5, Duration::ZERO).await;
    bed.publish("young", 3, Duration::ZERO).await;
    let before = read_all(&bed.store, "room", WIDE).await;
    let mut archiver = bed.archiver(eager());
    let report = archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    assert_eq!((report.channels, report.segments, report.records), (2, 1, 30));
    let report = archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    assert_eq!((report.segments, report.trimmed), (0, 30));
    let log = bed.log();
    let head = log.head(key("room")).await.unwrap().unwrap();
    assert_eq!((head.first, head.position.offset), (Offset(1), Offset(35)));
    assert_eq!(bed.store.head(key("room")).await.unwrap().unwrap().first, Offset(31));
    for records in [1, 2, 7, 100] {
        let limit = PageLimit { records, payload_bytes: usize::MAX };
        assert_eq!(read_all(&log, "room", limit).await, before, "pages of {records}");
    }
    let limit = PageLimit { records: 100, payload_bytes: 20 };
    assert_eq!(read_all(&log, "room", limit).await, before);
    for after in 0..=35 {
        let page = log.read(key("room"), Offset(after), WIDE).await.unwrap();
        assert_eq!(page, before[after as usize..], "after {after}");
    }
}

#[tokio::test]
async fn a_long_chain_is_searched_in_few_steps() {
    let bed = Bed::new();
    let mut archiver = bed.archiver(eager());
    for _ in 0..400 {
        bed.publish("room", 1, OLD).await;
        archiver.pass(|slot| slot == key("room").slot(), |_, _, _| {}).await.unwrap();
    }
    let log = bed.log();
    for after in [0, 1, 7, 63, 64, 199, 398] {
        let before = bed.faults.calls();
        let limit = PageLimit { records: 1, payload_bytes: 1000 };
        let page = log.read(key("room"), Offset(after), limit).await.unwrap();
        assert_eq!(page[0].position.offset, Offset(after + 1));
        let looks = bed.faults.calls() - before;
        assert!(looks <= 2 * 9 + 2, "{looks} looks for offset {}", after + 1);
    }
    let verified = verify(&bed.tiers, |_| {}).await.unwrap();
    assert_eq!((verified.runs, verified.segments), (400, 400));
    assert!(verified.damages.is_empty(), "{:?}", verified.damages);
}

#[tokio::test]
async fn the_newest_stay_in_the_log_while_the_channel_is_active() {
    let bed = Bed::new();
    bed.publish("active", 50, OLD).await;
    bed.publish("silent", 50, 2 * OLD).await;
    let config = ArchiveConfig { keep_newest: 20, keep_active: OLD * 3 / 2, ..eager() };
    let mut archiver = bed.archiver(config);
    for _ in 0..2 {
        archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    }
    let of = |head: Option<sterna_storage::Head>| head.unwrap().first;
    assert_eq!(of(bed.store.head(key("active")).await.unwrap()), Offset(31));
    assert_eq!(of(bed.store.head(key("silent")).await.unwrap()), Offset(51));
}

#[tokio::test]
async fn who_was_away_for_a_while_is_answered_without_the_archive() {
    let bed = Bed::new();
    bed.publish("quiet", 50, OLD).await;
    bed.publish("busy", 50, OLD).await;
    // Younger than what is archived, and not read by who is away yet.
    bed.publish("busy", 100, Duration::ZERO).await;
    let mut archiver = bed.archiver(ArchiveConfig { keep_newest: 20, ..eager() });
    for _ in 0..2 {
        archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    }
    assert_eq!(bed.store.head(key("busy")).await.unwrap().unwrap().first, Offset(51));
    let log = bed.log();
    let before = bed.faults.calls();
    for (name, first, last) in [("quiet", 31, 50), ("busy", 51, 150)] {
        assert_eq!(log.head(key(name)).await.unwrap().unwrap().position.offset, Offset(last));
        for after in first - 1..last {
            let page = log.read(key(name), Offset(after), WIDE).await.unwrap();
            assert_eq!(page.len() as u64, last - after);
        }
    }
    assert_eq!(bed.faults.calls(), before, "the archive was not asked");
    log.read(key("quiet"), Offset(29), WIDE).await.unwrap();
    assert!(bed.faults.calls() > before, "and is, for what is older");
}

#[tokio::test]
async fn a_page_of_the_archive_that_is_cached_is_fetched_once() {
    let bed = Bed::new();
    bed.publish("room", 200, OLD).await;
    let mut archiver = bed.archiver(eager());
    for _ in 0..2 {
        archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    }
    bed.publish("room", 10, Duration::ZERO).await;
    let cache = Arc::new(MemoryPages::new(1 << 20));
    let log = CachedLog::new(Arc::new(bed.log()), vec![("local", cache)]);
    let expected = read_all(&bed.log(), "room", WIDE).await;
    for limit in [WIDE, PageLimit { records: 7, payload_bytes: usize::MAX }] {
        assert_eq!(read_all(&log, "room", limit).await, expected, "no seam");
    }
    let before = bed.faults.calls();
    for after in 0..191 {
        let limit = PageLimit { records: 1, payload_bytes: 1000 };
        let page = log.read(key("room"), Offset(after), limit).await.unwrap();
        assert_eq!(page[0], expected[after as usize]);
    }
    assert_eq!(bed.faults.calls(), before);
}

#[tokio::test]
async fn i7_nothing_is_trimmed_before_the_grace() {
    let bed = Bed::new();
    let grace = Duration::from_millis(300);
    let mut archiver = bed.archiver(ArchiveConfig { grace, ..eager() });
    bed.publish("room", 10, OLD).await;
    let begin = std::time::Instant::now();
    let mut trimmed = 0;
    // Each pass archives something, which must not put the settling of the first off for ever.
    while trimmed == 0 {
        bed.publish("room", 1, OLD).await;
        let report = archiver.pass(|slot| slot == key("room").slot(), |_, _, _| {}).await.unwrap();
        trimmed = report.trimmed;
        assert!(trimmed == 0 || begin.elapsed() >= grace, "after {:?}", begin.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(trimmed, 11, "what the first pass had archived");
}

#[tokio::test]
async fn i7_what_reads_differently_in_the_archive_is_not_trimmed() {
    let bed = Bed::new();
    bed.publish("room", 10, OLD).await;
    bed.publish("other", 10, OLD).await;
    let mut archiver = bed.archiver(eager());
    archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    bed.segments.damage(key("room"), Offset(10));
    let report = archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    assert_eq!((report.failed, report.trimmed), (1, 10), "the other channel is none the worse");
    assert_eq!(bed.store.head(key("room")).await.unwrap().unwrap().first, Offset(1));
    let verified = verify(&bed.tiers, |_| {}).await.unwrap();
    assert_eq!(verified.damages.len(), 1, "{:?}", verified.damages);
}

#[tokio::test]
async fn a_lost_segment_is_an_error_and_never_a_gap() {
    let bed = Bed::new();
    let mut archiver = bed.archiver(eager());
    for _ in 0..3 {
        bed.publish("room", 10, OLD).await;
        archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    }
    archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    let mut middle = None;
    for segment in bed.segments.keys() {
        let run = bed.segments.run(segment, key("room")).await.unwrap().unwrap();
        if run.first == Offset(11) {
            middle = Some(segment);
        }
    }
    bed.segments.lose(middle.unwrap());
    match bed.log().read(key("room"), Offset(10), WIDE).await {
        Err(ReadError::Storage(error)) => assert_eq!(error.kind, StorageErrorKind::Corrupt),
        other => panic!("a segment is lost: {other:?}"),
    }
    let verified = verify(&bed.tiers, |_| {}).await.unwrap();
    assert!(!verified.damages.is_empty());
}

#[tokio::test]
async fn an_archive_that_fails_at_any_call_costs_nothing_but_time() {
    for fail_in in 1..40 {
        let bed = Bed::new();
        for name in ["a", "b", "c"] {
            bed.publish(name, 7, OLD).await;
        }
        let before = read_all(&bed.store, "b", WIDE).await;
        let mut archiver = bed.archiver(ArchiveConfig { segment_bytes: 300, ..eager() });
        bed.faults.fail_in(fail_in);
        let mut failures = 0;
        let mut trimmed = 0;
        while trimmed < 21 {
            match archiver.pass(|_| true, |_, _, _| {}).await {
                Ok(report) => trimmed += report.trimmed,
                Err(error) => {
                    assert_eq!(error.kind, StorageErrorKind::Unavailable);
                    failures += 1;
                }
            }
            assert!(failures <= 1, "fault {fail_in}");
            let log = bed.log();
            if !bed.faults.is_armed() {
                assert_eq!(read_all(&log, "b", WIDE).await, before, "fault {fail_in}");
            }
            if failures > 0 {
                trimmed = 21 - count_left(&bed).await;
            }
        }
        bed.faults.fail_in(0);
        let verified = verify(&bed.tiers, |_| {}).await.unwrap();
        assert!(verified.damages.is_empty(), "fault {fail_in}: {:?}", verified.damages);
        archiver.collect().await.unwrap();
        let status = status(&bed.tiers).await.unwrap();
        assert_eq!(status.prepared, 0);
        assert_eq!(bed.segments.keys().len() as u64, status.segments, "no object is left over");
    }
}

async fn count_left(bed: &Bed) -> u64 {
    let mut left = 0;
    for name in ["a", "b", "c"] {
        let head = bed.store.head(key(name)).await.unwrap().unwrap();
        left += head.position.offset.0 + 1 - head.first.0;
    }
    left
}

#[tokio::test]
async fn of_two_archivers_one_counts_and_nothing_is_lost() {
    let bed = Bed::new();
    for n in 0..20 {
        bed.publish(&format!("room:{n}"), 9, OLD).await;
    }
    let before = read_all(&bed.store, "room:7", WIDE).await;
    let (mut one, mut other) = (bed.archiver(eager()), bed.archiver(eager()));
    let all = |_: u16| true;
    let mut records = 0;
    for _ in 0..3 {
        let (first, second) =
            tokio::join!(one.pass(all, |_, _, _| {}), other.pass(all, |_, _, _| {}));
        records += first.unwrap().records + second.unwrap().records;
    }
    assert!(records >= 180);
    assert_eq!(read_all(&bed.log(), "room:7", WIDE).await, before);
    let verified = verify(&bed.tiers, |_| {}).await.unwrap();
    assert!(verified.damages.is_empty(), "{:?}", verified.damages);
    assert_eq!(verified.runs, 20);
}

#[tokio::test]
async fn what_was_announced_and_never_published_is_collected_after_the_grace() {
    let bed = Bed::new();
    bed.publish("room", 5, OLD).await;
    // The object is made, and whoever made it hears of a failure when it reads it back.
    bed.faults.fail_in(3);
    let mut archiver = bed.archiver(eager());
    archiver.pass(|_| true, |_, _, _| {}).await.unwrap_err();
    assert_eq!(status(&bed.tiers).await.unwrap().prepared, 1);
    let patient = bed.archiver(ArchiveConfig { grace: OLD, ..eager() });
    assert_eq!(patient.collect().await.unwrap().removed, 0, "it may be under way");
    assert_eq!(archiver.collect().await.unwrap().removed, 1);
    assert_eq!(bed.segments.keys(), []);
    let entries = bed.tiers.manifest.segments(key("room").slot() / 32, None, 10).await.unwrap();
    assert_eq!(entries[0].state, SegmentState::Removed);
    archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    assert_eq!(status(&bed.tiers).await.unwrap().records, 5);
}

#[tokio::test]
async fn what_somebody_else_trimmed_is_a_named_gap() {
    let bed = Bed::new();
    bed.publish("room", 10, OLD).await;
    bed.store.trim(key("room"), Offset(5)).await.unwrap();
    let log = bed.log();
    assert_eq!(log.head(key("room")).await.unwrap().unwrap().first, Offset(5));
    assert_eq!(gap(&log, 0).await, Offset(5));
    let mut archiver = bed.archiver(eager());
    for _ in 0..2 {
        archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    }
    let log = bed.log();
    assert_eq!(log.head(key("room")).await.unwrap().unwrap().first, Offset(5));
    assert_eq!(gap(&log, 3).await, Offset(5));
    assert_eq!(log.read(key("room"), Offset(4), WIDE).await.unwrap().len(), 6);
}

async fn gap(log: &dyn PublicationLog, after: u64) -> Offset {
    match log.read(key("room"), Offset(after), WIDE).await {
        Err(ReadError::Trimmed { first }) => first,
        other => panic!("trimmed: {other:?}"),
    }
}

async fn read_all(log: &dyn PublicationLog, name: &str, limit: PageLimit) -> Vec<Record> {
    let mut all: Vec<Record> = Vec::new();
    loop {
        let after = all.last().map_or(Offset::ZERO, |last| last.position.offset);
        let page = log.read(key(name), after, limit).await.unwrap();
        assert!(page.len() <= limit.records);
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Slow for its first looks.
#[derive(Debug)]
struct SlowAtFirst(std::sync::atomic::AtomicU32);

impl sterna_storage_archive::Pressure for SlowAtFirst {
    fn writes_are_slow(&self) -> bool {
        let left = |left: u32| left.checked_sub(1);
        let order = std::sync::atomic::Ordering::SeqCst;
        self.0.fetch_update(order, order, left).is_ok()
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_counted() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let bed = Bed::new();
    let slow = Arc::new(SlowAtFirst(2.into()));
    let mut one = sterna_storage_archive::Archiver::new(bed.tiers.clone(), eager(), slow);
    // Announced, and not published.
    bed.publish("room", 5, OLD).await;
    bed.faults.fail_in(2);
    one.pass(|_| true, |_, _, _| {}).await.unwrap_err();
    one.collect().await.unwrap();
    // Both at once: each waits for its pace when it has read, so that one of them comes too late.
    bed.publish("room", 5, OLD).await;
    let (mut two, mut three) = (bed.archiver(eager()), bed.archiver(eager()));
    let all = |_: u16| true;
    let passes = tokio::join!(two.pass(all, |_, _, _| {}), three.pass(all, |_, _, _| {}));
    assert_eq!(passes.0.unwrap().lost_runs + passes.1.unwrap().lost_runs, 1);
    one.pass(|_| true, |_, _, _| {}).await.unwrap();
    bed.log().read(key("room"), Offset(0), WIDE).await.unwrap();
    let moved = snapshotter.snapshot().into_vec();
    let moved: Vec<&str> = moved.iter().map(|(key, _, _, _)| key.key().name()).collect();
    for name in [
        "sterna_archive_bytes_total",
        "sterna_archive_collected_total",
        "sterna_archive_conflicts_total",
        "sterna_archive_pages_total",
        "sterna_archive_passes_total",
        "sterna_archive_pauses_total",
        "sterna_archive_records_total",
        "sterna_archive_segments_total",
        "sterna_archive_steps_count",
        "sterna_archive_trimmed_total",
    ] {
        assert!(moved.contains(&name), "{name} is not among {moved:?}");
    }
}

/// Retention or an erasure takes from the log what the archive does not have.
#[tokio::test]
async fn a_chain_begins_anew_behind_what_was_given_up() {
    let bed = Bed::new();
    let mut archiver = bed.archiver(eager());
    bed.publish("room", 10, OLD).await;
    archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    bed.publish("room", 10, OLD).await;
    bed.store.trim(key("room"), Offset(16)).await.unwrap();
    let of_log = verify(&bed.tiers, |_| {}).await.unwrap();
    assert_eq!(of_log.damages.len(), 1, "nobody has said that it was given up");
    let fates = Given(Offset(16));
    let beside = verify_beside(&bed.tiers, Some(&fates), |_| {}).await.unwrap();
    assert!(beside.damages.is_empty(), "{:?}", beside.damages);
    let fates = Given(Offset(15));
    let beside = verify_beside(&bed.tiers, Some(&fates), |_| {}).await.unwrap();
    assert_eq!(beside.damages.len(), 1);
    let report = archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    assert_eq!((report.records, report.failed), (5, 0));
    bed.publish("room", 5, OLD).await;
    for _ in 0..2 {
        archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    }
    let log = bed.log();
    assert_eq!(bed.store.head(key("room")).await.unwrap().unwrap().first, Offset(26));
    for after in 15..25 {
        let page = log.read(key("room"), Offset(after), WIDE).await.unwrap();
        let offsets: Vec<u64> = page.iter().map(|record| record.position.offset.0).collect();
        assert_eq!(offsets, (after + 1..=25).collect::<Vec<_>>());
    }
    match log.read(key("room"), Offset(3), WIDE).await {
        Err(ReadError::Trimmed { first }) => assert_eq!(first, Offset(16)),
        other => panic!("{other:?}"),
    }
    let verified = verify(&bed.tiers, |_| {}).await.unwrap();
    assert!(verified.damages.is_empty(), "{:?}", verified.damages);
}

#[tokio::test]
async fn i7_what_was_redacted_behind_the_archivers_back_is_trimmed_all_the_same() {
    let bed = Bed::new();
    let mut archiver = bed.archiver(eager());
    bed.publish("room", 10, OLD).await;
    archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    assert_eq!(bed.store.redact(key("room"), vec![Offset(10)]).await.unwrap(), 1);
    let report = archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    assert_eq!((report.trimmed, report.failed), (10, 0));
}

/// What of any channel was given up.
#[derive(Debug)]
struct Given(Offset);

impl Fates for Given {
    fn fates(
        &self,
        channels: Vec<sterna_proto::ChannelKey>,
    ) -> sterna_storage::BoxFuture<'_, Result<Vec<Fate>, sterna_storage::StorageError>> {
        let fate = Fate { first: self.0, redacted: Vec::new() };
        Box::pin(std::future::ready(Ok(vec![fate; channels.len()])))
    }
}
