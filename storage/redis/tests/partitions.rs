//! As many partitions as there are in use: each is heard, wherever its slot lies.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{LONG, few, key, listened_to_all, route, shared_cluster, shared_server};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use sterna_proto::ChannelKey;
use sterna_storage::volatile::{Partitions, RouteEvent};
use sterna_storage_redis::{RedisConfig, RedisStore};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_partition_of_a_server_is_heard() {
    hear_all(RedisConfig::new(shared_server().url())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_partition_of_a_cluster_is_heard() {
    hear_all(RedisConfig::cluster(shared_cluster().urls())).await;
}

async fn hear_all(config: RedisConfig) {
    let heard = tokio::time::timeout(Duration::from_secs(90), change_and_hear_all(config)).await;
    assert!(heard.is_ok(), "some partitions are not heard");
}

/// Changes a route in each partition, and waits until each change is heard.
async fn change_and_hear_all(config: RedisConfig) {
    let config = RedisConfig { partitions: Partitions::default(), ..few(config) };
    let routes = RedisStore::open(config).unwrap().stores().routes;
    let partitions = routes.partitions();
    let mut changes = routes.route_changes();
    listened_to_all(&mut changes, partitions).await;
    let channels = one_channel_in_each(partitions);
    let puts = channels.iter().map(|channel| routes.put_route(*channel, route("west", 1), LONG));
    let versions = try_join_all(puts).await.unwrap();
    let mut missing: BTreeSet<(ChannelKey, u64)> = channels.into_iter().zip(versions).collect();
    while !missing.is_empty() {
        match changes.next().await.unwrap() {
            RouteEvent::Changed(change) => drop(missing.remove(&(change.channel, change.v))),
            RouteEvent::Lost(partition) => panic!("{partition:?} was lost without a fault"),
        }
    }
    let asked: Vec<_> = partitions.all().collect();
    let counted = routes.partition_versions(asked).await.unwrap();
    assert_eq!(counted.len(), usize::from(Partitions::MAX));
    assert!(counted.iter().all(|pv| *pv > 0), "{counted:?}");
}

fn one_channel_in_each(partitions: Partitions) -> Vec<ChannelKey> {
    let mut missing: BTreeSet<_> = partitions.all().collect();
    let names = (0..).map(|number| key(&format!("room{number}")));
    let mut found = names.filter(|channel| missing.remove(&partitions.of_channel(*channel)));
    found.by_ref().take(usize::from(partitions.count())).collect()
}
