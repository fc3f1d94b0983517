//! What is older than its retention goes, and nothing else does, whatever clocks say.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use sterna_proto::v1::{ChannelAccess, ChannelKind};
use sterna_proto::{ChannelId, Offset, UserId};
use sterna_storage::keeping::{Author, Order, Retention};
use sterna_storage::memory::MemoryStore;
use sterna_storage::{
    Append, BoxFuture, ChannelRecord, KeepingError, KeepingStore as _, StorageError,
    StorageErrorKind, Stores,
};
use sterna_storage_archive::{Pressure, Unpressed};
use sterna_storage_keeping::{
    DataKeys, Encrypt, GivesUp, Keeper, KeptLog, RetentionConfig, RootKeys, SweepReport, Sweeper,
};

use support::{Silent, channel, key, record};

mod support;

const DAY_MS: u64 = 24 * 3_600_000;
/// When the tests publish.
const THEN_MS: u64 = 20_000 * DAY_MS;

fn author() -> Author {
    Author { by: UserId::new("api.ops").unwrap(), at_ms: 1, reason: "because".to_owned() }
}

/// The owner of all channels; some fail.
#[derive(Debug)]
struct Owner {
    stores: Stores,
    told: Mutex<Vec<(String, u64)>>,
    fails: Option<&'static str>,
}

impl GivesUp for Owner {
    fn give_up(
        &self,
        channel: ChannelId,
        first: Offset,
    ) -> BoxFuture<'_, Result<bool, StorageError>> {
        async move {
            if self.fails == Some(channel.as_str()) {
                return Err(StorageError::new(StorageErrorKind::Unavailable, "test", "away"));
            }
            self.told.lock().unwrap().push((channel.to_string(), first.0));
            let order = Order::RaiseFloor(first);
            match self.stores.keeping.keep(channel.key(), order, author()).await {
                Ok(_) => {}
                Err(KeepingError::OnHold(_)) => return Ok(false),
                Err(error) => panic!("{error}"),
            }
            self.stores.log.trim(channel.key(), first).await?;
            Ok(true)
        }
        .boxed()
    }
}

struct Swept {
    stores: Stores,
    owner: Arc<Owner>,
    keeper: Arc<Keeper>,
}

impl Swept {
    fn new() -> Self {
        Self::failing(None)
    }

    fn failing(fails: Option<&'static str>) -> Self {
        let mut stores = MemoryStore::new().stores();
        let keeper = Arc::new(Keeper::new(stores.keeping.clone(), false));
        stores.log = Arc::new(KeptLog::new(stores.log.clone(), keeper.clone()));
        stores.keeping = keeper.clone();
        let told = Mutex::default();
        let owner = Arc::new(Owner { stores: stores.clone(), told, fails });
        Self { stores, owner, keeper }
    }

    fn sweeper(&self, config: RetentionConfig, keys: Option<DataKeys>) -> Sweeper {
        let keys = keys.map(Arc::new);
        let stores = self.stores.clone();
        Sweeper::new(stores, self.owner.clone(), keys, config, Arc::new(Unpressed))
    }

    /// A channel with one publication a day, of which the last was at `THEN_MS`.
    async fn channel(&self, name: &str, kind: ChannelKind, days: u64) {
        let room = ChannelRecord {
            name: channel(name),
            kind,
            access: ChannelAccess::Open,
            created_by: UserId::new("alice").unwrap(),
            created_at_ms: 1,
        };
        self.stores.channels.create(room, Vec::new()).await.unwrap();
        let at = |day: u64| THEN_MS - (days - day) * DAY_MS;
        let records = (1..=days)
            .map(|day| sterna_storage::NewRecord { server_ts_ms: at(day), ..record("a", day) });
        let append = Append::new(key(name), None, records.collect());
        self.stores.log.append(vec![append]).await.remove(0).unwrap();
    }

    async fn order(&self, name: &str, order: Order) {
        self.stores.keeping.keep(key(name), order, author()).await.unwrap();
    }

    async fn first(&self, name: &str) -> u64 {
        self.stores.log.head(key(name)).await.unwrap().unwrap().first.0
    }
}

fn days(days: u64) -> Retention {
    Retention::Millis(days * DAY_MS)
}

