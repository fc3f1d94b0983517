//! The repository keeps its own house rules (CONTRIBUTING.md): lengths, words, leftovers, headers,
//! and metrics that no test moves.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use sterna_system_tests::source::{self, SourceFile};

const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 800;
const SCRIPT_LINES: usize = 400;
/// Of any kind; the largest is generated code.
const FILE_BYTES: u64 = 512 * 1024;

#[test]
fn functions_are_short() {
    let mut long = Vec::new();
    for file in source::rust_files() {
        for function in file.functions() {
            if function.lines > FUNCTION_LINES {
                long.push(format!(
                    "{}:{} `{}` has {} lines",
                    file.path.display(),
                    function.line,
                    function.name,
                    function.lines
                ));
            }
        }
    }
    assert_none(&long, "functions above 70 lines: keep the branches, move straight work out");
}

#[test]
fn files_are_short() {
    let long: Vec<String> = source::rust_files()
        .iter()
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES)
        .map(|(file, lines)| format!("{} has {lines} lines", file.path.display()))
        .collect();
    assert_none(&long, "files above 800 lines: split the type that grew");
}

/// What a program wrote beside its work, a log or a database, is larger than what anybody writes.
#[test]
fn nothing_large_is_kept() {
    let large: Vec<String> = source::files()
        .into_iter()
        .map(|path| (fs::metadata(source::root().join(&path)).map_or(0, |it| it.len()), path))
        .filter(|(bytes, _)| *bytes > FILE_BYTES)
        .map(|(bytes, path)| format!("{} has {bytes} bytes", path.display()))
        .collect();
    assert_none(&large, "files above 512 KiB: left behind by a program, or to be made when needed");
}

#[test]
fn every_file_says_what_it_is() {
    let bare: Vec<String> = source::rust_files()
        .iter()
        .filter(|file| !file.text.starts_with("//!"))
        .map(|file| file.path.display().to_string())
        .collect();
    assert_none(&bare, "files without a `//!` header: what it owns, who calls it, how it ends");
}

/// TypeScript and JavaScript: the same rules, with `//` or a doc comment in front. The length of its
/// functions is watched by nobody but its readers.
#[test]
fn scripts_are_short_and_say_what_they_are() {
    let files = source::script_files();
    assert!(files.len() > 50, "the TypeScript client was not found");
    let mut found = Vec::new();
    for (path, text) in &files {
        let lines = text.lines().count();
        if lines > SCRIPT_LINES {
            found.push(format!("{} has {lines} lines", path.display()));
        }
        if !text.starts_with("// ") && !text.starts_with("/**") {
            found.push(format!("{} does not say what it is", path.display()));
        }
        for marker in markers().iter().take(3).filter(|marker| text.contains(*marker)) {
            found.push(format!("{} {marker}", path.display()));
        }
    }
    assert_none(&found, "scripts above 400 lines, without a header, or with leftovers");
}

#[test]
fn names_come_from_the_glossary() {
    let refused = refused_words();
    assert!(refused.contains("topic"), "the table of GLOSSARY.md was not understood: {refused:?}");
    let exceptions: BTreeMap<&str, &str> = NAME_EXCEPTIONS.iter().copied().collect();
    let mut unused: BTreeSet<&str> = exceptions.keys().copied().collect();
    let mut found = Vec::new();
    for file in source::rust_files() {
        for (line, name) in file.defined_names() {
            if file.is_test_line(line) {
                continue;
            }
            let Some(word) = refused_in(&name, &refused) else { continue };
            if exceptions.contains_key(name.as_str()) {
                unused.remove(name.as_str());
                continue;
            }
            found.push(format!("{}:{line} `{name}` says `{word}`", file.path.display()));
        }
    }
    assert_none(&found, "names with words that GLOSSARY.md replaces");
    let unused: Vec<String> = unused.into_iter().map(str::to_owned).collect();
    assert_none(&unused, "exceptions that nothing needs any more");
}

/// Names that a third party or a protocol forces, each with its reason.
const NAME_EXCEPTIONS: &[(&str, &str)] = &[];

#[test]
fn nothing_is_left_over() {
    let mut found = Vec::new();
    for file in source::rust_files() {
        for (line, text) in file.text.lines().enumerate() {
            for marker in markers() {
                if text.contains(&marker) {
                    found.push(format!("{}:{} {marker}", file.path.display(), line + 1));
                }
            }
        }
        for (line, text) in file.shipped_lines() {
            if text.contains(".unwrap()") {
                found.push(format!("{}:{line} unwrap outside tests", file.path.display()));
            }
        }
    }
    assert_none(&found, "leftovers: finish them or open an issue");
}

