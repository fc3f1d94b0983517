//! Prints bytes and parse time of protobuf frames against the same frames in JSON.
//!
//!     cargo run --release -p sterna-bench --bin proto -- [--json] [--round-ms N]

use std::process::ExitCode;
use std::time::Duration;

use sterna_bench::{mix, wire};

fn main() -> ExitCode {
    let mut json = false;
    let mut round = Duration::from_millis(50);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let round_ms = || "--round-ms needs a number of milliseconds above 0";
        match argument.as_str() {
            "--json" => json = true,
            "--round-ms" => match arguments.next().and_then(|text| text.parse().ok()) {
                Some(ms) if ms > 0 => round = Duration::from_millis(ms),
                _ => return usage(round_ms()),
            },
            other => return usage(&format!("unknown argument {other}")),
        }
    }
    let measured: Vec<_> = mix::mix().iter().map(|kind| wire::measure(kind, round)).collect();
    if json {
        print_json(&measured)
    } else {
        print_table(&measured)
    }
    ExitCode::SUCCESS
}

fn usage(problem: &str) -> ExitCode {
    eprintln!("{problem}\nusage: proto [--json] [--round-ms N]");
    ExitCode::from(2)
}

fn print_table(measured: &[wire::Measured]) {
    println!(
        "{:26} {:>5} {:>9} {:>9} {:>6} {:>9} {:>9} {:>7} {:>7}",
        "frame", "times", "protobuf", "JSON", "bytes", "parse pb", "JSON", "parse", "encode"
    );
    for kind in measured {
        row(
            kind.name,
            &kind.count.to_string(),
            [kind.protobuf_bytes as f64, kind.json_bytes as f64],
            [kind.protobuf_parse_ns, kind.json_parse_ns],
            kind.json_encode_ns / kind.protobuf_encode_ns,
        );
    }
    let sum = wire::sum(measured);
    row(
        "the mix",
        "",
        [sum.protobuf_bytes, sum.json_bytes],
        [sum.protobuf_parse_ns, sum.json_parse_ns],
        sum.json_encode_ns / sum.protobuf_encode_ns,
    );
    println!("bytes: share of JSON's; parse and encode: times as fast as JSON");
}

fn row(name: &str, count: &str, bytes: [f64; 2], parse_ns: [f64; 2], encode: f64) {
    println!(
        "{name:26} {count:>5} {:>7.0} B {:>7.0} B {:>4.0} % {:>6.0} ns {:>6.0} ns {:>6.1}x {encode:>6.1}x",
        bytes[0],
        bytes[1],
        100.0 * bytes[0] / bytes[1],
        parse_ns[0],
        parse_ns[1],
        parse_ns[1] / parse_ns[0],
    );
}

fn print_json(measured: &[wire::Measured]) {
    let kinds: Vec<_> = measured
        .iter()
        .map(|kind| {
            serde_json::json!({
                "frame": kind.name,
                "count": kind.count,
                "protobuf_bytes": kind.protobuf_bytes,
                "json_bytes": kind.json_bytes,
                "protobuf_parse_ns": kind.protobuf_parse_ns,
                "json_parse_ns": kind.json_parse_ns,
                "protobuf_encode_ns": kind.protobuf_encode_ns,
                "json_encode_ns": kind.json_encode_ns,
            })
        })
        .collect();
    let sum = wire::sum(measured);
    let mix = serde_json::json!({
        "byte_ratio": sum.protobuf_bytes / sum.json_bytes,
        "parse_speedup": sum.json_parse_ns / sum.protobuf_parse_ns,
        "encode_speedup": sum.json_encode_ns / sum.protobuf_encode_ns,
    });
    println!("{}", serde_json::json!({ "kinds": kinds, "mix": mix }));
}
