//! The guard file as the committer writes it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use bytes::Bytes;
use sterna_proto::{ChannelId, ChannelKey, Offset, PublicationId, UserId};
use sterna_storage::{Append, CursorMove, NewRecord, PageLimit, PublicationLog, StorageErrorKind};
use sterna_storage_rocks::{RocksConfig, RocksStore};

#[tokio::test]
async fn a_claim_never_goes_over_the_one_before_whatever_moves_between() {
    let directory = tempfile::tempdir().unwrap();
    let store = RocksStore::open(RocksConfig::new(directory.path())).unwrap();
    let stores = store.stores();
    let mut slots = slots(directory.path());
    let mut newest = None;
    for seq in 1..=12 {
        append(&*stores.log, seq).await;
        // Each takes a commit of its own and claims nothing.
        for _ in 0..seq % 3 {
            stores.cursors.advance(vec![read_up_to(seq)]).await.unwrap();
        }
        let now = self::slots(directory.path());
        let written: Vec<usize> = (0..2).filter(|slot| now[*slot] != slots[*slot]).collect();
        let [written] = written[..] else { panic!("one claim at a time: {written:?}") };
        assert_ne!(Some(written), newest, "publication {seq}");
        (slots, newest) = (now, Some(written));
    }
}

#[tokio::test]
async fn a_claim_torn_by_a_power_cut_still_leaves_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let store = RocksStore::open(RocksConfig::new(directory.path())).unwrap();
    let stores = store.stores();
    for seq in 1..=6 {
        append(&*stores.log, seq).await;
        stores.cursors.advance(vec![read_up_to(seq)]).await.unwrap();
    }
    let before = slots(directory.path());
    append(&*stores.log, 7).await;
    let after = slots(directory.path());
    drop((stores, store));
    let torn = (0..2).find(|slot| before[*slot] != after[*slot]).unwrap();
    let mut content = after.concat();
    content[torn * SLOT_BYTES] ^= 0xff;
    fs::write(directory.path().join("sterna.guard"), content).unwrap();
    // Everything before the torn claim is still held to it.
    let wal = newest_wal(directory.path());
    let whole = fs::read(&wal).unwrap();
    let six = find(&whole, &payload(6));
    fs::write(&wal, &whole[..six]).unwrap();
    let error = RocksStore::open(RocksConfig::new(directory.path())).unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Corrupt, "{error}");
    fs::write(&wal, &whole).unwrap();
    let log = RocksStore::open(RocksConfig::new(directory.path())).unwrap().stores().log;
    assert_eq!(log.read(channel(), Offset::ZERO, WIDE).await.unwrap().len(), 7);
}

async fn append(log: &dyn PublicationLog, seq: u64) {
    let head = log.head(channel()).await.unwrap();
    let expected = head.map(|head| head.position);
    let append = Append::new(channel(), expected, vec![record(seq)]);
    log.append(vec![append]).await.remove(0).unwrap();
}

fn slots(directory: &Path) -> Vec<Vec<u8>> {
    let content = fs::read(directory.join("sterna.guard")).unwrap();
    assert_eq!(content.len(), SLOT_BYTES * 2);
    content.chunks(SLOT_BYTES).map(<[u8]>::to_vec).collect()
}

fn newest_wal(directory: &Path) -> std::path::PathBuf {
    let logs = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .filter(|path| fs::metadata(path).unwrap().len() > 0)
        .max()
        .unwrap()
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).position(|window| window == needle).unwrap()
}

fn channel() -> ChannelKey {
    ChannelId::new("guard:1").unwrap().key()
}

fn read_up_to(seq: u64) -> CursorMove {
    let (delivered, read) = (Offset(seq), Offset(seq));
    CursorMove { channel: channel(), user: UserId::new("bob").unwrap(), delivered, read }
}

fn record(seq: u64) -> NewRecord {
    NewRecord {
        id: PublicationId(seq),
        sender: UserId::new("alice").unwrap(),
        origin: None,
        client_msg_id: Bytes::new(),
        server_ts_ms: seq,
        client_ts_ms: seq,
        kind: 0,
        target_offset: Offset::ZERO,
        payload: payload(seq).into(),
    }
}

fn payload(seq: u64) -> Vec<u8> {
    format!("the payload of publication {seq}").into_bytes()
}

const SLOT_BYTES: usize = 4096;
const WIDE: PageLimit = PageLimit { records: 1_000, payload_bytes: 1 << 20 };
