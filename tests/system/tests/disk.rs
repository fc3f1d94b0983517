//! I1 when the disk fails: a node whose sync or claim fails or whose disk is full acknowledges nothing
//! more, says why and stops; what it had acknowledged is there when the disk is well again.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use sterna_system_tests::checker::{Checker, Seen};
use sterna_system_tests::node::Node;
use sterna_system_tests::process::{self, JsonProcess};
use sterna_system_tests::text::Writer;

const CHANNEL: &str = "room:disk";
/// More than the failing disk takes.
const LINES: usize = 20_000;
/// `sterna dev` ends with this when its storage has failed for good.
const STORAGE_FAILED: i32 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_sync_that_fails_stops_the_node_and_loses_nothing() {
    // From the 60th on, every sync of every thread fails as a broken disk's does.
    let inject = "inject=fdatasync,fsync:error=EIO:when=60+";
    let launcher =
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e", inject];
    stops_and_loses_nothing(stopped().await, &launcher).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_claim_that_fails_stops_the_node_and_loses_nothing() {
    let node = stopped().await;
    let guard = node.data_dir().join("store/sterna.guard");
    let trace = tempfile::NamedTempFile::new().unwrap();
    let [guard, notes] = [&*guard, trace.path()].map(|path| path.display().to_string());
    // The write is the sync: the file is opened for that. A few go well, and none behind them.
    let inject = "inject=pwrite64:error=EIO:when=60+";
    let traced = ["-P", &guard, "-e", "trace=pwrite64", "-e", inject];
    let launcher = [&["strace", "-f", "-qq", "-o", &notes][..], &traced].concat();
    stops_and_loses_nothing(node, &launcher).await;
    let trace = std::fs::read_to_string(trace.path()).unwrap();
    let claims: Vec<&str> = trace.lines().filter(|line| line.contains("pwrite64")).collect();
    assert!(claims.len() >= 60, "the claims before it went well:\n{trace}");
    let failed: Vec<usize> =
        (0..claims.len()).filter(|at| claims[*at].contains("INJECTED")).collect();
    assert_eq!(failed, [claims.len() - 1], "nothing is claimed after one has failed:\n{trace}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_full_disk_stops_the_node_and_loses_nothing() {
    // No file may grow above 2 MiB; the signal that says so is ignored, the write fails.
    let limit = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\"";
    stops_and_loses_nothing(stopped().await, &["bash", "-c", limit]).await;
}

/// A node that has run, so that its store is there.
async fn stopped() -> Node {
    let mut node = Node::start().await;
    assert!(node.terminate().await.success());
    node
}

async fn stops_and_loses_nothing(mut node: Node, launcher: &[&str]) {
    node.launch_through(launcher);
    node.restart().await;

    let mut writer = Writer::new("ana", 5);
    let lines: Vec<String> = (0..LINES).map(|_| writer.next_line()).collect();
    let verb = ["pub", CHANNEL, "--stdin", "--json", "--timeout", "60s"];
    let command = node.verb(&verb, node.client_address(), "ana");
    let mut publisher = JsonProcess::start("ana", command, lines.clone());
    let status = node.wait_end().await;
    assert_eq!(status.code(), Some(STORAGE_FAILED), "{}", node.log());
    assert!(node.log().contains("storage failed"), "it says why:\n{}", node.log());

    let mut checker = Checker::new();
    lines.iter().for_each(|line| checker.attempt("ana", line));
    let objects = publisher.kill().await;
    let acked = lines.iter().zip(&objects).filter_map(|(l, o)| process::acked(o, "ana", l));
    let promised = acked.map(|acked| checker.ack(acked)).count();
    assert!(promised > 0, "the disk worked for a while");
    assert!(promised < LINES, "the disk failed");

    node.launch_through(&[]);
    node.restart().await;
    let verb = ["history", CHANNEL, "--from", "earliest", "--json"];
    let command = node.verb(&verb, node.client_address(), "historian");
    let mut history = JsonProcess::start("history", command, Vec::new());
    assert!(history.finish().await.success(), "{}", history.errors());
    let log: Vec<Seen> = history.objects().iter().map(process::seen).collect();
    checker.view("history", log);
    checker.assert_clean();
    assert!(node.terminate().await.success());
}
