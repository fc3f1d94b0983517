//! Two cores on one database archive, each the channels that it owns; one dies in the middle of it.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use serde_json::Value;
use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::node::PATIENCE;
use sterna_system_tests::process::{JsonProcess, seen};
use sterna_system_tests::served::{run, said};
use sterna_system_tests::traffic::{CHANNEL, Traffic};
use sterna_test_engines::{MariaDb, S3Server};
use tokio::time::Instant;

/// Segments that are put together at least.
const LEAST: u64 = 8;

/// Of each of two publishers.
const LINES: usize = 400;

const ARCHIVED: &str = "sterna_archive_records_total";
const TRIMMED: &str = "sterna_archive_trimmed_total";
const COMPACTIONS: &str = "sterna_archive_compactions_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_core_is_killed_while_it_archives_and_the_other_goes_on() {
    let database = MariaDb::shared();
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
    traffic.more(60).await;
    let (owner, other) = archiving(&cluster).await;
    let before = cluster.node(other).metric(ARCHIVED, "").await.unwrap_or(0.0);
    cluster.node_mut(owner).kill().await;
    traffic.more(120).await;
    // The one that is left archives what the other one did.
    let deadline = Instant::now() + PATIENCE;
    while cluster.node(other).metric(ARCHIVED, "").await.unwrap_or(0.0) <= before {
        assert!(Instant::now() < deadline, "{other} does not: {}", cluster.node(other).log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    cluster.start(owner).await;
    traffic.finish().await;
    // So that history is read from both tiers.
    until_trimmed(&cluster).await;

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

/// Everything that the database knew is lost; a new one is made from the objects, and clients find what
/// they had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_a_database_that_is_lost_is_rebuilt_from_the_archive() {
    let database = MariaDb::shared();
    let folder = tempfile::tempdir().unwrap();
    let archive = format!("archive.url=file://{}", folder.path().display());
    let eager = ["archive.after=1s", "archive.every=1s", "archive.grace=0s"];
    let mut cluster = Cluster::new().await;
    let mut epochs = Vec::new();
    for (core, lines, total) in [("c1", 0..40, 40), ("c2", 40..60, 60)] {
        let urls = format!("store.urls={}", database.fresh_url());
        let keys = [&["store.engine=sql", &urls, &archive][..], &eager].concat();
        cluster.prepare(core, "core", &keys).await;
        if core == "c2" {
            let mut restore = cluster.configured_verbs(core, &["archive", "restore"]);
            restore.arg("--json");
            let restored = run(restore).await;
            assert!(restored.status.success(), "{}", said(&restored));
            let restored: Value = serde_json::from_slice(&restored.stdout).unwrap();
            assert_eq!((&restored["records"], &restored["channels"]), (&40.into(), &1.into()));
        }
        cluster.start(core).await;
        cluster.add(if core == "c1" { "e1" } else { "e2" }, "edge", &[]).await;
        cluster.ready().await;
        let edge = if core == "c1" { "e1" } else { "e2" };
        let verb = cluster.verb(edge, "ana", &["pub", CHANNEL, "--stdin", "--json"]).await;
        let lines: Vec<String> = lines.map(|n| format!("line {n}")).collect();
        let mut publisher = JsonProcess::start("publisher", verb, lines);
        assert!(publisher.finish().await.success(), "{}", publisher.errors());
        let verb = ["sub", CHANNEL, "--from", "earliest", "--json"];
        let mut reader =
            JsonProcess::start("reader", cluster.verb(edge, "late", &verb).await, Vec::new());
        reader.wait_for_count(total).await;
        let found: Vec<_> = reader.kill().await.iter().map(seen).collect();
        let texts: Vec<String> = found.iter().map(|it| it.text.clone()).collect();
        assert_eq!(texts, (0..total).map(|n| format!("line {n}")).collect::<Vec<_>>());
        epochs.push(found.last().unwrap().epoch);
        if core == "c1" {
            wait_archived(&cluster, core, 40).await;
            for node in [edge, core] {
                cluster.node_mut(node).kill().await;
            }
        }
    }
    assert!(epochs[1] > epochs[0], "clients notice: {epochs:?}");
    cluster.stop().await;
}

/// Each core in turn is killed while segments are being put together, on an S3 server: whichever of them
/// did it, the other one does it, no offset is missing meanwhile, and nothing is left over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_cores_are_killed_while_segments_are_put_together_and_the_other_goes_on() {
    let (database, server) = (MariaDb::shared(), S3Server::start());
    let mut cluster = Cluster::new().await;
    let id = cluster.secret("archive.id", S3Server::ACCESS_KEY);
    let secret = cluster.secret("archive.secret", S3Server::SECRET_KEY);
    let keys = [
        "store.engine=sql".to_owned(),
        format!("store.urls={}", database.fresh_url()),
        format!("archive.url=s3://{}/cluster", S3Server::BUCKET),
        format!("archive.endpoint={}", server.endpoint()),
        "archive.region=eu".to_owned(),
        format!("archive.key_id_file={id}"),
        format!("archive.secret_file={secret}"),
    ];
    let eager = [
        "archive.after=1s",
        "archive.every=1s",
        "archive.keep_newest=0",
        // What is being written is left alone for that long, whoever has died meanwhile.
        "archive.grace=5s",
        // So that putting together takes a while, and somebody can die in the middle of it.
        "archive.records_per_second=40",
        "cluster.lease=2s",
    ];
    let keys: Vec<&str> = keys.iter().map(String::as_str).chain(eager).collect();
    for core in ["c1", "c2"] {
        cluster.add(core, "core", &keys).await;
    }
    cluster.add("e1", "edge", &["cluster.lease=2s"]).await;
    cluster.ready().await;
    let mut published = 0;
    for (core, other) in [("c1", "c2"), ("c2", "c1")] {
        published = until_put_together(&cluster, published).await;
        cluster.node_mut(core).kill().await;
        let before = cluster.node(other).metric(COMPACTIONS, "").await.unwrap_or(0.0);
        assert_offsets(&cluster, published).await;
        // By the other one, whose turn it was or is now.
        let late = Instant::now() + PATIENCE;
        while cluster.node(other).metric(COMPACTIONS, "").await.unwrap_or(0.0) <= before {
            assert!(Instant::now() < late, "{other} does not: {}", cluster.node(other).log());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_offsets(&cluster, published).await;
        cluster.start(core).await;
        cluster.ready().await;
    }
    until_trimmed(&cluster).await;
    assert_offsets(&cluster, published).await;
    // What was replaced, and what was left half-way, goes when its time is over.
    let late = Instant::now() + PATIENCE;
    let left = loop {
        let status = status(&cluster, "c1").await;
        if status["prepared"] == 0 && status["replaced"] == 0 {
            break status;
        }
        assert!(Instant::now() < late, "{status}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(left["records"], published, "each once: {left}");
    assert!(left["saved_segments"].as_u64().unwrap() >= 7, "{left}");
    let mut verify = cluster.configured_verbs("c2", &["archive", "verify"]);
    verify.arg("--json");
    let verified = run(verify).await;
    assert!(verified.status.success(), "{}", said(&verified));
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(verified["damages"], Value::from([0; 0]), "{verified}");
    cluster.stop().await;
}

async fn until_trimmed(cluster: &Cluster) {
    let late = Instant::now() + PATIENCE;
    while cluster.metric_of(TRIMMED, "").await == 0.0 {
        assert!(Instant::now() < late, "nobody trims: {}", cluster.node("c1").log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Publishes, a segment's worth at a time, until segments are just being put together; how many there
/// are then.
async fn until_put_together(cluster: &Cluster, mut published: usize) -> usize {
    const ROUNDS: usize = 40;
    for _ in 0..ROUNDS {
        let lines: Vec<String> = (published..published + 6).map(|n| format!("line {n}")).collect();
        published += lines.len();
        let verb = cluster.verb("e1", "ana", &["pub", CHANNEL, "--stdin", "--json"]).await;
        let mut publisher = JsonProcess::start("publisher", verb, lines);
        assert!(publisher.finish().await.success(), "{}", publisher.errors());
        wait_archived(cluster, "c1", published as u64).await;
        // Everything is archived, so what is announced now is made of other segments, where there are
        // enough of them.
        let soon = Instant::now() + std::time::Duration::from_secs(3);
        let mut now = status(cluster, "c1").await;
        while now["segments"].as_u64().unwrap() >= LEAST && Instant::now() < soon {
            if now["prepared"] != 0 {
                return published;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            now = status(cluster, "c1").await;
        }
    }
    panic!("{ROUNDS} segments stay as they are: {}", cluster.node("c1").log());
}

async fn assert_offsets(cluster: &Cluster, count: usize) {
    let mut reader = reader(cluster).await;
    reader.wait_for_count(count).await;
    let offsets: Vec<u64> = reader.kill().await.iter().map(|it| seen(it).offset).collect();
    assert_eq!(offsets, (1..=count as u64).collect::<Vec<_>>(), "each once, from the first on");
}

/// What lies in the archive, as a core tells.
async fn status(cluster: &Cluster, core: &str) -> Value {
    let (code, answer) = cluster.node(core).operator_get("/api/v1/operate/archive").await;
    assert_eq!(code, 200, "{answer}");
    answer["result"].clone()
}

async fn wait_archived(cluster: &Cluster, core: &str, wanted: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, answer) = cluster.node(core).operator_get("/api/v1/operate/archive").await;
        if answer["result"]["records"] == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{answer}, not {wanted}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The core that archives the channel, and the other one.
async fn archiving(cluster: &Cluster) -> (&'static str, &'static str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for (core, other) in [("c1", "c2"), ("c2", "c1")] {
            if cluster.node(core).metric(ARCHIVED, "").await.unwrap_or(0.0) > 0.0 {
                return (core, other);
            }
        }
        assert!(Instant::now() < deadline, "nobody archives: {}", cluster.node("c1").log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn reader(cluster: &Cluster) -> JsonProcess {
    let verb = ["sub", CHANNEL, "--from", "earliest", "--json"];
    JsonProcess::start("reader", cluster.verb("e1", "late", &verb).await, Vec::new())
}
