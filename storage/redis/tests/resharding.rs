//! A slot moves from node to node while it is in use: MOVED and ASK are followed, scripts are known
//! at the new place, and changes are heard there.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{LONG, few, heard_again, key, listened, route};
use sterna_storage::volatile::{Begun, Partitions, VolatileStores};
use sterna_storage_redis::{RedisConfig, RedisStore};
use sterna_test_engines::redis::RedisCluster;
use tokio::sync::watch;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_moves_while_it_is_in_use() {
    let cluster = RedisCluster::start();
    // One partition, so that everything is in the slot that moves.
    let config = few(RedisConfig::cluster(cluster.urls()));
    let config = RedisConfig { partitions: Partitions::new(1), ..config };
    let stores = RedisStore::open(config.clone()).unwrap().stores();
    let partition = stores.routes.partitions().of_channel(key("room"));
    let mut changes = stores.routes.route_changes();
    listened(&mut changes, partition).await;
    let slot = slot_of(&cluster, &config.prefix, &stores).await;

    let (stop, mut writers) = start_writers(&stores);
    let from = cluster.owner(slot);
    for to in [(from + 1) % 3, (from + 2) % 3, from] {
        let from = cluster.owner(slot);
        stop.wait_for_rounds(5).await;
        cluster.begin_move(slot, from, to);
        // While keys are asked for at both places.
        stop.wait_for_keys(5).await;
        cluster.move_keys(slot, from, to);
        stop.wait_for_keys(5).await;
        cluster.move_keys(slot, from, to);
        cluster.end_move(slot, to);
        listened(&mut changes, partition).await;
        heard_again(&*stores.routes, &mut changes, key("hall")).await;
        assert_eq!(cluster.owner(slot), to);
    }
    stop.stop();
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
}

/// Counts what writers have done.
struct Progress {
    rounds: watch::Sender<u64>,
    keys: watch::Sender<u64>,
    stop: watch::Sender<bool>,
}

impl Progress {
    async fn wait_for_rounds(&self, more: u64) {
        wait_for(&self.rounds, more).await;
    }

    async fn wait_for_keys(&self, more: u64) {
        wait_for(&self.keys, more).await;
    }

    fn stop(&self) {
        self.stop.send_replace(true);
    }
}

async fn wait_for(count: &watch::Sender<u64>, more: u64) {
    let enough = *count.borrow() + more;
    let mut seen = count.subscribe();
    let wait = seen.wait_for(|count| *count >= enough);
    let waited = tokio::time::timeout(std::time::Duration::from_secs(90), wait).await;
    assert!(waited.is_ok_and(|seen| seen.is_ok()), "writers stand still");
}

/// Two writers: one of scripts over two keys, which Redis refuses while only one has moved, one of
/// keys that are new all the time. No call of either may fail or be lost.
fn start_writers(stores: &VolatileStores) -> (Progress, JoinSet<()>) {
    let progress = Progress {
        rounds: watch::Sender::new(0),
        keys: watch::Sender::new(0),
        stop: watch::Sender::new(false),
    };
    let mut writers = JoinSet::new();
    let (routes, stop) = (stores.routes.clone(), progress.stop.subscribe());
    let rounds = progress.rounds.clone();
    writers.spawn(async move {
        let mut v = 0;
        while !*stop.borrow() {
            let now = routes.put_route(key("room"), route("west", v), LONG).await.unwrap();
            assert!(now > v, "{now} after {v}");
            assert_eq!(routes.route(key("room")).await.unwrap().nodes, [route("west", v)]);
            v = now;
            rounds.send_modify(|rounds| *rounds += 1);
        }
    });
    let (idempotency, stop) = (stores.idempotency.clone(), progress.stop.subscribe());
    let keys = progress.keys.clone();
    writers.spawn(async move {
        for number in 0.. {
            if *stop.borrow() {
                return;
            }
            let name = Bytes::from(format!("key{number}"));
            let begun = idempotency.begin(name.clone(), 1, LONG).await.unwrap();
            let Begun::New { claim } = begun else { panic!("{name:?} is new: {begun:?}") };
            assert!(idempotency.finish(name.clone(), claim, name.clone(), LONG).await.unwrap());
            let done = idempotency.begin(name.clone(), 1, LONG).await.unwrap();
            assert_eq!(done, Begun::Done(name));
            keys.send_modify(|keys| *keys += 1);
        }
    });
    (progress, writers)
}

/// Where everything of the only partition lives.
async fn slot_of(cluster: &RedisCluster, prefix: &str, stores: &VolatileStores) -> u16 {
    stores.id_floor.raise_floor(1, 1).await.unwrap();
    let pattern = format!("{prefix}*");
    let keys = cluster.nodes.iter().flat_map(|node| {
        node.command::<Vec<String>>(&["KEYS", &pattern]).into_iter().map(move |key| (node, key))
    });
    let (node, key) = keys.into_iter().next().unwrap();
    node.command(&["CLUSTER", "KEYSLOT", &key])
}
