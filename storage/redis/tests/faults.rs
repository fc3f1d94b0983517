//! Redis is disposable (I6): it is flushed, killed, stopped and found away, and what stands on it
//! goes on.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{
    LONG, eventually, few, heard_again, key, listened, listened_to_all, route, session_entry, user,
};
use futures_util::future::join_all;
use sterna_proto::NodeId;
use sterna_storage::StorageErrorKind;
use sterna_storage::volatile::{
    Beat, Begun, Boot, DeltaId, DeltaPage, Partition, Rate, Sentinel, SessionPut, VolatileStores,
};
use sterna_storage_redis::{RedisConfig, RedisStore};
use sterna_test_engines::redis::{RedisCluster, RedisServer};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_flush_in_the_middle_of_everything_is_noticed_and_mended() {
    let server = RedisServer::start();
    let stores = open(few(RedisConfig::new(server.url())));
    let partitions: Vec<Partition> = stores.routes.partitions().all().collect();
    let mut boots: Vec<Option<Boot>> = vec![None; partitions.len()];
    let busy = Busy::start(&stores);
    for _ in 0..8 {
        busy.wait_for_rounds(20).await;
        server.command::<()>(&["FLUSHALL"]);
        for (partition, remembered) in partitions.iter().zip(&mut boots) {
            let found = stores.sentinel.check_loss(*partition, *remembered).await.unwrap();
            let Sentinel::Lost { now } = found else { panic!("{partition:?} was lost") };
            let again = stores.sentinel.check_loss(*partition, Some(now)).await.unwrap();
            assert_eq!(again, Sentinel::Same);
            *remembered = Some(now);
        }
    }
    busy.stop().await;
    server.command::<()>(&["FLUSHALL"]);
    assert_eq!(stores.routes.route(key("room")).await.unwrap().nodes, []);
    assert_eq!(stores.directory.sessions_of(user("alice"), 9).await.unwrap(), []);
    put_again(&stores).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_server_that_is_killed_comes_back_empty_and_is_filled_again() {
    let mut server = RedisServer::start();
    let stores = open(few(RedisConfig::new(server.url())));
    let partition = stores.routes.partitions().of_channel(key("room"));
    let mut changes = stores.routes.route_changes();
    listened(&mut changes, partition).await;
    put_again(&stores).await;
    let Sentinel::Lost { now } = stores.sentinel.check_loss(partition, None).await.unwrap() else {
        panic!("nobody remembers anything");
    };
    server.kill();
    let error = stores.routes.route(key("room")).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Unavailable, "{error}");
    listened(&mut changes, partition).await;
    server.restart();
    eventually("the server again", || async { stores.id_floor.raise_floor(1, 1).await.is_ok() })
        .await;
    let found = stores.sentinel.check_loss(partition, Some(now)).await.unwrap();
    assert!(matches!(found, Sentinel::Lost { .. }), "{found:?}");
    heard_again(&*stores.routes, &mut changes, key("room")).await;
    put_again(&stores).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_server_is_unavailable_and_then_is_not() {
    let server = RedisServer::start();
    let config = few(RedisConfig::new(server.url()));
    let timing = Duration::from_millis(200);
    let stores = open(RedisConfig { call_timeout: timing, calls_in_flight: 2, ..config });
    eventually("a first answer", || async { stores.id_floor.raise_floor(1, 1).await.is_ok() })
        .await;
    server.pause();
    // More rounds than it takes for the connection to be given up.
    for _ in 0..6 {
        let calls = (0..5).map(|_| stores.id_floor.raise_floor(1, 2));
        let errors: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap_err).collect();
        assert!(errors.iter().all(|error| error.kind == StorageErrorKind::Unavailable));
        let refused = errors.iter().filter(|error| error.message.contains("too many")).count();
        assert_eq!(refused, 3, "{errors:?}");
    }
    server.resume();
    eventually("an answer", || async { matches!(stores.id_floor.raise_floor(1, 3).await, Ok(3)) })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_with_redis_away() {
    let mut server = RedisServer::start();
    server.kill();
    let stores = open(few(RedisConfig::new(server.url())));
    let partition = stores.routes.partitions().of_channel(key("room"));
    let mut changes = stores.routes.route_changes();
    let error = stores.routes.route(key("room")).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Unavailable, "{error}");
    server.restart();
    listened(&mut changes, partition).await;
    eventually("a server", || async { stores.id_floor.raise_floor(1, 1).await.is_ok() }).await;
    put_again(&stores).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_with_the_whole_cluster_away() {
    let mut cluster = RedisCluster::start();
    cluster.nodes.iter_mut().for_each(RedisServer::kill);
    let config = few(RedisConfig::cluster(cluster.urls()));
    let stores = open(RedisConfig { call_timeout: Duration::from_secs(2), ..config });
    let error = stores.routes.route(key("room")).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Unavailable, "{error}");
    cluster.nodes.iter_mut().for_each(RedisServer::restart);
    cluster.wait_until_whole();
    eventually("a cluster", || async { stores.id_floor.raise_floor(1, 1).await.is_ok() }).await;
    put_again(&stores).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_a_node_of_a_cluster_loses_its_own_partitions_alone() {
    let mut cluster = RedisCluster::start();
    let stores = open(few(RedisConfig::cluster(cluster.urls())));
    let mut changes = stores.routes.route_changes();
    listened_to_all(&mut changes, stores.routes.partitions()).await;
    let mut boots = Vec::new();
    for partition in stores.routes.partitions().all() {
        match stores.sentinel.check_loss(partition, None).await.unwrap() {
            Sentinel::Lost { now } => boots.push((partition, now)),
            Sentinel::Same => panic!("nobody remembers anything"),
        }
    }
    cluster.nodes[1].restart();
    cluster.wait_until_whole();
    eventually("the node again", || async {
        let looks = boots.iter().map(|(at, boot)| stores.sentinel.check_loss(*at, Some(*boot)));
        join_all(looks).await.iter().all(Result::is_ok)
    })
    .await;
    let mut lost = Vec::new();
    for (partition, boot) in boots {
        let found = stores.sentinel.check_loss(partition, Some(boot)).await.unwrap();
        lost.extend((found != Sentinel::Same).then_some(partition));
    }
    assert!((5..=6).contains(&lost.len()), "a third of 16 were there: {lost:?}");
    let partitions = stores.routes.partitions();
    let mut channels = (0..).map(|number| key(&format!("room{number}")));
    let channel = channels.find(|channel| partitions.of_channel(*channel) == lost[0]).unwrap();
    heard_again(&*stores.routes, &mut changes, channel).await;
}

/// Uses every role without a pause; no call may fail, whatever is flushed meanwhile.
struct Busy {
    rounds: Arc<AtomicU64>,
    has_to_stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Busy {
    fn start(stores: &VolatileStores) -> Self {
        let (rounds, has_to_stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let mut tasks = JoinSet::new();
        for task in 0..4_u64 {
            let stores = stores.clone();
            let (rounds, has_to_stop) = (rounds.clone(), has_to_stop.clone());
            tasks.spawn(async move {
                let mut position = DeltaId::START;
                for round in 0.. {
                    if has_to_stop.load(Ordering::Relaxed) {
                        return;
                    }
                    position = use_everything(&stores, task, round, position).await;
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { rounds, has_to_stop, tasks }
    }

    async fn wait_for_rounds(&self, more: u64) {
        let enough = self.rounds.load(Ordering::Relaxed) + more;
        eventually("more rounds", || async { self.rounds.load(Ordering::Relaxed) >= enough }).await;
    }

    async fn stop(self) {
        self.has_to_stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
    }
}

async fn use_everything(
    stores: &VolatileStores,
    task: u64,
    round: u64,
    position: DeltaId,
) -> DeltaId {
    let name = Bytes::from(format!("{task}/{round}"));
    stores.routes.put_route(key("room"), route("west", round), LONG).await.unwrap();
    stores.routes.remove_route(key("room"), route("west", 0).node).await.unwrap();
    stores.routes.route(key("room")).await.unwrap();
    let edge = NodeId::new(&format!("e{task}")).unwrap();
    stores.directory.beat_edge(edge, 1, 1, LONG).await.unwrap();
    let entry = session_entry(task.into(), &format!("e{task}"), 1);
    stores.directory.put_session(user("alice"), entry).await.unwrap();
    stores.directory.sessions_of(user("alice"), 9).await.unwrap();
    stores.rates.take(name.clone(), 1, Rate { limit: 1, window: LONG }).await.unwrap();
    if let Begun::New { claim } = stores.idempotency.begin(name.clone(), 1, LONG).await.unwrap() {
        stores.idempotency.finish(name.clone(), claim, Bytes::new(), LONG).await.unwrap();
    }
    stores.id_floor.raise_floor(task as u16, round).await.unwrap();
    stores.presence.append_delta(Partition(0), name).await.unwrap();
    match stores.presence.deltas(Partition(0), position, 99).await.unwrap() {
        DeltaPage::Deltas(deltas) => deltas.last().map_or(position, |delta| delta.id),
        DeltaPage::Trimmed { tail } => tail,
    }
}

/// What relays and edges do after a loss, and that it is all that has to be done.
async fn put_again(stores: &VolatileStores) {
    stores.routes.put_route(key("room"), route("west", 7), LONG).await.unwrap();
    assert_eq!(stores.routes.route(key("room")).await.unwrap().nodes, [route("west", 7)]);
    let edge = NodeId::new("e9").unwrap();
    let beat = stores.directory.beat_edge(edge, 1, 1, LONG).await.unwrap();
    assert_eq!(beat, Beat::Begun);
    let entry = session_entry(1, "e9", 1);
    let put = stores.directory.put_session(user("alice"), entry.clone()).await.unwrap();
    assert_eq!(put, SessionPut::Stored);
    assert_eq!(stores.directory.sessions_of(user("alice"), 9).await.unwrap(), [entry]);
}

fn open(config: RedisConfig) -> VolatileStores {
    RedisStore::open(config).unwrap().stores()
}
