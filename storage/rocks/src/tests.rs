//! What the store counts: queues that fill and contents that are damaged.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use futures_util::FutureExt as _;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use rocksdb::WriteBatch;
use sterna_proto::ChannelId;
use sterna_storage::{PublicationLog as _, StorageErrorKind};

use super::*;
use crate::options::Family;

#[tokio::test]
async fn what_waits_is_counted_and_a_full_queue_refuses_more() {
    // Of this test alone: committers of other tests, which run beside it, set the same gauge.
    let recorder: &'static DebuggingRecorder = Box::leak(Box::default());
    let snapshotter = recorder.snapshotter();
    let _local = metrics::set_default_local_recorder(recorder);
    let directory = tempfile::tempdir().unwrap();
    let limits = RocksConfig {
        queue_writes: 2,
        group_writes: 1,
        reader_threads: 1,
        queue_reads: 1,
        ..RocksConfig::new(directory.path())
    };
    let store = RocksStore::open(limits).unwrap();
    let engine = &store.engine;

    let ((first, pass_first), (second, pass_second)) = (Gate::new(), Gate::new());
    let held = engine.write(move |_| {
        // The committer is a thread of its own, and counts for this test until it ends.
        std::mem::forget(metrics::set_default_local_recorder(recorder));
        pass_first()
    });
    let writes = [held, engine.write(|_| pass_second())];
    first.wait_until_reached();
    let last = engine.write(|_| Ok(()));
    let refused = engine.write(|_| Ok(())).now_or_never().unwrap().unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Unavailable);
    assert!(refused.message.contains("try again later"), "{refused}");
    let moved = moved_since(&snapshotter);
    assert_eq!(moved["sterna_storage_refused_total engine=rocksdb queue=commit"], 1.0);
    first.open();
    second.wait_until_reached();
    let waited = moved_since(&snapshotter)["sterna_storage_queue_depth engine=rocksdb"];
    assert_eq!(waited, 2.0, "the second and the last, behind the first");
    second.open();
    for write in writes {
        write.await.unwrap();
    }
    last.await.unwrap();
    let waiting = moved_since(&snapshotter)["sterna_storage_queue_depth engine=rocksdb"];
    assert_eq!(waiting, 0.0, "all are written");

    let (gate, pass) = Gate::new();
    let held = engine.read(|_| pass());
    gate.wait_until_reached();
    let waiting = engine.read(|_| Ok(()));
    let refused = engine.read(|_| Ok(())).now_or_never().unwrap().unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Unavailable);
    let moved = moved_since(&snapshotter);
    assert_eq!(moved["sterna_storage_refused_total engine=rocksdb queue=read"], 1.0);
    gate.open();
    held.await.unwrap();
    waiting.await.unwrap();
}

#[test]
fn damaged_contents_are_refused_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let config = RocksConfig::new(directory.path());
    let damaged = ChannelId::new("room:damaged").unwrap().key();
    let opened = open::open(&config).unwrap();
    let mut batch = WriteBatch::default();
    opened.database.stage_put(&mut batch, Family::Head, &damaged.0, b"no sealed value");
    opened.database.write(batch, true).unwrap();
    drop(opened);

    let store = RocksStore::open(config).unwrap();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let error = store.head(damaged).now_or_never().unwrap().unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::Corrupt);
        assert!(error.message.contains("restore the store from a backup"), "{error}");
        let whole = ChannelId::new("room:whole").unwrap().key();
        assert_eq!(store.head(whole).now_or_never().unwrap().unwrap(), None);
    });
    let moved = moved_since(&snapshotter);
    assert_eq!(moved["sterna_storage_corrupt_total engine=rocksdb"], 1.0);
}

/// Holds a thread of the engine until it is opened.
struct Gate {
    reached: Receiver<()>,
    open: SyncSender<()>,
}

impl Gate {
    /// The gate, and how a thread passes it.
    fn new() -> (Self, impl FnOnce() -> Result<(), StorageError> + Send + 'static) {
        let (reach, reached) = sync_channel(1);
        let (open, opened) = sync_channel::<()>(1);
        let pass = move || {
            reach.send(()).unwrap();
            opened.recv().unwrap();
            Ok(())
        };
        (Self { reached, open }, pass)
    }

    fn wait_until_reached(&self) {
        self.reached.recv().unwrap();
    }

    fn open(&self) {
        self.open.send(()).unwrap();
    }
}

/// Counters and gauges with their labels, since the last look.
pub(crate) fn moved_since(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let mut moved = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let mut name = key.key().name().to_owned();
        for label in key.key().labels() {
            name.push_str(&format!(" {}={}", label.key(), label.value()));
        }
        match value {
            DebugValue::Counter(count) => moved.insert(name, count as f64),
            DebugValue::Gauge(level) => moved.insert(name, level.into_inner()),
            DebugValue::Histogram(_) => None,
        };
    }
    moved
}
