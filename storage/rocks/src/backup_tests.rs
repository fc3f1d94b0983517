//! Backups of a store that is in use: what is in them, what is told of damage, what is left of those
//! that failed, and what comes of putting them back.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use sterna_proto::{ChannelId, ChannelKey, ClientId, Offset, PublicationId, UserId};
use sterna_storage::{
    Append, CursorMove, CursorStore as _, IdBoundStore as _, ManifestChange, ManifestEntry,
    ManifestStore as _, NewRecord, Origin, PageLimit, PublicationLog as _, Record, SegmentKey,
    SegmentState, StorageErrorKind,
};
use tempfile::TempDir;

use crate::backup::{
    BackupError, BackupOrder, Folder, INVENTORY, Inventory, Staging, create, create_of_stopped,
    list, restore, verify,
};
use crate::{RocksConfig, RocksStore};

struct Bed {
    home: TempDir,
    store: RocksStore,
}

impl Bed {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = RocksStore::open(RocksConfig::new(home.path().join("store"))).unwrap();
        Self { home, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn order(&self, name: &str) -> BackupOrder {
        BackupOrder { to: self.path(name), node: "n1".into(), keep_free: 0 }
    }

    fn backup(&self, name: &str) -> Inventory {
        create(&self.store, &self.order(name), &mut |_, _| true).unwrap()
    }

    fn restore(&self, from: &str, to: &str) -> Result<RocksStore, BackupError> {
        let (from, to) = (self.path(from), self.path(to));
        restore(&Folder(&from), &to, 0, &mut |_, _| true)?;
        Ok(RocksStore::open(RocksConfig::new(to)).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_backup_of_a_busy_store_holds_what_was_acknowledged_before() {
    let bed = Bed::new();
    let (stop, acked) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut promised = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                while !stop.load(Ordering::Acquire) {
                    publish(&bed.store, 3).await;
                    acked.fetch_add(3, Ordering::AcqRel);
                }
            });
        });
        for (round, name) in (1..).zip(["a", "b", "c"]) {
            while acked.load(Ordering::Acquire) < round * 60 {
                std::thread::yield_now();
            }
            let before = acked.load(Ordering::Acquire);
            let inventory = bed.backup(name);
            promised.push((name, before, inventory));
        }
        stop.store(true, Ordering::Release);
    });
    for (name, before, inventory) in promised {
        let verified = verify(&bed.path(name), &mut |_, _| true).unwrap();
        assert_eq!((&verified.inventory, &verified.damages), (&inventory, &Vec::new()));
        let store = bed.restore(name, &format!("{name}-restored")).unwrap();
        let records = all(&store).await;
        let count = records.len() as u64;
        assert!(count > before, "{name}: {count} with the marker, and {before} were acknowledged");
        for (at, record) in (1..).zip(&records) {
            assert_eq!(record.position.offset, Offset(at), "dense (I2)");
        }
    }
}

#[tokio::test]
async fn i5_every_restored_copy_has_an_epoch_of_its_own() {
    let bed = Bed::new();
    publish(&bed.store, 5).await;
    let seen = bed.store.head(channel()).await.unwrap().unwrap().position;
    let inventory = bed.backup("b");
    assert_eq!(inventory.birth, seen.epoch.0);
    let mut epochs = vec![seen.epoch];
    // One after the other, within a moment.
    for name in ["one", "two", "three"] {
        let store = bed.restore("b", name).unwrap();
        let head = store.head(channel()).await.unwrap().unwrap();
        assert_eq!(head.position.offset, Offset(6), "five publications and the marker");
        assert_eq!(head.epochs.last().unwrap().first, Offset(6), "the old epoch is cut there");
        epochs.push(head.position.epoch);
        drop(store);
        let again = RocksStore::open(RocksConfig::new(bed.path(name))).unwrap();
        assert_eq!(again.head(channel()).await.unwrap(), Some(head), "once is enough");
    }
    assert!(epochs.is_sorted_by(|one, other| one < other), "{epochs:?}");
}

#[tokio::test]
async fn i5_a_backup_that_was_copied_by_hand_begins_a_new_epoch_too() {
    let bed = Bed::new();
    publish(&bed.store, 5).await;
    bed.backup("b");
    let by_hand = bed.path("by-hand");
    fs::create_dir(&by_hand).unwrap();
    for entry in fs::read_dir(bed.path("b/store")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), by_hand.join(entry.file_name())).unwrap();
    }
    let store = RocksStore::open(RocksConfig::new(&by_hand)).unwrap();
    let head = store.head(channel()).await.unwrap().unwrap();
    assert_eq!((head.position.offset, head.epochs.len()), (Offset(6), 2));
}

#[tokio::test]
async fn i10_ids_go_on_above_all_that_were_given_after_the_backup() {
    let bed = Bed::new();
    let now_ms = crate::options::unix_now_ms() - crate::id_bounds::IDS_BEGIN_UNIX_MS;
    assert!(bed.store.raise_id_bound(1, 0, now_ms).await.unwrap());
    bed.backup("b");
    // Afterwards, as far ahead of the clock as a generator goes.
    let later = now_ms + 10_000;
    assert!(bed.store.raise_id_bound(1, now_ms, later).await.unwrap());
    let store = bed.restore("b", "restored").unwrap();
    for worker in [0, 1, 1023] {
        let bound = store.id_bound(worker).await.unwrap();
        assert!(bound > later, "worker {worker}: {bound} and not above {later}");
    }
}

