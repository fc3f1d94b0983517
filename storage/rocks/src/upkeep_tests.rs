//! What becomes of rows in the long run: trimmed and expired ones are gone after a compaction,
//! older stores are brought up to date, and RocksDB is told what it has to be told.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use rocksdb::{ColumnFamily, DB, IteratorMode, Options, WriteBatch};
use sterna_proto::{ChannelId, ChannelKey, ClientId, Offset, Position, PublicationId, UserId};
use sterna_storage::{
    Append, Direction, Duplicate, Edge, InboxStore as _, IntentStore as _, ManifestChange,
    ManifestEntry, ManifestStore as _, NewRecord, Origin, PageLimit, Pts, PublicationLog as _,
    Relation, RelationKind, RelationStore as _, SegmentKey, SegmentState, StorageErrorKind,
};

use super::*;
use crate::database::{Database, DirectoryLock, dedup_key, msg_key};
use crate::encoding::{decode_dedup, encode_dedup, seal};
use crate::options::Family;

#[tokio::test]
async fn trimmed_records_are_gone_after_a_compaction() {
    let directory = tempfile::tempdir().unwrap();
    let config = RocksConfig::new(directory.path());
    let store = RocksStore::open(config.clone()).unwrap();
    fill(&store, channel(), 40).await;
    fill(&store, neighbour(), 10).await;
    flush(&store, "msg").await;
    let blobs_before = number(&store, "rocksdb.live-blob-file-size").await;
    assert!(blobs_before > 50 * 2_000, "{blobs_before}");
    store.trim(channel(), Offset(36)).await.unwrap();
    flush(&store, "msg").await;
    let tables = property(&store, "rocksdb.aggregated-table-properties").await;
    assert!(tables.contains("# deletions=35;"), "each by its key: {tables}");
    assert!(tables.contains("# range deletions=0;"), "{tables}");
    compact(&store, "msg").await;
    assert_eq!(number(&store, "rocksdb.estimate-num-keys").await, 15, "and no deletion is left");
    let garbage = number(&store, "rocksdb.live-blob-file-garbage-size").await;
    let blobs = number(&store, "rocksdb.live-blob-file-size").await;
    assert!(blobs - garbage < blobs_before / 2, "{blobs} with {garbage} of garbage");
    let left = store.read(channel(), Offset(35), WIDE).await.unwrap();
    assert_eq!(left.len(), 5);
    assert_eq!(store.read(neighbour(), Offset::ZERO, WIDE).await.unwrap().len(), 10);
}

#[tokio::test]
async fn a_trim_that_was_cut_off_is_finished_by_the_next_opening() {
    let directory = tempfile::tempdir().unwrap();
    let config = RocksConfig::new(directory.path());
    let store = RocksStore::open(config.clone()).unwrap();
    fill(&store, channel(), 2_500).await;
    let step = |group: &mut group::Group| trim::step(group, channel(), Offset(2_400));
    let reached = store.engine.write(step).await.unwrap().unwrap();
    assert!(reached.more);
    assert_eq!(reached.head.first, Offset(2_400), "nobody reads what is left");
    drop(store);
    let opened = open::open(&config).unwrap();
    for offset in [1, 1_000, 1_001, 2_399] {
        let key = msg_key(channel(), Offset(offset));
        assert_eq!(opened.database.get(Family::Msg, &key).unwrap(), None, "offset {offset}");
    }
    let mut rows = 0;
    let count = |_: &[u8], _: &[u8]| {
        rows += 1;
        Ok(std::ops::ControlFlow::Continue(()))
    };
    opened.database.scan(Family::Meta, b"trim/", None, count).unwrap();
    assert_eq!(rows, 0, "nothing is left to finish");
    drop(opened);
    let store = RocksStore::open(config).unwrap();
    assert_eq!(store.read(channel(), Offset(2_399), WIDE).await.unwrap().len(), 101);
    // One that was given up by its caller goes on with the next.
    store.engine.write(|group| trim::step(group, channel(), Offset(2_410))).await.unwrap();
    let head = store.trim(channel(), Offset(2_450)).await.unwrap().unwrap();
    assert_eq!(head.first, Offset(2_450));
    let key = msg_key(channel(), Offset(2_449));
    let gone = store.engine.look(|database| database.get(Family::Msg, &key)).await.unwrap();
    assert_eq!(gone, None);
}

