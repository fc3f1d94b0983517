//! What operators do: look at a cluster (`sterna top`), have it examined (`sterna doctor`), and take
//! a node out of it (`sterna drain`) while people talk.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::time::Duration;

use serde_json::{Value, json};
use sterna_client::{ChannelId, ClientState, NetworkChange, Transport, v1};
use sterna_relay::{Relay, RelayConfig};
use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::node::{Node, PATIENCE};
use sterna_system_tests::process::JsonProcess;
use sterna_system_tests::sdk;
use sterna_system_tests::served::{run, said};
use sterna_test_engines::MariaDb;
use tokio::sync::mpsc;

const CHANNEL: &str = "room:operate";

async fn subscriber(cluster: &Cluster, edge: &'static str, transport: &str) -> JsonProcess {
    let verb = ["sub", CHANNEL, "--from", "earliest", "--json", "--transport", transport];
    JsonProcess::start(edge, cluster.verb(edge, "reader", &verb).await, Vec::new())
}

/// Publishes so many lines at an edge.
async fn publish(cluster: &Cluster, edge: &'static str, count: usize) {
    let verb = ["pub", CHANNEL, "--stdin", "--json", "--timeout", "60s"];
    let command = cluster.verb(edge, "writer", &verb).await;
    let lines = (0..count).map(|n| format!("line {n}")).collect();
    let mut writer = JsonProcess::start("writer", command, lines);
    assert!(writer.finish().await.success(), "{}", writer.errors());
}

