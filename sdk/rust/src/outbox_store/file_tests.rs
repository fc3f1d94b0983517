//! The file against restarts, a second opener, damage and growth.

use super::*;
use sterna_proto::v1::Publish;

fn insert(client_seq: u64, bytes: usize) -> OutboxChange {
    OutboxChange::Insert(Publish {
        channel: "room:1".into(),
        payload: vec![7; bytes].into(),
        client_seq,
        ..Publish::default()
    })
}

fn remove(client_seq: u64) -> OutboxChange {
    OutboxChange::Remove { client_seq }
}

fn open(path: &Path) -> (FileOutbox, StoredOutbox) {
    let mut store = FileOutbox::open(path).unwrap();
    let stored = store.load("somebody new").unwrap();
    (store, stored)
}

fn seqs(stored: &StoredOutbox) -> Vec<u64> {
    stored.publications.iter().map(|stored| stored.publish.client_seq).collect()
}

#[test]
fn a_restart_finds_what_was_not_removed_under_the_first_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let mut store = FileOutbox::open(&path).unwrap();
    let stored = store.load("phone").unwrap();
    assert_eq!((stored.client_id.as_str(), stored.last_seq), ("phone", 0));
    store.write(&[insert(7, 10), insert(8, 10), insert(9, 10)]).unwrap();
    store.write(&[OutboxChange::Attempted { client_seq: 7 }, remove(9)]).unwrap();
    drop(store);
    let (_, stored) = open(&path);
    assert_eq!((stored.client_id.as_str(), stored.last_seq, stored.damaged), ("phone", 9, 0));
    assert_eq!(seqs(&stored), [7, 8]);
    assert_eq!([true, false], [0, 1].map(|n| stored.publications[n].attempted));
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let (first, _) = open(&path);
    let refused = FileOutbox::open(&path).unwrap_err();
    assert!(matches!(&refused, OutboxStoreError::InUse(_)), "{refused}");
    drop(first);
    open(&path);
}

#[test]
fn a_torn_tail_is_cut_before_the_next_entry_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let (mut store, _) = open(&path);
    store.write(&[insert(1, 10), insert(2, 10)]).unwrap();
    drop(store);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    let (mut store, stored) = open(&path);
    assert_eq!((seqs(&stored), stored.damaged), (vec![1], 0));
    store.write(&[insert(3, 10)]).unwrap();
    drop(store);
    let (_, stored) = open(&path);
    assert_eq!((seqs(&stored), stored.damaged), (vec![1, 3], 0));
}

#[test]
fn damage_is_counted_once_and_a_foreign_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let (mut store, _) = open(&path);
    store.write(&[insert(1, 100), insert(2, 100), insert(3, 100)]).unwrap();
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() - 190;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (store, stored) = open(&path);
    assert_eq!((seqs(&stored), stored.damaged), (vec![1, 3], 1));
    drop(store);
    let (store, stored) = open(&path);
    assert_eq!((seqs(&stored), stored.damaged), (vec![1, 3], 0));
    drop(store);

    std::fs::write(&path, b"somebody's letter").unwrap();
    let refused = FileOutbox::open(&path).unwrap().load("phone").unwrap_err();
    assert!(matches!(refused, OutboxStoreError::Unreadable(_)), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), b"somebody's letter");
}

#[test]
fn a_file_that_is_mostly_over_is_rewritten_and_nothing_live_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let (mut store, _) = open(&path);
    store.write(&[insert(1, 1000), OutboxChange::Attempted { client_seq: 1 }]).unwrap();
    let mut largest = 0;
    for seq in 2..2000 {
        store.write(&[insert(seq, 1000)]).unwrap();
        store.write(&[remove(seq)]).unwrap();
        largest = largest.max(std::fs::metadata(&path).unwrap().len());
    }
    assert!((REWRITE_ABOVE_BYTES / 2..2 * REWRITE_ABOVE_BYTES).contains(&largest), "{largest}");
    drop(store);
    let (_, stored) = open(&path);
    assert_eq!((seqs(&stored), stored.last_seq), (vec![1], 1999));
    assert!(stored.publications[0].attempted);
}

#[test]
fn a_write_that_fails_leaves_nothing_behind_or_stops_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let (mut store, _) = open(&path);
    store.write(&[insert(1, 10)]).unwrap();
    // Neither writing nor cutting works on a file that is open for reading.
    store.file = Some(File::open(&path).unwrap());
    assert!(matches!(store.write(&[insert(2, 10)]), Err(OutboxStoreError::Io { .. })));
    store.file = Some(OpenOptions::new().write(true).open(&path).unwrap());
    assert!(matches!(store.write(&[insert(3, 10)]), Err(OutboxStoreError::Broken(_))));
    drop(store);
    assert_eq!(seqs(&open(&path).1), [1]);
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_what_was_published() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let (_store, _) = open(&path);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
}
