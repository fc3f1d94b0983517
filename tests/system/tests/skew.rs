//! Nodes of two releases in one cluster, as during every upgrade: whichever of them clients, edges and
//! owners are, nothing is lost, doubled or out of order (I13). `STERNA_OLD_BIN` names the older
//! binary; `make test-skew` builds it.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::path::PathBuf;

use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::traffic::Traffic;
use sterna_test_engines::MariaDb;
use sterna_test_engines::redis::RedisServer;

const CORES: [&str; 3] = ["c1", "c2", "c3"];
const EDGES: [&str; 2] = ["e1", "e2"];

fn old_binary() -> PathBuf {
    let named = std::env::var_os("STERNA_OLD_BIN");
    named.expect("STERNA_OLD_BIN names the older binary; `make test-skew` builds it").into()
}

/// Three cores and two edges, of which these are of the older release. They start first: a newer core
/// may bring the database up to date, which older ones that run already do not mind.
async fn cluster(database: &MariaDb, redis: &RedisServer, old: &[&str]) -> Cluster {
    let mut cluster = Cluster::new().await;
    let urls = format!("store.urls={}", database.fresh_url());
    let redis = format!("redis.urls={}", redis.url());
    for core in CORES {
        cluster.prepare(core, "core", &["store.engine=sql", &urls, &redis]).await;
    }
    for edge in EDGES {
        cluster.prepare(edge, "edge", &[&redis]).await;
    }
    let mut nodes = [&CORES[..], &EDGES[..]].concat();
    nodes.sort_by_key(|name| !old.contains(name));
    for name in nodes {
        if old.contains(&name) {
            cluster.node_mut(name).run_binary(Some(old_binary()));
        }
        cluster.start(name).await;
    }
    for name in CORES.into_iter().chain(EDGES) {
        cluster.knows(name, CORES.len() + EDGES.len()).await;
    }
    cluster.ready().await;
    cluster
}

/// Each core in turn is killed and comes back as what the newer release is, if it was not that already.
async fn kill_each_core(cluster: &mut Cluster, traffic: &mut Traffic) {
    for core in CORES {
        traffic.more(100).await;
        cluster.node_mut(core).kill().await;
        traffic.more(100).await;
        cluster.node_mut(core).run_binary(None);
        cluster.start(core).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i13_older_edges_with_newer_cores_lose_nothing() {
    let (database, redis) = (MariaDb::shared(), RedisServer::start());
    let mut cluster = cluster(database, &redis, &EDGES).await;
    let mut traffic = Traffic::start(&cluster, 1500).await;
    kill_each_core(&mut cluster, &mut traffic).await;
    traffic.finish().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i13_newer_edges_with_older_cores_lose_nothing() {
    let (database, redis) = (MariaDb::shared(), RedisServer::start());
    let mut cluster = cluster(database, &redis, &CORES).await;
    let mut traffic = Traffic::start(&cluster, 1500).await;
    traffic.more(200).await;
    for core in CORES {
        // No newer one has been here: it comes back as what it was.
        cluster.node_mut(core).kill().await;
        traffic.more(100).await;
        cluster.start(core).await;
        traffic.more(100).await;
    }
    traffic.finish().await;
    cluster.stop().await;
}

/// One release beside the other in both roles, so that channels go from older owners to newer ones and
/// clients of both hear the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i13_nodes_of_both_releases_in_both_roles_lose_nothing() {
    let (database, redis) = (MariaDb::shared(), RedisServer::start());
    let mut cluster = cluster(database, &redis, &["c1", "c3", "e1"]).await;
    let mut traffic = Traffic::start(&cluster, 1500).await;
    kill_each_core(&mut cluster, &mut traffic).await;
    traffic.finish().await;
    cluster.stop().await;
}

/// Every node of the older release is told to end and comes back as the newer one, cores first or edges
/// first, under load.
async fn roll(order: &[&'static str]) {
    let (database, redis) = (MariaDb::shared(), RedisServer::start());
    let mut cluster = cluster(database, &redis, &[&CORES[..], &EDGES[..]].concat()).await;
    let mut traffic = Traffic::start(&cluster, 3000).await;
    for &name in order {
        traffic.more(100).await;
        cluster.node(name).signal(libc::SIGTERM);
        let ended = cluster.node_mut(name).ended().await;
        assert!(ended.success(), "{name}: {ended}");
        cluster.node_mut(name).run_binary(None);
        cluster.start(name).await;
        cluster.ready().await;
        traffic.tell_silences(name);
    }
    traffic.finish().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i13_a_rolling_upgrade_that_begins_with_the_cores_loses_nothing() {
    roll(&["c1", "c2", "c3", "e1", "e2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i13_a_rolling_upgrade_that_begins_with_the_edges_loses_nothing() {
    roll(&["e1", "e2", "c1", "c2", "c3"]).await;
}
