//! Cores with caches of old pages, each on its own disk and all of them in Redis: who was away is served
//! from there, whatever becomes of the caches the answer is the same (I6), and what was given up is
//! given to nobody from that moment on.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::node::PATIENCE;
use sterna_system_tests::process::JsonProcess;
use sterna_system_tests::served::{run, said};
use sterna_test_engines::MariaDb;
use sterna_test_engines::redis::RedisServer;
use tempfile::TempDir;
use tokio::time::Instant;

const CHANNEL: &str = "room:pages";

/// Three full pages and a little more.
const LINES: usize = 200;
const FULL_PAGES: f64 = 3.0;

const LOOKUPS: &str = "sterna_storage_page_lookups_total";

/// Two cores with both caches, and two edges. Next to nothing is in rings, so that the rest has to come
/// from behind them.
struct Bed {
    cluster: Cluster,
    redis: RedisServer,
    home: TempDir,
}

impl Bed {
    async fn start() -> Self {
        let (database, redis) = (MariaDb::shared(), RedisServer::start());
        let home = tempfile::tempdir().unwrap();
        let mut cluster = Cluster::new().await;
        let urls = format!("store.urls={}", database.fresh_url());
        let redis_url = format!("redis.urls={}", redis.url());
        for core in ["c1", "c2"] {
            let pages = format!("store.page_cache={}", home.path().join(core).display());
            let keys = [
                "store.engine=sql",
                &urls,
                &redis_url,
                "redis.pages=true",
                &pages,
                "queues.ring_publications=1",
                "cluster.lease=2s",
            ];
            cluster.add(core, "core", &keys).await;
        }
        for edge in ["e1", "e2"] {
            let keys = [redis_url.as_str(), "queues.edge_ring_bytes=0", "cluster.lease=2s"];
            cluster.add(edge, "edge", &keys).await;
        }
        cluster.ready().await;
        Self { cluster, redis, home }
    }

    /// What lies on the disk of a core.
    fn folder(&self, core: &str) -> PathBuf {
        self.home.path().join(core)
    }

    async fn publish(&self, lines: Vec<String>) {
        let verb = self.cluster.verb("e1", "ana", &["pub", CHANNEL, "--stdin", "--json"]).await;
        let count = lines.len();
        let mut publisher = JsonProcess::start("publisher", verb, lines);
        assert!(publisher.finish().await.success(), "{}", publisher.errors());
        assert_eq!(publisher.count(), count);
    }

    /// The core that has the channel's publications committed, and the other one.
    async fn owner(&self) -> (&'static str, &'static str) {
        for (core, other) in [("c1", "c2"), ("c2", "c1")] {
            let node = self.cluster.node(core);
            if node.metric("sterna_core_publications_total", "").await.unwrap_or(0.0) > 0.0 {
                return (core, other);
            }
        }
        panic!("nobody has published");
    }

    /// What somebody is given who was away all the time, and follows the channel from its beginning.
    async fn catch_up(&self, edge: &str, count: usize) -> Vec<Value> {
        let verb = ["sub", CHANNEL, "--from", "earliest", "--json"];
        let verb = self.cluster.verb(edge, "ben", &verb).await;
        let mut reader = JsonProcess::start("reader", verb, Vec::new());
        reader.wait_for_count(count).await;
        reader.kill().await
    }

    /// What somebody is given who looks back.
    async fn history(&self, edge: &str) -> Vec<Value> {
        let verb = ["history", CHANNEL, "--from", "earliest", "--limit", "1000", "--json"];
        let verb = self.cluster.verb(edge, "ben", &verb).await;
        let mut history = JsonProcess::start("history", verb, Vec::new());
        assert!(history.finish().await.success(), "{}", history.errors());
        history.objects()
    }

    /// Everybody gets all of it, from either edge and by either way.
    async fn assert_whole(&self, when: &str) {
        let wanted = lines();
        for edge in ["e1", "e2"] {
            assert_eq!(texts(&self.catch_up(edge, LINES).await), wanted, "{when}: caught up");
            assert_eq!(texts(&self.history(edge).await), wanted, "{when}: looked back");
        }
    }

    async fn lookups(&self, core: &str, tier: &str, result: &str) -> f64 {
        let label = format!("tier=\"{tier}\",result=\"{result}\"");
        self.cluster.node(core).metric(LOOKUPS, &label).await.unwrap_or(0.0)
    }

