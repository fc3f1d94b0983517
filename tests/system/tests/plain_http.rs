//! A real node and a client over plain HTTP: its answer breaks in the middle, its requests come twice or
//! too early, it reads too slowly, its node leaves.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use serde_json::{Value, json};
use sterna_proto::CloseReason;
use sterna_system_tests::node::{Node, PATIENCE, sum_of_metric};
use sterna_system_tests::plain::{PlainClient, command};
use sterna_system_tests::process::JsonProcess;

const CHANNEL: &str = "room:plain";

/// Publishes lines through the command line, each stored before it ends.
async fn publish(node: &Node, lines: Vec<String>) {
    let verb = ["pub", CHANNEL, "--stdin", "--json"];
    let command = node.verb(&verb, node.client_address(), "ana");
    let mut process = JsonProcess::start("ana", command, lines);
    let status = process.finish().await;
    assert!(status.success(), "{}", process.errors());
}

fn lines(range: std::ops::RangeInclusive<u64>, fill: usize) -> Vec<String> {
    range.map(|line| format!("line {line} {}", "x".repeat(fill))).collect()
}

/// What a reader has: offsets in their order, and where it stands.
#[derive(Default)]
struct Reader {
    offsets: Vec<u64>,
    epoch: Value,
    gaps: Vec<(u64, u64)>,
}

impl Reader {
    fn upto(&self) -> u64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    fn take_all(&mut self, publications: &Value) {
        for publication in publications.as_array().into_iter().flatten() {
            self.take(publication);
        }
    }

    /// JSON has 64 bits as text. What has come already, by a page beside a push, is passed over.
    fn take(&mut self, publication: &Value) {
        let offset = number(&publication["offset"]);
        self.epoch = publication["epoch"].clone();
        if offset > self.upto() {
            self.offsets.push(offset);
        }
    }

    fn take_frame(&mut self, frame: &Value) {
        let push = &frame["push"];
        if push["publication"].is_object() {
            self.take(&push["publication"]);
        }
        for page in [&push["subscribed"], &frame["reply"]["subscribed"]] {
            self.take_all(&page["publications"]);
            self.note_gap(&page["gap"]);
        }
        self.note_gap(&push["gap"]);
    }

    fn note_gap(&mut self, gap: &Value) {
        if gap.is_object() {
            self.gaps.push((number(&gap["afterOffset"]), number(&gap["uptoOffset"])));
        }
    }

    /// Where it stands, as commands name it.
    fn position(&self) -> Value {
        json!({ "epoch": self.epoch, "offset": self.upto().to_string() })
    }
}

