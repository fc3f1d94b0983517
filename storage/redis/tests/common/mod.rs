//! Places for the tests of the engine: a prefix of its own on a server that tests share.

#![allow(dead_code)] // Each file of tests takes what it needs.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use sterna_proto::{ChannelId, ChannelKey, NodeId, SessionId, UserId};
use sterna_storage::conformance::volatile::VolatilePlace;
use sterna_storage::volatile::{
    DirectoryEntry, NodeRoute, Partition, Partitions, RouteEvent, RouteTable,
};
use sterna_storage_redis::{RedisConfig, RedisStore};
use sterna_test_engines::redis::{RedisCluster, RedisServer};

/// One server for all tests of this process that do not hurt it; it ends with the process.
pub fn shared_server() -> &'static RedisServer {
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    SERVER.get_or_init(RedisServer::start)
}

/// One Cluster likewise.
pub fn shared_cluster() -> &'static RedisCluster {
    static CLUSTER: OnceLock<RedisCluster> = OnceLock::new();
    CLUSTER.get_or_init(RedisCluster::start)
}

pub fn single_place() -> VolatilePlace {
    let server = shared_server();
    place(RedisConfig::new(server.url()), |prefix| server.forget(prefix))
}

pub fn cluster_place() -> VolatilePlace {
    let cluster = shared_cluster();
    let forget = |prefix: &str| cluster.nodes.iter().for_each(|node| node.forget(prefix));
    place(RedisConfig::cluster(cluster.urls()), forget)
}

fn place(config: RedisConfig, forget: impl Fn(&str) + Send + Sync + 'static) -> VolatilePlace {
    let config = few(config);
    let prefix = config.prefix.clone();
    let stores = RedisStore::open(config).unwrap().stores();
    let forget = move || -> BoxFuture<'static, ()> {
        forget(&prefix);
        ready(()).boxed()
    };
    VolatilePlace { stores, forget: Box::new(forget) }
}

/// A prefix that nobody else has, few partitions, and patience with a machine under load.
pub fn few(config: RedisConfig) -> RedisConfig {
    static PLACES: AtomicUsize = AtomicUsize::new(0);
    let prefix = format!("test{}:", PLACES.fetch_add(1, Ordering::Relaxed));
    let call_timeout = Duration::from_secs(20);
    RedisConfig { prefix, partitions: Partitions::new(16), call_timeout, ..config }
}

/// Asks until the answer satisfies; fails when it does not for a long time.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "waited in vain for {what}");
}

/// Reads until a partition is called lost.
pub async fn listened(changes: &mut BoxStream<'static, RouteEvent>, partition: Partition) {
    let wait = async { while changes.next().await.unwrap() != RouteEvent::Lost(partition) {} };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "{partition:?} is not heard");
}

/// Reads until every partition was called lost, which means that its changes are heard.
pub async fn listened_to_all(changes: &mut BoxStream<'static, RouteEvent>, all: Partitions) {
    let mut silent: BTreeSet<Partition> = all.all().collect();
    let wait = async {
        while !silent.is_empty() {
            if let Some(RouteEvent::Lost(partition)) = changes.next().await {
                silent.remove(&partition);
            }
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "{silent:?} are not heard");
}

/// Changes a channel's route until a change of it is heard.
pub async fn heard_again(
    routes: &dyn RouteTable,
    changes: &mut BoxStream<'static, RouteEvent>,
    channel: ChannelKey,
) {
    let wait = async {
        loop {
            let v = routes.put_route(channel, route("west", 1), LONG).await.unwrap();
            let hear = async {
                while !matches!(
                    changes.next().await.unwrap(),
                    RouteEvent::Changed(change) if change.channel == channel && change.v == v
                ) {}
            };
            // A change before the subscription is one that is not heard.
            if tokio::time::timeout(Duration::from_millis(200), hear).await.is_ok() {
                return;
            }
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "changes are not heard again");
}

pub fn key(name: &str) -> ChannelKey {
    ChannelId::new(name).unwrap().key()
}

pub fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub fn route(node: &str, incarnation: u64) -> NodeRoute {
    NodeRoute { node: NodeId::new(node).unwrap(), incarnation }
}

pub fn session_entry(number: u128, edge: &str, incarnation: u64) -> DirectoryEntry {
    let edge = NodeId::new(edge).unwrap();
    DirectoryEntry { session: SessionId(number), edge, incarnation, class: 0 }
}

/// Does not end during a test.
pub const LONG: Duration = Duration::from_hours(1);

const PATIENCE: Duration = Duration::from_secs(90);
