//! A cluster whose publications are in a CQL server beside its database: what a client is promised
//! holds whatever becomes of cores and of that server.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::time::Duration;

use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::traffic::Traffic;
use sterna_test_engines::{Cassandra, MariaDb};

fn keys(database: &MariaDb, log: &Cassandra) -> Vec<String> {
    vec![
        "store.engine=sql".to_owned(),
        format!("store.urls={}", database.fresh_url()),
        "store.log=scylla".to_owned(),
        format!("scylla.nodes={}", log.addresses().join(",")),
        format!("scylla.datacenter={}", Cassandra::DATACENTER),
        format!("scylla.keyspace={}", log.fresh_keyspace()),
        format!("scylla.replication={}", log.nodes().len()),
        "scylla.migrate=false".to_owned(),
        "scylla.patience=10s".to_owned(),
    ]
}

/// Two cores on one database and one log, and two edges. The log's tables are made by `sterna migrate`.
async fn on_log(keys: &[String]) -> Cluster {
    let mut cluster = Cluster::new().await;
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for core in ["c1", "c2"] {
        cluster.prepare(core, "core", &keys).await;
    }
    let broken = cluster.configured_verb("c1", "doctor").output().await.unwrap();
    let said = String::from_utf8_lossy(&broken.stdout).into_owned();
    assert!(said.contains("there is no keyspace"), "{said}");
    let migrated = cluster.configured_verb("c1", "migrate").output().await.unwrap();
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let whole = cluster.configured_verb("c1", "doctor").output().await.unwrap();
    let said = String::from_utf8_lossy(&whole.stdout).into_owned();
    assert!(said.contains("Cassandra 5."), "{said}");
    assert!(!said.contains("there is no keyspace"), "{said}");
    for core in ["c1", "c2"] {
        cluster.start(core).await;
    }
    cluster.add("e1", "edge", &[]).await;
    cluster.add("e2", "edge", &[]).await;
    cluster.ready().await;
    cluster
}

/// Each core in turn is killed, so that the owner is among them, and is back for the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_cores_on_a_log_are_killed_one_after_another_and_nothing_is_lost() {
    let (database, log) = (MariaDb::start(), Cassandra::start(1));
    let mut cluster = on_log(&keys(&database, &log)).await;
    let mut traffic = Traffic::start(&cluster, 600).await;
    for core in ["c1", "c2"] {
        traffic.more(60).await;
        cluster.node_mut(core).kill().await;
        traffic.more(60).await;
        cluster.start(core).await;
    }
    traffic.finish().await;
    assert!(cluster.metric_of("sterna_storage_scylla_commits_total", "").await > 0.0);
    cluster.stop().await;
}

/// Publications wait for a log that is killed, and for one that stands still; whether what it was
/// asked for was done is found out by asking it (I3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_log_that_is_killed_or_stands_still_costs_time_alone() {
    let (database, log) = (MariaDb::start(), Cassandra::start(1));
    let cluster = on_log(&keys(&database, &log)).await;
    let mut traffic = Traffic::start(&cluster, 500).await;
    traffic.more(60).await;
    log.nodes()[0].restart();
    traffic.more(60).await;
    log.nodes()[0].pause();
    tokio::time::sleep(Duration::from_secs(2)).await;
    log.nodes()[0].go_on();
    traffic.finish().await;
    cluster.stop().await;
}
