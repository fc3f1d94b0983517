//! Servers that are killed or stand still, writers that meet, and a copy that is away.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sterna_proto::Offset;
use sterna_storage::{
    Append, AppendError, IntentStore as _, PageLimit, PublicationLog as _, StorageErrorKind,
};
use sterna_storage_scylla::{ScyllaConfig, ScyllaStore};
use sterna_test_engines::Cassandra;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use support::{Keyspace, append, failure, in_the_end, key, origin, persist, read_all, record};

mod support;

/// One outage at a time.
static SERVER: Mutex<()> = Mutex::const_new(());

/// The store's own patience is short here, so that outages are.
fn impatient(config: ScyllaConfig) -> ScyllaConfig {
    ScyllaConfig { patience: Duration::from_secs(5), bucket_records: 16, ..config }
}

/// What a core does with whatever comes back: looks up, and tries again, until it is stored.
async fn persist_in_the_end(store: &ScyllaStore, client: &str, seq: u64) -> Offset {
    loop {
        if let Ok(found) = store.find(key("room"), origin(client, seq)).await {
            if let Some(found) = found {
                return found.position.offset;
            }
            match persist(store, key("room"), record(client, seq)).await {
                Ok(head) => return head.position.offset,
                Err(AppendError::Duplicates(found)) => return found[0].position.offset,
                Err(_) => {}
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_what_was_acked_outlives_a_kill_of_the_server() {
    let _alone = SERVER.lock().await;
    let server = Cassandra::shared();
    let keyspace = Keyspace::fresh();
    let store = ScyllaStore::connect(&impatient(keyspace.config())).await.unwrap();
    let acked = Arc::new(AtomicU64::new(0));
    let mut writer = JoinSet::new();
    writer.spawn({
        let (store, acked) = (store.clone(), acked.clone());
        async move {
            for seq in 1.. {
                match persist(&store, key("room"), record("a", seq)).await {
                    Ok(_) => acked.store(seq, Ordering::Release),
                    Err(AppendError::Storage(error)) => return (seq, error),
                    Err(other) => panic!("{other:?}"),
                }
            }
            unreachable!("the server is killed before")
        }
    });
    while acked.load(Ordering::Acquire) < 40 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.nodes()[0].kill();
    let (seq, error) = writer.join_next().await.unwrap().unwrap();
    let honest = [StorageErrorKind::Unavailable, StorageErrorKind::Unknown];
    assert!(honest.contains(&error.kind), "{error}");
    assert_eq!(acked.load(Ordering::Acquire), seq - 1);
    let down = failure(append(&store, key("room"), None, record("b", 1)).await);
    assert_eq!(down.kind, StorageErrorKind::Unavailable, "{down}");
    server.nodes()[0].restart();
    // The same store goes on, and the last one is found or not, but never doubled.
    assert_eq!(persist_in_the_end(&store, "a", seq).await, Offset(seq));
    let stored = read_all(&store, key("room")).await;
    assert!(stored.iter().map(|one| one.body.origin.clone().unwrap().client_seq).eq(1..=seq));
}

/// Two owners of a channel, a server that dies under them three times, and small buckets: every
/// publication of both is there once, in the order of its client, with the intent that came with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_nothing_is_doubled_by_two_owners_and_a_server_that_dies() {
    let _alone = SERVER.lock().await;
    let server = Cassandra::shared();
    let keyspace = Keyspace::fresh();
    let config = impatient(keyspace.config());
    let done = Arc::new(AtomicU64::new(0));
    let mut owners = JoinSet::new();
    for client in ["a", "b"] {
        let store = ScyllaStore::connect(&config).await.unwrap();
        let done = done.clone();
        owners.spawn(async move {
            for seq in 1..=OF_EACH {
                persist_in_the_end(&store, client, seq).await;
                done.fetch_add(1, Ordering::Release);
            }
        });
    }
    for share in 1..=3 {
        while done.load(Ordering::Acquire) < share * OF_EACH / 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.nodes()[0].kill();
        server.nodes()[0].restart();
    }
    owners.join_all().await;
    let stored = read_all(&keyspace.store().await, key("room")).await;
    assert_eq!(stored.len() as u64, 2 * OF_EACH);
    for client in ["a", "b"] {
        let of_client = stored.iter().filter_map(|record| record.body.origin.as_ref());
        let of_client = of_client.filter(|origin| origin.client_id.as_str() == client);
        assert!(of_client.map(|origin| origin.client_seq).eq(1..=OF_EACH), "{client}");
    }
}

/// An owner leaves intents and dies; another store finds them, once each, also while the first one
/// reads them as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intents_are_found_by_others_and_numbered_once() {
    let _alone = SERVER.lock().await;
    let keyspace = Keyspace::fresh();
    let (one, other) = (keyspace.store().await, keyspace.store().await);
    let slot = key("room").slot();
    let mut expected = None;
    for seq in 1..=10 {
        let intents = vec![format!("{seq}").into()];
        let append =
            Append { intents, ..Append::new(key("room"), expected, vec![record("a", seq)]) };
        expected = Some(one.append(vec![append]).await.remove(0).unwrap().position);
    }
    assert_eq!(other.slots_with_intents().await.unwrap(), [slot]);
    let wide = PageLimit { records: 100, payload_bytes: 1 << 20 };
    let (here, there) = tokio::join!(one.intents(slot, 0, wide), other.intents(slot, 0, wide));
    for found in [here.unwrap(), there.unwrap()] {
        let texts: Vec<_> = found.iter().map(|intent| intent.payload.to_vec()).collect();
        let all: Vec<_> = (1..=10).map(|seq| seq.to_string().into_bytes()).collect();
        assert_eq!(texts, all);
        assert!(found.iter().map(|intent| intent.number).eq(1..=10));
    }
    other.complete_intents(slot, 10).await.unwrap();
    assert_eq!(one.slots_with_intents().await.unwrap(), [] as [u16; 0]);
    assert_eq!(one.intents(slot, 0, wide).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_leaves_an_unknown_append_that_is_looked_up() {
    let _alone = SERVER.lock().await;
    let server = Cassandra::shared();
    let keyspace = Keyspace::fresh();
    let config = ScyllaConfig { patience: Duration::from_secs(2), ..keyspace.config() };
    keyspace.store().await;
    let store = ScyllaStore::connect(&config).await.unwrap();
    let head = append(&store, key("room"), None, record("a", 1)).await.unwrap();
    server.nodes()[0].pause();
    let appended = append(&store, key("room"), Some(head.position), record("a", 2)).await;
    let read = store.head(key("room")).await;
    server.nodes()[0].go_on();
    let honest = [StorageErrorKind::Unavailable, StorageErrorKind::Unknown];
    assert!(honest.contains(&failure(appended).kind));
    assert_eq!(read.unwrap_err().kind, StorageErrorKind::Unavailable);
    assert_eq!(persist_in_the_end(&store, "a", 2).await, Offset(2));
    assert_eq!(read_all(&store, key("room")).await.len(), 2);
}

/// Three copies, and one of them dies, another one in its place, and the third: whoever is there
/// decides, and a copy that comes back knows nothing better. With two away nothing is acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_majority_of_copies_decides() {
    let _alone = SERVER.lock().await;
    let server = Cassandra::start(3);
    let keyspace = Keyspace::of(&server);
    let config = ScyllaConfig { bucket_records: 8, ..keyspace.config() };
    let (one, other) = (
        ScyllaStore::connect(&config).await.unwrap(),
        ScyllaStore::connect(&config).await.unwrap(),
    );
    let mut seq = 0;
    for node in server.nodes() {
        node.kill();
        for _ in 0..15 {
            seq += 1;
            persist_in_the_end(if seq % 2 == 0 { &one } else { &other }, "a", seq).await;
            // What one has stored, the other one reads.
            let reader = if seq % 2 == 0 { &other } else { &one };
            let found = in_the_end(async || reader.find(key("room"), origin("a", seq)).await).await;
            assert_eq!(found.unwrap().position.offset, Offset(seq));
        }
        node.restart();
    }
    let head = in_the_end(async || one.head(key("room")).await).await.unwrap();
    assert_eq!(head.position.offset, Offset(seq));
    server.nodes()[0].kill();
    server.nodes()[1].kill();
    let alone = append(&one, key("room"), Some(head.position), record("a", seq + 1)).await;
    let honest = [StorageErrorKind::Unavailable, StorageErrorKind::Unknown];
    assert!(honest.contains(&failure(alone).kind));
    server.nodes()[0].restart();
    server.nodes()[1].restart();
    seq += 1;
    assert_eq!(persist_in_the_end(&other, "a", seq).await, Offset(seq));
    let stored = in_the_end(async || Ok(read_all(&one, key("room")).await)).await;
    assert!(stored.iter().map(|one| one.body.origin.clone().unwrap().client_seq).eq(1..=seq));
}

const OF_EACH: u64 = 60;
