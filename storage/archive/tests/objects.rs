//! The archive on segments as they really lie: local files.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sterna_proto::Offset;
use sterna_storage::{PublicationLog as _, ReadError, StorageErrorKind};
use sterna_storage_archive::{Tiers, status, verify};
use sterna_storage_object::{ObjectConfig, ObjectSegments, Place};
use support::{Bed, OLD, WIDE, eager, key};

/// Opened anew, with nothing kept in memory.
fn on_files(root: &Path) -> Bed {
    let mut bed = Bed::new();
    reopen(&mut bed, root);
    bed
}

fn reopen(bed: &mut Bed, root: &Path) {
    let config = ObjectConfig::new(Place::Files { root: root.to_owned() });
    let segments = Arc::new(ObjectSegments::open(config).unwrap());
    bed.tiers = Tiers { segments, ..bed.tiers.clone() };
}

#[tokio::test]
async fn publications_of_many_channels_move_to_files_and_read_as_before() {
    let root = tempfile::tempdir().unwrap();
    let mut bed = on_files(root.path());
    let names: Vec<String> = (0..60).map(|n| format!("room:{n}")).collect();
    let mut archiver = bed.archiver(eager());
    for round in 0..4 {
        for name in &names {
            bed.publish(name, 1 + round, OLD).await;
        }
        archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    }
    for name in &names {
        bed.publish(name, 2, Duration::ZERO).await;
    }
    archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    reopen(&mut bed, root.path());
    let log = bed.log();
    for name in &names {
        let head = bed.store.head(key(name)).await.unwrap().unwrap();
        assert_eq!((head.first, head.position.offset), (Offset(11), Offset(12)), "trimmed");
        let all = log.read(key(name), Offset::ZERO, WIDE).await.unwrap();
        let texts: Vec<_> = all.iter().map(|record| record.body.payload.clone()).collect();
        let expected: Vec<_> = (1..=12).map(|n| format!("{name} {n}")).collect();
        assert_eq!(texts, expected);
    }
    let verified = verify(&bed.tiers, |_| {}).await.unwrap();
    assert!(verified.damages.is_empty(), "{:?}", verified.damages);
    assert_eq!((verified.channels, verified.runs), (60, 240));
    let status = status(&bed.tiers).await.unwrap();
    assert_eq!((status.records, status.prepared), (600, 0));
    assert_eq!(files(root.path()).len() as u64, status.segments);
}

#[tokio::test]
async fn files_are_put_together_and_removed_under_who_reads_them() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let root = tempfile::tempdir().unwrap();
    let bed = on_files(root.path());
    let names: Vec<String> = (0..8).map(|n| format!("room:{n}")).collect();
    let mut archiver = bed.archiver(eager());
    for round in 0..10 {
        for name in &names {
            bed.publish(name, 30 + round, OLD).await;
        }
        archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    }
    archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    // This one has seen the segments as they were, and keeps what it knows of where things lie.
    let log = bed.log();
    let read = async || {
        for name in &names {
            let all = log.read(key(name), Offset::ZERO, WIDE).await.unwrap();
            let texts: Vec<_> = all.iter().map(|record| record.body.payload.clone()).collect();
            let expected: Vec<_> = (1..=345).map(|n| format!("{name} {n}")).collect();
            assert_eq!(texts, expected);
        }
    };
    read().await;
    let before = status(&bed.tiers).await.unwrap();
    let compacted = archiver.compact(|_| true, |_, _, _| {}).await.unwrap();
    assert_eq!((compacted.replaced, compacted.records), (before.segments, 8 * 345));
    assert!(compacted.written_bytes < compacted.read_bytes / 2, "{compacted:?}");
    assert_eq!(archiver.collect().await.unwrap().replaced, before.segments);
    read().await;
    let after = status(&bed.tiers).await.unwrap();
    assert_eq!(
        (after.segments, after.saved_segments),
        (compacted.segments, before.segments - after.segments)
    );
    assert_eq!(after.saved_bytes, before.bytes - after.bytes);
    assert_eq!(files(root.path()).len() as u64, after.segments);
    let verified = verify(&bed.tiers, |_| {}).await.unwrap();
    assert!(verified.damages.is_empty(), "{:?}", verified.damages);
    let moved = snapshotter.snapshot().into_vec();
    let alarms = moved.iter().filter(|it| it.0.key().name() == "sterna_storage_corrupt_total");
    assert_eq!(alarms.count(), 0, "nothing is damaged");
}

#[tokio::test]
async fn a_file_that_is_damaged_is_told_and_never_a_gap() {
    let root = tempfile::tempdir().unwrap();
    let mut bed = on_files(root.path());
    bed.publish("room", 200, OLD).await;
    let mut archiver = bed.archiver(eager());
    for _ in 0..2 {
        archiver.pass(|_| true, |_, _, _| {}).await.unwrap();
    }
    let path = files(root.path()).pop().unwrap();
    let whole = std::fs::read(&path).unwrap();
    for damage in ["flip", "cut", "lose"] {
        match damage {
            "flip" => {
                let mut bytes = whole.clone();
                bytes[100] ^= 1;
                std::fs::write(&path, bytes).unwrap();
            }
            "cut" => std::fs::write(&path, &whole[..whole.len() - 100]).unwrap(),
            _ => std::fs::remove_file(&path).unwrap(),
        }
        reopen(&mut bed, root.path());
        match bed.log().read(key("room"), Offset::ZERO, WIDE).await {
            Err(ReadError::Storage(error)) => {
                assert_eq!(error.kind, StorageErrorKind::Corrupt, "{damage}");
            }
            other => panic!("{damage}: {other:?}"),
        }
        assert!(!verify(&bed.tiers, |_| {}).await.unwrap().damages.is_empty(), "{damage}");
    }
    std::fs::write(&path, &whole).unwrap();
    reopen(&mut bed, root.path());
    assert_eq!(bed.log().read(key("room"), Offset::ZERO, WIDE).await.unwrap().len(), 200);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
