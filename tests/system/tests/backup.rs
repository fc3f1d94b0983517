//! Nodes are copied while they run, lost, and put back; and a store is rebuilt from its archive alone.
//! What clients have seen since is told to them, and never comes again as something else.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use sterna_client::{ChannelId, Client, Event, Subscribe, Subscription, Transport};
use sterna_system_tests::node::{Node, PATIENCE, binary};
use sterna_system_tests::process::{JsonProcess, seen};
use sterna_system_tests::sdk;
use sterna_system_tests::served::{Authority, Served, run, said};
use sterna_test_engines::S3Server;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

const CHANNEL: &str = "room:backup";

/// Everything is old after a second, and nothing waits.
const EAGER: &str = "after = \"1s\"\nevery = \"1s\"\ngrace = \"0s\"\nkeep_newest = 3\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_i10_a_client_that_has_seen_more_than_the_backup_is_told_where_to_go_on() {
    let mut node = Node::start().await;
    let channel = ChannelId::new(CHANNEL).unwrap();
    let ana = sdk::connect(&node, "ana", Transport::Quic).await;
    let ben = sdk::connect(&node, "ben", Transport::WebSocket).await;
    let mut reader = ben.subscribe(&channel, Subscribe::earliest()).unwrap();
    let mut ids = BTreeSet::new();
    let epoch = publish(&ana, &channel, "kept", 100, 1, &mut ids).await;
    let made = answer(node.local_verb(&["backup", "create", "monday", "--json"])).await;
    assert_eq!(made["path"], node.data_dir().join("backups/monday").display().to_string());
    publish(&ana, &channel, "lost", 50, 101, &mut ids).await;
    assert_eq!(
        texts(&mut reader, 150).await,
        [numbered("kept", 100), numbered("lost", 50)].concat()
    );

    node.kill().await;
    let store = node.data_dir().join("store");
    fs::rename(&store, node.data_dir().join("lost")).unwrap();
    let backup = node.data_dir().join("backups/monday");
    let verified = answer(backup_verb(&["verify", text(&backup), "--json"])).await;
    assert_eq!(verified["damages"], Value::from([0; 0]));
    let verb = ["restore", text(&backup), "--to", text(&store), "--json"];
    let restored = answer(backup_verb(&verb)).await;
    assert_eq!((&restored["commit"], &restored["node"]), (&made["commit"], &"dev".into()));
    node.restart().await;

    // The reader stands at 150 of an epoch in which there are 100 now.
    let changed = loop {
        match timeout(PATIENCE, reader.next()).await.expect("an event").unwrap() {
            Event::EpochChanged { old, new, keep_upto } => break (old.0, new, keep_upto.0),
            Event::State(_) => {}
            other => panic!("before anything else: {other:?}"),
        }
    };
    let new = u32::try_from(restored["epoch"].as_u64().unwrap()).unwrap();
    assert_eq!((changed.0, changed.1.0, changed.2), (epoch, new, 100));
    // Behind the marker, dense, and with ids that nobody was told before.
    let again = publish(&ana, &channel, "again", 50, 102, &mut ids).await;
    assert_eq!((again, ids.len()), (new, 200));
    assert_eq!(texts(&mut reader, 50).await, numbered("again", 50));
    let carl = sdk::connect(&node, "carl", Transport::Quic).await;
    let mut whole = carl.subscribe(&channel, Subscribe::earliest()).unwrap();
    let expected = [numbered("kept", 100), numbered("again", 50)].concat();
    assert_eq!(texts(&mut whole, 150).await, expected, "nothing of what was lost");
    for client in [ana, ben, carl] {
        client.close().await;
    }
    assert!(node.terminate().await.success(), "{}", node.log());
    assert!(
        answer(backup_verb(&["list", text(backup.parent().unwrap()), "--json"])).await["path"]
            .as_str()
            .unwrap()
            .ends_with("monday")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_what_was_archived_after_the_backup_is_no_part_of_what_was_put_back() {
    let authority = Authority::new("authority");
    let mut node = archiving(&authority);
    node.start(&[], &[]).await;
    publish_lines(&node, &authority, "kept", 40).await;
    wait_archived(&node, 40).await;
    let status = answer(node.operator_verb(&["archive", "status", "--json"])).await;
    assert_eq!(status["records"], 40, "of a node that runs");
    // It has the store, so that it is asked, if its address is known.
    let by_config = |more: &[&str]| {
        let mut command = node.configured_verbs(&["archive", "status", "--json"]);
        command.args(more);
        command
    };
    let unknown = run(by_config(&[])).await;
    assert!(!unknown.status.success() && said(&unknown).contains("--url"), "{}", said(&unknown));
    let address = format!("http.address={}", node.http_address());
    assert_eq!(answer(by_config(&["--set", &address])).await, status);
    let made = answer(node.operator_verb(&["backup", "create", "monday", "--json"])).await;
    publish_lines(&node, &authority, "lost", 40).await;
    wait_archived(&node, 80).await;
    node.kill().await;
    let store = node.path("data/store");
    fs::remove_dir_all(&store).unwrap();
    let backup = made["path"].as_str().unwrap();
    answer(backup_verb(&["restore", backup, "--to", text(&store), "--json"])).await;
    node.start(&[], &[]).await;
    assert_eq!(read_all(&node, &authority, 40).await, numbered("kept", 40));
    publish_lines(&node, &authority, "again", 20).await;
    // And the marker of the new epoch.
    wait_archived(&node, 61).await;
    let expected = [numbered("kept", 40), numbered("again", 20)].concat();
    assert_eq!(read_all(&node, &authority, 60).await, expected);
    let verified = answer(node.operator_verb(&["archive", "verify", "--json"])).await;
    assert_eq!(verified["damages"], Value::from([0; 0]));
    let passed = answer(node.operator_verb(&["archive", "run", "--json"])).await;
    assert_eq!((&passed["records"], &passed["failed"]), (&0.into(), &0.into()), "nothing is left");
    // Since the node started again.
    assert_eq!(node.metric("sterna_node_jobs_total", "result=\"done\"").await, Some(2.0));

    // The database is lost for good: the objects say the same.
    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
    fs::remove_dir_all(&store).unwrap();
    let dry = answer(restore_archive(&node, &["--dry-run"])).await;
    assert_eq!((&dry["records"], &dry["written"]), (&61.into(), &false.into()));
    assert_ne!(dry["spare_runs"], 0, "of what was lost");
    assert!(!store.exists(), "nothing was made");
    let rebuilt = answer(restore_archive(&node, &[])).await;
    assert_eq!((&rebuilt["records"], &rebuilt["written"]), (&61.into(), &true.into()));
    let again = run(restore_archive(&node, &[])).await;
    assert!(!again.status.success() && said(&again).contains("empty"), "{}", said(&again));
    node.start(&[], &[]).await;
    assert_eq!(read_all(&node, &authority, 60).await, expected);
    publish_lines(&node, &authority, "third", 5).await;
    assert_eq!(read_all(&node, &authority, 65).await, [expected, numbered("third", 5)].concat());
    let verified = answer(node.operator_verb(&["archive", "verify", "--json"])).await;
    assert_eq!(verified["damages"], Value::from([0; 0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_lies_in_an_object_store_and_the_next_one_sends_what_is_new() {
    let server = S3Server::start();
    let authority = Authority::new("authority");
    let mut node = Served::prepare(&authority, "");
    node.write_secret("s3.id", S3Server::ACCESS_KEY);
    node.write_secret("s3.secret", S3Server::SECRET_KEY);
    let url = format!("s3://{}/deep", S3Server::BUCKET);
    let (id, secret) = (node.path("s3.id"), node.path("s3.secret"));
    let at_s3 = |verb: &[&str]| {
        let mut command = backup_verb(verb);
        command.args(["--endpoint", &server.endpoint(), "--region", "eu", "--json"]);
        command.arg("--key-id-file").arg(&id);
        command.arg("--secret-file").arg(&secret);
        command
    };
    let nothing = run(at_s3(&["list", &url])).await;
    assert!(nothing.status.success() && nothing.stdout.is_empty(), "{}", said(&nothing));
    let (store, b1, b2) = (node.path("data/store"), node.path("b1"), node.path("b2"));
    let (mut sent, mut files) = (Vec::new(), Vec::new());
    for (round, backup) in [&b1, &b2].into_iter().enumerate() {
        node.start(&[], &[]).await;
        publish_lines(&node, &authority, if round == 0 { "one" } else { "two" }, 30).await;
        node.signal(libc::SIGTERM);
        assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
        let verb = ["create", text(backup), "--store", text(&store), "--json"];
        answer(backup_verb(&verb)).await;
        let pushed = answer(at_s3(&["push", text(backup), "--to", &url])).await;
        sent.push(pushed["sent_files"].as_u64().unwrap());
        files.push(pushed["files"].as_u64().unwrap());
    }
    assert!(sent[0] > 0 && sent[1] > 0 && sent[1] < files[1], "{sent:?} of {files:?}");
    let twice = run(at_s3(&["push", text(&b2), "--to", &url])).await;
    assert!(!twice.status.success() && said(&twice).contains("there is a backup"));
    let listed = run(at_s3(&["list", &url])).await;
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 2, "{}", said(&listed));

    for path in [&store, &b1, &b2] {
        fs::remove_dir_all(path).unwrap();
    }
    let name = format!("{url}/b2");
    let verified = answer(at_s3(&["verify", &name])).await;
    assert_eq!(verified["damages"], Value::from([0; 0]));
    answer(at_s3(&["restore", &name, "--to", text(&store)])).await;
    node.start(&[], &[]).await;
    let expected = [numbered("one", 30), numbered("two", 30)].concat();
    assert_eq!(read_all(&node, &authority, 60).await, expected);
    node.kill().await;

    // A file that is not what it was is told, and nothing is put back.
    let files = server.bucket().join("deep/files");
    let largest = fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().path());
    let largest = largest.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).unwrap();
    fs::remove_dir_all(&store).unwrap();
    let damaged = run(at_s3(&["verify", &name])).await;
    let damaged_one = run(at_s3(&["verify", &format!("{url}/b1")])).await;
    let told = [&damaged, &damaged_one].iter().any(|it| it.status.code() == Some(1));
    assert!(told, "{} {}", said(&damaged), said(&damaged_one));
    if damaged.status.code() == Some(1) {
        let refused = run(at_s3(&["restore", &name, "--to", text(&store)])).await;
        assert!(!refused.status.success() && !store.exists(), "{}", said(&refused));
    }
}

/// A node that archives into a folder of its own.
fn archiving(authority: &Authority) -> Served {
    let node = Served::prepare(authority, "");
    let folder = node.path("archive");
    let archive = format!("[archive]\nurl = \"file://{}\"\n{EAGER}", folder.display());
    node.write_config(&archive);
    node
}

/// The records that were archived, as a running node tells.
async fn wait_archived(node: &Served, wanted: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, answer) = node.operator_get("/api/v1/operate/archive").await;
        assert_eq!(status, 200, "{answer}");
        if answer["result"]["records"] == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{answer}, not {wanted}\n{}", node.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn restore_archive(node: &Served, more: &[&str]) -> Command {
    let mut command = node.configured_verbs(&["archive", "restore", "--json"]);
    command.args(more);
    command
}

fn backup_verb(verb: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("backup").args(verb).stdin(std::process::Stdio::null()).kill_on_drop(true);
    command
}

/// The one object that a verb prints which does well.
async fn answer(command: Command) -> Value {
    let output = run(command).await;
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn numbered(word: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{word} {n}")).collect()
}

/// Publishes one after the other; the offsets follow each other from `first` on, and no id was there.
async fn publish(
    client: &Client,
    channel: &ChannelId,
    word: &str,
    count: usize,
    first: u64,
    ids: &mut BTreeSet<u64>,
) -> u32 {
    let mut epoch = 0;
    for (offset, line) in (first..).zip(numbered(word, count)) {
        let ack = sdk::publish(client, channel, &line).await;
        assert_eq!(ack.position.offset.0, offset, "{line}");
        assert!(ids.insert(ack.id), "{} was there: {line}", ack.id);
        epoch = ack.position.epoch.0;
    }
    epoch
}

async fn texts(subscription: &mut Subscription, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        match timeout(PATIENCE, subscription.next()).await.expect("an event").unwrap() {
            Event::Publication(it) => texts.push(String::from_utf8(it.payload.to_vec()).unwrap()),
            Event::State(_) | Event::Recovered { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    texts
}

async fn publish_lines(node: &Served, authority: &Authority, word: &str, count: usize) {
    let verb = node.verb(authority, "ana", &["pub", CHANNEL, "--stdin", "--json"]).await;
    let mut publisher = JsonProcess::start("publisher", verb, numbered(word, count));
    assert!(publisher.finish().await.success(), "{}", publisher.errors());
    assert_eq!(publisher.count(), count);
}

async fn read_all(node: &Served, authority: &Authority, count: usize) -> Vec<String> {
    let verb = ["sub", CHANNEL, "--from", "earliest", "--json"];
    let verb = node.verb(authority, "reader", &verb).await;
    let mut reader = JsonProcess::start("reader", verb, Vec::new());
    reader.wait_for_count(count).await;
    reader.kill().await.iter().map(|it| seen(it).text).collect()
}
