//! Nodes with a real Redis behind them: what they keep there, and that nobody notices when it is
//! flushed, killed or stands still (I6).

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use sterna_relay::{Relay, RelayConfig};
use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::process::JsonProcess;
use sterna_system_tests::served::{Served, run, said};
use sterna_system_tests::traffic::Traffic;
use sterna_test_engines::MariaDb;
use sterna_test_engines::redis::RedisServer;

/// Two cores on a database and two edges, all with Redis.
async fn with_redis(database: &MariaDb, redis: &RedisServer) -> Cluster {
    let mut cluster = Cluster::new().await;
    let urls = format!("store.urls={}", database.fresh_url());
    let redis = format!("redis.urls={}", redis.url());
    for core in ["c1", "c2"] {
        cluster.add(core, "core", &["store.engine=sql", &urls, &redis]).await;
    }
    for edge in ["e1", "e2"] {
        cluster.add(edge, "edge", &[&redis]).await;
    }
    cluster.ready().await;
    cluster
}

/// The kinds of keys that are there: what stands before the first braces.
fn kinds(redis: &RedisServer) -> BTreeSet<String> {
    let keys: Vec<String> = redis.command(&["KEYS", "sterna:*"]);
    keys.iter().filter_map(|key| key.split(':').nth(1)).map(str::to_owned).collect()
}

/// Everything that nodes with subscribers and publishers have put.
const KINDS: [&str; 6] = ["boot", "edge", "idf", "route", "rpv", "sess"];