async fn pass(sweeper: &mut Sweeper, wall_ms: u64) -> SweepReport {
    sweeper.pass(|_| true, wall_ms).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_channel_keeps_what_its_kind_or_its_own_retention_says() {
    let swept = Swept::new();
    swept.channel("group", ChannelKind::Group, 40).await;
    swept.channel("news", ChannelKind::Broadcast, 40).await;
    swept.channel("dm:alice:bob", ChannelKind::Direct, 40).await;
    swept.channel("own", ChannelKind::Group, 40).await;
    swept.channel("kept", ChannelKind::Group, 40).await;
    swept.order("own", Order::SetRetention(Some(days(3)))).await;
    swept.order("kept", Order::SetRetention(Some(Retention::Forever))).await;
    let config = RetentionConfig { group: days(30), broadcast: days(7), ..Default::default() };
    let mut sweeper = swept.sweeper(config, None);
    let report = pass(&mut sweeper, THEN_MS).await;
    // The publication of day n is 40 - n days old; one that is as old as may be stays.
    for (name, first) in
        [("group", 10), ("news", 33), ("own", 37), ("kept", 1), ("dm:alice:bob", 1)]
    {
        assert_eq!(swept.first(name).await, first, "{name}");
    }
    assert_eq!((report.channels, report.limited, report.swept), (5, 3, 3));
    assert_eq!(report.records, 9 + 32 + 36);
    let report = pass(&mut sweeper, THEN_MS).await;
    assert_eq!((report.swept, report.records), (0, 0), "there is nothing more to do");
}

#[tokio::test(start_paused = true)]
async fn all_of_a_channel_may_go_and_its_end_stays() {
    let swept = Swept::new();
    swept.channel("old", ChannelKind::Group, 5).await;
    swept.channel("new", ChannelKind::Group, 1).await;
    let config = RetentionConfig { group: days(2), ..Default::default() };
    let mut sweeper = swept.sweeper(config, None);
    pass(&mut sweeper, THEN_MS).await;
    for day in 1..=9 {
        tokio::time::advance(Duration::from_millis(DAY_MS)).await;
        pass(&mut sweeper, THEN_MS + day * DAY_MS).await;
    }
    let head = swept.stores.log.head(key("old")).await.unwrap().unwrap();
    assert_eq!((head.first, head.position.offset), (Offset(6), Offset(5)));
    assert_eq!(swept.first("new").await, 2);
}

/// A year ahead, at any moment: nothing that is not old goes.
#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_by_a_year_deletes_nothing_that_is_not_old() {
    let year_ms = 365 * DAY_MS;
    let swept = Swept::new();
    swept.channel("room", ChannelKind::Group, 20).await;
    let config = RetentionConfig { group: days(30), ..Default::default() };
    // Before anybody has looked at all: the store knows no time yet.
    let report = pass(&mut swept.sweeper(config.clone(), None), THEN_MS + year_ms).await;
    assert_eq!((report.records, swept.first("room").await), (0, 1));
    // While a node runs.
    let mut sweeper = swept.sweeper(config.clone(), None);
    pass(&mut sweeper, THEN_MS).await;
    tokio::time::advance(Duration::from_millis(DAY_MS)).await;
    let report = pass(&mut sweeper, THEN_MS + year_ms).await;
    assert_eq!((report.records, swept.first("room").await), (0, 1));
    // Over a restart.
    let report = pass(&mut swept.sweeper(config.clone(), None), THEN_MS + year_ms).await;
    assert_eq!((report.records, swept.first("room").await), (0, 1));
    // Unless an operator says that this is the time.
    let believing = RetentionConfig { believe_clock: true, ..config };
    let report = pass(&mut swept.sweeper(believing, None), THEN_MS + year_ms).await;
    assert_eq!((report.records, swept.first("room").await), (20, 21));
}

