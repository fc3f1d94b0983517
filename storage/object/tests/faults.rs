//! What segments do when their service fails: after a script, and by chance after a seed. Whatever
//! happens, what is read is exactly what was written or there is an error that says why not, and a
//! finished segment stays.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

mod common;

use common::faults::{Fault, Request};
use common::{KEY, NAME, WIDE, config, faulty, in_memory, noise, objects};
use sterna_proto::Offset;
use sterna_storage::conformance::segments::{SampleRun, many_runs, put, sample, try_put};
use sterna_storage::{
    PageLimit, SegmentKey, Segments, StorageError, StorageErrorKind, TierLookups,
};
use sterna_storage_object::{ObjectConfig, ObjectSegments, Place};

fn key(segment: u64) -> SegmentKey {
    SegmentKey { segment, ..KEY }
}

#[tokio::test]
async fn what_fails_for_a_moment_is_tried_again() {
    let (segments, faults, _) = faulty(3);
    let runs = many_runs(20, 3);
    for (n, fault) in (0..).zip([Fault::Internal, Fault::SlowDown, Fault::Hang, Fault::AnswerLost])
    {
        let struck = faults.struck();
        for request in [Request::Stat, Request::Write, Request::Close, Request::Read] {
            faults.once(request, "v1/", fault);
        }
        let sealed = put(&segments, key(n), &runs).await;
        assert_eq!(segments.verify(key(n)).await.unwrap(), sealed);
        faults.once(Request::List, "v1/", fault);
        assert_eq!(segments.list(KEY.shard, None, 9).await.unwrap().len() as u64, n + 1);
        assert!(faults.struck() > struck + 2, "{fault:?}");
        faults.end();
        assert_reads(&segments, key(n), &runs).await;
    }
    faults.once(Request::Delete, "v1/", Fault::AnswerLost);
    segments.remove(key(0)).await.unwrap();
    assert_eq!(segments.list(KEY.shard, None, 9).await.unwrap(), [key(1), key(2), key(3)]);
}

#[tokio::test]
async fn what_goes_on_failing_is_unavailable_and_may_be_tried_later() {
    let (segments, faults, _) = faulty(1);
    let runs = many_runs(3, 3);
    put(&segments, KEY, &runs).await;
    for fault in [Fault::Internal, Fault::SlowDown, Fault::Hang] {
        for request in [Request::Stat, Request::Read, Request::Write, Request::Close, Request::List]
        {
            faults.always(request, "", fault);
        }
        faults.always(Request::Delete, "", fault);
        let channel = runs[0].channel;
        for told in [
            segments.run(KEY, channel).await.map(drop),
            segments.read(KEY, channel, Offset::ZERO, WIDE).await.map(drop),
            segments.runs(KEY, None, 3).await.map(drop),
            segments.verify(KEY).await.map(drop),
            segments.list(KEY.shard, None, 3).await.map(drop),
            segments.remove(KEY).await,
            try_put(&segments, key(2), &runs).await.map(drop),
        ] {
            assert_unavailable(told, fault);
        }
        faults.end();
    }
    assert_reads(&segments, KEY, &runs).await;
    assert_eq!(segments.list(KEY.shard, None, 9).await.unwrap(), [KEY]);
}

#[tokio::test]
async fn a_lost_answer_to_the_last_step_is_looked_up() {
    // No attempt but the first, so that the writer itself has to find out.
    let (segments, faults, _) = faulty(0);
    let runs = many_runs(3, 3);
    faults.once(Request::Close, "v1/", Fault::AnswerLost);
    let sealed = put(&segments, KEY, &runs).await;
    assert_eq!(segments.verify(KEY).await.unwrap(), sealed);
    // Not done, and the answer was an error: nobody claims that it was.
    faults.once(Request::Close, "v1/", Fault::Internal);
    assert_unavailable(try_put(&segments, key(2), &runs).await.map(drop), Fault::Internal);
    // Done by somebody else meanwhile: nobody claims it either.
    let late = segments.create(key(3)).await.unwrap();
    let first = put(&segments, key(3), &runs).await;
    let mut late = late;
    late.begin_run(runs[0].channel, runs[0].links).unwrap();
    late.push(runs[0].records[0].clone()).await.unwrap();
    faults.once(Request::Close, "v1/", Fault::AnswerLost);
    late.finish().await.unwrap_err();
    assert_eq!(segments.verify(key(3)).await.unwrap(), first);
}

