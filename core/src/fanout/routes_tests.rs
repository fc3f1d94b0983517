//! Routes with a table whose changes are heard, are not heard, and with one that fails.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{self, BoxStream};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use sterna_proto::NodeId;
use sterna_storage::StorageErrorKind;
use sterna_storage::volatile::{MemoryVolatile, NodeRoute, Partition, Partitions, RouteEvent};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_change_that_is_heard_is_seen_without_comparing() {
    let table = Table::new(Ears::Open);
    let routes = Routes::new(table.clone(), RouteCacheConfig::default());
    let listening = routes.listen();
    let asking = async {
        let began_at = Instant::now();
        for incarnation in 1..5 {
            table.put(incarnation).await;
            while incarnation_of(&routes.route(ROOM).await.unwrap()) != Some(incarnation) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        // In the runtime's own time, so that comparing has not done it.
        assert!(began_at.elapsed() < COMPARE_EVERY);
    };
    tokio::select! {
        () = listening => panic!("it listens until it is dropped"),
        () = asking => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_not_heard_is_found_by_comparing() {
    let table = Table::new(Ears::Shut);
    let routes = Routes::new(table.clone(), RouteCacheConfig::default());
    let asking = async {
        table.put(1).await;
        assert_eq!(incarnation_of(&routes.route(ROOM).await.unwrap()), Some(1));
        // The first comparison has nothing to compare with.
        tokio::time::sleep(COMPARE_EVERY * 2).await;
        assert_eq!(incarnation_of(&routes.route(ROOM).await.unwrap()), Some(1));
        table.put(2).await;
        assert_eq!(incarnation_of(&routes.route(ROOM).await.unwrap()), Some(1), "nobody knows yet");
        tokio::time::sleep(COMPARE_EVERY * 2).await;
        assert_eq!(incarnation_of(&routes.route(ROOM).await.unwrap()), Some(2));
    };
    tokio::select! {
        () = routes.listen() => panic!("it listens until it is dropped"),
        () = asking => {}
    }
}

#[tokio::test(start_paused = true)]
async fn without_anybody_listening_a_route_ends_by_itself() {
    let table = Table::new(Ears::Shut);
    let config = RouteCacheConfig::default();
    let routes = Routes::new(table.clone(), config);
    table.put(1).await;
    routes.route(ROOM).await.unwrap();
    table.put(2).await;
    tokio::time::sleep(config.ttl).await;
    assert_eq!(incarnation_of(&routes.route(ROOM).await.unwrap()), Some(2));
}

#[tokio::test]
async fn who_is_not_there_has_the_route_read_once_more() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _here = metrics::set_default_local_recorder(&recorder);
    let table = Table::new(Ears::Shut);
    let routes = Routes::new(table.clone(), RouteCacheConfig::default());
    table.put(1).await;
    let stale = routes.route(ROOM).await.unwrap();
    table.put(2).await;
    assert_eq!(routes.route(ROOM).await.unwrap(), stale);
    let mended = routes.route_after_not_here(ROOM, stale.v).await.unwrap();
    assert_eq!(incarnation_of(&mended), Some(2));
    // Another sender that has been told so later takes what the first has read.
    assert_eq!(routes.route_after_not_here(ROOM, stale.v).await.unwrap(), mended);
    assert_eq!(table.reads.load(Ordering::Relaxed), 2);
    let counted = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .filter(|(key, ..)| key.key().name() == "sterna_core_route_lookups_total");
    let counts: Vec<_> = counted.map(|(_, _, _, value)| value).collect();
    assert_eq!(counts, [DebugValue::Counter(2), DebugValue::Counter(2)]);
}

#[tokio::test]
async fn a_table_that_fails_is_asked_again() {
    let table = Table::new(Ears::Broken);
    let routes = Routes::new(table.clone(), RouteCacheConfig::default());
    for reads in 1..3 {
        let error = routes.route(ROOM).await.unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::Unavailable);
        assert_eq!(table.reads.load(Ordering::Relaxed), reads);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ears {
    Open,
    /// No change is ever heard.
    Shut,
    /// Nothing works at all.
    Broken,
}

/// A table in memory that counts readings.
#[derive(Debug)]
struct Table {
    memory: MemoryVolatile,
    ears: Ears,
    reads: AtomicUsize,
}

impl Table {
    fn new(ears: Ears) -> Arc<Self> {
        let memory = MemoryVolatile::new(Partitions::new(4));
        Arc::new(Self { memory, ears, reads: AtomicUsize::new(0) })
    }

    async fn put(&self, incarnation: u64) {
        let route = NodeRoute { node: NodeId::new("west").unwrap(), incarnation };
        self.memory.put_route(ROOM, route, Duration::from_hours(1)).await.unwrap();
    }
}

impl RouteTable for Table {
    fn partitions(&self) -> Partitions {
        self.memory.partitions()
    }

    fn put_route(
        &self,
        channel: ChannelKey,
        route: NodeRoute,
        keep: Duration,
    ) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.memory.put_route(channel, route, keep)
    }

    fn remove_route(
        &self,
        channel: ChannelKey,
        node: NodeId,
    ) -> BoxFuture<'_, Result<Option<u64>, StorageError>> {
        self.memory.remove_route(channel, node)
    }

    fn route(&self, channel: ChannelKey) -> BoxFuture<'_, Result<Route, StorageError>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.ears == Ears::Broken {
            let error = StorageError::new(StorageErrorKind::Unavailable, "test", "broken");
            return ready(Err(error)).boxed();
        }
        self.memory.route(channel)
    }

    fn partition_versions(
        &self,
        partitions: Vec<Partition>,
    ) -> BoxFuture<'_, Result<Vec<u64>, StorageError>> {
        self.memory.partition_versions(partitions)
    }

    fn route_changes(&self) -> BoxStream<'static, RouteEvent> {
        match self.ears {
            Ears::Open => self.memory.route_changes(),
            Ears::Shut | Ears::Broken => stream::pending().boxed(),
        }
    }
}

fn incarnation_of(route: &Route) -> Option<u64> {
    route.nodes.first().map(|node| node.incarnation)
}

const ROOM: ChannelKey = ChannelKey([7; 16]);