#[tokio::test]
async fn i8_no_cursor_points_beyond_the_head_of_a_restored_store() {
    let bed = Bed::new();
    publish(&bed.store, 5).await;
    advance(&bed.store, 4).await;
    bed.backup("b");
    publish(&bed.store, 5).await;
    advance(&bed.store, 9).await;
    let store = bed.restore("b", "restored").unwrap();
    let cursor = store.cursor(channel(), alice()).await.unwrap().unwrap();
    assert_eq!((cursor.read, cursor.delivered), (Offset(4), Offset(4)));
}

#[tokio::test]
async fn i7_what_the_original_publishes_in_the_archive_is_not_collected_by_a_copy() {
    let bed = Bed::new();
    let entry = |segment, state| ManifestEntry {
        key: SegmentKey { shard: 1, first_ts_ms: 5, segment },
        state,
        content: Bytes::from_static(b"x"),
    };
    let states = [SegmentState::Published, SegmentState::Prepared, SegmentState::Replaced];
    let entries: Vec<_> = (1..).zip(states).map(|(at, state)| entry(at, state)).collect();
    let put = |entry: &ManifestEntry| ManifestChange { expected: None, entry: entry.clone() };
    bed.store.change_manifest(entries.iter().map(put).collect()).await.unwrap();
    bed.backup("b");
    let store = bed.restore("b", "restored").unwrap();
    let left = store.segments(1, None, 10).await.unwrap();
    assert_eq!(left, [entries[0].clone(), entries[2].clone()]);
    assert_eq!(bed.store.segments(1, None, 10).await.unwrap(), entries, "the original's are there");
}

#[test]
fn damage_is_told_and_never_put_back() {
    let bed = Bed::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(publish(&bed.store, 50));
    let inventory = bed.backup("b");
    let damages = || verify(&bed.path("b"), &mut |_, _| true).unwrap().damages;
    assert_eq!(damages(), [""; 0]);
    for file in inventory.files.iter().filter(|file| file.bytes > 0) {
        let path = bed.path("b").join(&file.path);
        let whole = fs::read(&path).unwrap();
        // Files are linked: a write would go through to the store.
        fs::remove_file(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for damaged in [Some(flipped), Some(whole[1..].to_vec()), None] {
            let _ = fs::remove_file(&path);
            if let Some(bytes) = &damaged {
                fs::write(&path, bytes).unwrap();
            }
            let told = damages();
            assert!(told.len() == 1 && told[0].contains(&file.path), "{}: {told:?}", file.path);
            let refused = bed.restore("b", "restored").unwrap_err();
            assert!(
                matches!(refused, BackupError::Damaged(_) | BackupError::Io { .. }),
                "{refused}"
            );
            assert_eq!(names(bed.home.path()), ["b", "store"], "nothing is left");
        }
        fs::write(&path, whole).unwrap();
    }
    fs::write(bed.path("b/store/foreign"), "x").unwrap();
    assert_eq!(damages(), ["store/foreign does not belong to it"]);
    fs::remove_file(bed.path("b/store/foreign")).unwrap();
    bed.restore("b", "restored").unwrap();
}

#[test]
fn a_backup_that_fails_leaves_nothing() {
    let bed = Bed::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(publish(&bed.store, 50));
    let no_room = BackupOrder { keep_free: 1 << 62, ..bed.order("b") };
    let refused = create(&bed.store, &no_room, &mut |_, _| true).unwrap_err();
    assert!(matches!(&refused, BackupError::Refused(why) if why.contains("free")), "{refused}");
    let given_up = create(&bed.store, &bed.order("b"), &mut |done, _| done == 0).unwrap_err();
    assert!(matches!(given_up, BackupError::GivenUp), "{given_up}");
    assert_eq!(names(bed.home.path()), ["store"]);

    let order = bed.order("b");
    let (store, inner) = (&bed.store, bed.order("b"));
    let mut second = None;
    let mut told = |_, _| {
        let refused = create(store, &inner, &mut |_, _| true);
        second.get_or_insert(refused);
        true
    };
    create(store, &order, &mut told).unwrap();
    let second = second.unwrap().unwrap_err();
    assert!(matches!(&second, BackupError::Refused(why) if why.contains("somebody else")));
    let third = create(store, &order, &mut |_, _| true).unwrap_err();
    assert!(matches!(&third, BackupError::Refused(why) if why.contains("there already")));

    let from = bed.path("b");
    let to = bed.path("restored");
    let refused = restore(&Folder(&from), &to, 1 << 62, &mut |_, _| true).unwrap_err();
    assert!(matches!(refused, BackupError::Refused(_)), "{refused}");
    let given_up = restore(&Folder(&from), &to, 0, &mut |_, _| false).unwrap_err();
    assert!(matches!(given_up, BackupError::GivenUp), "{given_up}");
    assert_eq!(names(bed.home.path()), ["b", "store"]);
    let occupied = restore(&Folder(&from), &bed.path("store"), 0, &mut |_, _| true).unwrap_err();
    assert!(matches!(occupied, BackupError::Refused(_)), "a store is never written over");
}

#[test]
fn no_new_store_is_made_where_a_backup_is_being_put_back() {
    let bed = Bed::new();
    let to = bed.path("restored");
    let half_made = Staging::begin(&to).unwrap();
    fs::write(half_made.path().join(INVENTORY), "{}").unwrap();
    let refused = RocksStore::open(RocksConfig::new(&to)).unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Unavailable, "it may be waited for");
    assert!(refused.message.contains("once more"), "{refused}");
    assert!(!to.exists());
    // Nor is it a backup, whatever lies in it.
    assert_eq!(list(bed.home.path()).unwrap().len(), 0);
    let refused = verify(half_made.path(), &mut |_, _| true).unwrap_err();
    assert!(matches!(&refused, BackupError::Refused(why) if why.contains("not finished")));
    let elsewhere = bed.path("elsewhere");
    restore(&Folder(half_made.path()), &elsewhere, 0, &mut |_, _| true).unwrap_err();
    assert!(!elsewhere.exists());
    drop(half_made);
    RocksStore::open(RocksConfig::new(&to)).unwrap();
}