#[tokio::test]
async fn i7_who_dies_before_the_end_leaves_nothing_to_be_seen() {
    let (segments, faults, bare) = faulty(0);
    let runs = [sample("a", 1, 4_000, 900)];
    faults.once(Request::Close, "v1/", Fault::Hang);
    assert_unavailable(try_put(&segments, KEY, &runs).await.map(drop), Fault::Hang);
    assert_eq!(objects(&bare).await, 0);
    assert_eq!(segments.list(KEY.shard, None, 9).await.unwrap(), []);
    put(&segments, KEY, &runs).await;
    assert_reads(&segments, KEY, &runs).await;
}

#[tokio::test]
async fn an_upload_that_was_cut_makes_no_object_even_if_its_writer_goes_on() {
    let parts = ObjectConfig { part_bytes: 5 * 1024 * 1024, retries: 0, ..patient() };
    let (segments, faults, bare) = faulty_with(parts);
    let run = noise("a", 250, 60_000);
    let mut writer = segments.create(KEY).await.unwrap();
    writer.begin_run(run.channel, run.links).unwrap();
    faults.always(Request::Write, "v1/", Fault::Internal);
    let mut failed = 0;
    for record in &run.records {
        failed += u64::from(writer.push(record.clone()).await.is_err());
    }
    assert!(failed > 10, "{failed} of 250");
    faults.end();
    writer.finish().await.unwrap_err();
    assert_eq!(objects(&bare).await, 0);
}

#[tokio::test]
async fn bytes_that_were_damaged_on_their_way_are_read_again() {
    let (segments, faults, bare) = faulty(0);
    let runs = [sample("a", 1, 50, 300), sample("b", 7, 50, 300)];
    put(&segments, KEY, &runs).await;
    for fault in [Fault::Cut, Fault::Flip] {
        // The tail, a page, a block: each with nothing kept.
        for skipped in 0..3 {
            let cold = reopened(&bare, &faults);
            if skipped > 0 {
                cold.runs(KEY, None, 0).await.unwrap();
            }
            if skipped > 1 {
                cold.run(KEY, runs[0].channel).await.unwrap();
            }
            let struck = faults.struck();
            faults.once(Request::Read, "v1/", fault);
            assert_reads(&cold, KEY, &runs).await;
            assert_eq!(faults.struck(), struck + 1);
        }
        let cold = reopened(&bare, &faults);
        faults.always(Request::Read, "v1/", fault);
        for told in [
            cold.run(KEY, runs[0].channel).await.map(drop),
            cold.read(KEY, runs[0].channel, Offset::ZERO, WIDE).await.map(drop),
            cold.verify(KEY).await.map(drop),
        ] {
            assert_eq!(told.unwrap_err().kind, StorageErrorKind::Corrupt, "{fault:?}");
        }
        faults.end();
        assert_reads(&cold, KEY, &runs).await;
    }
}

#[tokio::test]
async fn what_lies_there_and_is_no_segment_is_left_alone() {
    let (segments, _, bare) = faulty(0);
    put(&segments, KEY, &many_runs(1, 1)).await;
    assert!(bare.exists(NAME).await.unwrap());
    let foreign = [
        "v1/0009/README".to_owned(),
        NAME.replace("/14/", "/15/"),
        NAME.replace(".seg", ".seg.bak"),
        NAME.replace("be", "BE"),
    ];
    for name in &foreign {
        bare.write(name, "mine".as_bytes()).await.unwrap();
    }
    assert_eq!(segments.list(KEY.shard, None, 9).await.unwrap(), [KEY]);
    assert_eq!(segments.list(KEY.shard, None, 1).await.unwrap(), [KEY]);
    segments.remove(KEY).await.unwrap();
    assert_eq!(objects(&bare).await, foreign.len());
}

