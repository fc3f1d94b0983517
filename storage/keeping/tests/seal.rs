//! Payloads under keys, in real objects.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sterna_proto::{ChannelKey, Epoch, Offset, Position, UserId};
use sterna_storage::keeping::{Author, Order};
use sterna_storage::memory::MemoryStore;
use sterna_storage::{
    KeepingStore as _, Links, PageLimit, Record, SegmentKey, Segments, StorageErrorKind,
};
use sterna_storage_keeping::{DataKeys, Encrypt, Keeper, RootKeys, SealedSegments};
use sterna_storage_object::{ObjectConfig, ObjectSegments};

use support::{key, record};

mod support;

const WIDE: PageLimit = PageLimit { records: 1000, payload_bytes: usize::MAX };
const SECRET: &str = "the very secret words";

struct Place {
    directory: tempfile::TempDir,
    keeper: Arc<Keeper>,
}

impl Place {
    fn new() -> Self {
        let keeper = Arc::new(Keeper::new(MemoryStore::new().stores().keeping, false));
        Self { directory: tempfile::tempdir().unwrap(), keeper }
    }

    fn root(&self, lines: &[&str]) -> RootKeys {
        let path = self.directory.path().join("root");
        std::fs::write(&path, lines.join("\n")).unwrap();
        RootKeys::read(&path).unwrap()
    }

    fn objects(&self) -> PathBuf {
        self.directory.path().join("objects")
    }

    /// As a process that has just started.
    fn open(&self, roots: Option<RootKeys>, encrypt: Encrypt) -> SealedSegments {
        let config =
            ObjectConfig::new(sterna_storage_object::Place::Files { root: self.objects() });
        let objects = ObjectSegments::open(config).unwrap();
        let keys = DataKeys::new(self.keeper.clone(), roots, encrypt);
        SealedSegments::new(Arc::new(objects), Arc::new(keys))
    }

    async fn order(&self, channel: ChannelKey, order: Order) {
        let by = UserId::new("api.ops").unwrap();
        let author = Author { by, at_ms: 1, reason: String::new() };
        self.keeper.keep(channel, order, author).await.unwrap();
    }

    fn holds(&self, text: &str) -> bool {
        files(&self.objects()).iter().any(|path| {
            let bytes = std::fs::read(path).unwrap();
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        })
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => all.push(path),
        }
    }
    all
}

/// One payload is empty, and none is compressible to anything else than itself.
fn sample(count: u64) -> Vec<Record> {
    let of = |offset| {
        let mut body = record("phone", offset);
        body.payload = match offset {
            2 => Bytes::new(),
            _ => Bytes::from(format!("{SECRET} {offset}")),
        };
        Record::new(Position { epoch: Epoch(3), offset: Offset(offset) }, body)
    };
    (1..=count).map(of).collect()
}

const SEGMENT: SegmentKey = SegmentKey { shard: 1, first_ts_ms: 2, segment: 3 };

async fn put(segments: &dyn Segments, segment: SegmentKey, channel: ChannelKey) -> Vec<Record> {
    let records = sample(4);
    let mut writer = segments.create(segment).await.unwrap();
    writer.begin_run(channel, Links { depth: 0, back: None, jump: None }).unwrap();
    for record in records.clone() {
        writer.push(record).await.unwrap();
    }
    let sealed = writer.finish().await.unwrap();
    assert_eq!(segments.verify(segment).await.unwrap(), sealed);
    records
}

#[tokio::test]
async fn what_is_sealed_reads_as_it_was_and_lies_there_unreadable() {
    let place = Place::new();
    let line = RootKeys::generate();
    let roots = place.root(&[&line]);
    let sealed = place.open(Some(roots.clone()), Encrypt::All);
    let records = put(&sealed, SEGMENT, key("room")).await;
    assert_eq!(sealed.read(SEGMENT, key("room"), Offset(0), WIDE).await.unwrap(), records);
    assert!(!place.holds(SECRET));
    // Of another process; and where nothing is sealed any more, what was is read all the same.
    let later = place.open(Some(roots), Encrypt::None);
    assert_eq!(later.read(SEGMENT, key("room"), Offset(0), WIDE).await.unwrap(), records);
    let pieces = later.scan(SEGMENT, None, WIDE).await.unwrap();
    let scanned: Vec<Record> = pieces.into_iter().flat_map(|piece| piece.records).collect();
    assert_eq!(scanned, records, "as whoever puts segments together reads it");
    let plain = SegmentKey { segment: 4, ..SEGMENT };
    put(&later, plain, key("room")).await;
    assert!(place.holds(SECRET), "the test looks in the right place");
}

