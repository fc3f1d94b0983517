//! The same publication sent to two edges at once, while the owner of its channel is killed: it is
//! stored once, and both are told the same (I3). So does a client that has come back at another edge
//! and repeats what the first one still has on its way.

#![allow(clippy::unwrap_used)] // Helpers of tests; clippy exempts only the tests themselves.

use std::collections::BTreeMap;
use std::future::IntoFuture as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use sterna_client::{
    ChannelId, Client, History, OutboxChange, OutboxStore, OutboxStoreError, StoredOutbox,
    Transport,
};
use sterna_system_tests::cluster::Cluster;
use sterna_system_tests::node::PATIENCE;
use sterna_system_tests::raw::within;
use sterna_test_engines::MariaDb;
use sterna_test_engines::redis::RedisServer;

const CORES: [&str; 3] = ["c1", "c2", "c3"];

/// Publications of one round, all of them on their way when the owner dies.
const AT_ONCE: usize = 48;

async fn cluster(database: &MariaDb, redis: &RedisServer) -> Cluster {
    let mut cluster = Cluster::new().await;
    let urls = format!("store.urls={}", database.fresh_url());
    let redis = format!("redis.urls={}", redis.url());
    for core in CORES {
        cluster.add(core, "core", &["store.engine=sql", &urls, &redis]).await;
    }
    for edge in ["e1", "e2"] {
        cluster.add(edge, "edge", &[&redis]).await;
    }
    cluster.ready().await;
    cluster
}