#[test]
fn a_maker_that_is_killed_at_the_very_end_has_made_a_whole_backup() {
    let bed = Bed::new();
    bed.backup("b");
    fs::write(bed.path("b/sterna.making"), "").unwrap();
    let verified = verify(&bed.path("b"), &mut |_, _| true).unwrap();
    assert_eq!(verified.damages, Vec::<String>::new());
    bed.restore("b", "restored").unwrap();
}

#[test]
fn backups_of_a_stopped_store_are_listed_by_age() {
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let Bed { home, store } = Bed::new();
        let config = RocksConfig::new(home.path().join("store"));
        let order = |name: &str| BackupOrder {
            to: home.path().join("backups").join(name),
            node: "n1".into(),
            keep_free: 0,
        };
        let refused = create_of_stopped(&config, &order("z"), &mut |_, _| true).unwrap_err();
        let BackupError::Storage(error) = &refused else { panic!("in use: {refused}") };
        assert_eq!(error.kind, StorageErrorKind::Unavailable);
        drop(store);
        let mut made = Vec::new();
        for name in ["z", "y"] {
            made.push(create_of_stopped(&config, &order(name), &mut |_, _| true).unwrap());
            // Times are whole milliseconds.
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let found = list(&home.path().join("backups")).unwrap();
        let found: Vec<_> = found.into_iter().map(|it| (it.path, it.inventory.unwrap())).collect();
        let expected: Vec<_> =
            ["z", "y"].map(|name| order(name).to).into_iter().zip(made).collect();
        assert_eq!(found, expected);
        assert_eq!(list(&home.path().join("none")).unwrap().len(), 0);
        let nothing = RocksConfig::new(home.path().join("nothing"));
        let refused = create_of_stopped(&nothing, &order("x"), &mut |_, _| true).unwrap_err();
        assert!(matches!(refused, BackupError::Refused(_)), "{refused}");
        assert!(!home.path().join("nothing").exists(), "nothing was made");
    });
    let counted = snapshots.snapshot().into_vec();
    let backups = counted.iter().find(|one| one.0.key().name() == "sterna_storage_backups_total");
    assert!(matches!(backups, Some((_, _, _, DebugValue::Counter(2)))), "{backups:?}");
}

async fn publish(store: &RocksStore, count: u64) {
    let expected = store.head(channel()).await.unwrap().map(|head| head.position);
    let from = expected.map_or(0, |position| position.offset.0);
    let records = (from + 1..=from + count).map(record).collect();
    store.append(vec![Append::new(channel(), expected, records)]).await.remove(0).unwrap();
}

async fn advance(store: &RocksStore, offset: u64) {
    let (delivered, read) = (Offset(offset), Offset(offset));
    let one = CursorMove { channel: channel(), user: alice(), delivered, read };
    store.advance(vec![one]).await.unwrap();
}

async fn all(store: &RocksStore) -> Vec<Record> {
    let limit = PageLimit { records: usize::MAX, payload_bytes: usize::MAX };
    store.read(channel(), Offset::ZERO, limit).await.unwrap()
}

fn record(seq: u64) -> NewRecord {
    NewRecord {
        id: PublicationId(seq),
        sender: alice(),
        origin: Some(Origin { client_id: ClientId::new("phone").unwrap(), client_seq: seq }),
        client_msg_id: Bytes::new(),
        server_ts_ms: 1_000 + seq,
        client_ts_ms: 0,
        kind: 0,
        target_offset: Offset::ZERO,
        payload: Bytes::from(vec![seq as u8; 2_000]),
    }
}

fn alice() -> UserId {
    UserId::new("alice").unwrap()
}

fn channel() -> ChannelKey {
    ChannelId::new("room:1").unwrap().key()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}