    /// Waits until whoever looks at the cluster sees how often a core found pages there.
    async fn until_top_tells_of(&self, core: &str, tier: &str) {
        let late = Instant::now() + PATIENCE;
        loop {
            let top = self.cluster.node("e1").operator_verb(&["top", "--once", "--json"]);
            let output = run(top).await;
            assert!(output.status.success(), "{}", said(&output));
            let view: Value = serde_json::from_slice(&output.stdout).unwrap();
            let nodes = view["cluster"]["nodes"].as_array().unwrap();
            let node = nodes.iter().find(|node| node["name"] == core).unwrap();
            if node["lookups"][tier]["hits"].as_f64().unwrap_or(0.0) >= FULL_PAGES {
                return;
            }
            assert!(Instant::now() < late, "{core} never tells of {tier}: {node}");
        }
    }

    /// Lets a core end, does something to its folder meanwhile, and waits for it to be back.
    async fn while_away(&mut self, core: &'static str, act: impl FnOnce(&Path)) {
        let node = self.cluster.node_mut(core);
        node.signal(libc::SIGTERM);
        let status = node.ended().await;
        assert!(status.success(), "{core}: {status}\n{}", node.log());
        act(&self.folder(core));
        self.cluster.start(core).await;
        self.cluster.ready().await;
    }

    /// An operator's verb at a node.
    async fn order(&self, node: &str, verb: &[&str]) {
        let output = run(self.cluster.node(node).operator_verb(verb)).await;
        assert!(output.status.success(), "{}", said(&output));
    }

    /// The hashes of pages in Redis.
    fn hashes(&self) -> Vec<String> {
        self.redis.command(&["KEYS", "sterna:hot:*"])
    }

    /// What Redis has, all of it.
    fn pages_in_redis(&self) -> Vec<Vec<u8>> {
        let of = |hash: &String| self.redis.command::<Vec<Vec<u8>>>(&["HVALS", hash]);
        self.hashes().iter().flat_map(of).collect()
    }

