//! Two cores on one database archive, each the channels that it owns; one dies in the middle of it.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use serde_json::Value;
use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::node::PATIENCE;
use sterna_system_tests::process::{JsonProcess, seen};
use sterna_system_tests::served::{run, said};
use sterna_system_tests::traffic::{CHANNEL, Traffic};
use sterna_test_engines::MariaDb;
use tokio::time::Instant;

/// Of each of two publishers.
const LINES: usize = 600;

const TRIMMED: &str = "sterna_archive_trimmed_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_core_is_killed_while_it_archives_and_the_other_goes_on() {
    let database = MariaDb::start();
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new().await;
    let urls = format!("store.urls={}", database.fresh_url());
    let archive = format!("archive.url=file://{}", folder.path().display());
    let keys = [
        "store.engine=sql",
        &urls,
        &archive,
        "archive.after=1s",
        "archive.every=1s",
        "archive.grace=1s",
        "archive.keep_newest=3",
        // Segments end often, so that one is being written when the core dies.
        "archive.segment_bytes=65536",
        "cluster.lease=2s",
    ];
    for core in ["c1", "c2"] {
        cluster.add(core, "core", &keys).await;
    }
    cluster.add("e1", "edge", &["cluster.lease=2s"]).await;
    cluster.add("e2", "edge", &["cluster.lease=2s"]).await;
    cluster.ready().await;
    let mut traffic = Traffic::start(&cluster, LINES).await;
    traffic.more(100).await;
    let (owner, other) = archiving(&cluster).await;
    cluster.node_mut(owner).kill().await;
    traffic.more(200).await;
    // The one that is left archives what the other one did.
    wait_trimmed(&cluster, other).await;
    cluster.start(owner).await;
    traffic.finish().await;

    let total = 2 * LINES;
    let mut reader = reader(&cluster).await;
    reader.wait_for_count(total).await;
    let offsets: Vec<u64> = reader.kill().await.iter().map(|it| seen(it).offset).collect();
    assert_eq!(offsets, (1..=total as u64).collect::<Vec<_>>(), "each once, from the first on");
    let mut verify = cluster.configured_verbs("c1", &["archive", "verify"]);
    verify.arg("--json");
    let verified = run(verify).await;
    assert!(verified.status.success(), "{}", said(&verified));
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(verified["damages"], Value::from([0; 0]), "{verified}");
    assert!(verified["runs"].as_u64().unwrap() > 1, "{verified}");
    cluster.stop().await;
}

/// The core that has archived and trimmed the channel, and the other one.
async fn archiving(cluster: &Cluster) -> (&'static str, &'static str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for (core, other) in [("c1", "c2"), ("c2", "c1")] {
            if cluster.node(core).metric(TRIMMED, "").await.unwrap_or(0.0) > 0.0 {
                return (core, other);
            }
        }
        assert!(Instant::now() < deadline, "nobody archives: {}", cluster.node("c1").log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn wait_trimmed(cluster: &Cluster, core: &str) {
    let deadline = Instant::now() + PATIENCE;
    while cluster.node(core).metric(TRIMMED, "").await.unwrap_or(0.0) == 0.0 {
        assert!(Instant::now() < deadline, "{core} does not: {}", cluster.node(core).log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn reader(cluster: &Cluster) -> JsonProcess {
    let verb = ["sub", CHANNEL, "--from", "earliest", "--json"];
    JsonProcess::start("reader", cluster.verb("e1", "late", &verb).await, Vec::new())
}
