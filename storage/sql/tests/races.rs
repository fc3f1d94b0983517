//! Several stores on one database, and transactions that get into each other's way.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use sterna_proto::Offset;
use sterna_storage::{
    Append, AppendError, PageLimit, PublicationLog as _, ReadError, StorageErrorKind,
};
use sterna_storage_sql::{SqlConfig, SqlStore};
use sterna_test_engines::MariaDb;
use tokio::task::JoinSet;

use support::{append, connect, failure, key, origin, persist, read_all, record};

mod support;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_two_stores_on_one_database_leave_a_dense_log() {
    let url = MariaDb::shared().fresh_url();
    let stores = [connect(&url).await, connect(&url).await];
    let mut writers = JoinSet::new();
    for writer in 0..6 {
        let store = stores[writer % 2].clone();
        writers.spawn(async move {
            for seq in 1..=15 {
                persist(&store, key("room"), record(&format!("client{writer}"), seq))
                    .await
                    .unwrap();
            }
        });
    }
    writers.join_all().await;
    let stored = read_all(&stores[0], key("room")).await;
    assert_eq!(stored.len(), 90);
    for writer in 0..6 {
        let client = format!("client{writer}");
        let sent = stored.iter().filter_map(|record| record.body.origin.as_ref());
        let sent = sent.filter(|origin| origin.client_id.as_str() == client);
        assert!(sent.map(|origin| origin.client_seq).eq(1..=15), "{client} in its own order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_a_retransmission_through_another_store_is_stored_once() {
    let url = MariaDb::shared().fresh_url();
    let stores = [connect(&url).await, connect(&url).await];
    for round in 1..=10 {
        let mut senders = JoinSet::new();
        for sender in 0..4 {
            let store = stores[sender % 2].clone();
            senders.spawn(async move { persist(&store, key("room"), record("a", round)).await });
        }
        let verdicts = senders.join_all().await;
        let stored = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
        assert_eq!(stored, 1, "{verdicts:?}");
        let others = verdicts.iter().filter_map(|verdict| verdict.as_ref().err());
        for other in others {
            assert!(matches!(other, AppendError::Duplicates(_)), "{other:?}");
        }
    }
    assert_eq!(read_all(&stores[1], key("room")).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_first_writers_of_a_channel_one_succeeds() {
    let url = MariaDb::shared().fresh_url();
    let stores = [connect(&url).await, connect(&url).await];
    for round in 0..10 {
        let channel = key(&format!("room{round}"));
        let mut writers = JoinSet::new();
        for writer in 0..6 {
            let store = stores[writer % 2].clone();
            writers.spawn(async move {
                append(&store, channel, None, record(&format!("client{writer}"), 1)).await
            });
        }
        let verdicts = writers.join_all().await;
        assert_eq!(verdicts.iter().filter(|verdict| verdict.is_ok()).count(), 1, "{verdicts:?}");
        for verdict in verdicts.iter().filter_map(|verdict| verdict.as_ref().err()) {
            match verdict {
                AppendError::Conflict { head: Some(head) } => {
                    assert_eq!(head.position.offset, Offset(1));
                }
                other => panic!("the others see the head: {other:?}"),
            }
        }
        assert_eq!(read_all(&stores[0], channel).await.len(), 1);
    }
}

/// With retries switched off, so that a single deadlock fails it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_to_the_same_channels_in_any_order_do_not_deadlock() {
    let url = MariaDb::shared().fresh_url();
    let config = SqlConfig { retries: 0, ..SqlConfig::new(&url) };
    let store = SqlStore::connect(config).await.unwrap();
    let names: Vec<String> = (0..8).map(|n| format!("room{n}")).collect();
    for name in &names {
        append(&store, key(name), None, record("first", 1)).await.unwrap();
    }
    let mut writers = JoinSet::new();
    for writer in 0..6usize {
        let (store, mut names) = (store.clone(), names.clone());
        writers.spawn(async move {
            for seq in 1..=15 {
                names.rotate_left(writer + 1);
                if writer % 2 == 0 {
                    names.reverse();
                }
                let mut appends = Vec::new();
                for name in &names {
                    let head = store.head(key(name)).await.unwrap().map(|head| head.position);
                    let one = record(&format!("client{writer}"), seq);
                    appends.push(Append::new(key(name), head, vec![one]));
                }
                for verdict in store.append(appends).await {
                    match verdict {
                        Ok(_) | Err(AppendError::Conflict { .. }) => {}
                        Err(other) => panic!("{other:?}"),
                    }
                }
            }
        });
    }
    writers.join_all().await;
    for name in &names {
        read_all(&store, key(name)).await;
    }
}

#[tokio::test]
async fn the_victim_of_a_deadlock_is_tried_again() {
    let url = MariaDb::shared().fresh_url();
    let store = patient(&url).await;
    let (low, high) = in_key_order("one", "two");
    for channel in [low, high] {
        append(&store, channel, None, record("first", 1)).await.unwrap();
    }
    // A stranger that locks in the other order, and is the costlier victim of the two.
    let mut stranger = Conn::new(Opts::from_url(&url).unwrap()).await.unwrap();
    stranger.query_drop("CREATE TABLE ballast (n INT)").await.unwrap();
    stranger.query_drop("BEGIN").await.unwrap();
    let rows = vec!["(1)"; 500].join(",");
    stranger.query_drop(format!("INSERT INTO ballast VALUES {rows}")).await.unwrap();
    lock_head(&mut stranger, high).await;
    let mut appends = Vec::new();
    for channel in [low, high] {
        let head = store.head(channel).await.unwrap().map(|head| head.position);
        appends.push(Append::new(channel, head, vec![record("a", 1)]));
    }
    let mut ours = JoinSet::new();
    ours.spawn({
        let store = store.clone();
        async move { store.append(appends).await }
    });
    wait_for_lock_wait(&url, &mut ours).await;
    lock_head(&mut stranger, low).await;
    stranger.query_drop("COMMIT").await.unwrap();
    for verdict in ours.join_next().await.unwrap().unwrap() {
        verdict.unwrap();
    }
    assert_eq!(read_all(&store, low).await.len(), 2);
}

#[tokio::test]
async fn a_lock_that_is_held_for_too_long_is_unavailable() {
    let url = MariaDb::shared().fresh_url();
    let config = SqlConfig { lock_wait: Duration::from_secs(1), ..SqlConfig::new(&url) };
    let store = SqlStore::connect(config).await.unwrap();
    let head = append(&store, key("room"), None, record("a", 1)).await.unwrap();
    let mut stranger = Conn::new(Opts::from_url(&url).unwrap()).await.unwrap();
    stranger.query_drop("BEGIN").await.unwrap();
    lock_head(&mut stranger, key("room")).await;
    let error = failure(append(&store, key("room"), Some(head.position), record("a", 2)).await);
    assert_eq!(error.kind, StorageErrorKind::Unavailable, "{error}");
    assert!(error.message.contains("held the lock for too long"), "{error}");
    stranger.query_drop("ROLLBACK").await.unwrap();
    append(&store, key("room"), Some(head.position), record("a", 2)).await.unwrap();
    assert_eq!(
        store.find(key("room"), origin("a", 2)).await.unwrap().unwrap().position.offset,
        Offset(2)
    );
}

#[tokio::test]
async fn a_transaction_sees_what_was_committed_while_it_waited_for_the_lock() {
    let url = MariaDb::shared().fresh_url();
    let store = patient(&url).await;
    let head = append(&store, key("room"), None, record("a", 1)).await.unwrap();
    let mut stranger = Conn::new(Opts::from_url(&url).unwrap()).await.unwrap();
    stranger.query_drop("BEGIN").await.unwrap();
    lock_head(&mut stranger, key("room")).await;
    let mut ours = JoinSet::new();
    ours.spawn({
        let (store, position) = (store.clone(), head.position);
        async move { append(&store, key("room"), Some(position), record("a", 2)).await }
    });
    // The server's default is another.
    assert_eq!(wait_for_lock_wait(&url, &mut ours).await, "READ COMMITTED");
    // As another node would, by the same client, behind the same head, which stays as it is: only
    // the origin tells.
    stranger
        .query_drop(format!(
            "INSERT INTO origins (channel, client_id, client_seq, `offset`, epoch, id, \
             server_ts_ms, fingerprint, stored_at_s) \
             VALUES ({}, 'a', 2, 9, 1, 2, 3, 4, UNIX_TIMESTAMP())",
            literal(key("room"))
        ))
        .await
        .unwrap();
    stranger.query_drop("COMMIT").await.unwrap();
    match ours.join_next().await.unwrap().unwrap() {
        Err(AppendError::Duplicates(found)) => assert_eq!(found[0].position.offset, Offset(9)),
        other => panic!("stored while it waited: {other:?}"),
    }
}

/// A key that the look-up did not see is refused by the table itself.
#[tokio::test]
async fn a_place_that_is_taken_is_never_overwritten() {
    let url = MariaDb::shared().fresh_url();
    let store = connect(&url).await;
    let head = append(&store, key("room"), None, record("a", 1)).await.unwrap();
    MariaDb::shared().execute(&format!(
        "INSERT INTO {}.publications SELECT channel, 2, epoch, 77, sender, NULL, NULL, '', 0, 0, 0, \
         0, 'other' FROM {0}.publications",
        database(&url)
    ));
    let error = failure(append(&store, key("room"), Some(head.position), record("a", 2)).await);
    assert_eq!(error.kind, StorageErrorKind::Unavailable, "{error}");
    assert_eq!(store.find(key("room"), origin("a", 2)).await.unwrap(), None, "nothing of it stays");
}

#[tokio::test]
async fn a_hole_is_corruption_and_never_a_page() {
    let url = MariaDb::shared().fresh_url();
    let store = connect(&url).await;
    for seq in 1..=6 {
        persist(&store, key("room"), record("a", seq)).await.unwrap();
    }
    let read = async |after| {
        let limit = PageLimit { records: 100, payload_bytes: 1 << 20 };
        store.read(key("room"), Offset(after), limit).await
    };
    let delete = |offset: u64| {
        let database = database(&url);
        let sql = format!("DELETE FROM {database}.publications WHERE `offset` = {offset}");
        MariaDb::shared().execute(&sql);
    };
    let is_corrupt = |page| match page {
        Err(ReadError::Storage(error)) => assert_eq!(error.kind, StorageErrorKind::Corrupt),
        other => panic!("a record is missing: {other:?}"),
    };
    delete(3);
    is_corrupt(read(0).await);
    is_corrupt(read(2).await);
    assert_eq!(read(3).await.unwrap().len(), 3);
    delete(6);
    is_corrupt(read(3).await);
    is_corrupt(read(5).await);
    assert_eq!(read(6).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intents_of_racing_appends_are_numbered_without_gaps() {
    let url = MariaDb::shared().fresh_url();
    let stores = [connect(&url).await, connect(&url).await];
    let mut writers = JoinSet::new();
    for writer in 0..4u64 {
        let store = stores[writer as usize % 2].clone();
        writers.spawn(async move {
            for seq in 1..=10 {
                let channel = key(&format!("room{writer}"));
                let head = store.head(channel).await.unwrap().map(|head| head.position);
                let one = record("a", seq);
                let intents = vec![Bytes::from_static(b"x"); 2];
                let append = Append { intents, ..Append::new(channel, head, vec![one]) };
                store.append(vec![append]).await.remove(0).unwrap();
            }
        });
    }
    writers.join_all().await;
    let stores = stores[0].stores();
    let mut total = 0;
    for slot in stores.intents.slots_with_intents().await.unwrap() {
        let limit = PageLimit { records: 1_000, payload_bytes: 1 << 20 };
        let numbers = stores.intents.intents(slot, 0, limit).await.unwrap();
        assert!(numbers.iter().map(|intent| intent.number).eq(1..=numbers.len() as u64));
        total += numbers.len();
    }
    assert_eq!(total, 80);
}

/// A store that waits until the test has seen it wait.
async fn patient(url: &str) -> SqlStore {
    let patience = Duration::from_secs(120);
    let config = SqlConfig { lock_wait: patience, patience, ..SqlConfig::new(url) };
    SqlStore::connect(config).await.unwrap()
}

async fn lock_head(conn: &mut Conn, channel: sterna_proto::ChannelKey) {
    let sql = format!("SELECT 1 FROM heads WHERE channel = {} FOR UPDATE", literal(channel));
    conn.query_drop(sql).await.unwrap();
}

/// Until the append waits for a lock on this database; answers with its isolation.
async fn wait_for_lock_wait<T: 'static>(url: &str, append: &mut JoinSet<T>) -> String {
    // The server renews what it tells of transactions only after nobody has asked for 100 ms.
    static ONE_ASKS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = ONE_ASKS.lock().await;
    let sql = format!(
        "SELECT trx_isolation_level FROM information_schema.innodb_trx \
         WHERE trx_state = 'LOCK WAIT' AND trx_query LIKE '%`{}`%'",
        database(url)
    );
    loop {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let waiting = MariaDb::shared().execute(&sql);
        if let Some(isolation) = waiting.lines().next() {
            return isolation.to_owned();
        }
        assert!(append.try_join_next().is_none(), "it did not wait");
    }
}

fn literal(channel: sterna_proto::ChannelKey) -> String {
    let hex: String = channel.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{hex}'")
}

fn database(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

fn in_key_order(one: &str, other: &str) -> (sterna_proto::ChannelKey, sterna_proto::ChannelKey) {
    let (one, other) = (key(one), key(other));
    (one.min(other), one.max(other))
}
