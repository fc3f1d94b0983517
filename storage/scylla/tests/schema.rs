//! Keyspace and tables: who makes them, what is refused, and what an examination says; and what deletion
//! leaves behind.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use sterna_proto::Offset;
use sterna_storage::{
    Append, AppendError, ChannelStore as _, MembershipChange, PublicationLog as _, StorageErrorKind,
};
use sterna_storage_scylla::{Product, SCHEMA, ScyllaConfig, ScyllaStore, examine};
use sterna_test_engines::Cassandra;

use support::{Keyspace, append, key, origin, persist, read_all, record};

mod support;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_leave_to_migrate_nothing_is_made() {
    let keyspace = Keyspace::fresh();
    let config = ScyllaConfig { migrate: false, ..keyspace.config() };
    let refused = ScyllaStore::connect(&config).await.unwrap_err();
    assert_eq!(refused.kind, StorageErrorKind::Unavailable);
    assert!(refused.message.contains("sterna migrate"), "{refused}");
    let facts = examine(&config).await.unwrap();
    assert_eq!(facts.product, Product::Cassandra);
    assert!(facts.version.starts_with("5."), "{facts:?}");
    assert_eq!((facts.nodes, facts.connected), (1, 1));
    assert_eq!(facts.commitlog_sync.as_deref(), Some("batch"));
    assert!(facts.keyspace.is_none(), "{facts:?}");

