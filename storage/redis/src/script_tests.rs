//! What the scripts refuse, each with every argument spoiled in turn: before anything is written.

use sterna_storage::StorageErrorKind;
use sterna_test_engines::redis::RedisServer;

use crate::RedisConfig;
use crate::calls::{Calls, Group};
use crate::script::{self, Script};

/// Arguments that a script takes, and what each is.
struct Case {
    file: &'static str,
    keys: &'static [&'static str],
    arguments: &'static [(&'static str, Kind)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Any bytes do.
    Bytes,
    Number,
    /// A number that has to be one that Lua counts exactly.
    Count,
    Verb,
    Position,
}

use Kind::{Bytes, Count, Number, Position, Verb};

const CASES: &[Case] = &[
    Case {
        file: "route_put.lua",
        keys: &["a", "b"],
        arguments: &[
            ("channel", Bytes),
            ("west", Bytes),
            ("18446744073709551615", Number),
            ("1000", Count),
            ("PUBLISH", Verb),
            ("here", Bytes),
        ],
    },
    Case {
        file: "route_remove.lua",
        keys: &["a", "b"],
        arguments: &[("channel", Bytes), ("west", Bytes), ("PUBLISH", Verb), ("here", Bytes)],
    },
    Case { file: "route_read.lua", keys: &["a"], arguments: &[] },
    Case {
        file: "session_put.lua",
        keys: &["a"],
        arguments: &[("1", Bytes), ("e1 1 0", Bytes), ("5", Count), ("1000", Number)],
    },
    Case { file: "session_remove.lua", keys: &["a"], arguments: &[("1", Bytes), ("e1 1 ", Bytes)] },
    Case {
        file: "edge_beat.lua",
        keys: &["a"],
        arguments: &[("18446744073709551615", Number), ("1", Number), ("1000", Number)],
    },
    Case { file: "edge_drop.lua", keys: &["a"], arguments: &[("1", Number)] },
    Case {
        file: "delta_append.lua",
        keys: &["a"],
        arguments: &[("payload", Bytes), ("9", Number)],
    },
    Case { file: "delta_read.lua", keys: &["a"], arguments: &[("0-0", Position), ("9", Number)] },
    Case {
        file: "rate_take.lua",
        keys: &["a"],
        arguments: &[("1", Count), ("5", Count), ("1000", Count)],
    },
    Case {
        file: "key_begin.lua",
        keys: &["a"],
        arguments: &[("1", Bytes), ("2", Bytes), ("1000", Number)],
    },
    Case {
        file: "key_finish.lua",
        keys: &["a"],
        arguments: &[("2", Bytes), ("result", Bytes), ("1000", Number)],
    },
    Case { file: "key_abandon.lua", keys: &["a"], arguments: &[("2", Bytes)] },
    Case {
        file: "page_keep.lua",
        keys: &["a"],
        arguments: &[
            ("18446744073709551615", Number),
            ("18446744073709551615", Number),
            ("page", Bytes),
            ("16", Count),
            ("1000", Number),
        ],
    },
    Case { file: "floor_raise.lua", keys: &["a"], arguments: &[("18446744073709551615", Number)] },
];

#[tokio::test]
async fn every_script_refuses_bad_input_before_it_writes() {
    let server = RedisServer::start();
    let calls = Calls::new(RedisConfig::new(server.url())).unwrap();
    let mut refused = 0;
    for (case, script) in cases() {
        for (keys, arguments) in spoiled(case) {
            let answer = run(&calls, script, &keys, &arguments).await;
            let error = answer.expect_err(&format!("{} {keys:?} {arguments:?}", case.file));
            assert_eq!(error.kind, StorageErrorKind::Unavailable, "{error}");
            assert!(error.message.contains("sterna: "), "{} {arguments:?}: {error}", case.file);
            assert_eq!(server.command::<usize>(&["DBSIZE"]), 0, "{} {arguments:?}", case.file);
            refused += 1;
        }
        run(&calls, script, case.keys, &good(case)).await.unwrap();
        server.command::<()>(&["FLUSHALL"]);
    }
    assert!(refused > 100, "only {refused} inputs were tried");
}

