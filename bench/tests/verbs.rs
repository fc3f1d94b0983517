//! Every measurement of `sterna bench`, with the smallest numbers: that it comes to its end, that its
//! report has the shape that scripts read, and that what it counts adds up. Never how fast anything
//! is. Servers are processes of the bench, which ends them.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use sterna_bench::machine;
use sterna_test_engines::MariaDb;
use sterna_test_engines::redis::RedisServer;

const TARGETS: [&str; 4] = ["raw quinn", "sterna, QUIC", "raw rustls + tungstenite", "sterna, wss"];

#[test]
fn publish_counts_acknowledgements_and_commits() {
    let durability = durability();
    let report = bench(&format!(
        "publish --clients 4 --in-flight 2 --channels 2 --seconds 1 --rounds 1 \
         --only raw-quic,sterna-quic,raw-wss,sterna-wss --durability {durability} --directory {}",
        disk().display()
    ));
    let names = [&["raw RocksDB commits"], &TARGETS[..]].concat();
    let rows = rows(&report, &names);
    assert_eq!(rows[0]["transport"], Value::Null);
    assert_eq!(number(rows[0], "publications_per_commit"), 8.0, "clients times in-flight");
    for row in &rows {
        assert!(number(row, "acks_per_second") > 0.0, "{row}");
        assert_ascending(row, &["ack_ms_p50", "ack_ms_p99", "ack_ms_p999"]);
        assert!(number(row, "cpu_us_per_publication") > 0.0, "{row}");
        let ratio = number(row, "acks_per_second") / number(rows[0], "acks_per_second");
        assert!((number(row, "of_raw") - ratio).abs() < 1e-9, "{row}");
    }
    for (node, bare) in [(rows[2], rows[1]), (rows[4], rows[3])] {
        let in_a_commit = number(node, "publications_per_commit");
        assert!((1.0..=8.0).contains(&in_a_commit), "{node}");
        let ratio = number(node, "acks_per_second") / number(bare, "acks_per_second");
        assert!((number(node, "percent_of_bare_server") - 100.0 * ratio).abs() < 1e-6, "{node}");
    }
    assert!(report["method"].as_str().unwrap().contains(&machine::file_system(disk())));
}

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
fn a_core_behind_an_edge_delivers_the_same() {
    let report = bench(
        "latency --only sterna-quic,cluster-quic --clients 4 --rate 50 --seconds 1 --rounds 1 \
         --durability memory",
    );
    for row in rows(&report, &["sterna, QUIC", "edge and core, QUIC"]) {
        assert_eq!(number(row, "asked_per_second"), 50.0);
        assert_ascending(row, &["delivery_ms_p50", "delivery_ms_p90", "delivery_ms_p99"]);
    }
}

#[test]
fn publish_from_memory_has_no_raw_limit() {
    let report = bench(
        "publish --only sterna-quic,sterna-wss --clients 2 --seconds 1 --rounds 1 \
         --durability memory",
    );
    for row in rows(&report, &["sterna, QUIC", "sterna, wss"]) {
        assert_eq!(row["of_raw"], Value::Null);
        assert_eq!(number(row, "publications_per_commit"), 0.0, "nothing is committed: {row}");
    }
}

#[test]
fn a_sync_in_memory_is_refused() {
    let memory = Path::new("/dev/shm");
    if !machine::is_memory(memory) {
        return;
    }
    let output = run("publish --clients 2 --seconds 1 --rounds 1 --directory /dev/shm");
    assert!(!output.status.success());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("--directory"), "{complaint}");
}

#[test]
fn latency_is_held_against_the_raw_limit_twice_and_a_sync() {
    let durability = durability();
    let report = bench(&format!(
        "latency --only OURS --clients 4 --rate 50 --seconds 1 --rounds 1 --durability {durability} \
         --directory {}",
        disk().display()
    ));
    let rows = rows(&report, &TARGETS);
    for (raw, ours) in [(rows[0], rows[1]), (rows[2], rows[3])] {
        for row in [raw, ours] {
            assert_eq!(number(row, "asked_per_second"), 50.0);
            assert_ascending(row, &["delivery_ms_p50", "delivery_ms_p90", "delivery_ms_p99"]);
            // What the load generator has added itself.
            assert_ascending(row, &["reader_ms_p99", "reader_ms_max"]);
            assert!(number(row, "sent_late_ms_p99") >= 0.0, "{row}");
        }
        assert_eq!(raw["of_raw"], Value::Null);
        let limit = 2.0 * number(raw, "delivery_ms_p99") + number(ours, "sync_ms_p50");
        let ratio = number(ours, "delivery_ms_p99") / limit;
        assert!((number(ours, "of_raw") - ratio).abs() < 1e-9, "{ours}");
    }
    let plots = report["plots"].as_array().unwrap();
    assert_eq!(plots[0]["series"].as_array().unwrap().len(), TARGETS.len());
    let stalls = &report["facts"]["stalls"];
    assert!(number(stalls, "watched_ms") >= 2_000.0, "two seconds a round: {stalls}");
}

