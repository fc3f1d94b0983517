//! Old publications move to an archive while a node serves, and nobody notices but the operator: in
//! a folder and on an S3 server, through kill -9, an archive that is away, and damage.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sterna_system_tests::node::PATIENCE;
use sterna_system_tests::process::{JsonProcess, seen};
use sterna_system_tests::served::{Authority, Served, run, said};
use sterna_test_engines::S3Server;
use tokio::time::Instant;

const CHANNEL: &str = "room:archive";

/// Everything is old after a second, and nothing waits.
const EAGER: &str = "after = \"1s\"\nevery = \"1s\"\ngrace = \"0s\"\nkeep_newest = 3\n";

const TRIMMED: &str = "sterna_archive_trimmed_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_history_has_no_edge_through_kills_and_damage_is_told() {
    let authority = Authority::new("authority");
    let mut node = Served::prepare(&authority, "");
    let folder = node.path("archive");
    node.write_config(&format!("[archive]\nurl = \"file://{}\"\n{EAGER}", folder.display()));
    node.start(&[], &[]).await;
    let mut count = 0;
    for round in 0..3 {
        let mut follower = reader(&node, &authority).await;
        publish(&node, &authority, count, 40).await;
        count += 40;
        // All but the newest three.
        wait_trimmed(&node, if round == 0 { 37.0 } else { 40.0 }).await;
        assert_eq!(read_all(&node, &authority, count).await, texts(count));
        assert_eq!(history(&node, &authority, count).await, texts(count));
        follower.wait_for_count(count).await;
        let followed: Vec<String> = follower.objects().iter().map(|it| seen(it).text).collect();
        assert_eq!(followed, texts(count), "who was there all the time has each once");
        node.kill().await;
        node.start(&[], &[]).await;
        assert_eq!(read_all(&node, &authority, count).await, texts(count));
    }
    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());

    let status = archive(&node, "status", 0).await;
    assert_eq!(status["records"], count, "the newest lie in both");
    let verified = archive(&node, "verify", 0).await;
    assert_eq!((&verified["damages"], &verified["channels"]), (&Value::from([0; 0]), &1.into()));
    assert_eq!(verified["segments"], status["segments"]);
    let now = archive(&node, "run", 0).await;
    assert_eq!((&now["records"], &now["failed"]), (&0.into(), &0.into()), "nothing is left");

    // One bit of the oldest segment: told by whoever reads it, and never passed over.
    let segments = objects(&folder);
    let oldest = segments.iter().min_by_key(|path| path.file_name()).unwrap();
    let mut bytes = fs::read(oldest).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    fs::write(oldest, bytes).unwrap();
    let verified = archive(&node, "verify", 1).await;
    assert_eq!(verified["damages"].as_array().unwrap().len(), 1, "{verified}");
    node.start(&[], &[]).await;
    let verb = ["history", CHANNEL, "--from", "earliest", "--timeout", "3s"];
    let refused = run(node.verb(&authority, "reader", &verb).await).await;
    assert!(!refused.status.success(), "{}", said(&refused));
    assert!(node.metric("sterna_storage_corrupt_total", "").await.unwrap_or(0.0) > 0.0);
    // What does not lie there is served as before.
    publish(&node, &authority, count, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_s3_server_that_is_away_costs_nothing_but_time() {
    let mut server = S3Server::start();
    let authority = Authority::new("authority");
    let mut node = Served::prepare(&authority, "");
    node.write_secret("archive.id", S3Server::ACCESS_KEY);
    node.write_secret("archive.secret", S3Server::SECRET_KEY);
    node.write_config(&format!(
        "[archive]\nurl = \"s3://{}/deep/er\"\nendpoint = {:?}\nregion = \"eu\"\n\
         key_id_file = {:?}\nsecret_file = {:?}\n{EAGER}",
        S3Server::BUCKET,
        server.endpoint(),
        node.path("archive.id"),
        node.path("archive.secret"),
    ));
    node.start(&[], &[]).await;
    publish(&node, &authority, 0, 50).await;
    wait_trimmed(&node, 47.0).await;
    assert!(!objects(&server.bucket().join("deep/er")).is_empty());
    assert_eq!(read_all(&node, &authority, 50).await, texts(50));

    server.kill();
    // The log takes publications and keeps them; what is only in the archive has to wait.
    publish(&node, &authority, 50, 30).await;
    node.kill().await;
    node.start(&[], &[]).await;
    let mut waiting = reader(&node, &authority).await;
    let failures = Instant::now() + PATIENCE;
    while node.metric("sterna_archive_failures_total", "").await.is_none() {
        assert!(Instant::now() < failures, "{}", node.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(waiting.count(), 0, "no publication is passed over");
    server.restart();
    waiting.wait_for_count(80).await;
    let received: Vec<String> = waiting.objects().iter().map(|it| seen(it).text).collect();
    assert_eq!(received, texts(80));
    wait_trimmed(&node, 30.0).await;
    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
    let verified = archive(&node, "verify", 0).await;
    assert_eq!(verified["damages"], Value::from([0; 0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_archived_is_exported_to_a_folder_and_to_an_s3_server() {
    let server = S3Server::start();
    let authority = Authority::new("authority");
    let mut node = Served::prepare(&authority, "");
    node.write_secret("archive.id", S3Server::ACCESS_KEY);
    node.write_secret("archive.secret", S3Server::SECRET_KEY);
    node.write_config(&format!(
        "[archive]\nurl = \"s3://{}/archive\"\nendpoint = {:?}\nregion = \"eu\"\n\
         key_id_file = {:?}\nsecret_file = {:?}\n{EAGER}",
        S3Server::BUCKET,
        server.endpoint(),
        node.path("archive.id"),
        node.path("archive.secret"),
    ));
    node.start(&[], &[]).await;
    for round in 0..10 {
        publish(&node, &authority, round * 8, 8).await;
        wait_trimmed(&node, (round * 8 + 5) as f64).await;
    }
    let compactions = node.metric("sterna_archive_compactions_total", "").await;
    assert!(compactions.is_some_and(|count| count >= 1.0), "ten segments are left alone");
    node.signal(libc::SIGTERM);
    assert_eq!(node.ended().await.code(), Some(0), "{}", node.log());
    let status = archive(&node, "status", 0).await;
    assert!(status["saved_segments"].as_u64().unwrap() >= 7, "{status}");

    let folder = node.path("export");
    let url = format!("s3://{}/export", S3Server::BUCKET);
    let bucket = server.bucket().join("export");
    for (to, at) in [(folder.display().to_string(), &folder), (url, &bucket)] {
        for again in [false, true] {
            let exported = export(&node, &to, &[]).await;
            assert_eq!(exported["publications"], status["records"], "again: {again}");
            assert_eq!(exported["removed"], 0);
            let found = parquet_texts(at);
            assert_eq!(found, texts(status["records"].as_u64().unwrap() as usize));
        }
    }
    let exported = export(&node, &folder.display().to_string(), &["--channel", "absent"]).await;
    assert_eq!((&exported["publications"], &exported["removed"]), (&0.into(), &1.into()));
    assert_eq!(parquet_texts(&folder), [""; 0], "a day's files are replaced, and here by nothing");
    let future = ["--since", "2200-01-01"];
    let exported = export(&node, &folder.display().to_string(), &future).await;
    assert_eq!(exported["files"], 0);
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().starts_with("day=")), "{left:?}");
}

async fn export(node: &Served, to: &str, more: &[&str]) -> Value {
    let mut command = node.configured_verbs(&["archive", "export"]);
    command.args(["--to", to, "--json"]).args(more);
    let output = run(command).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The texts of a channel in exported files, as a reader of another maker has them.
fn parquet_texts(folder: &Path) -> Vec<String> {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::RowAccessor as _;
    let mut files = Vec::new();
    for day in fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()) {
        let name = day.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("day=20"), "{name}");
        files.extend(fs::read_dir(day).unwrap().map(|it| it.unwrap().path()));
    }
    // Days come in their order, should the test have met midnight.
    files.sort();
    let mut texts = Vec::new();
    for path in files {
        let reader = SerializedFileReader::new(fs::File::open(&path).unwrap()).unwrap();
        for row in reader.get_row_iter(None).unwrap() {
            let row = row.unwrap();
            assert_eq!(row.get_string(1).unwrap(), CHANNEL);
            assert_eq!(row.get_ulong(3).unwrap(), texts.len() as u64 + 1);
            let payload = row.get_bytes(13).unwrap().data();
            texts.push(String::from_utf8(payload.to_vec()).unwrap());
        }
    }
    texts
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("publication {n}")).collect()
}

async fn publish(node: &Served, authority: &Authority, from: usize, count: usize) {
    let lines = texts(from + count).split_off(from);
    let verb = node.verb(authority, "ana", &["pub", CHANNEL, "--stdin", "--json"]).await;
    let mut publisher = JsonProcess::start("publisher", verb, lines);
    assert!(publisher.finish().await.success(), "{}", publisher.errors());
    assert_eq!(publisher.count(), count);
}

/// Follows the channel from its beginning.
async fn reader(node: &Served, authority: &Authority) -> JsonProcess {
    let verb = ["sub", CHANNEL, "--from", "earliest", "--json"];
    JsonProcess::start("reader", node.verb(authority, "reader", &verb).await, Vec::new())
}

async fn read_all(node: &Served, authority: &Authority, count: usize) -> Vec<String> {
    let mut reader = reader(node, authority).await;
    reader.wait_for_count(count).await;
    reader.kill().await.iter().map(|it| seen(it).text).collect()
}

async fn history(node: &Served, authority: &Authority, count: usize) -> Vec<String> {
    let count = count.to_string();
    let verb = ["history", CHANNEL, "--from", "earliest", "--limit", &count, "--json"];
    let verb = node.verb(authority, "reader", &verb).await;
    let mut history = JsonProcess::start("history", verb, Vec::new());
    assert!(history.finish().await.success(), "{}", history.errors());
    history.objects().iter().map(|it| seen(it).text).collect()
}

async fn wait_trimmed(node: &Served, wanted: f64) {
    node.wait_metric(TRIMMED, "", wanted).await;
}

/// A verb of `sterna archive` on what a node has that does not run.
async fn archive(node: &Served, verb: &str, code: i32) -> Value {
    let mut command = node.configured_verbs(&["archive", verb]);
    command.arg("--json");
    let output = run(command).await;
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
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