async fn top(cluster: &Cluster, node: &str, flags: &[&str]) -> String {
    let verb: Vec<&str> = ["top", "--once"].into_iter().chain(flags.iter().copied()).collect();
    let output = run(cluster.node(node).operator_verb(&verb)).await;
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The node of a name, as another one sees it.
fn seen<'a>(view: &'a Value, name: &str) -> &'a Value {
    let nodes = view["cluster"]["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["name"] == name).unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_shows_the_whole_cluster_from_any_node_of_it() {
    let mut cluster = Cluster::new().await;
    cluster.add("c1", "core", &[]).await;
    cluster.add("e1", "edge", &["node.region=eu", "node.zone=a"]).await;
    cluster.add("e2", "edge", &[]).await;
    cluster.ready().await;
    let mut reader = subscriber(&cluster, "e1", "wss").await;
    publish(&cluster, "e2", 20).await;
    reader.wait_for_count(20).await;
    // Nodes hear of each other twice a second.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let view: Value = loop {
        let view: Value = serde_json::from_str(&top(&cluster, "c1", &["--json"]).await).unwrap();
        let settled = seen(&view, "e1")["sessions"]["wss"] == 1
            && seen(&view, "c1")["slots"] == 2048
            && seen(&view, "e2")["state"] == "serving";
        if settled {
            break view;
        }
        assert!(tokio::time::Instant::now() < deadline, "{view:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(view["cluster"]["node"], "c1");
    assert_eq!(
        (&seen(&view, "e1")["region"], &seen(&view, "e1")["zone"]),
        (&"eu".into(), &"a".into())
    );
    assert!(seen(&view, "c1")["append_p99_ms"].is_number(), "{view:#}");
    assert_eq!(view["node"]["queues"]["shard_mailbox"]["bound"], 1024, "{view:#}");
    // Without a terminal it is printed without colour.
    let text = top(&cluster, "e1", &["--filter", "e1"]).await;
    assert!(text.contains("as e1 sees it") && text.contains("serving"), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("c1")), "it is filtered:\n{text}");
    reader.kill().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i13_a_drained_edge_says_how_far_it_is_and_its_clients_miss_nothing() {
    let mut cluster = Cluster::new().await;
    cluster.add("c1", "core", &[]).await;
    cluster.add("e1", "edge", &[]).await;
    cluster.add("e2", "edge", &[]).await;
    cluster.ready().await;
    let mut readers =
        [subscriber(&cluster, "e1", "quic").await, subscriber(&cluster, "e1", "wss").await];
    publish(&cluster, "e2", 10).await;
    for reader in &mut readers {
        reader.wait_for_count(10).await;
    }
    let place = cluster.node("e2").client_address().to_string();
    let order = ["drain", "--deadline", "20s", "--json", "--successor", &place];
    let mut drain =
        JsonProcess::start("drain", cluster.node("e1").operator_verb(&order), Vec::new());
    assert!(drain.finish().await.success(), "{}", drain.errors());
    let ended = cluster.node_mut("e1").ended().await;
    assert!(ended.success(), "{ended}\n{}", cluster.node("e1").log());
    let steps = drain.objects();
    let (last, leaving) = steps.split_last().unwrap();
    assert_eq!(last["event"], "left", "{steps:?}");
    assert!(leaving.iter().any(|step| step["connections"].as_u64() > Some(0)), "{steps:?}");
    assert!(leaving.iter().all(|step| step["successor"] == place.as_str()), "{steps:?}");
    let logged = cluster.logged("e1", "clients are leaving");
    assert_eq!(logged[0]["fields"]["successor"], place.as_str());
    publish(&cluster, "e2", 10).await;
    for reader in &mut readers {
        reader.wait_for_count(20).await;
        let offsets: Vec<u64> =
            reader.kill().await.iter().map(|object| object["offset"].as_u64().unwrap()).collect();
        assert!(offsets.windows(2).all(|pair| pair[1] == pair[0] + 1), "{offsets:?}");
    }
    cluster.stop().await;
}

/// Also at a node that knew of it only by hearsay, at one that starts afterwards, and when all have
/// ended in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_what_is_revoked_at_one_node_is_revoked_at_all() {
    let mut cluster = Cluster::new().await;
    cluster.add("c1", "core", &[]).await;
    cluster.add("e1", "edge", &[]).await;
    cluster.add("e2", "edge", &[]).await;
    cluster.ready().await;
    let old = cluster.node("e2").token("writer").await;
    let publishes = async |cluster: &Cluster, token: &str| {
        let verb = ["pub", CHANNEL, "a line", "--timeout", "10s"];
        run(cluster.node("e2").verb_with(&cluster.authority, token, &verb)).await.status.success()
    };
    assert!(publishes(&cluster, &old).await);
    let mut reader = subscriber(&cluster, "e2", "wss").await;
    reader.wait_for_count(1).await;
    for user in ["reader", "writer"] {
        let output = run(cluster.node("e1").operator_verb(&["revoke", user, "--json"])).await;
        assert!(output.status.success(), "{}", said(&output));
        let taken: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(taken["before_ms"].as_u64() > Some(0), "{taken}");
    }
    assert!(!reader.finish().await.success(), "its session goes on");
    cluster.node("e2").wait_metric("sterna_core_revocations_held", "", 2.0).await;
    assert!(!publishes(&cluster, &old).await);
    cluster.node_mut("e2").kill().await;
    cluster.start("e2").await;
    cluster.ready().await;
    cluster.node("e2").wait_metric("sterna_core_revocations_held", "", 2.0).await;
    assert!(!publishes(&cluster, &old).await);
    // All nodes end, and only the store remembers.
    cluster.node("c1").wait_metric("sterna_core_revocations_kept_total", "", 2.0).await;
    for node in ["e1", "e2", "c1"] {
        cluster.node_mut(node).kill().await;
    }
    for node in ["c1", "e1", "e2"] {
        cluster.start(node).await;
    }
    cluster.ready().await;
    assert!(!publishes(&cluster, &old).await);
    // `iat` counts in seconds.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !publishes(&cluster, &cluster.node("e2").token("writer").await).await {
        assert!(tokio::time::Instant::now() < deadline, "a new token is refused");
    }
    cluster.stop().await;
}

