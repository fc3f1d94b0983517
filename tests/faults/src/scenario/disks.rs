//! Power that fails, disks that are full, syncs that fail: what was acknowledged before is there
//! afterwards, and nothing is acknowledged that is not stored.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use sterna_system_tests::node::{Node, PATIENCE};

use super::{SOME, conclude, talk};
use crate::campaign::Outcome;
use crate::disk::{Disk, FragileDisk, temporary};
use crate::injector::{self, Injector};
use crate::place::Place;
use crate::verdict;
use crate::workload::{Plan, Record, Workload};

const DISK_MIB: u64 = 160;
/// Images taken of one node under load.
const IMAGES: usize = 4;
/// `sterna dev` ends with this when its storage has failed for good.
const STORAGE_FAILED: i32 = 4;

pub async fn power_loss(rng: &mut StdRng) -> Outcome {
    match FragileDisk::make(DISK_MIB) {
        Ok(disk) => power_lost(disk, rng, None).await,
        Err(reason) => Outcome::skipped(reason),
    }
}

/// The same on a disk whose syncs only say that they have synced.
pub async fn power_loss_on_a_lying_disk(rng: &mut StdRng) -> Outcome {
    match FragileDisk::make(DISK_MIB) {
        Ok(disk) => power_lost(disk, rng, Some("retval=0")).await,
        Err(reason) => Outcome::skipped(reason),
    }
}

async fn power_lost(disk: FragileDisk, rng: &mut StdRng, lie: Option<&str>) -> Outcome {
    let mut node = Node::start_on(disk.path().join("data")).await;
    let place = Place::of(&node);
    let workload = Workload::start(&place, &Plan::default(), rng);
    workload.go_on_for(SOME).await;
    let _liar = lie.map(|lie| Injector::attach(node.id(), "fdatasync,fsync", lie));
    let folder = temporary("sterna-images-");
    let mut images = Vec::new();
    for at in 0..IMAGES {
        workload.go_on_for(rng.random_range(1..100)).await;
        let image = folder.path().join(at.to_string());
        let promised = workload.record();
        disk.copy(&image);
        images.push((image, expected(promised, workload.record())));
    }
    let record = workload.finish().await;
    let mut violations = verdict::check(&place, &record, rng).await;
    node.kill().await;
    let mut acked = record.acked() as u64;
    for (at, (image, promised)) in images.iter().enumerate() {
        let wrong = check_image(image, promised, rng).await;
        violations.extend(wrong.iter().map(|wrong| format!("image {at}: {wrong}")));
        acked += promised.acked() as u64;
    }
    Outcome { injected: images.len() as u64, acked, violations, ..Outcome::default() }
}

/// All that was promised before the copy, and nothing that was tried only after it. What clients had
/// seen by then is theirs, and may be more than what was promised.
fn expected(promised: Record, after: Record) -> Record {
    let mut expected = promised;
    expected.trouble.clear();
    for (name, room) in after.rooms {
        let known = expected.rooms.entry(name).or_default();
        known.attempts = room.attempts;
        known.views.clear();
    }
    expected
}

async fn check_image(image: &Path, promised: &Record, rng: &mut StdRng) -> Vec<String> {
    let disk = match Disk::mount(image) {
        Ok(disk) => disk,
        Err(reason) => return vec![format!("cannot be mounted: {reason}")],
    };
    let mut node = match Node::try_start_on(disk.path().join("data")).await {
        Ok(node) => node,
        Err(log) => return vec![log],
    };
    let wrong = verdict::check(&Place::of(&node), promised, rng).await;
    node.kill().await;
    wrong
}

/// The disk is full in the middle of the talk; the node stops and says why, and goes on when there
/// is room again.
pub async fn disk_full(rng: &mut StdRng) -> Outcome {
    let disk = match Disk::make(DISK_MIB) {
        Ok(disk) => disk,
        Err(reason) => return Outcome::skipped(reason),
    };
    let mut node = Node::start_on(disk.path().join("data")).await;
    let workload = Workload::start(&Place::of(&node), &Plan::default(), rng);
    workload.go_on_for(SOME).await;
    // Stopped, it cannot write while its log's end is looked for.
    injector::signal(node.id(), libc::SIGSTOP);
    give_back_reserved(&node.data_dir().join("store"));
    let filler = fill(&disk, rng.random_range(0..64 * 1024));
    injector::signal(node.id(), libc::SIGCONT);
    let status = node.ended_within(PATIENCE).await;
    let status = status.unwrap_or_else(|| panic!("a full disk is not noticed:\n{}", node.log()));
    assert_eq!(status.code(), Some(STORAGE_FAILED), "{}", node.log());
    assert!(node.log().contains("storage failed"), "it says why:\n{}", node.log());
    fs::remove_file(filler).unwrap();
    node.restart().await;
    conclude(node, workload, rng, 1).await
}

/// RocksDB reserves room for the log that it writes, and would not notice for tens of megabytes that
/// the rest of the disk is full. Cutting a file at its end gives back what lies behind it.
fn give_back_reserved(store: &Path) {
    for entry in fs::read_dir(store).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len()).unwrap();
        }
    }
}

/// Leaves so many bytes free, about.
fn fill(disk: &Disk, left: u64) -> PathBuf {
    let path = disk.path().join("filler");
    let block = vec![0xa5; 4096];
    let mut file = fs::File::create(&path).unwrap();
    while disk.free_bytes() > left + block.len() as u64 {
        let blocks = (disk.free_bytes() - left) / block.len() as u64;
        for _ in 0..blocks {
            if std::io::Write::write_all(&mut file, &block).is_err() {
                return path;
            }
        }
        file.sync_all().unwrap();
    }
    path
}

/// One sync fails, and all that follow.
pub async fn disk_error(rng: &mut StdRng) -> Outcome {
    let (mut node, workload) = talk(rng).await;
    let nth = rng.random_range(1..40);
    let fault = format!("error=EIO:when={nth}+");
    let _injector = Injector::attach(node.id(), "fdatasync,fsync", &fault);
    let status = node.ended_within(PATIENCE).await;
    let status = status.unwrap_or_else(|| panic!("a failed sync is not noticed:\n{}", node.log()));
    assert_eq!(status.code(), Some(STORAGE_FAILED), "{}", node.log());
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..500))).await;
    node.restart().await;
    conclude(node, workload, rng, 1).await
}
