//! `sterna bench load`: its stages, and that everything acknowledged is accounted for in them.

use serde_json::Value;

use crate::{assert_ascending, bench, disk, durability, number};

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