/// Split in two so that this file does not find itself.
fn markers() -> Vec<String> {
    [
        ("TO", "DO"),
        ("FIX", "ME"),
        ("XX", "X"),
        ("todo", "!("),
        ("unimplemented", "!("),
        ("dbg", "!("),
        ("#[ign", "ore"),
        ("single", "_node {"),
    ]
    .iter()
    .map(|(head, tail)| format!("{head}{tail}"))
    .collect()
}

#[test]
fn nothing_names_this_workplace_or_a_registry() {
    let hosts = [
        ("static.", "crates.io"),
        ("index.", "crates.io"),
        ("pypi", ".org"),
        ("files.python", "hosted.org"),
        ("registry.", "npmjs.org"),
        ("deb.", "debian.org"),
        ("proxy.", "golang.org"),
        ("repo1.", "maven.org"),
        ("/ro", "ot/"),
        ("/wo", "rk/"),
        ("/tmp/", "prep"),
    ];
    let mut found = Vec::new();
    for path in source::files() {
        if is_foreign_text(&path) {
            continue;
        }
        // What is not text names nothing.
        let Ok(text) = fs::read_to_string(source::root().join(&path)) else { continue };
        for (head, tail) in hosts {
            let needle = format!("{head}{tail}");
            for (line, _) in text.lines().enumerate().filter(|(_, line)| line.contains(&needle)) {
                found.push(format!("{}:{} {needle}", path.display(), line + 1));
            }
        }
    }
    assert_none(&found, "registry hosts or paths of one machine");
}

/// Written by tools, or no part of the repository.
fn is_foreign_text(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name == "Cargo.lock" || name == "package-lock.json"
}

#[test]
fn metrics_are_well_named_and_moved_by_a_test() {
    let files = source::rust_files();
    let mut tests: String = files.iter().map(SourceFile::test_text).collect();
    tests.push_str(&python_tests());
    let mut found = Vec::new();
    for (metric, place) in metrics(&files) {
        if !is_well_named(&metric) {
            found.push(format!("{place} `{metric}` is not sterna_<part>_<noun>_<unit or total>"));
        }
        if !contains_word(&tests, &metric) {
            found.push(format!("{place} `{metric}` is moved by no test"));
        }
    }
    assert_none(&found, "metrics: a metric that no test looks at is removed or tested");
}

/// Names in `counter!("…")` and its like, and in constants, with where they stand first.
fn metrics(files: &[SourceFile]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in files {
        let shipped = file.shipped_text();
        for literal in shipped.split('"').skip(1).step_by(2) {
            let parts = literal.split('_').count();
            let plain =
                literal.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_numeric());
            if literal.starts_with("sterna_") && parts >= 3 && plain {
                let place = file.path.display().to_string();
                found.entry(literal.to_owned()).or_insert(place);
            }
        }
    }
    found
}

fn is_well_named(metric: &str) -> bool {
    const PARTS: &[&str] = &[
        "node", "core", "edge", "storage", "archive", "rocks", "http", "cli", "client", "link",
        "process",
    ];
    const ENDS: &[&str] = &[
        "total",
        "seconds",
        "bytes",
        "active",
        "info",
        "ratio",
        "count",
        "open",
        "publications",
        "sessions",
        "connections",
        "subscriptions",
        "channels",
        "frames",
        "depth",
        "held",
    ];
    let words: Vec<&str> = metric.split('_').collect();
    PARTS.contains(&words[1]) && words.last().is_some_and(|last| ENDS.contains(last))
}

fn contains_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        !text[at + word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
    })
}

fn python_tests() -> String {
    source::files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ext| ext == "py"))
        .map(|path| fs::read_to_string(source::root().join(path)).unwrap())
        .collect()
}

/// Words in `code type` in the last column of the glossary's table.
fn refused_words() -> BTreeSet<String> {
    let text = fs::read_to_string(source::root().join("GLOSSARY.md")).unwrap();
    text.lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| line.trim_end_matches('|').rsplit('|').next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The refused word in a name, in the singular or the plural.
fn refused_in<'a>(name: &str, refused: &'a BTreeSet<String>) -> Option<&'a String> {
    let words = source::words(name);
    refused.iter().find(|refused| {
        words.iter().any(|word| word == *refused || word.strip_suffix('s') == Some(refused))
    })
}

#[track_caller]
fn assert_none(found: &[String], what: &str) {
    assert!(found.is_empty(), "{} {what}:\n  {}", found.len(), found.join("\n  "));
}