#[test]
fn origins_beyond_the_horizon_are_gone_after_a_compaction() {
    let directory = tempfile::tempdir().unwrap();
    let opened = open::open(&RocksConfig::new(directory.path())).unwrap();
    let mut batch = WriteBatch::default();
    let keys = [1, 2].map(|seq| dedup_key(channel(), &origin(seq)));
    for (key, received_at_ms) in keys.iter().zip([1, options::unix_now_ms()]) {
        let value = seal(key, &encode_dedup(&duplicate(), received_at_ms));
        opened.database.stage_put(&mut batch, Family::Dedup, key, &value);
    }
    opened.database.write(batch, true).unwrap();
    let rocks = opened.database.rocks();
    let family = rocks.cf_handle("dedup").unwrap();
    rocks.flush_cf(&family).unwrap();
    rocks.compact_range_cf(&family, None::<&[u8]>, None::<&[u8]>);
    let found = keys.map(|key| opened.database.get_as(Family::Dedup, &key, decode_dedup).unwrap());
    assert_eq!(found, [None, Some(duplicate())]);
}

#[tokio::test]
async fn old_versions_of_removed_relations_are_gone_after_a_compaction() {
    let directory = tempfile::tempdir().unwrap();
    let store = RocksStore::open(RocksConfig::new(directory.path())).unwrap();
    let now_ms = options::unix_now_ms();
    for (kind, removed_at_ms) in [(1, 1), (2, now_ms)] {
        let edge = Edge { kind: RelationKind(kind), user: alice(), target: bob() };
        let remove =
            move |group: &mut group::Group| relations::remove(group, &edge, 9, removed_at_ms);
        assert!(store.engine.write(remove).await.unwrap());
    }
    for family in ["rel_out", "rel_in"] {
        flush(&store, family).await;
        compact(&store, family).await;
        let keys = property_of(&store, family, "rocksdb.estimate-num-keys").await;
        assert_eq!(keys, "1", "{family}");
    }
    for (kind, takes) in [(1, true), (2, false)] {
        let edge = Edge { kind: RelationKind(kind), user: alice(), target: bob() };
        let late = Relation { edge, since_ms: 1, version: 8 };
        assert_eq!(store.set_relation(late).await.unwrap(), takes, "kind {kind}");
    }
}

#[tokio::test]
async fn damage_is_told_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let store = RocksStore::open(RocksConfig::new(directory.path())).unwrap();
    fill(&store, channel(), 1).await;
    let segment = SegmentKey { shard: 1, first_ts_ms: 2, segment: 3 };
    let entry =
        ManifestEntry { key: segment, state: SegmentState::Published, content: Bytes::new() };
    store.change_manifest(vec![ManifestChange { expected: None, entry }]).await.unwrap();
    let edge = Edge { kind: RelationKind(1), user: alice(), target: bob() };
    let relation = Relation { edge: edge.clone(), since_ms: 1, version: 1 };
    store.set_relation(relation).await.unwrap();
    store.mark_dirty(alice(), vec![channel()]).await.unwrap();
    let expected = store.head(channel()).await.unwrap().map(|head| head.position);
    let append = Append::new(channel(), expected, vec![record(2)]);
    let append = Append { intents: vec![Bytes::from_static(b"owed")], ..append };
    store.append(vec![append]).await.remove(0).unwrap();

    let families = ["uconv", "upts", "rel_out", "rel_in", "intent", "arc"];
    for family in families {
        flip_every_value(&store, family).await;
    }
    let slot = channel().slot();
    let told = [
        store.inbox_state(alice(), channel()).await.map(drop).unwrap_err(),
        store.inbox(alice(), Pts::ZERO, 9).await.map(drop).unwrap_err(),
        store.relation(edge.clone()).await.map(drop).unwrap_err(),
        store.neighbours(bob(), edge.kind, Direction::In, None, 9).await.map(drop).unwrap_err(),
        store.intents(slot, 0, WIDE).await.map(drop).unwrap_err(),
        store.segments(1, None, 9).await.map(drop).unwrap_err(),
    ];
    for (family, error) in families.iter().zip(told) {
        assert_eq!(error.kind, StorageErrorKind::Corrupt, "{family}");
        assert!(error.message.contains(&format!("stored in {family} under ")), "{error}");
    }
    // What could not be read is not written over either.
    assert_eq!(
        store.mark_dirty(alice(), vec![channel()]).await.unwrap_err().kind,
        StorageErrorKind::Corrupt
    );
}