#[test]
fn latency_finds_its_own_rate() {
    let report = bench(
        "latency --only sterna-quic,raw-quic --clients 2 --seconds 1 --rounds 1 --durability memory",
    );
    let rows = rows(&report, &TARGETS[..2]);
    assert!(number(rows[0], "asked_per_second") > 1.0);
    assert_eq!(number(rows[0], "asked_per_second"), number(rows[1], "asked_per_second"));
    assert_eq!(number(rows[1], "sync_ms_p50"), 0.0);
}

#[test]
fn handshakes_resume_when_the_client_remembers() {
    let report = bench("handshake --only OURS --concurrent 2 --seconds 1 --rounds 1");
    for row in rows(&report, &TARGETS) {
        assert!(number(row, "full_per_cpu_second") > 0.0, "{row}");
        // Connects that began without a ticket left are full ones.
        assert!(number(row, "resumed_percent") > 50.0, "{row}");
        assert!(number(row, "resumed_percent") <= 100.0, "{row}");
    }
}

#[test]
fn a_storm_accounts_for_every_client() {
    let report = bench("storm --only OURS --clients 40 --room 10 --patience 30");
    for row in rows(&report, &TARGETS) {
        let ends = ["inside", "refused", "timed_out", "other"];
        assert_eq!(ends.iter().map(|end| number(row, end)).sum::<f64>(), 40.0, "{row}");
        let inside = if row["part"] == "sterna" { 10.0 } else { 40.0 };
        assert_eq!(number(row, "inside"), inside, "{row}");
        let refused = number(row, "refused");
        assert_eq!(refused, 40.0 - inside, "who does not get in is told so: {row}");
    }
    // A QUIC client asks again when the answer is lost, so that there may be more.
    let note = report["notes"][3].as_str().unwrap();
    assert!(note.contains("30 x refused; the node counts 30 refused"), "{note}");
}

#[test]
fn fanout_counts_deliveries_and_what_was_lost_on_quic() {
    for pace in ["--in-flight 2", "--rate 20"] {
        let report = bench(&format!(
            "fanout --only OURS --channels 2 --subscribers 10 {pace} --seconds 1 --rounds 1"
        ));
        let rows = rows(&report, &TARGETS);
        for (at, row) in rows.iter().enumerate() {
            assert!(number(row, "deliveries_per_second") > 0.0, "{row}");
            let product =
                number(row, "deliveries_per_cpu_second") * number(row, "cpu_us_per_delivery");
            assert!((product / 1e6 - 1.0).abs() < 1e-9, "{row}");
            assert_ascending(row, &["delivery_ms_p50", "delivery_ms_p99", "delivery_ms_p999"]);
            let raw = number(rows[at / 2 * 2], "deliveries_per_cpu_second");
            let ratio = number(row, "deliveries_per_cpu_second") / raw;
            assert!((number(row, "of_raw") - ratio).abs() < 1e-9, "{row}");
            assert_eq!(row["datagrams_lost"].is_number(), at < 2, "on QUIC alone: {row}");
        }
    }
}

#[test]
fn idle_weighs_sessions() {
    let report = bench("idle --only OURS --sessions 200");
    for row in rows(&report, &TARGETS) {
        assert_eq!(number(row, "sessions"), 200.0);
        assert!(number(row, "bytes_per_session") > 0.0, "{row}");
        assert!(number(row, "base_mib") > 0.0, "{row}");
    }
}

#[test]
fn scale_measures_every_step() {
    let report = bench("scale --only OURS --sessions-steps 10,30 --room 5 --rate 100 --seconds 1");
    let names: Vec<String> = TARGETS
        .iter()
        .flat_map(|target| [10, 30].map(|sessions| format!("{target}, {sessions} sessions")))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (at, row) in rows(&report, &names).into_iter().enumerate() {
        assert_eq!(number(row, "sessions"), [10.0, 30.0][at % 2]);
        assert!(number(row, "deliveries_per_second") > 0.0, "{row}");
        assert!(at % 2 == 1 || number(row, "of_first") == 1.0, "{row}");
    }
    let unfit = "load --only sockudo-wss --durability memory";
    for refused in ["scale --sessions-steps 30,10", "latency --only nats-wss", unfit] {
        let output = run(refused);
        assert!(!output.status.success() && !output.stderr.is_empty(), "{refused}");
    }
}