/// Who owns the channel, as all nodes that run see it.
async fn owner(cluster: &Cluster, channel: &str) -> &'static str {
    let path = format!("/api/v1/operate/channel?channel={channel}");
    let agreed = async {
        loop {
            let mut owners = Vec::new();
            for node in CORES.into_iter().chain(["e1", "e2"]) {
                let (_, said) = cluster.node(node).operator_get(&path).await;
                let owner = &said["result"]["owner"];
                owners.push(CORES.into_iter().find(|core| owner == core));
            }
            if let [Some(owner), ..] = owners[..]
                && owners.iter().all(|it| *it == Some(owner))
            {
                return owner;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("one owner for all", agreed).await
}

/// Above what a client begins with that has sent nothing yet: its clock.
const LAST_SEQ: u64 = 1 << 62;

/// Numbers go on from there, as they would if both clients were one that has moved.
#[derive(Debug)]
struct Numbered;

impl OutboxStore for Numbered {
    fn load(&mut self, client_id: &str) -> Result<StoredOutbox, OutboxStoreError> {
        let client_id = client_id.to_owned();
        Ok(StoredOutbox { client_id, last_seq: LAST_SEQ, ..StoredOutbox::default() })
    }

    fn write(&mut self, _: &[OutboxChange]) -> Result<(), OutboxStoreError> {
        Ok(())
    }
}

/// A client of this name at one edge. Two of the same name number their publications alike.
async fn device(cluster: &Cluster, edge: &str, name: &str) -> Client {
    let node = cluster.node(edge);
    let client = Client::builder("localhost")
        .connect_to(node.client_address())
        .root_certificates_file(cluster.clients_ca(edge))
        .token(node.token("ana").await)
        .client_id(name)
        .outbox_store(Numbered)
        .transports([Transport::WebSocket])
        .command_timeout(PATIENCE)
        .build()
        .unwrap();
    client.connect();
    client.ready(PATIENCE).await.unwrap();
    client
}

/// Where each is stored, its id, and when.
type Told = Vec<(String, u64, u64)>;

/// Sends all of them at once; `half` is called when half of them have an answer.
async fn publish_all(client: &Client, channel: &ChannelId, half: impl FnOnce()) -> Told {
    let texts = (0..AT_ONCE).map(|number| format!("{channel} {number}"));
    let sends: Vec<_> = texts.map(|text| client.publish(channel, text).start()).collect();
    let (mut told, mut half) = (Vec::new(), Some(half));
    for send in sends {
        let ack = within("an answer", send.into_future()).await.unwrap();
        told.push((ack.position.to_string(), ack.id, ack.server_ts_ms));
        if told.len() == AT_ONCE / 2
            && let Some(half) = half.take()
        {
            half();
        }
    }
    told
}

/// Every text of the channel and how often it is stored.
async fn stored(client: &Client, channel: &ChannelId) -> BTreeMap<String, usize> {
    let page = within("history", client.history(channel, History::default())).await.unwrap();
    let mut stored = BTreeMap::new();
    for publication in page.publications {
        let text = String::from_utf8(publication.payload.to_vec()).unwrap();
        *stored.entry(text).or_default() += 1;
    }
    stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_what_two_edges_are_sent_at_once_is_stored_once_though_its_owner_dies() {
    let (database, redis) = (MariaDb::shared(), RedisServer::start());
    let mut cluster = cluster(database, &redis).await;
    for round in 0..3 {
        let channel = ChannelId::new(&format!("room:once-{round}")).unwrap();
        let name = format!("phone-{round}");
        let (first, second) =
            tokio::join!(device(&cluster, "e1", &name), device(&cluster, "e2", &name));
        // Whoever owns it says so once it has been published to.
        client_warms_up(&cluster, &channel).await;
        let victim = owner(&cluster, channel.as_str()).await;
        let (dies, at_half) = tokio::sync::oneshot::channel();
        let kill = async {
            at_half.await.unwrap();
            cluster.node(victim).signal(libc::SIGKILL);
            // Asked of nobody, at first.
            stored(&second, &channel).await;
        };
        let (told, also_told, ()) = tokio::join!(
            publish_all(&first, &channel, || dies.send(()).unwrap()),
            publish_all(&second, &channel, || {}),
            kill,
        );
        cluster.node_mut(victim).ended().await;
        assert_eq!(told, also_told, "round {round}, {victim} was killed");
        let stored = stored(&first, &channel).await;
        let once: BTreeMap<_, _> =
            (0..AT_ONCE).map(|number| (format!("{channel} {number}"), 1)).collect();
        let stored: BTreeMap<_, _> =
            stored.into_iter().filter(|(text, _)| text != WARM_UP).collect();
        assert_eq!(stored, once, "round {round}, {victim} was killed");
        first.close().await;
        second.close().await;
        cluster.start(victim).await;
        cluster.ready().await;
    }
    cluster.stop().await;
}

const WARM_UP: &str = "is anybody here?";

async fn client_warms_up(cluster: &Cluster, channel: &ChannelId) {
    let client = device(cluster, "e1", "somebody").await;
    let sent = client.publish(channel, WARM_UP).into_future();
    within("an answer", sent).await.unwrap();
    client.close().await;
}

/// `POST /api/v1/publish` until it is answered for good: what it says of where the publication is.
async fn post(cluster: &Cluster, edge: &str, token: &str, key: &str, channel: &str) -> Value {
    let body = format!(r#"{{"channel":"{channel}","text":"{key}"}}"#);
    let answered = async {
        loop {
            let node = cluster.node(edge);
            let (status, _, mut said) = node.post("/api/v1/publish", token, key, &body).await;
            if status == 200 {
                // Which of the two requests was first is nobody's business.
                said["result"].as_object_mut().unwrap().remove("duplicate");
                return said["result"].take();
            }
            assert_eq!(said["error"]["retryable"], true, "{status}: {said}");
        }
    };
    within("a final answer", answered).await
}

/// The same over HTTP, where a key takes the place of the number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_keyed_request_to_two_edges_at_once_is_stored_once_though_its_owner_dies() {
    let (database, redis) = (MariaDb::shared(), RedisServer::start());
    let mut cluster = cluster(database, &redis).await;
    let token = cluster.node("e1").token("ana").await;
    for round in 0..3 {
        let channel = ChannelId::new(&format!("room:keyed-{round}")).unwrap();
        let name = channel.as_str();
        client_warms_up(&cluster, &channel).await;
        let victim = owner(&cluster, name).await;
        let keys: Vec<String> = (0..AT_ONCE).map(|n| format!("key-{round}-{n}")).collect();
        let (dies, at_half) = tokio::sync::oneshot::channel();
        let (answers, dies) = (AtomicUsize::new(0), Mutex::new(Some(dies)));
        let at = |edge: &'static str| {
            let (cluster, token, answers, dies) = (&cluster, &token, &answers, &dies);
            let posts = keys.iter().map(move |key| async move {
                let told = post(cluster, edge, token, key, name).await;
                if answers.fetch_add(1, Ordering::Relaxed) == AT_ONCE / 2
                    && let Some(dies) = dies.lock().unwrap().take()
                {
                    dies.send(()).unwrap();
                }
                told
            });
            futures_util::future::join_all(posts)
        };
        let kill = async {
            at_half.await.unwrap();
            cluster.node(victim).signal(libc::SIGKILL);
        };
        let (told, also_told, ()) = tokio::join!(at("e1"), at("e2"), kill);
        assert_eq!(told, also_told, "round {round}, {victim} was killed");
        let client = device(&cluster, "e2", "reader").await;
        let mut stored = stored(&client, &channel).await;
        stored.remove(WARM_UP);
        let once: BTreeMap<_, _> = keys.into_iter().map(|key| (key, 1)).collect();
        assert_eq!(stored, once, "round {round}, {victim} was killed");
        client.close().await;
        cluster.node_mut(victim).ended().await;
        cluster.start(victim).await;
        cluster.ready().await;
    }
    cluster.stop().await;
}