#[tokio::test]
async fn a_key_of_another_kind_is_told_as_corrupt() {
    let server = RedisServer::start();
    let calls = Calls::new(RedisConfig::new(server.url())).unwrap();
    for (case, script) in cases() {
        server.command::<()>(&["SADD", case.keys[0], "something"]);
        let error = run(&calls, script, case.keys, &good(case)).await.unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::Corrupt, "{}: {error}", case.file);
        assert_eq!(server.command::<String>(&["TYPE", case.keys[0]]), "set");
        assert_eq!(server.command::<usize>(&["DBSIZE"]), 1, "{} wrote elsewhere", case.file);
        server.command::<()>(&["FLUSHALL"]);
    }
}

#[tokio::test]
async fn a_server_that_has_forgotten_the_scripts_learns_them_again() {
    let server = RedisServer::start();
    let calls = Calls::new(RedisConfig::new(server.url())).unwrap();
    for _ in 0..2 {
        for (case, script) in cases() {
            run(&calls, script, case.keys, &good(case)).await.unwrap();
            server.command::<()>(&["FLUSHALL"]);
        }
        server.command::<()>(&["SCRIPT", "FLUSH"]);
    }
}

/// Each script with its case; none may be missing.
fn cases() -> impl Iterator<Item = (&'static Case, &'static Script)> {
    let scripts = script::all();
    assert_eq!(scripts.len(), CASES.len(), "a script has no case");
    CASES.iter().map(move |case| {
        let found = scripts.iter().find(|(file, _)| *file == case.file);
        (case, found.unwrap_or_else(|| panic!("no script {}", case.file)).1)
    })
}

/// One key or argument too many or too few, and each argument replaced by what it cannot be.
fn spoiled(case: &Case) -> Vec<(Vec<&'static str>, Vec<&'static str>)> {
    let (keys, arguments) = (case.keys.to_vec(), good(case));
    let mut all = vec![
        ([keys.clone(), vec!["more"]].concat(), arguments.clone()),
        (keys[1..].to_vec(), arguments.clone()),
        (keys.clone(), [arguments.clone(), vec!["1"]].concat()),
    ];
    if !arguments.is_empty() {
        all.push((keys.clone(), arguments[1..].to_vec()));
        all.push((keys.clone(), Vec::new()));
    }
    for (at, (_, kind)) in case.arguments.iter().enumerate() {
        let bad: &[&'static str] = match kind {
            Bytes => &[],
            Number => &["", "x", "-1", "01", "1e3", "1.5", " 1", "nan", "999999999999999999999"],
            Count => &["", "x", "-1", "01", "1e3", "inf", "18446744073709551615"],
            Verb => &["", "DEL", "publish"],
            Position => &["", "0", "-", "0-", "x-1", "(0-0", "0-0 "],
        };
        for bad in bad {
            let mut arguments = arguments.clone();
            arguments[at] = bad;
            all.push((keys.clone(), arguments));
        }
    }
    if case.file == "rate_take.lua" {
        for arguments in [["6", "5", "1"], ["1", "0", "1"], ["0", "0", "1"], ["1", "5", "0"]] {
            all.push((keys.clone(), arguments.to_vec()));
        }
    }
    all
}

fn good(case: &Case) -> Vec<&'static str> {
    case.arguments.iter().map(|(argument, _)| *argument).collect()
}

async fn run(
    calls: &Calls,
    script: &Script,
    keys: &[&str],
    arguments: &[&str],
) -> Result<redis::Value, sterna_storage::StorageError> {
    let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
    let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
    calls.run(Group::Admin, script, &keys, &arguments).await
}