#[test]
fn load_accounts_for_every_acknowledged_publication() {
    let durability = durability();
    let page = tempfile::tempdir().unwrap();
    let page = page.path().join("load.html");
    let report = bench(&format!(
        "load --baseline 10 --peak 20 --lifetime 200ms --heartbeat 50ms --publish-every 100ms \
         --seconds 1 --durability {durability} --directory {} --report {}",
        disk().display(),
        page.display()
    ));
    let names: Vec<_> =
        report["rows"].as_array().unwrap().iter().map(|row| &row["target"]).collect();
    assert_eq!((names[0], names.last().unwrap()), (&"baseline".into(), &&"after".into()));
    for name in ["20 / s", "peak", "half a core", "stops", "bad net"] {
        assert!(names.contains(&&Value::from(name)), "{name} is not among {names:?}");
    }
    the_slow_store_was_slow_or_it_says_why_not(&report);
    what_was_acknowledged_is_accounted_for_by_stage(&report);
    for row in report["rows"].as_array().unwrap() {
        assert!(number(row, "turnstile_ms_p99") > 0.0, "whoever connects passes it: {row}");
        assert_eq!(row["database_wait_ms_p99"], Value::Null, "there is no database: {row}");
        pages_come_from_somewhere_or_nowhere(row);
        let predicted = number(row, "arrivals_per_second") * 0.2 * 1.2;
        assert!((number(row, "sessions_predicted") - predicted).abs() < 1e-9, "{row}");
        assert_ascending(row, &["connect_ms_p50", "connect_ms_p95", "connect_ms_p99"]);
        assert!(number(row, "generator_percent") > 0.0, "{row}");
        let stage = format!("{}: ", row["target"].as_str().unwrap());
        let notes = report["notes"].as_array().unwrap();
        let explained = notes.iter().any(|note| note.as_str().unwrap().starts_with(&stage));
        assert_eq!(explained, number(row, "failures") > 0.0, "{row}: {notes:?}");
    }
    let baseline = &report["rows"][0];
    assert!(number(baseline, "sessions_seen") >= 1.0, "{baseline}");
    let read: f64 =
        report["rows"].as_array().unwrap().iter().map(|it| number(it, "pages_read")).sum();
    assert!(read > 0.0, "who joins reads what is there: {report}");
    assert!(std::fs::read_to_string(page).unwrap().ends_with("</html>\n"));
}

fn the_slow_store_was_slow_or_it_says_why_not(report: &Value) {
    let rows = report["rows"].as_array().unwrap();
    let notes = report["notes"].as_array().unwrap();
    let left_out = |note: &Value| note.as_str().unwrap().starts_with("slow store was left out: ");
    match rows.iter().find(|row| row["target"] == "slow store") {
        // The upper end of a bucket, and so no less than what each sync is delayed by.
        Some(row) => assert!(number(row, "commit_ms_p99") >= 20.0, "{row}"),
        None => assert!(notes.iter().any(left_out), "{notes:?}"),
    }
}

fn what_was_acknowledged_is_accounted_for_by_stage(report: &Value) {
    let consistency = &report["facts"]["consistency"];
    let rows = report["rows"].as_array().unwrap();
    assert!(number(consistency, "acked") > 0.0, "{consistency}");
    for count in ["acked", "missing", "doubled", "holes"] {
        let all = number(consistency, count);
        let of_stages: f64 = rows.iter().map(|row| number(row, count)).sum();
        assert_eq!(of_stages, all, "{count}: {report}");
        assert!(count == "acked" || all == 0.0, "{count}: {consistency}");
    }
}

fn pages_come_from_somewhere_or_nowhere(row: &Value) {
    let tiers = ["ring_percent", "edge_percent", "log_percent"];
    if number(row, "pages_read") == 0.0 {
        assert!(tiers.iter().all(|tier| row[*tier].is_null()), "{row}");
        return;
    }
    let all: f64 = tiers.iter().map(|tier| number(row, tier)).sum();
    assert!((all - 100.0).abs() < 1e-9, "{row}");
}

/// The report of a measurement that has to succeed. `OURS` stands for all targets but peers, which
/// are there or not.
fn bench(arguments: &str) -> Value {
    let arguments = arguments.replace("OURS", "raw-quic,sterna-quic,raw-wss,sterna-wss");
    let output = run(&format!("{arguments} --json"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bench {arguments}: {complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn run(arguments: &str) -> std::process::Output {
    let words = arguments.split_whitespace();
    Command::new(binary()).arg("bench").args(words).output().unwrap()
}

/// The rows of a report, which are these and no others.
fn rows<'a>(report: &'a Value, names: &[&str]) -> Vec<&'a Value> {
    let rows: Vec<&Value> = report["rows"].as_array().unwrap().iter().collect();
    let found: Vec<&str> = rows.iter().map(|row| row["target"].as_str().unwrap()).collect();
    assert_eq!(found, names);
    rows
}

fn number(object: &Value, key: &str) -> f64 {
    object[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {object}"))
}

fn assert_ascending(row: &Value, keys: &[&str]) {
    let values: Vec<f64> = keys.iter().map(|key| number(row, key)).collect();
    assert!(values[0] > 0.0 && values.is_sorted(), "{keys:?}: {row}");
}

/// A directory of the build, which lies on a disk.
fn disk() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn durability() -> &'static str {
    if machine::is_memory(disk()) { "os" } else { "fsync" }
}

/// The program, as it was handed to this test or as it is built now.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("STERNA_BIN").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "sterna", "--bin", "sterna"])
        .current_dir(root)
        .status()
        .unwrap();
    assert!(status.success(), "the program did not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    target.join("debug/sterna")
}
