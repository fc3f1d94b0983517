//! Every measurement of `sterna bench`, with the smallest numbers: that it comes to its end, that its
//! report has the shape that scripts read, and that what it counts adds up. Never how fast anything
//! is. Servers are processes of the bench, which ends them.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

mod engines;
mod load;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use sterna_bench::machine;

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
    let report = bench(
        "scale --only OURS --sessions-steps 10,30 --room 5 --rate 100 --seconds 1 --rounds 2",
    );
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
