//! Pages on the disk: kept, bounded, begun anew, never wrong.

use sterna_proto::{ChannelId, Epoch};

use super::*;

mod conformance {
    sterna_storage::page_conformance_suite! {
        {
            // The directory goes before the files do, which harms nobody.
            let directory = tempfile::tempdir().unwrap();
            std::sync::Arc::new(crate::PageFiles::open(directory.path(), 1 << 25, "test").unwrap())
        }
    }
}

const ROOM: u64 = LEAST_BYTES;

fn name(number: u64) -> PageName {
    PageName { channel: ChannelId::new("room:1").unwrap().key(), epoch: Epoch(1), number }
}

/// Cannot be made smaller.
fn page(number: u64, len: usize) -> Bytes {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(byte).collect()
}

fn open(directory: &Path) -> PageFiles {
    PageFiles::open(directory, ROOM, "mysql://one").unwrap()
}

async fn kept(pages: &PageFiles, numbers: std::ops::Range<u64>, len: usize) -> Vec<u64> {
    let names: Vec<PageName> = numbers.clone().map(name).collect();
    let found = pages.pages(names).await.unwrap();
    let of = |(number, found): (u64, Option<Bytes>)| {
        let found = found?;
        assert_eq!(found, page(number, len), "whole or not at all");
        Some(number)
    };
    numbers.zip(found).filter_map(of).collect()
}

#[tokio::test]
async fn pages_outlive_their_process() {
    let directory = tempfile::tempdir().unwrap();
    let pages = open(directory.path());
    pages.keep((0..9).map(|n| (name(n), page(n, 100))).collect()).await.unwrap();
    drop(pages);
    assert_eq!(kept(&open(directory.path()), 0..9, 100).await, (0..9).collect::<Vec<_>>());
}

#[tokio::test]
async fn i12_the_oldest_go_when_there_is_no_room() {
    const LEN: usize = 100_000;
    let directory = tempfile::tempdir().unwrap();
    let pages = open(directory.path());
    // Three times as much as there is room for.
    let all = 3 * ROOM / LEN as u64;
    for number in 0..all {
        pages.keep(vec![(name(number), page(number, LEN))]).await.unwrap();
    }
    // Opened again, since files go in the background.
    drop(pages);
    let pages = open(directory.path());
    let left = kept(&pages, 0..all, LEN).await;
    assert!(!left.contains(&0) && left.contains(&(all - 1)), "{left:?}");
    let files = fs::read_dir(directory.path().join("files")).unwrap();
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= ROOM + ROOM / 4, "{bytes}");
}

#[tokio::test]
async fn i6_pages_of_another_database_or_format_begin_anew() {
    let directory = tempfile::tempdir().unwrap();
    let pages = open(directory.path());
    pages.keep(vec![(name(1), page(1, 100))]).await.unwrap();
    drop(pages);
    let other = PageFiles::open(directory.path(), ROOM, "mysql://two").unwrap();
    assert!(kept(&other, 0..9, 100).await.is_empty());
    drop(other);
    let pages = open(directory.path());
    assert!(kept(&pages, 0..9, 100).await.is_empty());
    pages.keep(vec![(name(1), page(1, 100))]).await.unwrap();
    drop(pages);
    fs::write(directory.path().join(MARK), "sterna pages 0\nmysql://one\n").unwrap();
    assert!(kept(&open(directory.path()), 0..9, 100).await.is_empty());
}

#[tokio::test]
async fn i6_damage_costs_pages_and_never_brings_wrong_ones() {
    let directory = tempfile::tempdir().unwrap();
    for spoilt in ["CURRENT", "MANIFEST", ".sst"] {
        let pages = open(directory.path());
        pages.keep((0..50).map(|n| (name(n), page(n, 5000))).collect()).await.unwrap();
        drop(pages);
        let mut count = 0;
        for file in fs::read_dir(directory.path().join("files")).unwrap() {
            let path = file.unwrap().path();
            if !path.to_string_lossy().contains(spoilt) {
                continue;
            }
            let mut bytes = fs::read(&path).unwrap();
            bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x55);
            fs::write(&path, bytes).unwrap();
            count += 1;
        }
        assert!(count > 0, "nothing of {spoilt} was spoilt");
        let pages = open(directory.path());
        kept(&pages, 0..50, 5000).await;
        // It goes on, if need be without what was there.
        pages.keep(vec![(name(99), page(99, 10))]).await.unwrap();
        assert_eq!(kept(&pages, 99..100, 10).await, [99]);
        drop(pages);
        fs::remove_dir_all(directory.path()).unwrap();
    }
}

#[test]
fn a_directory_of_somebody_else_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let theirs = directory.path().join("letter.txt");
    fs::write(&theirs, "mine").unwrap();
    let refused = PageFiles::open(directory.path(), ROOM, "test").unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Fatal);
    assert_eq!(fs::read_to_string(theirs).unwrap(), "mine");
}

#[tokio::test]
async fn pages_that_another_process_has_open_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let pages = open(directory.path());
    pages.keep(vec![(name(1), page(1, 100))]).await.unwrap();
    for database in ["mysql://one", "mysql://two"] {
        let refused = PageFiles::open(directory.path(), ROOM, database).unwrap_err();
        assert_eq!(refused.kind, StorageErrorKind::Fatal, "{refused}");
    }
    assert_eq!(kept(&pages, 0..9, 100).await, [1]);
}
