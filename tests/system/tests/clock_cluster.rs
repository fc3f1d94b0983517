//! I10 and what else could hang on the clock of one core in a cluster: it goes back by an hour while
//! the core runs, and the core is killed and started again by that clock. Ids do not repeat, offsets
//! and server times go on, requests that are repeated are recognised, and nobody takes the core for
//! dead or for an older one of its name.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::collections::BTreeSet;

use serde_json::Value;
use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::fake_clock::FakeClock;
use sterna_system_tests::process::JsonProcess;
use sterna_system_tests::traffic::{CHANNEL, Traffic};
use sterna_test_engines::MariaDb;
use sterna_test_engines::redis::RedisServer;

const CORES: [&str; 3] = ["c1", "c2", "c3"];
const EDGES: [&str; 2] = ["e1", "e2"];
const LINES: usize = 3000;

/// The clock of each core in turn, so that the channel's owner is among them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i10_a_core_whose_clock_goes_back_by_an_hour_repeats_nothing_and_stays_in_its_place() {
    let (database, redis) = (MariaDb::start(), RedisServer::start());
    let clocks = CORES.map(|core| (core, FakeClock::new()));
    let mut cluster = cluster(&database, &redis, &clocks).await;
    let mut traffic = Traffic::start(&cluster, LINES).await;
    let mut requests = Requests::new(&cluster).await;
    for (core, clock) in &clocks {
        traffic.more(50).await;
        requests.another(&cluster).await;
        let moved = changes_of_ways(&cluster);
        clock.set("-3600");
        traffic.more(150).await;
        requests.another(&cluster).await;
        requests.repeat_all(&cluster).await;
        everybody_knows_everybody(&cluster).await;
        assert_eq!(changes_of_ways(&cluster), moved, "somebody was taken for dead");
        cluster.node_mut(core).kill().await;
        traffic.more(50).await;
        cluster.start(core).await;
        everybody_knows_everybody(&cluster).await;
        traffic.more(100).await;
        requests.repeat_all(&cluster).await;
        clock.set("+0");
        traffic.more(50).await;
        requests.repeat_all(&cluster).await;
    }
    traffic.finish().await;
    check_ids_and_times(&cluster, CHANNEL, 2 * LINES).await;
    check_ids_and_times(&cluster, REPEATED, requests.made.len()).await;
    cluster.stop().await;
}

async fn cluster(
    database: &MariaDb,
    redis: &RedisServer,
    clocks: &[(&'static str, FakeClock)],
) -> Cluster {
    let mut cluster = Cluster::new().await;
    let urls = format!("store.urls={}", database.fresh_url());
    let redis = format!("redis.urls={}", redis.url());
    for (core, clock) in clocks {
        cluster.prepare(core, "core", &["store.engine=sql", &urls, &redis]).await;
        cluster.node_mut(core).launch_through(clock.launcher());
        cluster.start(core).await;
    }
    for edge in EDGES {
        cluster.add(edge, "edge", &[&redis]).await;
    }
    cluster.ready().await;
    everybody_knows_everybody(&cluster).await;
    cluster
}

async fn everybody_knows_everybody(cluster: &Cluster) {
    for node in CORES.into_iter().chain(EDGES) {
        cluster.knows(node, CORES.len() + EDGES.len()).await;
    }
    cluster.ready().await;
}

/// How often nodes have changed the ways to owners: once more for each that they miss.
fn changes_of_ways(cluster: &Cluster) -> usize {
    let changes = |node| cluster.logged(node, "slots have moved").len();
    CORES.into_iter().chain(EDGES).map(changes).sum()
}

/// Publications by HTTP, each with an Idempotency-Key.
struct Requests {
    token: String,
    /// Where each of them is.
    made: Vec<(u64, String)>,
}

const REPEATED: &str = "room:repeated";

impl Requests {
    async fn new(cluster: &Cluster) -> Self {
        Self { token: cluster.node("e1").token("dan").await, made: Vec::new() }
    }

    async fn another(&mut self, cluster: &Cluster) {
        let made = self.send(cluster, "e1", self.made.len()).await;
        self.made.push(place(&made));
    }

    /// All of them, at another edge than the first time.
    async fn repeat_all(&self, cluster: &Cluster) {
        for (number, place_of_first) in self.made.iter().enumerate() {
            let repeated = self.send(cluster, "e2", number).await;
            assert_eq!(repeated["duplicate"], true, "{repeated}");
            assert_eq!(place(&repeated), *place_of_first);
        }
    }

    /// Until it is not refused for the moment.
    async fn send(&self, cluster: &Cluster, edge: &str, number: usize) -> Value {
        let body = format!(r#"{{"channel":"{REPEATED}","text":"request {number}"}}"#);
        let (key, mut last) = (format!("request-{number}"), Value::Null);
        for _ in 0..300 {
            let node = cluster.node(edge);
            let (status, _, said) = node.post("/api/v1/publish", &self.token, &key, &body).await;
            if status == 200 {
                return said["result"].clone();
            }
            assert!(status == 429 || status == 503, "{status} {said}");
            last = said;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("refused for ever: {last}");
    }
}

fn place(made: &Value) -> (u64, String) {
    (made["offset"].as_u64().unwrap(), made["id"].as_str().unwrap().to_owned())
}

/// Everything that a newcomer reads has an id of its own, follows, and is not older than what is before it.
async fn check_ids_and_times(cluster: &Cluster, channel: &str, count: usize) {
    let verb = ["sub", channel, "--from", "earliest", "--json"];
    let command = cluster.verb("e1", "reader", &verb).await;
    let mut reader = JsonProcess::start("reader", command, Vec::new());
    reader.wait_for_count(count).await;
    let read = reader.kill().await;
    let ids: BTreeSet<&str> = read.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!((read.len(), ids.len()), (count, count), "ids of {channel} repeat");
    for (at, publication) in read.iter().enumerate() {
        assert_eq!(publication["offset"], at as u64 + 1, "no hole, no double");
    }
    for pair in read.windows(2) {
        let time = |it: &Value| it["server_ts_ms"].as_u64().unwrap();
        assert!(time(&pair[1]) >= time(&pair[0]), "server times go back: {pair:?}");
    }
}