/// What the doctor found about a check, by its verdict, and its exit code.
async fn examined(cluster: &Cluster, node: &str) -> (bool, Vec<Value>) {
    let mut command = cluster.configured_verb(node, "doctor");
    command.arg("--json");
    let output = run(command).await;
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    (output.status.success(), report["findings"].as_array().unwrap().clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_examines_the_cluster_and_its_database() {
    let database = MariaDb::start();
    let urls = format!("store.urls={}", database.fresh_url());
    let mut cluster = Cluster::new().await;
    cluster.add("c1", "core", &["store.engine=sql", &urls]).await;
    cluster.add("e1", "edge", &[]).await;
    cluster.ready().await;
    let found = |findings: &[Value], check: &str, text: &str| {
        findings.iter().any(|finding| {
            finding["check"] == check && finding["what"].as_str().unwrap().contains(text)
        })
    };
    let (healthy, findings) = examined(&cluster, "e1").await;
    assert!(healthy, "{findings:#?}");
    assert!(found(&findings, "link", "is `c1` of `tests`"), "{findings:#?}");
    assert!(found(&findings, "link certificate", "sterna://tests/e1"), "{findings:#?}");
    assert!(found(&findings, "cluster", "cores and edges"), "{findings:#?}");
    let (healthy, findings) = examined(&cluster, "c1").await;
    assert!(healthy && found(&findings, "database", "MariaDB"), "{findings:#?}");
    database.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 0");
    let (healthy, findings) = examined(&cluster, "c1").await;
    assert!(!healthy, "acknowledged publications would be lost: {findings:#?}");
    let planted = "innodb_flush_log_at_trx_commit = 0";
    let finding =
        findings.iter().find(|it| it["what"].as_str().unwrap().contains(planted)).unwrap();
    assert_eq!(finding["verdict"], "broken");
    assert!(finding["fix"].as_str().unwrap().contains("SET GLOBAL"), "{finding}");
    // Nobody answers at the only seed.
    cluster.node_mut("c1").kill().await;
    let (healthy, findings) = examined(&cluster, "e1").await;
    let broken = findings.iter().any(|it| it["check"] == "link" && it["verdict"] == "broken");
    assert!(!healthy && broken, "{findings:#?}");
    cluster.stop().await;
}

/// The owner, the publisher's edge and the reader's each tell of their own steps, and the owner where
/// publications go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_is_followed_through_the_nodes_that_it_passes() {
    let mut cluster = Cluster::new().await;
    cluster.add("c1", "core", &[]).await;
    cluster.add("e1", "edge", &["node.region=eu"]).await;
    cluster.add("e2", "edge", &[]).await;
    cluster.ready().await;
    let mut reader = subscriber(&cluster, "e2", "quic").await;
    publish(&cluster, "e1", 3).await;
    reader.wait_for_count(3).await;
    let trace = |node: &str| {
        let verb = cluster.node(node).operator_verb(&["trace", CHANNEL, "--json"]);
        JsonProcess::start(&format!("trace at {node}"), verb, Vec::new())
    };
    let mut traces = ["e1", "c1", "e2"].map(trace);
    for trace in &traces {
        trace.wait_for_error("waiting for the next publication").await;
    }
    publish(&cluster, "e1", 1).await;
    // Whoever is asked tells of all, an edge by way of the core.
    let wanted = [
        ("e1", "received from its publisher"),
        ("c1", "with the owner of the channel"),
        ("c1", "stored, and in its place"),
        ("c1", "acknowledged"),
        ("e2", "given to sessions"),
    ];
    for trace in &mut traces {
        assert!(trace.finish().await.success(), "{}", trace.errors());
        let told = &trace.objects()[0];
        let steps = told["steps"].as_array().unwrap();
        let step = |step: &Value| -> (String, String) {
            let text = |name: &str| step[name].as_str().unwrap().to_owned();
            (text("node"), text("what"))
        };
        let steps: Vec<(String, String)> = steps.iter().map(step).collect();
        let is_told = |(node, what): &(&str, &str)| {
            steps.iter().any(|step| step.0 == *node && step.1 == *what)
        };
        assert!(wanted.iter().all(is_told), "{told:#}");
        assert_eq!(told["position"]["offset"], 4);
    }
    let path = format!("/api/v1/operate/channel?channel={CHANNEL}");
    for node in ["c1", "e1", "e2"] {
        let (status, answer) = cluster.node(node).operator_get(&path).await;
        assert_eq!(status, 200, "{answer:#}");
        let channel = &answer["result"];
        assert_eq!((&channel["owner"], &channel["kind"]), (&"c1".into(), &"group".into()));
        let children = channel["fanout"]["children"].as_array().unwrap();
        let reads = |child: &Value| child["node"] == "e2" && child["sessions"] == 1;
        assert!(children.iter().any(reads), "at {node}: {channel:#}");
    }
    sessions_are_told_by_any_node(&cluster).await;
    reader.kill().await;
    cluster.stop().await;
}

/// A node is named, and a session is found by its number alone.
async fn sessions_are_told_by_any_node(cluster: &Cluster) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let session = loop {
        // A session with which nothing goes on is not listed.
        publish(cluster, "e1", 1).await;
        let path = "/api/v1/operate/node?node=e2";
        let (status, answer) = cluster.node("e1").operator_get(path).await;
        assert_eq!(status, 200, "{answer:#}");
        if let Some(session) = answer["result"]["sessions"][0]["session"].as_str() {
            break session.to_owned();
        }
        assert!(tokio::time::Instant::now() < deadline, "{answer:#}");
    };
    for node in ["c1", "e1"] {
        let path = format!("/api/v1/operate/session?session={session}");
        let (status, answer) = cluster.node(node).operator_get(&path).await;
        assert_eq!((status, &answer["result"]["edge"]), (200, &"e2".into()), "{answer:#}");
    }
    let gone = format!("/api/v1/operate/session?session={:032x}", 7);
    assert_eq!(cluster.node("c1").operator_get(&gone).await.0, 404);
    let (status, answer) = cluster.node("e1").operator_get("/api/v1/operate/node?node=e9").await;
    assert_eq!(status, 503, "{answer:#}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("e9"), "{answer:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_client_has_been_is_shown_by_its_edge() {
    let mut cluster = Cluster::new().await;
    cluster.add("e1", "edge,core", &[]).await;
    cluster.ready().await;
    let relay = Relay::start(RelayConfig::new(cluster.node("e1").client_address())).await.unwrap();
    let verb = ["pub", CHANNEL, "--stdin", "--json", "--transport", "quic"];
    let verb = cluster.verb_through(relay.address(), "e1", "walker", &verb).await;
    let (lines, fed) = mpsc::channel(4);
    let mut walker = JsonProcess::start_fed("walker", verb, fed);
    lines.send("at home".to_owned()).await.unwrap();
    walker.wait_for_count(1).await;
    relay.rebind().await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut said_lines = 1;
    let seen = loop {
        lines.send("on the way".to_owned()).await.unwrap();
        said_lines += 1;
        walker.wait_for_count(said_lines).await;
        let top: Value = serde_json::from_str(&top(&cluster, "e1", &["--json"]).await).unwrap();
        // A session with which nothing goes on is not listed.
        if let Some(session) = top["node"]["sessions"][0]["session"].as_str() {
            let output =
                run(cluster.node("e1").operator_verb(&["session", session, "--json"])).await;
            assert!(output.status.success(), "{}", said(&output));
            let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
            if seen["paths"].as_array().is_some_and(|paths| !paths.is_empty()) {
                break seen;
            }
        }
        assert!(tokio::time::Instant::now() < deadline, "{top:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!((&seen["user"], &seen["edge"]), (&"walker".into(), &"e1".into()));
    assert_eq!((&seen["attached"], &seen["transport"]), (&true.into(), &"quic".into()));
    assert_eq!(seen["paths"][0]["kind"], "path_changed", "{seen:#}");
    assert_eq!(seen["paths"][0]["to"], seen["remote"], "{seen:#}");
    assert!(seen["paths"][0]["gap_ms"].is_number(), "{seen:#}");
    assert_eq!(seen["paths"][0]["lost"], 0, "the connection went on");
    drop(lines);
    assert!(walker.finish().await.success(), "{}", walker.errors());
    relay.shutdown().await;
    cluster.stop().await;
}

async fn session_seen(node: &Node, id: &str) -> Value {
    let output = run(node.local_verb(&["session", id, "--json"])).await;
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// On QUIC the connection moves, on wss the session gets another one; clients say what they move to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_shows_from_what_to_what_network_its_client_has_moved() {
    let mut node = Node::start().await;
    let channel = ChannelId::new(CHANNEL).unwrap();
    for (transport, kind) in [(Transport::Quic, "path_changed"), (Transport::WebSocket, "resumed")]
    {
        let builder = sdk::builder(&node, transport.name()).transports([transport]);
        let client = builder.build().unwrap();
        client.set_network(v1::Network::Wifi);
        client.connect();
        client.ready(PATIENCE).await.unwrap();
        let ClientState::Connected(connected) = client.state() else { panic!("not connected") };
        let at_home = session_seen(&node, &connected.session_id).await;
        assert_eq!((&at_home["network"], &at_home["paths"]), (&"wifi".into(), &json!([])));
        client.set_network(v1::Network::Cellular);
        client.network_changed(NetworkChange::Path);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let seen = loop {
            sdk::publish(&client, &channel, "on the way").await;
            let seen = session_seen(&node, &connected.session_id).await;
            if seen["paths"][0]["network_to"] == "cellular" {
                break seen;
            }
            assert!(tokio::time::Instant::now() < deadline, "{seen:#}");
        };
        let path = &seen["paths"][0];
        assert_eq!((&path["kind"], &path["network_from"]), (&kind.into(), &"wifi".into()));
        assert_eq!(path["lost"], 0, "no channel was interrupted: {seen:#}");
        assert_eq!(seen["network"], "cellular", "{seen:#}");
        let shown = run(node.local_verb(&["session", &connected.session_id])).await;
        assert!(
            String::from_utf8_lossy(&shown.stdout).contains("wifi → cellular"),
            "{}",
            said(&shown)
        );
        client.close().await;
    }
    assert!(node.terminate().await.success(), "{}", node.log());
}