async fn until_all_is_there(redis: &RedisServer) {
    let wanted: BTreeSet<String> = KINDS.map(str::to_owned).into();
    for _ in 0..1200 {
        if kinds(redis).is_superset(&wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("only {:?} are there", kinds(redis));
}

async fn until_ready_says(cluster: &Cluster, node: &str, text: &str) {
    for _ in 0..600 {
        let said = cluster.node(node).wait_ready(200).await;
        if said.contains(text) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{node} never says {text:?}");
}

/// Waits until one node knows of another whether Redis answers it.
async fn until_top_shows(cluster: &Cluster, viewer: &str, node: &str, healthy: bool) {
    let mut view = Value::Null;
    for _ in 0..300 {
        let output = run(cluster.node(viewer).operator_verb(&["top", "--once", "--json"])).await;
        assert!(output.status.success(), "{}", said(&output));
        view = serde_json::from_slice(&output.stdout).unwrap();
        let nodes = view["cluster"]["nodes"].as_array().unwrap();
        if nodes.iter().any(|it| it["name"] == node && it["redis"]["healthy"] == healthy) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{viewer} never sees {node} so: {view:#}");
}

/// What Redis has been asked by clients so far, one for each command of a script's too.
fn calls(redis: &RedisServer) -> u64 {
    let info: String = redis.command(&["INFO", "commandstats"]);
    let counted = info.lines().filter(|line| !line.contains("cmdstat_info"));
    let count = |line: &str| line.split("calls=").nth(1)?.split(',').next()?.parse::<u64>().ok();
    counted.filter_map(count).sum()
}

/// Flushed, killed and started again empty, and standing still, while clients publish and listen:
/// nothing is lost, doubled or out of order, and everything is in Redis again afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_redis_is_lost_in_every_way_under_load_and_nobody_notices() {
    let (database, mut redis) = (MariaDb::start(), RedisServer::start());
    let cluster = with_redis(&database, &redis).await;
    let mut traffic = Traffic::start(&cluster, 1500).await;
    traffic.more(50).await;
    until_all_is_there(&redis).await;
    redis.command::<()>(&["FLUSHALL"]);
    traffic.more(100).await;
    until_all_is_there(&redis).await;
    redis.pause();
    traffic.more(100).await;
    redis.resume();
    traffic.more(100).await;
    redis.kill();
    traffic.more(100).await;
    redis.restart();
    traffic.more(50).await;
    until_all_is_there(&redis).await;
    traffic.finish().await;
    cluster.stop().await;
}

/// An owner that is killed while Redis is flushed: the next one has neither it nor what it told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_cores_are_killed_while_redis_is_flushed() {
    let (database, redis) = (MariaDb::start(), RedisServer::start());
    let mut cluster = with_redis(&database, &redis).await;
    let mut traffic = Traffic::start(&cluster, 1500).await;
    for core in ["c1", "c2"] {
        traffic.more(50).await;
        redis.command::<()>(&["FLUSHALL"]);
        cluster.node_mut(core).kill().await;
        traffic.more(100).await;
        cluster.start(core).await;
    }
    traffic.finish().await;
    cluster.stop().await;
}

/// Members who look at their inboxes and are not subscribed: nothing that leads to them lies in Redis.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_who_looks_is_told_of_what_it_is_not_subscribed_to_while_redis_is_flushed() {
    let (database, redis) = (MariaDb::shared(), RedisServer::start());
    let cluster = with_redis(database, &redis).await;
    let live = cluster.verb("e2", "zoe", &["inbox", "--live", "--json"]).await;
    let mut live = JsonProcess::start("live", live, Vec::new());
    let mut sent = async |text: &str, count: u64| {
        let verb = ["pub", "dm:alice:zoe", text, "--json"];
        let output = run(cluster.verb("e1", "alice", &verb).await).await;
        assert!(output.status.success(), "{}", said(&output));
        loop {
            let before = live.count();
            if live.objects().iter().any(|it| it["unread"] == count) {
                return;
            }
            live.wait_for_count(before + 1).await;
        }
    };
    sent("before", 1).await;
    redis.command::<()>(&["FLUSHALL"]);
    sent("flushed", 2).await;
    redis.command::<()>(&["FLUSHALL"]);
    sent("and again", 3).await;
    live.kill().await;
    cluster.stop().await;
}

/// One core alone has lost the way to Redis, which answers all others: some know what it does not, and
/// it tells nobody. It takes the channels of the other core over like this, and gives them back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_one_core_is_cut_off_from_redis_while_the_others_are_not() {
    let (database, redis) = (MariaDb::start(), RedisServer::start());
    let way = Relay::start(RelayConfig::new(([127, 0, 0, 1], redis.port()).into())).await.unwrap();
    let mut cluster = Cluster::new().await;
    let urls = format!("store.urls={}", database.fresh_url());
    let direct = format!("redis.urls={}", redis.url());
    let relayed = format!("redis.urls=redis://{}", way.address());
    cluster.add("c1", "core", &["store.engine=sql", &urls, &relayed]).await;
    cluster.add("c2", "core", &["store.engine=sql", &urls, &direct]).await;
    for edge in ["e1", "e2"] {
        cluster.add(edge, "edge", &[&direct]).await;
    }
    cluster.ready().await;
    until_ready_says(&cluster, "c1", "redis ok").await;
    let mut traffic = Traffic::start(&cluster, 1500).await;
    traffic.more(50).await;
    way.block();
    until_ready_says(&cluster, "c1", "redis has not answered for").await;
    until_top_shows(&cluster, "e1", "c1", false).await;
    until_ready_says(&cluster, "c2", "redis ok").await;
    traffic.more(100).await;
    cluster.node_mut("c2").kill().await;
    traffic.more(100).await;
    cluster.start("c2").await;
    traffic.more(50).await;
    way.unblock();
    until_ready_says(&cluster, "c1", "redis ok").await;
    traffic.more(50).await;
    until_all_is_there(&redis).await;
    traffic.finish().await;
    cluster.stop().await;
    way.shutdown().await;
}

/// Redis is away when nodes start: they start, say so, and use it once it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_nodes_start_without_redis_and_say_so() {
    let mut redis = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    redis.kill();
    let mut cluster = Cluster::new().await;
    let urls = format!("redis.urls={}", redis.url());
    cluster.add("c1", "core", &[&urls]).await;
    cluster.add("e1", "edge", &[&urls]).await;
    cluster.ready().await;
    until_ready_says(&cluster, "c1", "redis has not answered for").await;
    assert!(!cluster.logged("c1", "Redis does not answer").is_empty());
    until_top_shows(&cluster, "e1", "c1", false).await;
    redis.restart();
    until_ready_says(&cluster, "c1", "redis ok").await;
    until_ready_says(&cluster, "e1", "redis ok").await;
    until_top_shows(&cluster, "e1", "c1", true).await;
    let warned = || cluster.node("c1").log().contains("maxmemory-policy noeviction");
    for _ in 0..300 {
        if warned() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(warned(), "{}", cluster.node("c1").log());
    cluster.stop().await;
}

/// What the doctor of a node says of Redis, each with its verdict. All of it is no more than a
/// warning, so the node counts as healthy.
async fn examined(cluster: &Cluster, node: &str) -> Vec<(String, String)> {
    let mut command = cluster.configured_verb(node, "doctor");
    command.arg("--json");
    let output = run(command).await;
    assert!(output.status.success(), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let of_redis = findings.iter().filter(|finding| finding["check"] == "redis");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    of_redis.map(|finding| (text(&finding["verdict"]), text(&finding["what"]))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_examines_redis() {
    let mut redis = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let mut cluster = Cluster::new().await;
    let urls = format!("redis.urls={}", redis.url());
    cluster.add("c1", "core", &[&urls]).await;
    cluster.add("e1", "edge", &[&urls]).await;
    cluster.ready().await;
    let found = examined(&cluster, "e1").await;
    let is = |at: usize, verdict: &str, text: &str| {
        found.get(at).is_some_and(|(is, what)| is == verdict && what.contains(text))
    };
    assert!(is(0, "ok", "answers, version"), "{found:?}");
    assert!(is(1, "warning", "maxmemory-policy allkeys-lru"), "{found:?}");
    redis.command::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    let found = examined(&cluster, "c1").await;
    assert!(found.len() == 1 && found[0].0 == "ok", "{found:?}");
    redis.kill();
    let found = examined(&cluster, "c1").await;
    assert!(found.len() == 1 && found[0].0 == "warning", "{found:?}");
    cluster.stop().await;
}

/// `POST /api/v1/channels/create` with an Idempotency-Key: status, whether the answer is that of an
/// earlier request, and the answer.
async fn create(node: &Served, token: &str, key: &str, channel: &str) -> (u16, bool, Value) {
    let body = format!(r#"{{"channel":"{channel}","kind":"group"}}"#);
    let (status, head, answer) = node.post("/api/v1/channels/create", token, key, &body).await;
    (status, head.contains("idempotency-replayed: true"), answer)
}

/// A request that is repeated at another node, also while the first is under way there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_is_carried_out_once_whichever_node_it_comes_to() {
    let (database, mut redis) = (MariaDb::shared(), RedisServer::start());
    let cluster = with_redis(database, &redis).await;
    let (e1, e2) = (cluster.node("e1"), cluster.node("e2"));
    let token = e1.token("alice").await;
    for round in 0..10 {
        let (key, channel) = (format!("key-{round}"), format!("group:{round}"));
        let both =
            tokio::join!(create(e1, &token, &key, &channel), create(e2, &token, &key, &channel));
        let mut answers = vec![both.0, both.1];
        // Whoever was told to ask again, does.
        for (node, answer) in [e1, e2].into_iter().zip(&mut answers) {
            while answer.2["error"]["message"].as_str().is_some_and(|it| it.contains("ask again")) {
                *answer = create(node, &token, &key, &channel).await;
            }
        }
        let made = answers.iter().filter(|(_, replayed, _)| !replayed).count();
        assert_eq!(made, 1, "{answers:?}");
        for (status, _, answer) in &answers {
            assert_eq!((*status, &answer["result"]["created"]), (200, &Value::Bool(true)));
        }
        let (status, _, answer) = create(e2, &token, &key, "group:other").await;
        assert_eq!(status, 409, "the key belongs to another request: {answer}");
    }
    // Without Redis a key is worth nothing, and the channel's own record says that it is there.
    redis.kill();
    let (status, replayed, answer) = create(e2, &token, "key-0", "group:0").await;
    assert_eq!((status, replayed), (409, false), "{answer}");
    cluster.stop().await;
}

/// No publication asks Redis: the calls of a whole conversation are those of its sessions, and of
/// the time that passes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_publication_asks_redis() {
    let redis = RedisServer::start();
    let mut cluster = Cluster::new().await;
    let urls = format!("redis.urls={}", redis.url());
    cluster.add("c1", "core", &[&urls]).await;
    cluster.add("e1", "edge", &[&urls]).await;
    cluster.add("e2", "edge", &[&urls]).await;
    cluster.ready().await;
    let started = tokio::time::Instant::now();
    let mut traffic = Traffic::start(&cluster, 2000).await;
    traffic.more(50).await;
    let (before, began) = (calls(&redis), tokio::time::Instant::now());
    traffic.more(1500).await;
    let (asked, took) = (calls(&redis) - before, began.elapsed());
    println!("{asked} commands in Redis in {took:?} for 3000 publications");
    traffic.finish().await;
    println!("{} commands in all in {:?}, for 4 sessions", calls(&redis), started.elapsed());
    // A few for each second that passes; were there one for each publication, there would be 3000.
    assert!(asked < 1500, "{asked} in {took:?}");
    cluster.stop().await;
}
