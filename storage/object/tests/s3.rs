//! Segments on a real S3 server over HTTP, beyond the conformance suite.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

mod common;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::faults::{Fault, Faults, Request};
use common::{KEY, NAME, WIDE, noise, s3_config};
use opendal::Operator;
use opendal::services::S3;
use sterna_proto::Offset;
use sterna_storage::conformance::segments::{SampleRun, many_runs, put, sample, try_put};
use sterna_storage::{SegmentKey, Segments, StorageErrorKind};
use sterna_storage_object::{Keys, ObjectConfig, ObjectSegments, Place};
use sterna_test_engines::S3Server;

fn key(segment: u64) -> SegmentKey {
    SegmentKey { segment, ..KEY }
}

#[tokio::test]
async fn a_large_segment_goes_up_in_parts_and_comes_back() {
    let (server, folder) = (S3Server::start(), tempfile::tempdir().unwrap());
    let segments = ObjectSegments::open(ObjectConfig {
        part_bytes: 5 * 1024 * 1024,
        ..s3_config(&server, folder.path())
    });
    let segments = segments.unwrap();
    let runs = [noise("a", 300, 60_000), noise("b", 3, 10)];
    let sealed = put(&segments, KEY, &runs).await;
    assert!(sealed.bytes > 3 * 5 * 1024 * 1024, "{} bytes are several parts", sealed.bytes);
    assert_eq!(segments.verify(KEY).await.unwrap(), sealed);
    for run in &runs {
        let found = segments.read(KEY, run.channel, Offset::ZERO, WIDE).await.unwrap();
        assert!(found == run.records);
    }
    // The parts of one that is there already are not put over it.
    let late = try_put(&segments, KEY, &runs).await.unwrap_err();
    assert!(late.message.contains("is there already"), "{late}");
}