/// A segment that was copied over another's name is not taken for it.
#[tokio::test]
async fn another_segment_under_the_name_is_damage() {
    let (segments, _, bare) = faulty(0);
    let runs = many_runs(2, 2);
    put(&segments, KEY, &runs).await;
    let other = NAME.replace("beef", "cafe");
    bare.write(&other, bare.read(NAME).await.unwrap()).await.unwrap();
    let told = segments.run(key(0xcafe), runs[0].channel).await.unwrap_err();
    assert_eq!(told.kind, StorageErrorKind::Corrupt);
    assert!(told.message.contains("it is SegmentKey"), "{told}");
}

#[tokio::test]
async fn what_is_too_short_for_a_segment_is_damage() {
    let (segments, _, bare) = faulty(0);
    for content in ["", "short", &"long".repeat(100)] {
        bare.write(NAME, content.to_owned()).await.unwrap();
        for told in
            [segments.runs(KEY, None, 1).await.map(drop), segments.verify(KEY).await.map(drop)]
        {
            assert_eq!(told.unwrap_err().kind, StorageErrorKind::Corrupt, "{content:?}");
        }
    }
}

/// The first read of a segment brings 64 KiB of its end.
#[tokio::test]
async fn a_tail_that_is_long_is_read_too() {
    let (segments, faults, bare) = faulty(0);
    let run = noise("a", 3_000, 4_100);
    let sealed = put(&segments, KEY, std::slice::from_ref(&run)).await;
    assert!(sealed.bytes > 3_000 * 4_100, "a block for each record");
    let cold = reopened(&bare, &faults);
    for after in [0, 1_234, 2_999] {
        let limit = PageLimit { records: 2, payload_bytes: usize::MAX };
        let page = cold.read(KEY, run.channel, Offset(after), limit).await.unwrap();
        let after = after as usize;
        assert!(page == run.records[after..run.records.len().min(after + 2)]);
    }
    assert_eq!(cold.verify(KEY).await.unwrap(), sealed);
}

#[tokio::test]
async fn calls_and_writers_are_bounded() {
    let bounds = ObjectConfig { calls_in_flight: 1, writers: 2, ..config(Place::Memory) };
    let segments = ObjectSegments::open(bounds).unwrap();
    let (one, two) = (segments.create(key(1)).await.unwrap(), segments.create(key(2)).await);
    let refused = segments.create(key(3)).await.map(drop).unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Unavailable);
    drop(two);
    segments.create(key(3)).await.unwrap();
    drop(one);
    put(&segments, KEY, &many_runs(2, 2)).await;

    let (held, faults, _) = faulty_with(ObjectConfig { calls_in_flight: 1, ..patient() });
    put(&held, KEY, &many_runs(2, 2)).await;
    faults.once(Request::Stat, "v1/", Fault::Hang);
    let mut waiting = std::pin::pin!(held.runs(KEY, None, 1));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let refused = held.runs(KEY, None, 1).await.unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Unavailable);
    assert!(refused.message.contains("on their way"), "{refused}");
    assert_eq!(waiting.await.unwrap().len(), 1, "tried again");
    held.runs(KEY, None, 1).await.unwrap();
}

#[tokio::test]
async fn what_happens_is_counted() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (segments, faults, bare) = faulty_with(ObjectConfig { writers: 1, ..patient() });
    bare.write("v1/0009/README", "mine".as_bytes()).await.unwrap();
    put(&segments, KEY, &many_runs(2, 2)).await;
    segments.list(KEY.shard, None, 9).await.unwrap();
    segments.run(KEY, many_runs(1, 1)[0].channel).await.unwrap();
    let writer = segments.create(key(2)).await.unwrap();
    segments.create(key(3)).await.map(drop).unwrap_err();
    drop(writer);
    faults.always(Request::Read, "v1/", Fault::Flip);
    segments.verify(KEY).await.unwrap_err();
    let moved: Vec<String> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, _)| key.key().name().to_owned())
        .collect();
    for name in [
        "sterna_storage_object_call_seconds",
        "sterna_storage_object_errors_total",
        "sterna_storage_object_foreign_total",
        "sterna_storage_object_index_bytes",
        "sterna_storage_object_index_misses_total",
        "sterna_storage_object_uploaded_bytes",
        "sterna_storage_corrupt_total",
        "sterna_storage_refused_total",
    ] {
        assert!(moved.iter().any(|it| it == name), "{name} is not among {moved:?}");
    }
}

