//! What a channel gives up, on real nodes: to who is connected, over restarts, in the store and in
//! the archive.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sterna_system_tests::node::{PATIENCE, binary};
use sterna_system_tests::process::JsonProcess;
use sterna_system_tests::served::{Authority, Served, run, said};
use tokio::process::Command;
use tokio::time::Instant;

const CHANNEL: &str = "room:kept";
const SECRET: &str = "words that nobody may read";

/// The archive takes everything after a second.
const EAGER: &str = "after = \"1s\"\nevery = \"1s\"\ngrace = \"0s\"\nkeep_newest = 0\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redacted_payload_is_gone_for_who_is_there_who_comes_and_after_a_restart() {
    let authority = Authority::new("authority");
    let mut node = Served::prepare(&authority, "");
    node.start(&[], &[]).await;
    publish(&node, &authority, &["one", SECRET, "three"]).await;
    let mut follower = reader(&node, &authority).await;
    follower.wait_for_count(3).await;
    ask(&node, &["redact", CHANNEL, "2", "--reason", "a complaint"], 0).await;
    follower.wait_for_count(4).await;
    let told = follower.kill().await;
    assert_eq!((&told[1]["text"], &told[3]["redaction_of"]), (&SECRET.into(), &2.into()));
    for _ in 0..2 {
        let read = read(&node, &authority, 4).await;
        assert_eq!(read[1]["redacted"], true, "{}", read[1]);
        assert_eq!(read[1].get("text"), None, "{}", read[1]);
        assert_eq!((&read[0]["text"], &read[2]["text"]), (&"one".into(), &"three".into()));
        node.kill().await;
        node.start(&[], &[]).await;
    }
    let kept = ask(&node, &["retention", CHANNEL], 0).await;
    let deed = &kept["deeds"][0];
    assert_eq!((&deed["what"], &deed["by"]), (&"redacted 2".into(), &"api.test".into()));
    assert_eq!(deed["reason"], "a complaint");
    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_than_the_retention_goes_unless_it_is_on_hold() {
    let authority = Authority::new("authority");
    let mut node = Served::prepare(&authority, "[retention]\ngroup = \"1h\"\nevery = \"200ms\"\n");
    node.start(&[], &[]).await;
    publish(&node, &authority, &["old"; 10]).await;
    ask(&node, &["hold", CHANNEL, "on", "--reason", "a case"], 0).await;
    ask(&node, &["retention", CHANNEL, "2s"], 0).await;
    node.wait_metric("sterna_storage_retention_held_channels", "", 1.0).await;
    for order in
        [&["redact", CHANNEL, "2", "--reason", "no"][..], &["erase", CHANNEL, "--reason", "no"]]
    {
        assert_eq!(ask(&node, order, 1).await, Value::Null);
    }
    // Long enough for all of it to be too old.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(read(&node, &authority, 10).await.len(), 10);
    }
    ask(&node, &["hold", CHANNEL, "off", "--reason", "closed"], 0).await;
    wait_floor(&node, 11).await;
    assert_eq!(history(&node, &authority).await, Vec::<Value>::new());
    assert_eq!(node.metric("sterna_storage_retention_records_total", "").await, Some(10.0));
    // As configured for its kind again, which is longer.
    ask(&node, &["retention", CHANNEL, "default"], 0).await;
    publish(&node, &authority, &["kept"]).await;
    let passes = node.metric("sterna_storage_retention_passes_total", "").await.unwrap();
    wait_passes(&node, passes + 12.0).await;
    let page = history(&node, &authority).await;
    assert_eq!((page.len(), &page[0]["text"], &page[0]["offset"]), (1, &"kept".into(), &11.into()));
    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_erased_is_read_by_nobody_neither_from_the_store_nor_from_its_objects() {
    let authority = Authority::new("authority");
    let mut node = Served::prepare(&authority, "");
    let (folder, master) = (node.path("archive"), node.path("master.key"));
    let mut key = Command::new(binary());
    key.arg("key").arg(&master);
    let made = run(key).await;
    assert!(made.status.success(), "{}", said(&made));
    node.write_config(&format!(
        "[archive]\nurl = \"file://{}\"\nencrypt = \"all\"\nmaster_key_file = {master:?}\n{EAGER}",
        folder.display()
    ));
    node.start(&[], &[]).await;
    publish(&node, &authority, &[SECRET; 20]).await;
    node.wait_metric("sterna_archive_trimmed_total", "", 20.0).await;
    let objects_before = objects(&folder);
    assert!(!objects_before.is_empty());
    assert_eq!(read(&node, &authority, 20).await[7]["text"], SECRET);
    ask(&node, &["erase", CHANNEL, "--reason", "an order"], 0).await;
    for _ in 0..2 {
        let page = history(&node, &authority).await;
        assert!(page.iter().all(|it| it.get("text").is_none()), "{page:?}");
        assert_eq!(page[0]["redaction_of"], 0);
        node.kill().await;
        node.start(&[], &[]).await;
    }
    // The objects are as they were, and say nothing; what comes later is read as ever.
    for object in objects(&folder) {
        let bytes = fs::read(&object).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{object:?}");
    }
    assert!(objects_before.iter().all(|object| object.exists()));
    publish(&node, &authority, &["later"]).await;
    node.wait_metric("sterna_storage_keeping_keys_total", "", 1.0).await;
    let page = history(&node, &authority).await;
    assert_eq!(page.last().unwrap()["text"], "later");
    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
    let mut verify = node.configured_verbs(&["archive", "verify"]);
    verify.arg("--json");
    let verified = run(verify).await;
    assert!(verified.status.success(), "{}", said(&verified));
}

