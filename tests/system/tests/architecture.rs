//! What may know what: dependency direction, pure modules, licences of dependencies, and the queue
//! register of ARCHITECTURE.md against the limits in the code (I12).

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sterna_system_tests::source;

/// Each package with those of ours that it may name. An edge that is not here is a decision to be
/// taken, not an accident to be merged.
const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("sterna-proto", &[]),
    ("sterna-storage", &["sterna-proto"]),
    ("sterna-storage-archive", &["sterna-proto", "sterna-storage"]),
    ("sterna-storage-keeping", &["sterna-proto", "sterna-storage", "sterna-storage-archive"]),
    ("sterna-storage-object", &["sterna-proto", "sterna-storage"]),
    ("sterna-storage-pages", &["sterna-proto", "sterna-storage"]),
    ("sterna-storage-parquet", &["sterna-proto", "sterna-storage"]),
    ("sterna-storage-redis", &["sterna-proto", "sterna-storage"]),
    ("sterna-storage-rocks", &["sterna-proto", "sterna-storage"]),
    ("sterna-storage-scylla", &["sterna-proto", "sterna-storage"]),
    ("sterna-storage-sql", &["sterna-proto", "sterna-storage"]),
    ("sterna-core", &["sterna-proto", "sterna-storage"]),
    ("sterna-edge", &["sterna-proto", "sterna-core"]),
    ("sterna-link", &["sterna-proto", "sterna-core"]),
    ("sterna-client", &["sterna-proto"]),
    ("sterna-fuzz", &[]),
    (
        "sterna",
        &[
            "sterna-bench",
            "sterna-bench-raw",
            "sterna-client",
            "sterna-core",
            "sterna-edge",
            "sterna-link",
            "sterna-proto",
            "sterna-relay",
            "sterna-storage",
            "sterna-storage-archive",
            "sterna-storage-keeping",
            "sterna-storage-object",
            "sterna-storage-pages",
            "sterna-storage-parquet",
            "sterna-storage-redis",
            "sterna-storage-rocks",
            "sterna-storage-scylla",
            "sterna-storage-sql",
        ],
    ),
    (
        "sterna-faults",
        &[
            "sterna-client",
            "sterna-proto",
            "sterna-relay",
            "sterna-system-tests",
            "sterna-test-engines",
        ],
    ),
    ("sterna-relay", &[]),
    ("sterna-simulation", &["sterna-core", "sterna-proto", "sterna-storage"]),
    ("sterna-test-engines", &[]),
    ("sterna-system-tests", &["sterna-client", "sterna-proto", "sterna-relay"]),
    ("sterna-test-engines", &[]),
    (
        "sterna-instructions",
        &["sterna-core", "sterna-edge", "sterna-proto", "sterna-storage", "sterna-storage-rocks"],
    ),
    ("sterna-bench-raw", &[]),
    ("sterna-bench", &["sterna-bench-raw", "sterna-proto", "sterna-relay"]),
];

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_DEPEND.iter().copied().collect();
    let metadata = cargo_metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages.iter().map(|p| text(&p["name"])).collect();
    let mut found = Vec::new();
    for package in packages {
        let name = text(&package["name"]);
        let Some(allowed) = allowed.get(name) else {
            found.push(format!("`{name}` has no row in MAY_DEPEND"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let other = text(&dependency["name"]);
            // Tests may reach further: the edge's run against a real core and memory stores.
            let ships = dependency["kind"].is_null();
            if ships && ours.contains(other) && !allowed.contains(&other) {
                found.push(format!("`{name}` must not depend on `{other}`"));
            }
        }
    }
    assert_none(&found, "dependencies against the direction");
}

#[test]
fn dependencies_come_from_the_workspace_table() {
    let mut found = Vec::new();
    for path in source::files().iter().filter(|path| path.ends_with("Cargo.toml")) {
        if path == Path::new("Cargo.toml") {
            continue;
        }
        let manifest = fs::read_to_string(source::root().join(path)).unwrap();
        // A workspace of its own has no table to share: a client of another maker, built apart.
        if manifest.lines().any(|line| line.trim() == "[workspace]") {
            continue;
        }
        let mut inside = false;
        for line in manifest.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line.ends_with("dependencies]");
            } else if inside
                && !line.is_empty()
                && !line.starts_with('#')
                && !line.contains("workspace = true")
            {
                found.push(format!("{}: {line}", path.display()));
            }
        }
    }
    assert_none(&found, "dependencies with a version or features of their own");
}