/// Its first look finds nothing, not even a time to begin with.
#[tokio::test(start_paused = true)]
async fn a_node_that_starts_with_an_empty_store_gives_up_what_grows_old_later() {
    let swept = Swept::new();
    let config = RetentionConfig { group: days(5), ..Default::default() };
    let mut sweeper = swept.sweeper(config, None);
    pass(&mut sweeper, THEN_MS).await;
    assert_eq!(swept.keeper.raise_retention_clock(0).await.unwrap(), 0);
    swept.channel("room", ChannelKind::Group, 20).await;
    assert_eq!(pass(&mut sweeper, THEN_MS).await.records, 14);
    tokio::time::advance(Duration::from_millis(2 * DAY_MS)).await;
    assert_eq!(pass(&mut sweeper, THEN_MS + 2 * DAY_MS).await.records, 2);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_back_by_a_year_deletes_nothing_at_all() {
    let swept = Swept::new();
    swept.channel("room", ChannelKind::Group, 20).await;
    let config = RetentionConfig { group: days(5), ..Default::default() };
    let mut sweeper = swept.sweeper(config, None);
    let report = pass(&mut sweeper, THEN_MS - 365 * DAY_MS).await;
    assert_eq!((report.records, swept.first("room").await), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_on_hold_stays_until_the_hold_ends() {
    let swept = Swept::new();
    swept.channel("room", ChannelKind::Group, 20).await;
    swept.order("room", Order::Hold).await;
    let config = RetentionConfig { group: days(5), ..Default::default() };
    let mut sweeper = swept.sweeper(config, None);
    let report = pass(&mut sweeper, THEN_MS).await;
    assert_eq!((report.held, report.records, swept.first("room").await), (1, 0, 1));
    swept.order("room", Order::Release).await;
    let report = pass(&mut sweeper, THEN_MS).await;
    assert_eq!((report.held, report.records, swept.first("room").await), (0, 14, 15));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_does_not_answer_is_asked_again_and_others_are_not_worse_off() {
    let swept = Swept::failing(Some("away"));
    swept.channel("away", ChannelKind::Group, 20).await;
    swept.channel("room", ChannelKind::Group, 20).await;
    let config = RetentionConfig { group: days(5), ..Default::default() };
    let report = pass(&mut swept.sweeper(config, None), THEN_MS).await;
    assert_eq!((report.failed, report.swept), (1, 1));
    assert_eq!((swept.first("away").await, swept.first("room").await), (1, 15));
}

#[tokio::test(start_paused = true)]
async fn keys_of_an_earlier_master_key_are_wrapped_by_the_present_one() {
    let swept = Swept::new();
    swept.channel("room", ChannelKind::Group, 1).await;
    let directory = tempfile::tempdir().unwrap();
    let read = |lines: &[&str]| {
        let path = directory.path().join("root");
        std::fs::write(&path, lines.join("\n")).unwrap();
        RootKeys::read(&path).unwrap()
    };
    let (old, new) = (RootKeys::generate(), RootKeys::generate());
    let first = DataKeys::new(swept.keeper.clone(), Some(read(&[&old])), Encrypt::All);
    let segments = sterna_storage_keeping::SealedSegments::new(
        Arc::new(sterna_storage::MemorySegments::default()),
        Arc::new(first),
    );
    let segment = sterna_storage::SegmentKey { shard: 1, first_ts_ms: 2, segment: 3 };
    let links = sterna_storage::Links { depth: 0, back: None, jump: None };
    let mut writer = sterna_storage::Segments::create(&segments, segment).await.unwrap();
    writer.begin_run(key("room"), links).unwrap();
    let position = sterna_proto::Position::new(1, 1);
    writer.push(sterna_storage::Record::new(position, record("a", 1))).await.unwrap();
    writer.finish().await.unwrap();
    let both = read(&[&new, &old]);
    let keys = DataKeys::new(swept.keeper.clone(), Some(both.clone()), Encrypt::All);
    let mut sweeper = swept.sweeper(RetentionConfig::default(), Some(keys));
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    {
        let _local = metrics::set_default_local_recorder(&recorder);
        assert_eq!(pass(&mut sweeper, THEN_MS).await.rewrapped, 1);
    }
    let counted = snapshotter.snapshot().into_vec().into_iter().any(|(key, _, _, value)| {
        key.key().name() == "sterna_storage_keeping_rewrapped_total"
            && value == DebugValue::Counter(1)
    });
    assert!(counted);
    assert_eq!(pass(&mut sweeper, THEN_MS).await.rewrapped, 0);
    let kept = swept.keeper.kept(vec![key("room")]).await.unwrap().remove(0);
    assert_eq!(kept.key.unwrap().root, both.present());
}

/// Appends are slow until somebody has looked three times.
#[derive(Debug, Default)]
struct Slow(std::sync::atomic::AtomicU32);

impl Pressure for Slow {
    fn writes_are_slow(&self) -> bool {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 3
    }
}

#[tokio::test(start_paused = true)]
async fn what_it_does_is_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _local = metrics::set_default_local_recorder(&recorder);
    let swept = Swept::new();
    swept.channel("room", ChannelKind::Group, 20).await;
    swept.channel("held", ChannelKind::Group, 20).await;
    swept.order("held", Order::Hold).await;
    let config = RetentionConfig { group: days(5), ..Default::default() };
    let (stores, owner) = (swept.stores.clone(), swept.owner.clone());
    let mut sweeper = Sweeper::new(stores, owner, None, config, Arc::new(Slow::default()));
    pass(&mut sweeper, THEN_MS).await;
    let found: std::collections::HashMap<String, DebugValue> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| (key.key().name().to_owned(), value))
        .collect();
    for (name, count) in [
        ("sterna_storage_retention_passes_total", 1),
        ("sterna_storage_retention_records_total", 14),
        ("sterna_storage_retention_pauses_total", 3),
    ] {
        assert_eq!(found[name], DebugValue::Counter(count), "{name}");
    }
    assert!(matches!(found["sterna_storage_keeping_lookups_total"], DebugValue::Counter(1..)));
    assert_eq!(found["sterna_storage_retention_held_channels"], DebugValue::Gauge(1.0.into()));
    assert!(found.contains_key("sterna_storage_retention_clock_lag_seconds"));
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_fails_is_counted_and_gives_nothing_up() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _local = metrics::set_default_local_recorder(&recorder);
    let swept = Swept::new();
    swept.channel("room", ChannelKind::Group, 20).await;
    let mut stores = swept.stores.clone();
    stores.keeping = Arc::new(Silent(stores.keeping));
    let config = RetentionConfig { group: days(5), ..Default::default() };
    let owner = swept.owner.clone();
    let mut sweeper = Sweeper::new(stores, owner, None, config, Arc::new(Unpressed));
    assert!(sweeper.pass(|_| true, THEN_MS).await.is_err());
    assert_eq!(swept.first("room").await, 1);
    let counted = snapshotter.snapshot().into_vec().into_iter().any(|(key, _, _, value)| {
        key.key().name() == "sterna_storage_retention_failures_total"
            && value == DebugValue::Counter(1)
    });
    assert!(counted);
}
