//! A stranger who takes the store's own locks while it is busy, in the other order and for too long:
//! deadlocks and waits without end, of which the server picks the victims. What was acknowledged is
//! there, what was refused is not, and nothing is there twice.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use sterna_proto::ChannelKey;
use sterna_storage::{Append, AppendError, PublicationLog as _, StorageErrorKind};
use sterna_storage_sql::{SqlConfig, SqlStore};
use sterna_test_engines::MariaDb;
use tokio::task::JoinSet;

use support::{append, key, read_all, record};

mod support;

const WRITERS: u64 = 4;
const DEADLOCKS: u64 = 5;
const TIMEOUTS: u64 = 2;
/// At least so much is written beside the stranger.
const LINES: u64 = 60;

#[tokio::test]
async fn i3_deadlocks_and_long_waits_under_load_lose_and_double_nothing() {
    if MariaDb::is_tidb() {
        return println!(
            "TiDB's transactions have no weight: who is the victim cannot be arranged"
        );
    }
    let recorder = DebuggingRecorder::new();
    let mut counts = Counts::of(recorder.snapshotter());
    let _local = metrics::set_default_local_recorder(&recorder);
    let url = MariaDb::shared().fresh_url();
    // Nobody is a victim so often in turn.
    let (lock_wait, retries) = (Duration::from_secs(1), 1_000);
    let config = SqlConfig { lock_wait, retries, ..SqlConfig::new(&url) };
    let store = SqlStore::connect(config).await.unwrap();
    let channels = in_key_order("one", "two");
    for channel in channels {
        append(&store, channel, None, record("first", 1)).await.unwrap();
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let writer = Writer { store: store.clone(), channels, client: format!("client{number}") };
        let stopped = stopped.clone();
        writers.spawn(async move { writer.write(|| *stopped.borrow()).await });
    }
    let mut stranger = Stranger::come(&url, channels).await;
    while counts.lost("deadlock") < DEADLOCKS {
        stranger.cross().await;
        assert!(writers.try_join_next().is_none(), "a writer has ended");
    }
    while counts.lost("timeout") < TIMEOUTS {
        let before = counts.lost("timeout");
        stranger.begin(channels[1]).await;
        while counts.lost("timeout") == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stranger.go().await;
    }
    stop.send(true).unwrap();
    let told = writers.join_all().await;
    for channel in channels {
        check(&store, channel, &told).await;
    }
    let refused: u64 = told.iter().map(|told| told.timeouts).sum();
    assert_eq!(
        counts.lost("timeout"),
        refused,
        "each wait that was given up is told to its caller"
    );
    let retries = counts.total("sterna_storage_sql_retries_total");
    assert_eq!(retries, counts.lost("deadlock"), "each victim is tried again: {counts:?}");
}

/// Every line of every writer once, in its order.
async fn check(store: &SqlStore, channel: ChannelKey, told: &[Told]) {
    let stored = read_all(store, channel).await;
    let written: u64 = told.iter().map(|told| told.lines).sum();
    assert_eq!(stored.len() as u64, 1 + written);
    for (number, told) in told.iter().enumerate() {
        let mut seqs = Vec::new();
        for origin in stored.iter().filter_map(|one| one.body.origin.as_ref()) {
            if origin.client_id.as_str() == told.client {
                seqs.push(origin.client_seq);
            }
        }
        assert!(seqs.iter().copied().eq(1..=told.lines), "writer {number}: {seqs:?}");
    }
}

/// Appends to both channels in one call, as a core's shards do.
struct Writer {
    store: SqlStore,
    channels: [ChannelKey; 2],
    client: String,
}

/// What a writer was told.
struct Told {
    client: String,
    /// Acknowledged in both channels.
    lines: u64,
    /// Calls that were refused since others held a lock for too long.
    timeouts: u64,
}

impl Writer {
    async fn write(self, is_over: impl Fn() -> bool) -> Told {
        let client = self.client.clone();
        let mut told = Told { client, lines: 0, timeouts: 0 };
        while told.lines < LINES || !is_over() {
            let seq = told.lines + 1;
            let mut missing = self.channels.to_vec();
            while !missing.is_empty() {
                self.write_line(seq, &mut missing, &mut told).await;
            }
            told.lines = seq;
        }
        told
    }

