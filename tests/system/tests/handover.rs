//! `sterna bench handover` on the real binary: whatever happens to its network, a client on QUIC
//! keeps its connection, and on either transport nothing that was acknowledged is lost or comes
//! twice (I1, I13). Bare clients go through the same beside it. How long a switch takes is for the bench to say and for no test to judge.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use sterna_system_tests::node::{self, Node, PATIENCE};
use tokio::process::Command;
use tokio::time::timeout;

const SWITCHES: u64 = 2;

#[tokio::test]
async fn changes_of_network_cost_nothing_but_time() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("handover.html");
    let page_argument = page.to_str().unwrap();
    let report = report(&run(&["--json", "--switches", "2", "--report", page_argument]).await);
    assert_eq!(report["round_trip_ms"], 50);
    for transport in ["quic", "websocket"] {
        let rows = rows(&report, transport);
        let kinds: Vec<&str> = rows.iter().map(|row| row["switch"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["none", "rebind", "address", "hard"]);
        for row in rows {
            assert_eq!((&row["lost"], &row["duplicated"]), (&0.into(), &0.into()), "{row}");
            assert_eq!(row["transport_after"], transport);
            let gap = &row["gap_ms"];
            assert!(gap["min"].as_f64() <= gap["max"].as_f64() && gap["max"].as_f64() > Some(0.0));
        }
    }
    for row in rows(&report, "quic") {
        assert_eq!((&row["resubscribed"], &row["reconnects"]), (&0.into(), &0.into()), "{row}");
    }
    // TCP does break, or the switches would be none.
    for row in rows(&report, "websocket") {
        let expected = if row["switch"] == "none" { 0 } else { SWITCHES };
        assert!(row["reconnects"].as_u64() >= Some(expected), "{row}");
        assert_eq!(row["reconnects"], row["resumed"], "the session goes on: {row}");
    }
    bare_clients_went_through_the_same(&report);
    silences_lie_on_a_line_of_time(&report);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.ends_with("</html>\n"), "{page}");
    for row in ["sterna, QUIC: rebind", "raw rustls + tungstenite: hard"] {
        assert!(page.contains(&format!("<th>{row}</th>")), "{row} is missing in\n{page}");
    }
}

fn bare_clients_went_through_the_same(report: &Value) {
    let raw_rows = report["raw_rows"].as_array().unwrap();
    let of = |row: &Value| (row["transport"].clone(), row["switch"].clone());
    let names = |key: &str| report[key].as_array().unwrap().iter().map(of).collect::<Vec<_>>();
    assert_eq!(names("raw_rows"), names("rows"));
    for row in raw_rows {
        assert_eq!(row["duplicated"], 0, "{row}");
        let breaks = row["transport"] == "websocket" && row["switch"] != "none";
        assert_eq!(row["reconnects"], if breaks { SWITCHES } else { 0 }, "{row}");
        assert_eq!(row["resubscribed"], row["reconnects"], "{row}");
        // A stream sends again what did not arrive; a WebSocket that is gone cannot.
        assert!(breaks || row["lost"] == 0, "{row}");
    }
}

fn silences_lie_on_a_line_of_time(report: &Value) {
    let plots = report["plots"].as_array().unwrap();
    assert_eq!(plots.len(), 4, "one for each kind of switch");
    for (at, plot) in plots.iter().enumerate() {
        let marks = plot["marks"].as_array().unwrap();
        assert_eq!(marks.len() as u64, if at == 0 { 0 } else { SWITCHES }, "{plot}");
        let series = plot["series"].as_array().unwrap();
        let names: Vec<&str> = series.iter().map(|it| it["name"].as_str().unwrap()).collect();
        let ours = ["sterna, QUIC", "sterna, wss"];
        assert_eq!(names, [&ours[..], &["raw quinn", "raw rustls + tungstenite"]].concat());
        for line in series {
            let points = line["points"].as_array().unwrap();
            let times: Vec<f64> = points.iter().map(|it| it[0].as_f64().unwrap()).collect();
            assert!(!times.is_empty() && times.is_sorted(), "{line}");
            assert!(points.iter().all(|point| point[1].as_f64() >= Some(0.0)), "{line}");
        }
    }
}

#[tokio::test]
async fn a_running_node_can_be_measured_and_the_table_names_both_transports() {
    let node = Node::start().await;
    let (server, data_dir) = (node.client_address().to_string(), node.data_dir());
    let here = ["--server", &server, "--data-dir", data_dir.to_str().unwrap()];
    let output = run(&[&here[..], &["--switches", "1", "--delay-ms", "5"]].concat()).await;
    let table = String::from_utf8(output.stdout).unwrap();
    for needed in ["10 ms round trip", "quic       rebind", "websocket  hard", "raw quinn  hard"] {
        assert!(table.contains(needed), "{needed} is missing in\n{table}");
    }
}

/// Where a network can be made, its uplinks are really switched; elsewhere the bench says what it
/// needs.
#[tokio::test]
async fn real_uplinks_are_switched_or_it_says_what_they_need() {
    let output = command(&["--netns", "--json", "--switches", "1"]).output();
    let output = timeout(4 * PATIENCE, output).await.expect("the bench ends").unwrap();
    if !output.status.success() {
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("--netns needs root"), "{said}");
        return;
    }
    let report = report(&output);
    assert_eq!(report["raw_rows"], Value::Array(Vec::new()), "they have no uplinks");
    for (transport, reconnects) in [("quic", 0), ("websocket", 1)] {
        let rows = rows(&report, transport);
        assert_eq!(rows.len(), 3);
        for row in rows {
            assert_eq!((&row["lost"], &row["duplicated"]), (&0.into(), &0.into()), "{row}");
            assert_eq!(row["transport_after"], transport);
            let expected = if row["switch"] == "none" { 0 } else { reconnects };
            // On a busy machine a first attempt may fail, and is made again.
            let found = row["reconnects"].as_u64().unwrap();
            assert!(found == expected || expected > 0 && found > expected, "{row}");
            assert_eq!(row["resumed"], row["reconnects"], "the session goes on: {row}");
        }
    }
}

#[tokio::test]
async fn a_bench_without_its_node_says_so() {
    let nowhere = Path::new("/nonexistent/data");
    let mut command = command(&["--server", "127.0.0.1:1"]);
    command.arg("--data-dir").arg(nowhere);
    let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no secret to make a token with"), "{said}");
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(node::binary());
    command.args(["bench", "handover"]).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(arguments: &[&str]) -> Output {
    let output = timeout(2 * PATIENCE, command(arguments).output());
    let output = output.await.expect("the bench ends").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}", output.status);
    assert_eq!(said, "", "without a terminal there is no progress bar");
    output
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn rows<'a>(report: &'a Value, transport: &str) -> Vec<&'a Value> {
    let rows = report["rows"].as_array().unwrap();
    rows.iter().filter(|row| row["transport"] == transport).collect()
}
