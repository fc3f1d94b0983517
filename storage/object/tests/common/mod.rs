//! Places for the tests of this crate.

#![allow(dead_code)] // Each test file takes what it needs.
#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.
#![allow(clippy::disallowed_methods)]

pub mod faults;

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use opendal::Operator;
use opendal::services::Memory;
use sterna_storage::conformance::segments::{SampleRun, sample};
use sterna_storage::{PageLimit, SegmentKey};
use sterna_storage_object::{Keys, ObjectConfig, ObjectSegments, Place};
use sterna_test_engines::S3Server;

use faults::Faults;

pub const KEY: SegmentKey =
    SegmentKey { shard: 9, first_ts_ms: 1_700_000_000_000, segment: 0xbeef };

/// Of its object.
pub const NAME: &str = "v1/0009/2023/11/14/0000018bcfe56800-000000000000beef.seg";

pub const WIDE: PageLimit = PageLimit { records: 100_000, payload_bytes: usize::MAX };

/// In the smallest blocks, so that few records make several.
pub fn config(place: Place) -> ObjectConfig {
    ObjectConfig { block_bytes: 4096, ..ObjectConfig::new(place) }
}

pub fn in_memory() -> ObjectSegments {
    ObjectSegments::open(config(Place::Memory)).unwrap()
}

pub fn in_files(root: &Path) -> ObjectSegments {
    ObjectSegments::open(config(Place::Files { root: root.to_owned() })).unwrap()
}

/// Faults beneath a memory place, and little patience with them.
pub fn faulty(retries: usize) -> (ObjectSegments, Faults, Operator) {
    let faults = Faults::default();
    let bare = Operator::new(Memory::default()).unwrap();
    let config = ObjectConfig {
        attempt_deadline: Duration::from_millis(40),
        part_deadline: Duration::from_millis(40),
        call_deadline: Duration::from_secs(20),
        retries,
        ..config(Place::Memory)
    };
    let over = bare.clone().layer(faults.clone());
    (ObjectSegments::over(over, config).unwrap(), faults, bare)
}

/// One server for all tests of a file, with a folder of its own for each place.
pub fn s3_server() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(S3Server::start)
}

pub fn s3_config(server: &S3Server, folder: &Path) -> ObjectConfig {
    static ROOTS: AtomicU64 = AtomicU64::new(0);
    let number = ROOTS.fetch_add(1, Ordering::Relaxed);
    let (id, secret) = (folder.join("id"), folder.join("secret"));
    std::fs::write(&id, S3Server::ACCESS_KEY).unwrap();
    std::fs::write(&secret, format!("{}\n", S3Server::SECRET_KEY)).unwrap();
    config(Place::S3 {
        bucket: S3Server::BUCKET.to_owned(),
        root: format!("/place{number}/"),
        endpoint: Some(server.endpoint()),
        region: Some("us-east-1".to_owned()),
        keys: Keys::Files { id, secret },
    })
}

/// How many objects a place has, hidden from nobody.
pub async fn objects(bare: &Operator) -> usize {
    let entries = bare.list_with("").recursive(true).await.unwrap();
    entries.iter().filter(|entry| !entry.path().ends_with('/')).count()
}

/// How many files there are below a folder.
pub fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 })
        .sum()
}

/// A run of records that do not pack.
pub fn noise(name: &str, count: u64, payload_bytes: usize) -> SampleRun {
    let mut random = 88_172_645_463_325_252_u64;
    let mut run = sample(name, 1, count, 0);
    for record in &mut run.records {
        let mut payload = Vec::with_capacity(payload_bytes);
        while payload.len() < payload_bytes {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            payload.extend_from_slice(&random.to_be_bytes());
        }
        record.body.payload = Bytes::from(payload);
    }
    run
}