    /// Tries once; what is stored is not missing any more.
    async fn write_line(&self, seq: u64, missing: &mut Vec<ChannelKey>, told: &mut Told) {
        let mut appends = Vec::new();
        for channel in &*missing {
            let head = self.store.head(*channel).await.unwrap().map(|head| head.position);
            appends.push(Append::new(*channel, head, vec![record(&self.client, seq)]));
        }
        let mut refused = None;
        let asked = std::mem::take(missing);
        for (channel, verdict) in asked.into_iter().zip(self.store.append(appends).await) {
            match verdict {
                Ok(_) => {}
                Err(AppendError::Conflict { .. }) => missing.push(channel),
                Err(AppendError::Storage(error)) => {
                    // Nothing was on its way to be committed.
                    assert_eq!(error.kind, StorageErrorKind::Unavailable, "{error}");
                    missing.push(channel);
                    refused = Some(error);
                }
                Err(other) => panic!("{seq} was not stored before: {other:?}"),
            }
        }
        if let Some(error) = refused {
            assert!(error.message.contains("held the lock for too long"), "{error}");
            told.timeouts += 1;
        }
    }
}

/// Another program on the same tables.
struct Stranger {
    conn: Conn,
    channels: [ChannelKey; 2],
}

impl Stranger {
    async fn come(url: &str, channels: [ChannelKey; 2]) -> Self {
        let mut conn = Conn::new(Opts::from_url(url).unwrap()).await.unwrap();
        conn.query_drop("CREATE TABLE ballast (n INT)").await.unwrap();
        Self { conn, channels }
    }

    /// Locks a channel in a transaction that has written more than any of the store's: of two that
    /// wait for each other the lighter one is the victim.
    async fn begin(&mut self, channel: ChannelKey) {
        self.conn.query_drop("BEGIN").await.unwrap();
        let rows = vec!["(1)"; 500].join(",");
        self.conn.query_drop(format!("INSERT INTO ballast VALUES {rows}")).await.unwrap();
        self.lock(channel).await.unwrap();
    }

    /// The other way round than the store.
    async fn cross(&mut self) {
        let [low, high] = self.channels;
        self.begin(high).await;
        // Whoever has the first lock by now waits for the second one.
        if let Err(error) = self.lock(low).await {
            assert!(error.to_string().contains("1213"), "{error}");
        }
        self.go().await;
    }

    async fn go(&mut self) {
        self.conn.query_drop("ROLLBACK").await.unwrap();
    }

    async fn lock(&mut self, channel: ChannelKey) -> Result<(), mysql_async::Error> {
        let hex: String = channel.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let sql = format!("SELECT 1 FROM heads WHERE channel = x'{hex}' FOR UPDATE");
        self.conn.query_drop(sql).await
    }
}

/// What this thread has counted; every look at a recorder begins anew.
#[derive(Debug)]
struct Counts {
    snapshotter: Snapshotter,
    seen: BTreeMap<String, u64>,
}

impl Counts {
    fn of(snapshotter: Snapshotter) -> Self {
        Self { snapshotter, seen: BTreeMap::new() }
    }

    fn lost(&mut self, how: &str) -> u64 {
        self.total(&format!("sterna_storage_sql_lost_locks_total/{how}"))
    }

    fn total(&mut self, name: &str) -> u64 {
        for (key, _, _, value) in self.snapshotter.snapshot().into_vec() {
            let labels = key.key().labels().map(|label| format!("/{}", label.value()));
            let name = format!("{}{}", key.key().name(), labels.collect::<String>());
            if let DebugValue::Counter(count) = value {
                *self.seen.entry(name).or_default() += count;
            }
        }
        self.seen.get(name).copied().unwrap_or(0)
    }
}

fn in_key_order(one: &str, other: &str) -> [ChannelKey; 2] {
    let mut both = [key(one), key(other)];
    both.sort();
    both
}