#[tokio::test]
async fn only_marked_channels_are_sealed_where_only_they_are_to_be() {
    let place = Place::new();
    let line = RootKeys::generate();
    let sealed = place.open(Some(place.root(&[&line])), Encrypt::Marked);
    place.order(key("marked"), Order::Seal(true)).await;
    let records = put(&sealed, SEGMENT, key("marked")).await;
    assert!(!place.holds(SECRET));
    put(&sealed, SegmentKey { segment: 4, ..SEGMENT }, key("plain")).await;
    assert!(place.holds(SECRET));
    assert_eq!(sealed.read(SEGMENT, key("marked"), Offset(0), WIDE).await.unwrap(), records);
    let kept = place.keeper.kept(vec![key("marked"), key("plain")]).await.unwrap();
    assert_eq!((kept[0].keys_made, kept[1].keys_made), (1, 0));
}

#[tokio::test]
async fn an_erased_channel_is_read_by_nobody_also_not_by_who_has_read_it_before() {
    let place = Place::new();
    let line = RootKeys::generate();
    let roots = place.root(&[&line]);
    let sealed = place.open(Some(roots.clone()), Encrypt::All);
    let records = put(&sealed, SEGMENT, key("room")).await;
    assert_eq!(sealed.read(SEGMENT, key("room"), Offset(0), WIDE).await.unwrap(), records);
    place.order(key("room"), Order::Erase { upto: Offset(4) }).await;
    for reader in [&sealed, &place.open(Some(roots.clone()), Encrypt::All)] {
        let page = reader.read(SEGMENT, key("room"), Offset(0), WIDE).await.unwrap();
        let left: Vec<&Record> = page.iter().filter(|it| !it.body.payload.is_empty()).collect();
        assert_eq!((page.len(), left), (4, vec![]));
        assert!(page.iter().filter(|it| it.position.offset != Offset(2)).all(|it| it.redacted));
    }
    assert!(!place.holds(SECRET));
    // What comes later has another key, and is not touched by it.
    let later = SegmentKey { segment: 4, ..SEGMENT };
    let records = put(&sealed, later, key("room")).await;
    assert_eq!(sealed.read(later, key("room"), Offset(0), WIDE).await.unwrap(), records);
    let kept = place.keeper.kept(vec![key("room")]).await.unwrap().remove(0);
    assert_eq!(kept.key.unwrap().id, 2);
}

#[tokio::test]
async fn without_the_master_key_nothing_is_read_and_nothing_is_lost() {
    let place = Place::new();
    let line = RootKeys::generate();
    let roots = place.root(&[&line]);
    let sealed = place.open(Some(roots.clone()), Encrypt::All);
    let records = put(&sealed, SEGMENT, key("room")).await;
    let other = RootKeys::generate();
    for roots in [None, Some(place.root(&[&other]))] {
        let reader = place.open(roots, Encrypt::All);
        let error = reader.read(SEGMENT, key("room"), Offset(0), WIDE).await.unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::Unavailable, "{error}");
        assert!(error.message.contains("master_key_file"), "{error}");
    }
    let reader = place.open(Some(roots), Encrypt::All);
    assert_eq!(reader.read(SEGMENT, key("room"), Offset(0), WIDE).await.unwrap(), records);
}

/// Many that seal a channel for the first time at once end up with one key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_race_for_the_first_key_seal_with_one() {
    let place = Place::new();
    let line = RootKeys::generate();
    let roots = place.root(&[&line]);
    let mut racing = tokio::task::JoinSet::new();
    for n in 0..8 {
        let sealed = place.open(Some(roots.clone()), Encrypt::All);
        racing.spawn(async move {
            put(&sealed, SegmentKey { segment: 10 + n, ..SEGMENT }, key("room")).await
        });
    }
    racing.join_all().await;
    let reader = place.open(Some(roots), Encrypt::All);
    for n in 0..8 {
        let segment = SegmentKey { segment: 10 + n, ..SEGMENT };
        let page = reader.read(segment, key("room"), Offset(0), WIDE).await.unwrap();
        assert_eq!(page, sample(4));
    }
    assert_eq!(place.keeper.kept(vec![key("room")]).await.unwrap()[0].keys_made, 1);
}
