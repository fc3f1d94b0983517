//! What needs a database or Redis: clusters, and the archive's caches.

use sterna_test_engines::MariaDb;
use sterna_test_engines::redis::RedisServer;

use crate::{assert_ascending, bench, disk, number, rows};

#[test]
fn publish_is_held_against_bare_transactions_of_a_database() {
    let database = MariaDb::start();
    let report = bench(&format!(
        "publish --only sterna-wss,cluster-wss --clients 4 --in-flight 2 --channels 2 --seconds 1 \
         --rounds 1 --database {}",
        database.fresh_url()
    ));
    let rows = rows(&report, &["bare transactions", "sterna, wss", "edge and core, wss"]);
    for row in &rows {
        assert!(number(row, "acks_per_second") > 0.0, "{row}");
        let ratio = number(row, "acks_per_second") / number(rows[0], "acks_per_second");
        assert!((number(row, "of_raw") - ratio).abs() < 1e-9, "{row}");
        assert!((1.0..=8.0).contains(&number(row, "publications_per_commit")), "{row}");
    }
    let left = database.execute("SHOW DATABASES LIKE 'sterna_bench%'");
    assert!(!left.contains("sterna_bench"), "left behind: {left}");
}

#[test]
fn everybody_is_back_with_everything_after_the_death_of_an_edge() {
    let (database, redis) = (MariaDb::start(), RedisServer::start());
    let report = bench(&format!(
        "failover --sessions 20 --room 5 --rate 20 --jitter 10ms --seconds 1 --cores 2 \
         --database {} --redis {}",
        database.fresh_url(),
        redis.url()
    ));
    let stages = ["connect and subscribe", "silence", "publications", "an edge dies"];
    let rows = rows(&report, &stages);
    for stage in [rows[0], rows[2], rows[3]] {
        assert_ascending(stage, &["p50_ms", "p99_ms", "max_ms"]);
    }
    // Nodes tell Redis by the way, not while a client waits.
    let asked: f64 = rows.iter().map(|row| number(row, "redis_calls")).sum();
    assert!(asked > 0.0, "{report}");
    let facts = &report["facts"];
    // One to make each room, and one at the end for certain.
    assert!(number(facts, "published") >= 8.0, "{facts}");
    assert_eq!(number(facts, "due") % 5.0, 0.0, "all of a room: {facts}");
    assert_eq!((number(facts, "missing"), number(facts, "repeated")), (0.0, 0.0), "{facts}");
}

#[test]
fn a_restart_of_every_node_loses_nothing() {
    let database = MariaDb::start();
    let report = bench(&format!(
        "restart --cores 2 --channels 2 --rate 10 --database {}",
        database.fresh_url()
    ));
    let rows = rows(&report, &["none", "c1", "c2", "e1", "e2"]);
    for row in &rows {
        assert!(number(row, "took_s") > 0.0, "{row}");
        assert_ascending(row, &["gap_p50_ms", "gap_p90_ms", "gap_max_ms"]);
    }
    assert_eq!(number(rows[0], "moved"), 0.0, "nobody has moved for nothing: {report}");
    let moved: f64 = rows[3..].iter().map(|row| number(row, "moved")).sum();
    assert!(moved > 0.0, "an edge that ends has no clients: {report}");
    let facts = &report["facts"];
    assert!(number(facts, "acked") > 0.0, "{facts}");
    assert_eq!((number(facts, "lost"), number(facts, "duplicated")), (0.0, 0.0), "{facts}");
    let largest = rows[1..].iter().map(|row| number(row, "gap_max_ms")).fold(0.0, f64::max);
    assert_eq!(number(facts, "largest_gap_ms"), largest, "{facts}");
}

#[test]
fn the_archive_is_measured_in_every_place() {
    let (redis, directory) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let page = directory.path().join("archive.html");
    let found = bench(&format!(
        "archive --publications 4000 --channels 20 --payload 100 --rounds 1 --redis {} \
         --directory {} --report {}",
        redis.url(),
        disk().display(),
        page.display()
    ));
    let rates = ["archive_megabytes_per_second", "raw_megabytes_per_second"];
    let [archive, raw] = rates.map(|rate| number(&found, rate));
    assert!((number(&found, "of_raw") - archive / raw).abs() < 1e-9, "{found}");
    let bytes = &found["bytes_per_publication"];
    // Words pack well, and what is packed alone has no index.
    assert!(number(bytes, "cold") < number(bytes, "warm"), "{bytes}");
    assert!(number(bytes, "raw") < number(bytes, "cold"), "{bytes}");
    let places = ["owner_ring", "local_pages", "redis_pages", "warm", "cold_first", "cold_again"];
    for place in places {
        assert_ascending(&found["open"][place], &["p50_us", "p99_us"]);
    }
    let compaction = &found["compaction"];
    assert!(number(compaction, "segments_after") < number(compaction, "segments_before"));
    assert_eq!(number(compaction, "publications"), 4000.0, "{compaction}");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = ["archived, read back and referred to", "pages in Redis", "put together"];
    for row in rows {
        assert!(page.contains(&format!("<th>{row}</th>")), "{row} is missing in\n{page}");
    }
    assert!(page.contains("<polyline") && page.ends_with("</html>\n"), "{page}");
}

#[test]
fn load_on_a_database_slows_no_disk_and_says_so() {
    let database = MariaDb::start();
    let report = bench(&format!(
        "load --baseline 10 --peak 20 --lifetime 200ms --heartbeat 50ms --publish-every 100ms \
         --seconds 1 --transport wss --database {}",
        database.fresh_url()
    ));
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["target"] != "slow store"), "{report}");
    let notes = report["notes"].as_array().unwrap();
    let why = "slow store was left out: nothing that is stored is synced";
    assert!(notes.iter().any(|note| note == why), "{notes:?}");
    for row in rows {
        // So few visitors may find a connection at once, each of them.
        let wait = row.get("database_wait_ms_p99").unwrap();
        assert!(wait.as_f64().is_none_or(|ms| ms > 0.0), "{row}");
    }
    assert_eq!(number(&report["facts"]["consistency"], "missing"), 0.0, "{report}");
}
