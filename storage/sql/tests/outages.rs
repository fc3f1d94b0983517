//! A server that is killed, stopped or away.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts};
use sterna_proto::Offset;
use sterna_storage::{AppendError, PublicationLog as _, StorageErrorKind};
use sterna_storage_sql::{SqlConfig, SqlStore};
use sterna_test_engines::MariaDb;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use support::{append, connect, failure, key, origin, persist, read_all, record};

mod support;

/// One outage at a time.
static SERVER: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_what_was_acked_outlives_a_kill_of_the_server() {
    let _alone = SERVER.lock().await;
    let server = MariaDb::shared();
    let url = server.fresh_url();
    let store = connect(&url).await;
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
    while acked.load(Ordering::Acquire) < 50 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill();
    let (seq, error) = writer.join_next().await.unwrap().unwrap();
    let honest = [StorageErrorKind::Unavailable, StorageErrorKind::Unknown];
    assert!(honest.contains(&error.kind), "{error}");
    assert_eq!(acked.load(Ordering::Acquire), seq - 1);
    let down = failure(append(&store, key("room"), None, record("b", 1)).await);
    assert_eq!(down.kind, StorageErrorKind::Unavailable, "{down}");
    server.restart();
    // The same store goes on, and the last one is found or not, but never doubled.
    let last = match store.find(key("room"), origin("a", seq)).await.unwrap() {
        Some(found) => found.position.offset,
        None => persist(&store, key("room"), record("a", seq)).await.unwrap().position.offset,
    };
    assert_eq!(last, Offset(seq));
    let stored = read_all(&store, key("room")).await;
    assert!(stored.iter().map(|one| one.body.origin.clone().unwrap().client_seq).eq(1..=seq));
}

#[tokio::test]
async fn idle_connections_to_a_server_that_was_restarted_cost_nothing() {
    let _alone = SERVER.lock().await;
    let server = MariaDb::shared();
    let store = connect(&server.fresh_url()).await;
    let head = append(&store, key("room"), None, record("a", 1)).await.unwrap();
    server.restart();
    assert_eq!(store.head(key("room")).await.unwrap(), Some(head.clone()));
    append(&store, key("room"), Some(head.position), record("a", 2)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_stopped_is_unavailable_and_its_transaction_leaves_nothing() {
    let _alone = SERVER.lock().await;
    let server = MariaDb::shared();
    let url = server.fresh_url();
    let config = SqlConfig { patience: Duration::from_millis(300), ..SqlConfig::new(&url) };
    // Opened by another, so that the changes of the schema take the time they take.
    connect(&url).await;
    let store = SqlStore::connect(config).await.unwrap();
    let head = append(&store, key("room"), None, record("a", 1)).await.unwrap();
    server.pause();
    let appended = append(&store, key("room"), Some(head.position), record("a", 2)).await;
    let read = store.head(key("room")).await;
    server.go_on();
    // No COMMIT was sent, so there is nothing unknown.
    assert_eq!(failure(appended).kind, StorageErrorKind::Unavailable);
    assert_eq!(read.unwrap_err().kind, StorageErrorKind::Unavailable);
    let after = persist(&connect(&url).await, key("room"), record("a", 2)).await.unwrap();
    assert_eq!(after.position.offset, Offset(2), "the stopped attempt left nothing");
}

/// The store does not wait any more, and the server must not either: what is left of the attempt
/// would hold what others wait for.
#[tokio::test]
async fn a_statement_that_is_not_waited_for_is_ended_by_the_server() {
    if MariaDb::is_tidb() {
        return println!("TiDB limits only reads that lock nothing");
    }
    let _alone = SERVER.lock().await;
    let server = MariaDb::shared();
    let url = server.fresh_url();
    let head = append(&connect(&url).await, key("room"), None, record("a", 1)).await.unwrap();
    let for_ever = Duration::from_secs(3_600);
    let patience = Duration::from_secs(1);
    let config = SqlConfig { patience, lock_wait: for_ever, ..SqlConfig::new(&url) };
    let store = SqlStore::connect(config).await.unwrap();
    let mut stranger = Conn::new(Opts::from_url(&url).unwrap()).await.unwrap();
    stranger.query_drop("BEGIN").await.unwrap();
    stranger.query_drop("SELECT 1 FROM heads FOR UPDATE").await.unwrap();
    let error = failure(append(&store, key("room"), Some(head.position), record("a", 2)).await);
    assert_eq!(error.kind, StorageErrorKind::Unavailable, "{error}");
    let waiting = "SELECT COUNT(*) FROM information_schema.innodb_trx \
                   WHERE trx_state = 'LOCK WAIT'";
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    while server.execute(waiting).trim() != "0" {
        assert!(tokio::time::Instant::now() < patience, "it waits for ever");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stranger.query_drop("ROLLBACK").await.unwrap();
    append(&store, key("room"), Some(head.position), record("a", 2)).await.unwrap();
}
