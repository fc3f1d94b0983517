//! What an owner keeps in memory of its channels: bounded in time and in bytes of all together, and
//! whoever asks for what is not there any more gets it from the log.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use metrics_util::debugging::{DebugValue, Snapshotter};
use sterna_proto::v1;
use sterna_storage::memory::MemoryStore;
use support::{TestClient, config, counted, with_held_clock, with_workers};

/// Each time series by its name and its labels' values.
fn series(snapshotter: &Snapshotter) -> HashMap<String, f64> {
    let snapshot = snapshotter.snapshot().into_vec().into_iter();
    let value = |value| match value {
        DebugValue::Counter(count) => Some(count as f64),
        DebugValue::Gauge(value) => Some(value.into_inner()),
        DebugValue::Histogram(_) => None,
    };
    let named = |(key, _, _, of): (metrics_util::CompositeKey, _, _, DebugValue)| {
        let labels = key.key().labels().map(|label| label.value());
        let words: Vec<&str> = std::iter::once(key.key().name()).chain(labels).collect();
        Some((words.join(" "), value(of)?))
    };
    snapshot.filter_map(named).collect()
}

async fn from_the_start(client: &mut TestClient, channel: &str) -> Vec<u64> {
    let page = client.subscribe(channel, Some(v1::Position::default())).await;
    assert!(page.gap.is_none());
    page.publications.iter().map(|publication| publication.offset).collect()
}

#[test]
fn i12_i5_rings_of_all_channels_are_bounded_together_and_the_log_has_what_they_give_up() {
    counted(|snapshotter| {
        let mut config = config();
        config.shards = 1;
        config.queues.rings_bytes = 64 * 1024;
        with_workers(config, MemoryStore::new().stores(), 1, |_, workers| async move {
            let mut alice = TestClient::connect(&workers[0], "alice").await;
            let payload = "x".repeat(1000);
            for n in 1..=40 {
                for room in 0..10 {
                    alice.publish(&format!("room:{room}"), n, &payload).await;
                }
                // A quiet one that was the first to be there.
                if n <= 2 {
                    alice.publish("room:cold", n, &payload).await;
                }
            }
            // The rings are told of on a tick.
            tokio::time::sleep(Duration::from_millis(250)).await;
            for room in ["room:cold", "room:0", "room:9"] {
                let expected = if room == "room:cold" { 2 } else { 40 };
                let found = from_the_start(&mut alice, room).await;
                assert_eq!(found, (1..=expected).collect::<Vec<_>>(), "{room}");
            }
        });
        let told = series(snapshotter);
        let bytes = told["sterna_core_ring_bytes owner"];
        assert!(bytes > 32.0 * 1024.0 && bytes <= 64.0 * 1024.0, "{bytes}");
        assert!(told["sterna_core_ring_evicted_total owner bytes"] > 300.0);
    });
}

#[test]
fn i5_what_has_been_in_a_ring_for_too_long_is_read_from_the_log() {
    counted(|snapshotter| {
        let mut config = config();
        config.queues.ring_age = Duration::from_secs(10);
        with_held_clock(config, MemoryStore::new().stores(), 1, |_, workers| async move {
            let mut alice = TestClient::connect(&workers[0], "alice").await;
            alice.publish("room:1", 1, "x").await;
            tokio::time::sleep(Duration::from_secs(6)).await;
            alice.publish("room:1", 2, "x").await;
            assert_eq!(from_the_start(&mut alice, "room:1").await, [1, 2], "from the ring");
            tokio::time::sleep(Duration::from_secs(6)).await;
            assert_eq!(from_the_start(&mut alice, "room:1").await, [1, 2], "from the log");
        });
        let told = series(snapshotter);
        assert_eq!(told["sterna_core_hot_lookups_total owner_ring hit"], 1.0);
        assert_eq!(told["sterna_core_hot_lookups_total owner_ring miss"], 1.0);
        assert_eq!(told["sterna_core_ring_evicted_total owner age"], 1.0);
    });
}
