//! What the code under a test has counted. The unit tests look at their own thread, the integration
//! tests at all threads of the process.

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

/// Counters and gauges that `act` moves on this thread, and how many values histograms got, by name and
/// labels.
pub(crate) fn moved_by(act: impl FnOnce()) -> BTreeMap<String, f64> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, act);
    moved_since(&snapshotter)
}

/// The same, of everything since the last look: `name label=value label=value`.
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
            DebugValue::Histogram(values) if values.is_empty() => None,
            DebugValue::Histogram(values) => moved.insert(name, values.len() as f64),
        };
    }
    moved
}