    keyspace.store().await;
    let store = ScyllaStore::connect(&config).await.unwrap();
    append(&store, key("room"), None, record("a", 1)).await.unwrap();
    let facts = examine(&config).await.unwrap().keyspace.unwrap();
    assert_eq!((facts.replication, facts.schema), (Some(1), Some(SCHEMA)));
    assert_eq!((facts.tablets, facts.undecided), (false, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_store_is_not_opened_where_its_appends_are_not_decided() {
    let keyspace = Keyspace::fresh();
    keyspace.store().await;
    let elsewhere = ScyllaConfig { datacenter: "elsewhere".into(), ..keyspace.config() };
    let refused = ScyllaStore::connect(&elsewhere).await.unwrap_err();
    assert!(refused.message.contains("there is datacenter1"), "{refused}");
    // As if the store had been made there.
    let session = session(&keyspace).await;
    session
        .query_unpaged("UPDATE meta SET value = 'elsewhere' WHERE name = 'datacenter'", ())
        .await
        .unwrap();
    let refused = ScyllaStore::connect(&keyspace.config()).await.unwrap_err();
    assert!(refused.message.contains("\"elsewhere\""), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newer_tables_are_refused() {
    let keyspace = Keyspace::fresh();
    keyspace.store().await;
    let session = session(&keyspace).await;
    session.query_unpaged("UPDATE meta SET value = '999' WHERE name = 'schema'", ()).await.unwrap();
    let refused = ScyllaStore::connect(&keyspace.config()).await.unwrap_err();
    assert!(refused.message.contains("version 999"), "{refused}");
}

/// Buckets of a trimmed channel: what goes away, what stays, and that it is still one log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_trimmed_buckets_are_gone_and_their_origins_are_not() {
    let keyspace = Keyspace::fresh();
    let config = ScyllaConfig { bucket_records: 10, ..keyspace.config() };
    let store = ScyllaStore::connect(&config).await.unwrap();
    let bob = sterna_proto::UserId::new("bob").unwrap();
    let bob =
        sterna_storage::Membership { user: bob, role: sterna_proto::v1::Role::Member, since_ms: 3 };
    let members = vec![MembershipChange::Set(bob.clone())];
    let first = Append { members, ..Append::new(key("room"), None, vec![record("a", 1)]) };
    store.append(vec![first]).await.remove(0).unwrap();
    for seq in 2..=64 {
        persist(&store, key("room"), record("a", seq)).await.unwrap();
    }
    let session = session(&keyspace).await;
    let count = async |table: &str| -> i64 {
        let found = session.query_unpaged(format!("SELECT COUNT(*) FROM {table}"), ()).await;
        found.unwrap().into_rows_result().unwrap().single_row::<(i64,)>().unwrap().0
    };
    assert_eq!(count("buckets").await, 7);
    assert_eq!(count("origins").await, 60, "those of the six that are full");
    store.trim(key("room"), Offset(58)).await.unwrap();
    assert_eq!(count("buckets").await, 2);
    let records = "log WHERE kind = 0 ALLOW FILTERING";
    assert_eq!(count(records).await, 7, "the trim point is in the middle of a bucket");
    store.trim(key("room"), Offset(1_000)).await.unwrap();
    assert_eq!(count(records).await, 0);
    // Another core, which has to find the newest bucket.
    let other = ScyllaStore::connect(&config).await.unwrap();
    for seq in [1, 10, 37, 64] {
        let found = other.find(key("room"), origin("a", seq)).await.unwrap().unwrap();
        assert_eq!(found.position.offset, Offset(seq));
        let again = persist(&other, key("room"), record("a", seq)).await;
        assert!(matches!(again, Err(AppendError::Duplicates(_))), "{again:?}");
    }
    assert_eq!(other.member(key("room"), bob.user.clone()).await.unwrap(), Some(bob));
    let head = persist(&other, key("room"), record("a", 65)).await.unwrap();
    assert_eq!((head.position.offset, head.first), (Offset(65), Offset(65)));
}

/// A writer died between sealing a bucket and beginning the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_a_bucket_that_was_only_sealed_is_followed_by_whoever_comes_next() {
    let keyspace = Keyspace::fresh();
    let store = keyspace.store().await;
    for seq in 1..=3 {
        persist(&store, key("room"), record("a", seq)).await.unwrap();
    }
    let session = session(&keyspace).await;
    let seal = "UPDATE log SET sealed = true WHERE channel = ? AND bucket = 0 IF last = 3";
    session.query_unpaged(seal, (key("room").0.to_vec(),)).await.unwrap();
    let head = store.head(key("room")).await.unwrap().unwrap();
    assert_eq!(head.position.offset, Offset(3), "a sealed bucket is still the channel's end");
    assert_eq!(read_all(&store, key("room")).await.len(), 3);
    // Late, with the head it has seen before; the others with what they find.
    let late = append(&store, key("room"), Some(head.position), record("b", 1));
    let (late, one, other) = tokio::join!(
        late,
        persist(&store, key("room"), record("c", 1)),
        persist(&store, key("room"), record("a", 2)),
    );
    one.unwrap();
    assert!(matches!(other, Err(AppendError::Duplicates(_))), "{other:?}");
    let taken = u64::from(late.is_ok());
    let stored = read_all(&store, key("room")).await;
    assert_eq!(stored.len() as u64, 4 + taken, "{late:?}");
    let trimmed = store.trim(key("room"), Offset(4)).await.unwrap().unwrap();
    assert_eq!(trimmed.first, Offset(4));
}

/// What a trim needs, when the newest bucket was sealed by somebody who died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_end_can_be_trimmed() {
    let keyspace = Keyspace::fresh();
    let store = keyspace.store().await;
    for seq in 1..=3 {
        persist(&store, key("room"), record("a", seq)).await.unwrap();
    }
    let session = session(&keyspace).await;
    let seal = "UPDATE log SET sealed = true WHERE channel = ? AND bucket = 0 IF last = 3";
    session.query_unpaged(seal, (key("room").0.to_vec(),)).await.unwrap();
    let head = store.trim(key("room"), Offset(3)).await.unwrap().unwrap();
    assert_eq!((head.first, head.position.offset), (Offset(3), Offset(3)));
    assert_eq!(store.read(key("room"), Offset(2), WIDE).await.unwrap().len(), 1);
}

#[test]
fn appends_conflicts_and_buckets_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let keyspace = Keyspace::fresh();
            let config = ScyllaConfig { bucket_records: 2, ..keyspace.config() };
            let store = ScyllaStore::connect(&config).await.unwrap();
            let narrow = ScyllaConfig { calls: 1, queue_calls: 0, ..config };
            let narrow = ScyllaStore::connect(&narrow).await.unwrap();
            for seq in 1..=3 {
                persist(&store, key("room"), record("a", seq)).await.unwrap();
            }
            let stale = append(&store, key("room"), None, record("a", 9)).await;
            assert!(matches!(stale, Err(AppendError::Conflict { .. })), "{stale:?}");
            let looks = futures_util::future::join_all((0..8).map(|_| narrow.head(key("room"))));
            let refused = looks.await.into_iter().filter(Result::is_err).count();
            assert!(refused > 0, "one statement at a time, and nobody may wait");
        });
    });
    let all = snapshotter.snapshot().into_vec();
    let count = |name: &str| {
        let of_name = all.iter().filter(|(key, ..)| key.key().name() == name);
        of_name
            .map(|(_, _, _, value)| if let DebugValue::Counter(n) = value { *n } else { 0 })
            .sum::<u64>()
    };
    assert_eq!(count("sterna_storage_scylla_commits_total"), 3);
    assert_eq!(count("sterna_storage_scylla_conflicts_total"), 1);
    assert_eq!(count("sterna_storage_scylla_buckets_total"), 1);
    assert!(count("sterna_storage_refused_total") > 0);
}

async fn session(keyspace: &Keyspace) -> Session {
    let nodes = Cassandra::shared().addresses();
    let session = SessionBuilder::new().known_nodes(nodes).build().await.unwrap();
    session.use_keyspace(&keyspace.config().keyspace, true).await.unwrap();
    session
}

const WIDE: sterna_storage::PageLimit =
    sterna_storage::PageLimit { records: 100, payload_bytes: 1 << 20 };