    /// Puts nonsense in the place of each.
    fn spoil_redis(&self) {
        for hash in self.hashes() {
            let fields: Vec<String> = self.redis.command(&["HKEYS", &hash]);
            for field in fields {
                self.redis.command::<()>(&["HSET", &hash, &field, "no page at all"]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_who_was_away_is_served_from_caches_and_cannot_tell() {
    let mut bed = Bed::start().await;
    bed.publish(lines()).await;
    let (owner, other) = bed.owner().await;
    bed.assert_whole("first").await;
    assert!(bed.lookups(owner, "local", "miss").await >= FULL_PAGES);
    let hits = bed.lookups(owner, "local", "hit").await;
    bed.assert_whole("again").await;
    // Two edges, and two ways.
    let more = bed.lookups(owner, "local", "hit").await - hits;
    assert!(more >= 4.0 * FULL_PAGES, "{more} pages came from the owner's disk");
    assert_eq!(bed.pages_in_redis().len() as f64, FULL_PAGES);

    // Who has never read the channel finds its pages in Redis, and then on its own disk.
    bed.cluster.node_mut(owner).kill().await;
    bed.assert_whole("with another owner").await;
    assert!(bed.lookups(other, "redis", "hit").await >= FULL_PAGES);
    assert!(bed.lookups(other, "local", "hit").await >= FULL_PAGES);
    bed.cluster.start(owner).await;
    bed.cluster.ready().await;
    bed.assert_whole("after a kill").await;

    for (tier, core) in [("local_pages", other), ("redis_pages", other)] {
        bed.until_top_tells_of(core, tier).await;
    }

    bed.redis.command::<()>(&["FLUSHALL"]);
    bed.assert_whole("with an empty Redis").await;
    bed.redis.kill();
    bed.assert_whole("without Redis").await;
    bed.redis.restart();
    bed.assert_whole("with Redis again").await;
    assert_eq!(bed.lookups("c1", "local", "damaged").await, 0.0);
    bed.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_caches_are_deleted_and_damaged_and_nobody_notices() {
    let mut bed = Bed::start().await;
    bed.publish(lines()).await;
    bed.assert_whole("first").await;
    for core in ["c1", "c2"] {
        bed.while_away(core, |folder| fs::remove_dir_all(folder).unwrap()).await;
    }
    bed.assert_whole("with empty disks").await;
    let found = bed.lookups("c1", "redis", "hit").await + bed.lookups("c2", "redis", "hit").await;
    assert!(found >= FULL_PAGES, "{found} pages came from Redis");
    // They end, so that what they have is in files; then a bit is not what it was, somewhere in each.
    let mut spoilt = 0;
    for core in ["c1", "c2"] {
        bed.while_away(core, |folder| spoilt += spoil_files(&folder.join("files"))).await;
    }
    assert!(spoilt > 0, "no pages are in files");
    bed.redis.command::<()>(&["FLUSHALL"]);
    bed.assert_whole("with damaged disks").await;
    // Both caches at once: nothing on the disks, and nonsense in Redis.
    let mut was_there = 0;
    for core in ["c1", "c2"] {
        bed.while_away(core, |folder| fs::remove_dir_all(folder).unwrap()).await;
        was_there += bed.hashes().len();
        bed.spoil_redis();
    }
    assert!(was_there > 0, "Redis has no pages");
    bed.assert_whole("with nonsense in Redis").await;
    let met =
        bed.lookups("c1", "redis", "damaged").await + bed.lookups("c2", "redis", "damaged").await;
    assert!(met > 0.0, "nobody has met the nonsense");
    // While they run: whatever a core still makes of files that are gone, its answers are right.
    for core in ["c1", "c2"] {
        fs::remove_dir_all(bed.folder(core)).unwrap();
    }
    bed.assert_whole("with disks that were emptied meanwhile").await;
    for core in ["c1", "c2"] {
        bed.while_away(core, |_| {}).await;
    }
    bed.assert_whole("with disks that are there again").await;
    bed.cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_redacted_or_erased_is_in_no_page_from_any_cache() {
    const SECRET: &str = "words that nobody may read";
    let mut bed = Bed::start().await;
    let mut all = lines();
    for secret in [9, 99, 149] {
        all[secret] = SECRET.to_owned();
    }
    bed.publish(all).await;
    let (owner, other) = bed.owner().await;
    // The disk of the one that does not own it any more has the pages as well.
    bed.cluster.node_mut(owner).kill().await;
    assert_eq!(bed.catch_up("e1", LINES).await[9]["text"], SECRET);
    bed.cluster.start(owner).await;
    bed.cluster.ready().await;
    wait_owned_by(&bed, owner).await;
    assert_eq!(bed.catch_up("e2", LINES).await[99]["text"], SECRET);
    assert!(bed.pages_in_redis().iter().any(|page| contains(page, SECRET)));

    bed.order("e1", &["redact", CHANNEL, "10", "100", "--reason", "a complaint"]).await;
    for edge in ["e1", "e2"] {
        for page in [bed.catch_up(edge, LINES + 2).await, bed.history(edge).await] {
            for hidden in [9, 99] {
                assert_eq!(page[hidden]["redacted"], true, "{edge}: {}", page[hidden]);
                assert_eq!(page[hidden].get("text"), None, "{edge}: {}", page[hidden]);
            }
            assert_eq!(page[149]["text"], SECRET, "what was not redacted stays");
        }
    }
    // It owns the channel from here on, and its own disk has the pages as they were.
    bed.cluster.node_mut(owner).kill().await;
    let page = bed.catch_up("e2", LINES + 2).await;
    assert!([9, 99].iter().all(|hidden| page[*hidden].get("text").is_none()), "{page:?}");
    assert!(bed.lookups(other, "local", "hit").await > 0.0);
    bed.order("e2", &["erase", CHANNEL, "--reason", "an order"]).await;
    for edge in ["e1", "e2"] {
        let left = bed.history(edge).await;
        assert!(left.iter().all(|it| it.get("text").is_none()), "{edge}: {left:?}");
    }
    bed.cluster.start(owner).await;
    bed.cluster.ready().await;
    wait_owned_by(&bed, owner).await;
    for edge in ["e1", "e2"] {
        let left = bed.history(edge).await;
        assert!(left.iter().all(|it| it.get("text").is_none()), "{edge}: {left:?}");
    }
    bed.publish(vec!["later".to_owned()]).await;
    assert_eq!(bed.history("e1").await.last().unwrap()["text"], "later");
    bed.cluster.stop().await;
}

/// Waits until this core answers for the channel.
async fn wait_owned_by(bed: &Bed, core: &str) {
    let late = Instant::now() + PATIENCE;
    let answered = async || {
        let node = bed.cluster.node(core);
        node.metric("sterna_core_pages_total", "").await.unwrap_or(0.0)
    };
    let before = answered().await;
    while answered().await == before {
        assert!(Instant::now() < late, "{core} never owns it: {}", bed.cluster.node(core).log());
        bed.history("e1").await;
    }
}

fn lines() -> Vec<String> {
    (0..LINES).map(|n| format!("publication {n}")).collect()
}

fn texts(page: &[Value]) -> Vec<String> {
    page.iter().map(|it| it["text"].as_str().unwrap().to_owned()).collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// Flips a bit in every hundredth byte of every file with pages; how many files there were.
fn spoil_files(folder: &Path) -> usize {
    let mut files = 0;
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.extension().is_some_and(|extension| extension == "sst") {
            let mut bytes = fs::read(&path).unwrap();
            bytes.iter_mut().step_by(100).for_each(|byte| *byte ^= 1);
            fs::write(&path, bytes).unwrap();
            files += 1;
        }
    }
    files
}