#[test]
fn pure_modules_do_no_io() {
    const IMPURE: &[&str] = &[
        "tokio::",
        "quinn::",
        "std::net::Tcp",
        "std::net::Udp",
        "std::fs",
        "Instant::now",
        "SystemTime::now",
    ];
    let list = fs::read_to_string(source::root().join("tests/system/pure_modules.txt")).unwrap();
    let files = source::rust_files();
    let mut found = Vec::new();
    for entry in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut any = false;
        for file in files.iter().filter(|file| file.path.starts_with(entry)) {
            any = true;
            for (line, text) in file.shipped_lines() {
                for word in IMPURE.iter().filter(|word| text.contains(*word)) {
                    found.push(format!("{}:{line} names `{word}`", file.path.display()));
                }
            }
        }
        if !any {
            found.push(format!("{entry} is in pure_modules.txt and nowhere else"));
        }
    }
    assert_none(&found, "impure lines in pure modules");
}

#[test]
fn time_comes_from_the_clock_in_the_core() {
    let found: Vec<String> = source::rust_files()
        .iter()
        .filter(|file| file.path.starts_with("core/src") && !file.path.ends_with("clock.rs"))
        .flat_map(|file| {
            file.shipped_lines()
                .filter(|(_, line)| line.contains("SystemTime::now"))
                .map(|(line, _)| format!("{}:{line}", file.path.display()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_none(&found, "wall clock reads beside the clock (I10)");
}

#[test]
fn licences_of_dependencies_are_allowed() {
    let deny = fs::read_to_string(source::root().join("deny.toml")).unwrap();
    let allowed = listed_licences(&deny);
    assert!(allowed.len() > 5, "the list of deny.toml was not understood: {allowed:?}");
    let target = host_target();
    let metadata = cargo_metadata(&["--filter-platform", &target]);
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = text(&package["name"]);
        let licence = package["license"].as_str().unwrap_or("none named");
        if !is_allowed(licence, &allowed) {
            found.push(format!("{name}: {licence}"));
        }
        let from = package["source"].as_str().unwrap_or("path");
        if !(from == "path" || from.starts_with("registry+")) {
            found.push(format!("{name} comes from {from}"));
        }
    }
    assert_none(&found, "licences or sources that deny.toml does not allow");
}

#[test]
fn a_licence_needs_every_part_and_one_choice() {
    let allowed = ["MIT", "ISC"].map(str::to_owned).into();
    for good in ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "MIT AND (ISC OR GPL-3.0)"] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR LGPL-2.1) AND MIT", "none named"] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}

#[test]
fn the_queue_register_tells_the_truth() {
    let register = queue_register();
    let mut found = Vec::new();
    let core = defaults("core/src/config.rs", "QueueLimits");
    let edge = defaults("edge/src/config.rs", "EdgeLimits");
    assert!(core.len() > 10 && edge.len() > 5, "defaults were not understood");
    for (field, value) in core.iter().chain(&edge) {
        match register.get(field.as_str()) {
            None => found.push(format!("`{field}` ({value}) has no row")),
            Some(row) if row.value != Some(*value) => found.push(format!(
                "`{field}` is {value} in the code and `{}` in the register",
                row.written
            )),
            Some(row) if row.policy.is_empty() => {
                found.push(format!("`{field}` does not say what happens when it is full"));
            }
            Some(_) => {}
        }
    }
    for (name, row) in &register {
        let is_field = core.contains_key(name) || edge.contains_key(name);
        if !is_field && row.value != constant(&row.owner, name) {
            found.push(format!(
                "`{name}` = `{}`: neither a limit nor a constant of `{}`",
                row.written, row.owner
            ));
        }
    }
    assert_none(&found, "differences between ARCHITECTURE.md `## Queues` and the code");
}

#[derive(Debug)]
struct Row {
    owner: String,
    written: String,
    value: Option<u64>,
    policy: String,
}

/// Rows `| name | owner | default | when full |` of the section `## Queues`.
fn queue_register() -> BTreeMap<String, Row> {
    let document = fs::read_to_string(source::root().join("ARCHITECTURE.md"))
        .expect("ARCHITECTURE.md is there");
    let section = document.split("\n## ").find(|section| section.starts_with("Queues"));
    let section = section.expect("ARCHITECTURE.md has a section `## Queues`");
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<String> = line
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect();
        let [name, owner, written, policy] = <[String; 4]>::try_from(cells)
            .unwrap_or_else(|cells| panic!("a row of `## Queues` has 4 cells: {cells:?}"));
        let is_heading = name.starts_with('-') || name.eq_ignore_ascii_case("queue");
        if !is_heading {
            let value = quantity(&written);
            rows.insert(name, Row { owner, written, value, policy });
        }
    }
    rows
}

/// Fields and values of `impl Default for NAME`; times in milliseconds.
fn defaults(path: &str, name: &str) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(source::root().join(path)).unwrap();
    let start = text.find(&format!("impl Default for {name}")).expect("defaults are there");
    let body = text[start..].split("\n}\n").next().unwrap_or_default();
    body.lines()
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(": "))
        .filter_map(|(field, value)| Some((field.to_owned(), expression(value)?)))
        .collect()
}