#[tokio::test]
async fn whether_the_index_was_in_memory_is_told() {
    let (segments, faults, bare) = faulty(1);
    let runs = many_runs(2, 2);
    put(&segments, KEY, &runs).await;
    let cold = reopened(&bare, &faults);
    for run in [&runs[0], &runs[0], &runs[1]] {
        assert_reads(&cold, KEY, std::slice::from_ref(run)).await;
    }
    let index = |hits, misses| [TierLookups { tier: "archive_index".into(), hits, misses }];
    assert_eq!(cold.lookups(), index(2, 1), "the first has brought what the others need");
    // Reading all of it again is none of a reader's lookups.
    cold.verify(KEY).await.unwrap();
    assert_eq!(cold.lookups(), index(2, 1));
}

#[tokio::test]
async fn faults_by_chance_lose_nothing_and_make_nothing_up() {
    let seed = std::env::var("STERNA_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("again: STERNA_SEED={seed}");
    let (segments, faults, bare) = faulty(1);
    let mut written: Vec<(SegmentKey, Vec<SampleRun>)> = Vec::new();
    for step in 0..40 {
        faults.by_chance(seed + step, 250);
        let runs = many_runs(1 + (seed + step) % 30, 1 + step % 7);
        match try_put(&segments, key(step), &runs).await {
            Ok(_) => written.push((key(step), runs)),
            Err(error) => assert_eq!(error.kind, StorageErrorKind::Unavailable, "{error}"),
        }
        let Some((key, runs)) = written.get(step as usize % written.len().max(1)) else { continue };
        let cold = reopened(&bare, &faults);
        for run in runs {
            if let Ok(page) = cold.read(*key, run.channel, Offset::ZERO, WIDE).await {
                assert_eq!(page, run.records);
            }
            if let Ok(found) = cold.run(*key, run.channel).await {
                assert_eq!(found, Some(run.run()));
            }
        }
        drop(cold.verify(*key).await);
    }
    faults.end();
    println!("{} of 40 were written, {} faults", written.len(), faults.struck());
    assert!(!written.is_empty() && faults.struck() > 20);
    let listed = segments.list(KEY.shard, None, 100).await.unwrap();
    for (key, runs) in &written {
        assert!(listed.contains(key));
        assert_reads(&segments, *key, runs).await;
        segments.verify(*key).await.unwrap();
    }
}

/// The same place with nothing kept.
fn reopened(bare: &opendal::Operator, faults: &common::faults::Faults) -> ObjectSegments {
    ObjectSegments::over(bare.clone().layer(faults.clone()), patient()).unwrap()
}

fn patient() -> ObjectConfig {
    ObjectConfig {
        attempt_deadline: std::time::Duration::from_millis(40),
        part_deadline: std::time::Duration::from_millis(40),
        retries: 1,
        ..config(Place::Memory)
    }
}

fn faulty_with(
    config: ObjectConfig,
) -> (ObjectSegments, common::faults::Faults, opendal::Operator) {
    let (_, faults, bare) = faulty(0);
    let over = bare.clone().layer(faults.clone());
    (ObjectSegments::over(over, config).unwrap(), faults, bare)
}

async fn assert_reads(segments: &ObjectSegments, key: SegmentKey, runs: &[SampleRun]) {
    for run in runs {
        let found = segments.read(key, run.channel, Offset::ZERO, WIDE).await.unwrap();
        assert_eq!(found, run.records);
    }
}

#[track_caller]
fn assert_unavailable(told: Result<(), StorageError>, fault: Fault) {
    let kind = told.map_err(|error| error.kind);
    assert_eq!(kind, Err(StorageErrorKind::Unavailable), "{fault:?}");
}

#[tokio::test]
async fn memory_places_are_apart() {
    let (one, two) = (in_memory(), in_memory());
    put(&one, KEY, &many_runs(1, 1)).await;
    assert_eq!(two.list(KEY.shard, None, 9).await.unwrap(), []);
}
