//! One process hands its place and its store to another (`sterna drain`, `--wait-for-store`) under
//! a running conversation: clients move by themselves, and nothing is lost, doubled or reordered
//! (I1, I2, I3, I13).

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;

use sterna_system_tests::checker::{Checker, Seen};
use sterna_system_tests::node::{self, Node, PATIENCE};
use sterna_system_tests::process::{self, JsonProcess};
use sterna_system_tests::text::Writer;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

const CHANNEL: &str = "room:drain";
const SENDER: &str = "ana";
/// The time between two lines of somebody who types very fast.
const TYPING: Duration = Duration::from_millis(4);
const LINES: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_takes_over_and_nothing_is_lost_doubled_or_reordered() {
    let mut node = Node::start().await;
    let place = node.client_address();
    let mut followers = ["quic", "wss"].map(|transport| follower(&node, transport, place));
    let mut speaker = Speaker::start(&node, place);
    speaker.say(LINES).await;
    for follower in &mut followers {
        follower.wait_for_count(1).await;
    }

    let mut successor = successor(&node, place, "60");
    tokio::select! {
        () = drain(&mut node, place) => {}
        () = speaker.say(usize::MAX) => unreachable!("talking does not end by itself"),
    }
    let before = speaker.process.count();
    speaker.say(LINES).await;
    let mut checker = Checker::new();
    speaker.report(&mut checker).await;
    assert!(before < speaker.lines.len(), "the drain came in the middle");

    checker.view("history", history(&node, place).await);
    for (name, mut follower) in ["quic", "wss"].into_iter().zip(followers) {
        follower.wait_for_count(speaker.lines.len()).await;
        checker.view(name, views(follower.kill().await));
    }
    checker.assert_clean();
    node::signal(&successor, libc::SIGTERM);
    let ended = timeout(PATIENCE, successor.wait()).await.expect("SIGTERM ends it").unwrap();
    assert!(ended.success(), "{ended}");
}

#[tokio::test]
async fn a_store_in_use_is_refused_at_once_unless_it_may_be_waited_for() {
    let node = Node::start().await;
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    for patience in ["0", "1"] {
        let refused = successor(&node, anywhere, patience).wait_with_output();
        let refused: Output = timeout(PATIENCE, refused).await.expect("it gives up").unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{said}");
        assert!(said.contains("in use by another process"), "{said}");
        assert_eq!(said.contains("waiting for the store"), patience != "0", "{said}");
    }
    let alive = node.http_get("/healthz").await.unwrap();
    assert_eq!(alive.0, 200, "the node that holds the store is left alone");
}

/// Orders the node to leave and waits until it has.
async fn drain(node: &mut Node, place: SocketAddr) {
    let order = ["drain", "--deadline", "2s", "--successor", &place.to_string()];
    let output = timeout(PATIENCE, node.local_verb(&order).output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(node.ended().await.success(), "a drained node ends well:\n{}", node.log());
}

/// Another process for the same place and the same data folder.
fn successor(node: &Node, place: SocketAddr, patience: &str) -> Child {
    let port = place.port().to_string();
    let verb = ["dev", "--http-port", "0", "--client-port", &port, "--wait-for-store", patience];
    let mut command: Command = node.local_verb(&verb);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
    command.spawn().unwrap()
}

/// A `pub --stdin` that is told line by line what to say.
struct Speaker {
    writer: Writer,
    lines: Vec<String>,
    input: Option<mpsc::Sender<String>>,
    process: JsonProcess,
}

impl Speaker {
    fn start(node: &Node, place: SocketAddr) -> Self {
        let verb = ["pub", CHANNEL, "--stdin", "--json", "--timeout", "60s"];
        let (input, waiting) = mpsc::channel(1);
        let process = JsonProcess::start_fed(SENDER, node.verb(&verb, place, SENDER), waiting);
        Self { writer: Writer::new(SENDER, 7), lines: Vec::new(), input: Some(input), process }
    }

    async fn say(&mut self, count: usize) {
        for _ in 0..count {
            tokio::time::sleep(TYPING).await;
            let room = self.input.as_ref().unwrap().reserve().await.expect("it listens");
            let line = self.writer.next_line();
            self.lines.push(line.clone());
            room.send(line);
        }
    }

    /// Waits until every line is answered, and tells the checker.
    async fn report(&mut self, checker: &mut Checker) {
        self.input = None;
        let status = self.process.finish().await;
        let objects = self.process.objects();
        assert!(status.success(), "{status}\n{}", self.process.errors());
        assert_eq!(objects.len(), self.lines.len(), "an answer for every line");
        for (line, object) in self.lines.iter().zip(&objects) {
            checker.attempt(SENDER, line);
            checker.ack(process::acked(object, SENDER, line).expect("every line is stored"));
        }
    }
}

fn follower(node: &Node, transport: &str, place: SocketAddr) -> JsonProcess {
    let verb = ["sub", CHANNEL, "--from", "earliest", "--json", "--timeout", "60s"];
    let mut command = node.verb(&verb, place, &format!("reader-{transport}"));
    command.args(["--transport", transport]);
    JsonProcess::start(transport, command, Vec::new())
}

async fn history(node: &Node, place: SocketAddr) -> Vec<Seen> {
    let verb = ["history", CHANNEL, "--from", "earliest", "--json"];
    let mut process =
        JsonProcess::start("history", node.verb(&verb, place, "historian"), Vec::new());
    assert!(process.finish().await.success(), "{}", process.errors());
    views(process.objects())
}

fn views(objects: Vec<serde_json::Value>) -> Vec<Seen> {
    objects.iter().map(process::seen).collect()
}