/// The value of `const NAME: _ = …;`, or in TypeScript `const NAME = …;`, in `path`.
fn constant(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(source::root().join(path)).ok()?;
    let heads = [format!("const {name}:"), format!("const {name} =")];
    let line = text.lines().find(|line| heads.iter().any(|head| line.contains(head)))?;
    expression(line.split_once(" = ")?.1.trim_end_matches(';'))
}

/// A product of numbers, or a duration in milliseconds.
fn expression(text: &str) -> Option<u64> {
    for (prefix, factor) in [("Duration::from_millis(", 1), ("Duration::from_secs(", 1000)] {
        if let Some(inner) = text.strip_prefix(prefix) {
            return Some(expression(inner.trim_end_matches(')'))? * factor);
        }
    }
    text.split(" * ").map(|factor| factor.trim().replace('_', "").parse::<u64>().ok()).product()
}

/// A number as people write it: `65,536`, `512 KiB`, `50 ms`.
fn quantity(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let number: u64 = number.replace([',', '_'], "").parse().ok()?;
    let factor = match unit {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return None,
    };
    Some(number * factor)
}

#[test]
fn numbers_of_code_and_of_people_meet() {
    assert_eq!(expression("512 * 1024"), quantity("512 KiB"));
    assert_eq!(expression("65_536"), quantity("65,536"));
    assert_eq!(expression("Duration::from_millis(50)"), quantity("50 ms"));
    assert_eq!(expression("Duration::from_secs(10)"), quantity("10 s"));
    assert_eq!((expression("Rate::default()"), quantity("some")), (None, None));
}

fn listed_licences(deny: &str) -> BTreeSet<String> {
    let list = deny.split("allow = [").nth(1).and_then(|rest| rest.split(']').next());
    list.unwrap_or_default().split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// SPDX expressions without precedence beyond parentheses; `/` is an old way to write OR.
fn is_allowed(licence: &str, allowed: &BTreeSet<String>) -> bool {
    let licence = licence.replace(" / ", " OR ").replace('/', " OR ");
    let parts = split_outside(&licence, " AND ");
    if parts.len() > 1 {
        return parts.iter().all(|part| is_allowed(part, allowed));
    }
    let choices = split_outside(&licence, " OR ");
    if choices.len() > 1 {
        return choices.iter().any(|choice| is_allowed(choice, allowed));
    }
    let licence = licence.trim();
    match licence.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => is_allowed(inner, allowed),
        None => allowed.contains(licence),
    }
}

/// Splits where no parenthesis is open.
fn split_outside(text: &str, separator: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if depth == 0 && rest.starts_with(separator) {
            parts.push(String::new());
            rest = &rest[separator.len()..];
            continue;
        }
        depth += i32::from(c == '(') - i32::from(c == ')');
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    parts
}

fn cargo_metadata(arguments: &[&str]) -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(arguments)
        .current_dir(source::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn host_target() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[track_caller]
fn assert_none(found: &[String], what: &str) {
    assert!(found.is_empty(), "{} {what}:\n  {}", found.len(), found.join("\n  "));
}