#[tokio::test]
async fn of_an_upload_that_ends_early_nothing_is_listed() {
    let (server, folder) = (S3Server::start(), tempfile::tempdir().unwrap());
    let segments = ObjectSegments::open(ObjectConfig {
        part_bytes: 5 * 1024 * 1024,
        ..s3_config(&server, folder.path())
    });
    let segments = segments.unwrap();
    let run = noise("a", 200, 60_000);
    for is_aborted in [true, false] {
        let mut writer = segments.create(KEY).await.unwrap();
        writer.begin_run(run.channel, run.links).unwrap();
        for record in &run.records {
            writer.push(record.clone()).await.unwrap();
        }
        if is_aborted {
            writer.abort().await;
        } else {
            drop(writer);
        }
        assert_eq!(segments.list(KEY.shard, None, 9).await.unwrap(), []);
        let told = segments.run(KEY, run.channel).await.unwrap_err();
        assert!(told.message.contains("is missing"), "{told}");
    }
    put(&segments, KEY, &[run]).await;
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_and_what_it_has_stays() {
    let (mut server, folder) = (S3Server::start(), tempfile::tempdir().unwrap());
    let config = ObjectConfig { retries: 1, ..s3_config(&server, folder.path()) };
    let segments = ObjectSegments::open(config).unwrap();
    let runs = many_runs(3, 3);
    put(&segments, KEY, &runs).await;
    let mut writer = segments.create(key(2)).await.unwrap();
    writer.begin_run(runs[0].channel, runs[0].links).unwrap();
    writer.push(runs[0].records[0].clone()).await.unwrap();
    server.kill();
    for told in [
        segments.read(KEY, runs[0].channel, Offset::ZERO, WIDE).await.map(drop),
        segments.verify(KEY).await.map(drop),
        segments.list(KEY.shard, None, 9).await.map(drop),
        segments.remove(KEY).await,
        try_put(&segments, key(3), &runs).await.map(drop),
        writer.finish().await.map(drop),
    ] {
        assert_eq!(told.unwrap_err().kind, StorageErrorKind::Unavailable);
    }
    server.restart();
    put(&segments, key(2), &runs).await;
    let found = segments.read(KEY, runs[0].channel, Offset::ZERO, WIDE).await.unwrap();
    assert_eq!(found, runs[0].records);
}

#[tokio::test]
async fn a_lost_answer_to_a_conditional_write_is_looked_up() {
    let (server, folder) = (S3Server::start(), tempfile::tempdir().unwrap());
    let config = s3_config(&server, folder.path());
    let faults = Faults::default();
    let bare = operator_of(&config).layer(faults.clone());
    let segments = ObjectSegments::over(bare, config).unwrap();
    for number in 0..3 {
        // The attempt that follows finds an object of that name: its own.
        faults.once(Request::Close, "v1/", Fault::AnswerLost);
        let sealed = put(&segments, key(number), &many_runs(3, 3)).await;
        assert_eq!(segments.verify(key(number)).await.unwrap(), sealed);
    }
    assert_eq!(faults.struck(), 3);
}

#[tokio::test]
async fn damage_at_the_server_is_seen_and_named() {
    let (server, folder) = (S3Server::start(), tempfile::tempdir().unwrap());
    let config = s3_config(&server, folder.path());
    let run = sample("a", 1, 50, 300);
    put(&ObjectSegments::open(config.clone()).unwrap(), KEY, std::slice::from_ref(&run)).await;
    let path = segment_file(&server.bucket());
    assert!(path.to_string_lossy().ends_with(NAME), "{}", path.display());
    let whole = std::fs::read(&path).unwrap();
    for at in [500, whole.len() - 100, whole.len() - 5] {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        std::fs::write(&path, &damaged).unwrap();
        assert_damaged(&config, &run, &format!("byte {at}")).await;
    }
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert_damaged(&config, &run, "cut").await;
    std::fs::remove_file(&path).unwrap();
    assert_damaged(&config, &run, "gone").await;
    std::fs::write(&path, &whole).unwrap();
    let segments = ObjectSegments::open(config).unwrap();
    let found = segments.read(KEY, run.channel, Offset::ZERO, WIDE).await.unwrap();
    assert_eq!(found, run.records);
}

async fn assert_damaged(config: &ObjectConfig, run: &SampleRun, what: &str) {
    let segments = ObjectSegments::open(config.clone()).unwrap();
    let read = segments.read(KEY, run.channel, Offset::ZERO, WIDE).await.unwrap_err();
    assert_eq!(read.kind, StorageErrorKind::Corrupt, "{what}: {read}");
    let verified = segments.verify(KEY).await.unwrap_err();
    assert_eq!(verified.kind, StorageErrorKind::Corrupt, "{what}: {verified}");
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_a_right_one_is_not() {
    let (server, folder) = (S3Server::start(), tempfile::tempdir().unwrap());
    let config = s3_config(&server, folder.path());
    put(&ObjectSegments::open(config.clone()).unwrap(), KEY, &many_runs(1, 1)).await;
    std::fs::write(folder.path().join("secret"), "another").unwrap();
    let segments = ObjectSegments::open(config).unwrap();
    let told = segments.list(KEY.shard, None, 9).await.unwrap_err();
    assert_eq!(told.kind, StorageErrorKind::Unavailable, "{told}");
}

/// The operator that the configuration names, bare.
fn operator_of(config: &ObjectConfig) -> Operator {
    let Place::S3 { bucket, root, endpoint, region, keys } = &config.place else {
        panic!("{config:?} is no S3");
    };
    let Keys::Files { id, secret } = keys else { panic!("{keys:?} are no files") };
    let read = |path| std::fs::read_to_string(path).unwrap().trim().to_owned();
    opendal::install_default();
    let service = S3::default()
        .bucket(bucket)
        .root(root)
        .endpoint(endpoint.as_deref().unwrap())
        .region(region.as_deref().unwrap())
        .access_key_id(&read(id))
        .secret_access_key(&read(secret))
        .disable_config_load()
        .disable_ec2_metadata();
    Operator::new(service).unwrap()
}

/// The one segment that there is, as the server has it.
fn segment_file(folder: &Path) -> PathBuf {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(path) = find_segment(folder) {
            return path;
        }
        assert!(Instant::now() < deadline, "the server keeps no segment as a file");
        std::thread::yield_now();
    }
}

fn find_segment(folder: &Path) -> Option<PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).find_map(|path| {
        if path.is_dir() { find_segment(&path) } else { is_segment(&path).then_some(path) }
    })
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg")
}