#[tokio::test]
async fn a_store_of_the_first_version_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let config = RocksConfig::new(directory.path());
    let store = RocksStore::open(config.clone()).unwrap();
    fill(&store, channel(), 3).await;
    let head = store.head(channel()).await.unwrap();
    drop(store);
    make_first_version(&config);
    for _ in 0..2 {
        let store = RocksStore::open(config.clone()).unwrap();
        assert_eq!(store.head(channel()).await.unwrap(), head);
        assert_eq!(store.read(channel(), Offset::ZERO, WIDE).await.unwrap().len(), 3);
        let before = store.inbox_head(alice()).await.unwrap();
        let now = store.mark_dirty(alice(), vec![channel()]).await.unwrap();
        assert_eq!(now, before.next());
        let follows = Edge { user: alice(), kind: RelationKind(1), target: alice() };
        store.remove_relation(follows.clone(), 1).await.unwrap();
        assert_eq!(store.relation(follows).await.unwrap(), None);
    }
    let opened = open::open(&config).unwrap();
    let schema = opened.database.get_as(Family::Meta, b"schema", encoding::decode_number).unwrap();
    assert_eq!(schema, Some(2), "so that the first version refuses it");
}

#[tokio::test]
async fn a_restored_store_begins_a_new_epoch_in_every_channel() {
    let (directory, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = RocksConfig::new(directory.path());
    let store = RocksStore::open(config.clone()).unwrap();
    fill(&store, channel(), 5).await;
    let old_pts = store.mark_dirty(alice(), vec![channel()]).await.unwrap();
    drop(store);
    copy(directory.path(), backup.path());
    let store = RocksStore::open(config).unwrap();
    fill(&store, channel(), 5).await;
    let seen = store.head(channel()).await.unwrap().unwrap();
    let seen_pts = store.mark_dirty(alice(), vec![neighbour()]).await.unwrap();
    drop(store);

    // An older copy that is whole by itself: nothing but the operator can know.
    let config = RocksConfig::new(backup.path());
    let restored = RocksConfig { restored: true, ..config.clone() };
    let store = RocksStore::open(restored).unwrap();
    let head = store.head(channel()).await.unwrap().unwrap();
    assert!(head.position.epoch > seen.position.epoch, "clients notice (I5)");
    assert_eq!(head.position.offset, Offset(6), "five publications and the marker");
    assert_eq!(store.inbox(alice(), Pts::ZERO, 10).await.unwrap()[0].pts, old_pts);
    let next = store.mark_dirty(alice(), vec![neighbour()]).await.unwrap();
    assert!(next > seen_pts, "no place is given again");
    drop(store);
    let store = RocksStore::open(config.clone()).unwrap();
    assert_eq!(store.head(channel()).await.unwrap(), Some(head), "once is enough");
    drop(store);

    // The guard file may be another's, or gone.
    fs::remove_file(backup.path().join(guard::FILE_NAME)).unwrap();
    assert_eq!(RocksStore::open(config.clone()).unwrap_err().kind, StorageErrorKind::Corrupt);
    RocksStore::open(RocksConfig { restored: true, ..config.clone() }).unwrap();
    RocksStore::open(config).unwrap();
}

#[test]
fn an_empty_directory_is_not_a_restored_store() {
    let directory = tempfile::tempdir().unwrap();
    let config = RocksConfig { restored: true, ..RocksConfig::new(directory.path()) };
    let error = RocksStore::open(config).unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Unavailable);
    assert!(error.message.contains("put the backup there"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn rocksdb_is_told_what_the_families_need() {
    let directory = tempfile::tempdir().unwrap();
    drop(open::open(&RocksConfig::new(directory.path())).unwrap());
    let options = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let is_options = |path: &std::path::PathBuf| path.to_string_lossy().contains("OPTIONS-");
    let newest = options.filter(is_options).max().unwrap();
    let text = fs::read_to_string(newest).unwrap();
    let told = |section: &str, line: &str| {
        let begin = text.find(section).unwrap_or_else(|| panic!("no {section}"));
        let end = text[begin + 1..].find("\n[").map_or(text.len(), |at| begin + 1 + at);
        let found = text[begin..end].lines().any(|found| found.trim() == line);
        assert!(found, "{section} does not say {line}");
    };
    for line in [
        "bytes_per_sync=1048576",
        "max_total_wal_size=268435456",
        "wal_recovery_mode=kPointInTimeRecovery",
        "paranoid_checks=true",
    ] {
        told("[DBOptions]", line);
    }
    for family in Family::ALL {
        let section = format!("[CFOptions \"{}\"]", family.name());
        told(&section, "level_compaction_dynamic_level_bytes=true");
        let tables = format!("[TableOptions/BlockBasedTable \"{}\"]", family.name());
        told(&tables, "filter_policy=bloomfilter");
        told(&tables, "whole_key_filtering=true");
    }
    for family in ["msg", "dedup", "member", "cursor"] {
        told(&format!("[CFOptions \"{family}\"]"), "prefix_extractor=rocksdb.FixedPrefix.16");
    }
    for family in ["dedup", "rel_out", "rel_in"] {
        told(&format!("[CFOptions \"{family}\"]"), "periodic_compaction_seconds=86400");
    }
    for line in [
        "enable_blob_files=true",
        "min_blob_size=1024",
        "blob_compression_type=kLZ4Compression",
        "enable_blob_garbage_collection=true",
        "blob_garbage_collection_force_threshold=0.500000",
    ] {
        told("[CFOptions \"msg\"]", line);
    }
}

/// Takes away what the first version did not make.
fn make_first_version(config: &RocksConfig) {
    let lock = DirectoryLock::acquire(&config.directory).unwrap();
    let database = Database::open(config, lock).unwrap();
    let mut batch = WriteBatch::default();
    open::stage_number(&database, &mut batch, b"schema", 1);
    database.write(batch, true).unwrap();
    drop(database);
    let names = DB::list_cf(&Options::default(), &config.directory).unwrap();
    let mut options = Options::default();
    options.set_max_open_files(64);
    let mut families = options::families(config);
    families.retain(|family| names.iter().any(|name| name == family.name()));
    let mut rocks = DB::open_cf_descriptors(&options, &config.directory, families).unwrap();
    for family in ["uconv", "upts", "rel_out", "rel_in", "intent", "arc"] {
        rocks.drop_cf(family).unwrap();
    }
}

async fn fill(store: &RocksStore, channel: ChannelKey, count: u64) {
    let expected = store.head(channel).await.unwrap().map(|head| head.position);
    let from = expected.map_or(0, |position| position.offset.0);
    let records = (from + 1..=from + count).map(record).collect();
    store.append(vec![Append::new(channel, expected, records)]).await.remove(0).unwrap();
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

async fn flush(store: &RocksStore, family: &str) {
    on_family(store, family, |rocks, family| rocks.flush_cf(&family).unwrap()).await;
}

async fn compact(store: &RocksStore, family: &str) {
    let whole = None::<&[u8]>;
    on_family(store, family, |rocks, family| rocks.compact_range_cf(&family, whole, whole)).await;
}

async fn number(store: &RocksStore, name: &str) -> u64 {
    property(store, name).await.trim().parse().unwrap()
}

async fn property(store: &RocksStore, name: &str) -> String {
    property_of(store, "msg", name).await
}

async fn property_of(store: &RocksStore, family: &str, name: &str) -> String {
    let of = |rocks: &DB, family: &ColumnFamily| rocks.property_value_cf(&family, name).unwrap();
    on_family(store, family, of).await.unwrap()
}

/// Flips the last bit of every value.
async fn flip_every_value(store: &RocksStore, family: &str) {
    let flip = |rocks: &DB, family: &ColumnFamily| {
        let rows: Vec<_> = rocks.iterator_cf(family, IteratorMode::Start).flatten().collect();
        assert!(!rows.is_empty());
        for (key, mut value) in rows {
            let last = value.len() - 1;
            value[last] ^= 1;
            rocks.put_cf(family, key, value).unwrap();
        }
    };
    on_family(store, family, flip).await;
}

async fn on_family<T: Send + 'static>(
    store: &RocksStore,
    family: &str,
    act: impl FnOnce(&DB, &ColumnFamily) -> T,
) -> T {
    let look = |database: &Database| {
        let rocks = database.rocks();
        Ok(act(rocks, rocks.cf_handle(family).unwrap()))
    };
    store.engine.look(look).await.unwrap()
}

fn duplicate() -> Duplicate {
    let (position, id) = (Position::new(1, 2), PublicationId(3));
    Duplicate { index: 0, position, id, server_ts_ms: 4, fingerprint: 5 }
}

fn record(seq: u64) -> NewRecord {
    NewRecord {
        id: PublicationId(seq),
        sender: alice(),
        origin: Some(origin(seq)),
        client_msg_id: Bytes::new(),
        server_ts_ms: seq,
        client_ts_ms: seq,
        kind: 0,
        target_offset: Offset::ZERO,
        // Into blob files, and not smaller when compressed.
        payload: noise(seq).take(2_500).collect(),
    }
}

fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let next =
        move |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed));
    std::iter::successors(Some(seed), next).map(|state| (state >> 56) as u8)
}

fn origin(client_seq: u64) -> Origin {
    Origin { client_id: ClientId::new("phone").unwrap(), client_seq }
}

fn bob() -> UserId {
    UserId::new("bob").unwrap()
}

fn alice() -> UserId {
    UserId::new("alice").unwrap()
}

fn channel() -> ChannelKey {
    ChannelId::new("room:upkeep").unwrap().key()
}

fn neighbour() -> ChannelKey {
    ChannelId::new("room:neighbour").unwrap().key()
}

const WIDE: PageLimit = PageLimit { records: 1_000, payload_bytes: 16 << 20 };
