//! Several processes on one folder of local files, which die at any moment. The other processes are
//! this test's own program, started for one of its tests.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{KEY, WIDE, files, in_files};
use sterna_proto::Offset;
use sterna_storage::conformance::segments::{SampleRun, put, sample, try_put};
use sterna_storage::{SegmentKey, Segments};

const ROOT: &str = "STERNA_OBJECT_TEST_ROOT";
const FROM: &str = "STERNA_OBJECT_TEST_FROM";

fn key(segment: u64) -> SegmentKey {
    SegmentKey { segment, ..KEY }
}

/// What each segment holds.
fn runs() -> [SampleRun; 2] {
    [sample("a", 1, 300, 900), sample("b", 1, 300, 900)]
}

/// Nothing by itself; what the other processes run: writes one segment after the other, and prints
/// the number of each that is finished, until it is killed.
#[tokio::test]
async fn writer_of_another_process() {
    let Ok(root) = std::env::var(ROOT) else { return };
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let segments = in_files(Path::new(&root));
    for segment in from.. {
        put(&segments, key(segment), &runs()).await;
        println!("put {segment}");
    }
}

fn start(root: &Path, from: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer_of_another_process", "--nocapture"])
        .env(ROOT, root)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn i7_a_killed_writer_leaves_what_it_has_finished_and_nothing_that_is_seen() {
    let root = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    for round in 0..6_u64 {
        let mut writer = start(root.path(), round * 1_000);
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let numbers = lines.map_while(|line| line.ok()).filter_map(|line| put_of(&line));
        told.extend(numbers.take(2 + round as usize));
        writer.kill().unwrap();
        writer.wait().unwrap();
    }
    let segments = in_files(root.path());
    let listed = segments.list(KEY.shard, None, 10_000).await.unwrap();
    for number in told {
        assert!(listed.contains(&key(number)), "{number} was finished");
    }
    assert_eq!(files(&root.path().join("v1")), listed.len());
    for key in &listed {
        segments.verify(*key).await.unwrap();
        for run in runs() {
            let found = segments.read(*key, run.channel, Offset::ZERO, WIDE).await.unwrap();
            assert_eq!(found, run.records);
        }
    }
    // What was half written goes with its key, as whoever collects has it from the manifest.
    for round in 0..6_u64 {
        let end = listed.iter().rfind(|key| key.segment < (round + 1) * 1_000).unwrap().segment;
        for segment in [end + 1, end + 2] {
            segments.remove(key(segment)).await.unwrap();
        }
    }
    assert_eq!(files(&root.path().join("uploads")), 0);
    assert_eq!(segments.list(KEY.shard, None, 10_000).await.unwrap(), listed);
}

#[tokio::test]
async fn of_racing_writers_of_one_key_one_wins() {
    let root = tempfile::tempdir().unwrap();
    for segment in 0..20 {
        let writers: Vec<_> = (0..4).map(|_| in_files(root.path())).collect();
        let runs = runs();
        let racing = writers.iter().map(|writer| try_put(writer, key(segment), &runs));
        let verdicts = futures_util::future::join_all(racing).await;
        let won: Vec<_> = verdicts.into_iter().filter_map(Result::ok).collect();
        assert_eq!(won.len(), 1, "segment {segment}");
        assert_eq!(in_files(root.path()).verify(key(segment)).await.unwrap(), won[0]);
    }
    assert_eq!(files(&root.path().join("uploads")), 0);
}

fn put_of(line: &str) -> Option<u64> {
    // The harness writes its own line in front of the first.
    line.split("put ").nth(1)?.trim().parse().ok()
}