fn number(value: &Value) -> u64 {
    value.as_str().map_or(0, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i13_an_answer_that_breaks_again_and_again_costs_nothing() {
    let mut node = Node::start().await;
    let mut reader = Reader { epoch: 0.into(), ..Reader::default() };
    let (mut client, mut welcome) = PlainClient::start(&node, "bob", json!({})).await;
    let since = json!({ "channel": CHANNEL, "since": {} });
    client.send(&node, &[command(2, "subscribe", since)]).await;
    client.reply(2).await;
    let session = welcome["sessionId"].clone();
    for part in 0..10 {
        // While nobody reads, and while it is read.
        publish(&node, lines(part * 100 + 1..=part * 100 + 100, 0)).await;
        while reader.upto() < part * 100 + 50 {
            let frame = client.frame().await;
            reader.take_frame(&frame);
        }
        drop(client);
        let subscription = json!({ "channel": CHANNEL, "since": reader.position() });
        let hello = json!({
            "resumeTicket": welcome["resumeTicket"],
            "subscriptions": [subscription],
        });
        (client, welcome) = PlainClient::start(&node, "bob", hello).await;
        assert_eq!((&welcome["resumed"], &welcome["sessionId"]), (&true.into(), &session));
    }
    while reader.upto() < 1000 {
        let frame = client.frame().await;
        reader.take_frame(&frame);
    }
    assert_eq!(reader.offsets, (1..=1000).collect::<Vec<_>>());
    assert!(node.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_what_is_sent_twice_is_stored_once_and_what_comes_early_not_at_all() {
    let mut node = Node::start().await;
    let (mut client, _) = PlainClient::start(&node, "bob", json!({})).await;
    let publish = |id: u32, text: &str| {
        let what = json!({ "channel": CHANNEL, "payload": text, "clientSeq": id.to_string() });
        command(id, "publish", what)
    };
    let early = client.send_as(&node, 2, &[publish(3, "Mg==")]).await;
    assert_eq!(early.0, 409, "{early:?}");
    for _ in 0..5 {
        let told = client.send_as(&node, 1, &[publish(2, "MQ==")]).await;
        assert_eq!(told, (204, Value::Null));
    }
    client.number = 1;
    client.send(&node, &[publish(3, "Mg==")]).await;
    assert_eq!(client.reply(2).await["published"]["offset"], "1");
    assert_eq!(client.reply(3).await["published"]["offset"], "2");
    let large = "x".repeat(300 * 1024);
    let told_large = client.send_as(&node, 3, &[publish(4, &large)]).await;
    assert_eq!((told_large.0, &told_large.1["error"]["name"]), (413, &json!("TOO_LARGE")));
    // None of it has ended anything.
    client.send(&node, &[command(5, "ping", json!({}))]).await;
    assert!(client.reply(5).await["pong"].is_object());
    assert!(node.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_a_reader_that_is_too_slow_hears_of_a_gap_by_its_name_and_fills_it() {
    const LINES: u64 = 6000;
    let mut node = Node::start().await;
    let (mut client, _) = PlainClient::start(&node, "bob", json!({})).await;
    let since = json!({ "channel": CHANNEL, "since": {} });
    client.send(&node, &[command(2, "subscribe", since)]).await;
    client.reply(2).await;
    // Far more than sockets and queues hold together.
    publish(&node, lines(1..=LINES, 3000)).await;
    let mut reader = Reader::default();
    let mut id = 2;
    while reader.upto() < LINES {
        let frame = client.frame().await;
        let gaps = reader.gaps.len();
        reader.take_frame(&frame);
        let page = &frame["reply"]["subscribed"];
        if reader.gaps.len() > gaps || (page.is_object() && page["live"] != true) {
            id += 1;
            let since = json!({ "channel": CHANNEL, "since": reader.position() });
            client.send(&node, &[command(id, "subscribe", since)]).await;
        }
    }
    assert_eq!(reader.offsets, (1..=LINES).collect::<Vec<_>>());
    assert!(!reader.gaps.is_empty(), "it kept up");
    assert!(node.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_says_so_and_ends_the_answer() {
    let mut node = Node::start().await;
    let (mut client, _) = PlainClient::start(&node, "bob", json!({})).await;
    let order = ["drain", "--deadline", "2s", "--successor", "other.example:4443"];
    let mut drain = node.local_verb(&order).spawn().unwrap();
    let frame = loop {
        let frame = client.frame().await;
        if frame["push"]["goAway"].is_object() {
            break frame;
        }
    };
    assert_eq!(frame["push"]["goAway"]["successor"], "other.example:4443");
    assert_eq!(client.close_code().await, u64::from(CloseReason::Drained.code()));
    let ended = tokio::time::timeout(PATIENCE, drain.wait()).await.unwrap().unwrap();
    assert!(ended.success());
    assert!(node.ended().await.success(), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_by_what_a_client_is_connected() {
    let mut node = Node::start().await;
    let (_client, _) = PlainClient::start(&node, "bob", json!({})).await;
    let (_, metrics) = node.http_get("/metrics").await.unwrap();
    let label = r#"transport="http""#;
    let active = "sterna_edge_connections_active";
    let count = sum_of_metric(&metrics, active, label);
    assert_eq!(count, Some(1.0));
    assert!(node.terminate().await.success());
}