async fn publish(node: &Served, authority: &Authority, texts: &[&str]) {
    let lines: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let verb = node.verb(authority, "ana", &["pub", CHANNEL, "--stdin", "--json"]).await;
    let mut publisher = JsonProcess::start("publisher", verb, lines);
    assert!(publisher.finish().await.success(), "{}", publisher.errors());
}

/// Follows the channel from its beginning.
async fn reader(node: &Served, authority: &Authority) -> JsonProcess {
    let verb = ["sub", CHANNEL, "--from", "earliest", "--json"];
    JsonProcess::start("reader", node.verb(authority, "reader", &verb).await, Vec::new())
}

async fn read(node: &Served, authority: &Authority, count: usize) -> Vec<Value> {
    let mut reader = reader(node, authority).await;
    reader.wait_for_count(count).await;
    reader.kill().await
}

async fn history(node: &Served, authority: &Authority) -> Vec<Value> {
    let verb = ["history", CHANNEL, "--from", "earliest", "--limit", "100", "--json"];
    let verb = node.verb(authority, "reader", &verb).await;
    let mut history = JsonProcess::start("history", verb, Vec::new());
    assert!(history.finish().await.success(), "{}", history.errors());
    history.objects()
}

/// An operator's verb; nothing, where it fails.
async fn ask(node: &Served, verb: &[&str], code: i32) -> Value {
    let mut command = node.operator_verb(verb);
    command.arg("--json");
    let output = run(command).await;
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    match code {
        0 => serde_json::from_slice(&output.stdout).unwrap(),
        _ => json!(null),
    }
}

async fn wait_floor(node: &Served, floor: u64) {
    let late = Instant::now() + PATIENCE;
    while ask(node, &["retention", CHANNEL], 0).await["floor"] != floor {
        assert!(Instant::now() < late, "{}", node.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn wait_passes(node: &Served, wanted: f64) {
    let late = Instant::now() + PATIENCE;
    while node.metric("sterna_storage_retention_passes_total", "").await.unwrap_or(0.0) < wanted {
        assert!(Instant::now() < late, "{}", node.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The segments below a folder.
fn objects(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(objects(&path));
        } else if path.extension().is_some_and(|extension| extension == "seg") {
            found.push(path);
        }
    }
    found
}
