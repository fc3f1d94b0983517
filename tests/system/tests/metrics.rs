//! Metrics of a real node move when what they count happens.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::collections::BTreeSet;

use sterna_relay::{Relay, RelayConfig};
use sterna_system_tests::node::{Node, sum_of_metric};
use sterna_system_tests::process::JsonProcess;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CHANNEL: &str = "room:metrics";

/// What a conversation of one publisher and one reader on a network that changes must move.
const MOVED: &[&str] = &[
    "sterna_core_append_publications",
    "sterna_core_append_seconds",
    "sterna_core_deliveries_total",
    "sterna_core_owned_channels",
    "sterna_core_pages_total",
    "sterna_core_path_changes_total",
    "sterna_core_publications_total",
    "sterna_core_sessions",
    "sterna_core_sessions_opened_total",
    "sterna_edge_closes_total",
    "sterna_edge_connections_active",
    "sterna_edge_frames_received_total",
    "sterna_edge_frames_sent_total",
    "sterna_edge_handshakes_total",
    "sterna_edge_http_requests_total",
    "sterna_edge_path_changes_total",
    "sterna_edge_received_bytes_total",
    "sterna_edge_sent_bytes_total",
    "sterna_edge_token_checks_total",
    "sterna_storage_commit_publications",
    "sterna_storage_commit_seconds",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_does_can_be_counted() {
    let mut node = Node::start().await;
    let relay = Relay::start(RelayConfig::new(node.client_address())).await.unwrap();
    publish(&node, 20).await;
    let mut command = node.verb(
        &["sub", CHANNEL, "--from", "earliest", "--json", "--transport", "quic"],
        relay.address(),
        "reader",
    );
    command.kill_on_drop(true);
    let mut reader = JsonProcess::start("reader", command, Vec::new());
    reader.wait_for_count(20).await;
    relay.rebind().await.unwrap();
    publish(&node, 20).await;
    reader.wait_for_count(40).await;
    for metric in MOVED {
        wait_until_moved(&node, metric).await;
    }
    reader.kill().await;
    relay.shutdown().await;
    assert!(node.terminate().await.success(), "SIGTERM ends a node well");
}

async fn publish(node: &Node, lines: usize) {
    let lines: BTreeSet<String> = (0..lines).map(|line| format!("line {line}")).collect();
    let verb = ["pub", CHANNEL, "--stdin", "--json"];
    let command = node.verb(&verb, node.client_address(), "ana");
    let mut process = JsonProcess::start("ana", command, lines.into_iter().collect());
    let status = process.finish().await;
    assert!(status.success(), "{}", process.errors());
}

async fn wait_until_moved(node: &Node, metric: &str) {
    let histogram = format!("{metric}_count");
    let deadline = tokio::time::Instant::now() + sterna_system_tests::node::PATIENCE;
    loop {
        let plain = node.metric(metric).await.unwrap_or(0.0);
        let counted = node.metric(&histogram).await.unwrap_or(0.0);
        if plain + counted > 0.0 {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{metric} has not moved");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// The WebSocket of a page goes to the client port, whose answer comes back; it ends with the page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_dev_node_that_connect_are_counted() {
    let mut node = Node::start().await;
    let mut page = TcpStream::connect(node.http_address()).await.unwrap();
    let host = format!("localhost:{}", node.http_address().port());
    let handshake = format!(
        "GET /v1/connect HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: sterna.v1.json\r\n\r\n"
    );
    page.write_all(handshake.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(page.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    let (_, metrics) = node.http_get("/metrics").await.unwrap();
    assert_eq!(sum_of_metric(&metrics, "sterna_edge_http_bridges_total", ""), Some(1.0));
    drop(page);
    assert!(node.terminate().await.success());
}
