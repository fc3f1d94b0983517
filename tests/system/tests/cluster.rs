//! Edges and cores as processes of their own: what a client is promised holds whichever node it is
//! connected to, and whatever becomes of the others and of the database behind them.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::traffic::Traffic;
use sterna_test_engines::MariaDb;

/// A core that is killed in the middle of everything takes nothing with it: the edges keep what was
/// on its way and give it to the core that starts in its place; clients stay connected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_killed_core_is_not_noticed_by_clients_of_its_edges() {
    let mut cluster = Cluster::new().await;
    cluster.add("c1", "core", &[]).await;
    cluster.add("e1", "edge", &[]).await;
    cluster.add("e2", "edge", &[]).await;
    cluster.ready().await;
    let mut traffic = Traffic::start(&cluster, 400).await;
    traffic.more(40).await;
    cluster.node_mut("c1").kill().await;
    cluster.start("c1").await;
    traffic.finish().await;
    cluster.stop().await;
}

/// Three cores on one database.
async fn on_database(database: &MariaDb) -> Cluster {
    let mut cluster = Cluster::new().await;
    let urls = format!("store.urls={}", database.fresh_url());
    for core in ["c1", "c2", "c3"] {
        cluster.add(core, "core", &["store.engine=sql", &urls]).await;
    }
    cluster.add("e1", "edge", &[]).await;
    cluster.add("e2", "edge", &[]).await;
    cluster.ready().await;
    cluster
}

/// Each core in turn is killed, so that the owner is among them, and is back for the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_cores_are_killed_one_after_another_and_nothing_is_lost() {
    let database = MariaDb::start();
    let mut cluster = on_database(&database).await;
    let mut traffic = Traffic::start(&cluster, 1500).await;
    for core in ["c1", "c2", "c3"] {
        traffic.more(100).await;
        cluster.node_mut(core).kill().await;
        traffic.more(100).await;
        cluster.start(core).await;
    }
    traffic.finish().await;
    cluster.stop().await;
}

/// A core that stands still while others take its channels over, and then goes on as if nothing had
/// happened, is nobody's owner any more: its appends lose against what is stored since (I2).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_core_that_wakes_up_late_changes_nothing() {
    let database = MariaDb::start();
    let cluster = on_database(&database).await;
    let mut traffic = Traffic::start(&cluster, 1500).await;
    for core in ["c1", "c2", "c3"] {
        traffic.more(100).await;
        cluster.node(core).signal(libc::SIGSTOP);
        traffic.more(100).await;
        cluster.node(core).signal(libc::SIGCONT);
    }
    traffic.finish().await;
    cluster.stop().await;
}

/// Publications wait for a database that is killed, and for one that stands still; whether the
/// commits that it cut off were carried out is found out by asking it (I3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_database_that_is_killed_or_stands_still_costs_time_alone() {
    let database = MariaDb::start();
    let cluster = on_database(&database).await;
    let mut traffic = Traffic::start(&cluster, 1000).await;
    traffic.more(100).await;
    database.restart();
    traffic.more(100).await;
    database.pause();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    database.go_on();
    traffic.finish().await;
    cluster.stop().await;
}

/// Every node in turn is told to end, gives its channels and clients away, and starts again. How long
/// subscribers hear nothing is told and not asserted: `sterna bench restart` measures it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i13_a_rolling_restart_of_all_nodes_loses_nothing() {
    let database = MariaDb::start();
    let mut cluster = on_database(&database).await;
    let mut traffic = Traffic::start(&cluster, 3000).await;
    for name in ["c1", "c2", "c3", "e1", "e2"] {
        traffic.more(100).await;
        cluster.node(name).signal(libc::SIGTERM);
        let ended = cluster.node_mut(name).ended().await;
        assert!(ended.success(), "{name}: {ended}");
        cluster.start(name).await;
        cluster.ready().await;
        traffic.tell_silences(name);
    }
    traffic.finish().await;
    cluster.stop().await;
}
