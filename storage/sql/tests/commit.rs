//! What a COMMIT can come to, with a relay that does it to one.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use sterna_proto::Offset;
use sterna_storage::{Append, AppendError, PublicationLog as _, StorageErrorKind};
use sterna_storage_sql::{SqlConfig, SqlStore};
use sterna_test_engines::MariaDb;
use sterna_test_engines::commits::{Fault, Relay};

use support::{append, failure, key, origin, persist, read_all, record};

mod support;

/// Servers keep a limited number of prepared statements for all connections together.
#[tokio::test]
async fn few_statements_are_prepared_however_many_records_commit() {
    let server = MariaDb::start();
    let store = support::connect(&server.fresh_url()).await;
    let (mut expected, mut seq) = (None, 0);
    for count in 1..=100 {
        let records = (0..count).map(|_| {
            seq += 1;
            record("a", seq)
        });
        let append = Append::new(key("room"), expected, records.collect());
        expected = Some(store.append(vec![append]).await.remove(0).unwrap().position);
    }
    assert_eq!(read_all(&store, key("room")).await.len(), seq as usize);
    if MariaDb::is_tidb() {
        return; // It keeps count elsewhere, and has no limit.
    }
    let kept = server.execute(
        "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS \
                               WHERE VARIABLE_NAME = 'Prepared_stmt_count'",
    );
    let kept: u64 = kept.trim().parse().unwrap();
    assert!((1..100).contains(&kept), "{kept} statements are prepared");
}

async fn behind_a_relay() -> (Relay, SqlStore) {
    let server = MariaDb::shared();
    let relay = Relay::start(server.port()).await;
    let url = relay.url(&server.fresh_url(), server.port());
    let store = support::connect(&url).await;
    (relay, store)
}

#[tokio::test]
async fn a_commit_that_is_cut_off_after_it_took_effect_is_unknown_and_found_by_its_origin() {
    let (relay, store) = behind_a_relay().await;
    let head = append(&store, key("room"), None, record("a", 1)).await.unwrap();
    relay.script(&[Fault::CutAfter]);
    let error = failure(append(&store, key("room"), Some(head.position), record("a", 2)).await);
    assert_eq!(error.kind, StorageErrorKind::Unknown, "{error}");
    assert!(error.message.contains("look up what was stored"), "{error}");
    let found = store.find(key("room"), origin("a", 2)).await.unwrap().unwrap();
    assert_eq!(found.position.offset, Offset(2));
    let again = append(&store, key("room"), Some(found.position), record("a", 2)).await;
    assert!(matches!(again, Err(AppendError::Duplicates(_))), "{again:?}");
    assert_eq!(read_all(&store, key("room")).await.len(), 2);
}

#[tokio::test]
async fn a_commit_that_is_cut_off_before_it_took_effect_is_unknown_and_not_found() {
    let (relay, store) = behind_a_relay().await;
    relay.script(&[Fault::CutBefore]);
    let error = failure(append(&store, key("room"), None, record("a", 1)).await);
    assert_eq!(error.kind, StorageErrorKind::Unknown, "{error}");
    assert_eq!(store.find(key("room"), origin("a", 1)).await.unwrap(), None);
    let head = persist(&store, key("room"), record("a", 1)).await.unwrap();
    assert_eq!(head.position.offset, Offset(1));
}

#[tokio::test]
async fn tidb_s_undetermined_result_is_unknown() {
    let (relay, store) = behind_a_relay().await;
    let message = "[global:2]execution result undetermined";
    relay.script(&[Fault::Mistell { code: 1105, message }]);
    let error = failure(append(&store, key("room"), None, record("a", 1)).await);
    assert_eq!(error.kind, StorageErrorKind::Unknown, "{error}");
    assert!(store.find(key("room"), origin("a", 1)).await.unwrap().is_some());
}

#[tokio::test]
async fn an_error_that_proves_no_rollback_is_unknown() {
    let (relay, store) = behind_a_relay().await;
    relay.script(&[Fault::Mistell { code: 1180, message: "Got error 5 during COMMIT" }]);
    let error = failure(append(&store, key("room"), None, record("a", 1)).await);
    assert_eq!(error.kind, StorageErrorKind::Unknown, "{error}");
}

#[tokio::test]
async fn a_unique_violation_or_a_conflict_at_the_commit_is_tried_again() {
    let (relay, store) = behind_a_relay().await;
    for (seq, code) in (1..).zip([1062, 1213, 8022, 9007]) {
        relay.script(&[Fault::Refuse { code, message: "found out at the end" }]);
        let head = persist(&store, key("room"), record("a", seq)).await.unwrap();
        assert_eq!(head.position.offset, Offset(seq), "{code}");
    }
    assert_eq!(read_all(&store, key("room")).await.len(), 4);
}

#[tokio::test]
async fn a_lost_race_is_tried_again_a_bounded_number_of_times() {
    let server = MariaDb::shared();
    let relay = Relay::start(server.port()).await;
    let url = relay.url(&server.fresh_url(), server.port());
    let store = SqlStore::connect(SqlConfig { retries: 2, ..SqlConfig::new(&url) }).await.unwrap();
    let conflict = Fault::Refuse { code: 9007, message: "Write conflict" };
    relay.script(&vec![conflict; 3]);
    let error = failure(append(&store, key("room"), None, record("a", 1)).await);
    assert_eq!(error.kind, StorageErrorKind::Unavailable, "{error}");
    assert_eq!(store.head(key("room")).await.unwrap(), None);
    append(&store, key("room"), None, record("a", 1)).await.unwrap();
}

#[tokio::test]
async fn a_connection_is_thrown_away_after_an_unknown_outcome() {
    let (relay, store) = behind_a_relay().await;
    let mut head = append(&store, key("room"), None, record("a", 1)).await.unwrap();
    let before = relay.connections();
    head = append(&store, key("room"), Some(head.position), record("a", 2)).await.unwrap();
    assert_eq!(relay.connections(), before, "used again while all is well");
    // The connection itself is whole: only what it answered is not to be trusted.
    relay.script(&[Fault::Mistell { code: 1105, message: "execution result undetermined" }]);
    failure(append(&store, key("room"), Some(head.position), record("a", 3)).await);
    persist(&store, key("room"), record("a", 4)).await.unwrap();
    assert!(relay.connections() > before, "never used again");
    let stored = read_all(&store, key("room")).await;
    assert_eq!(stored.len(), 4);
}

#[tokio::test]
async fn what_happens_is_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _local = metrics::set_default_local_recorder(&recorder);
    let server = MariaDb::shared();
    let relay = Relay::start(server.port()).await;
    let url = relay.url(&server.fresh_url(), server.port());
    let narrow = SqlConfig {
        write_connections: 1,
        queue_calls: 1,
        queue_wait: Duration::from_secs(60),
        ..SqlConfig::new(&url)
    };
    let store = SqlStore::connect(narrow).await.unwrap();
    relay.script(&[Fault::Refuse { code: 9007, message: "Write conflict" }, Fault::CutAfter]);
    failure(append(&store, key("room"), None, record("a", 1)).await);
    let conflict = append(&store, key("room"), None, record("a", 2)).await;
    assert!(matches!(conflict, Err(AppendError::Conflict { .. })), "{conflict:?}");
    // One is in, one waits, one is refused: each asks for its connection when it is polled first.
    let one = |name| append(&store, key(name), None, record("b", 1));
    let three = futures_util::future::join3(one("x"), one("y"), one("z")).await;
    let refused = [three.0, three.1, three.2].into_iter().filter(Result::is_err).count();
    assert_eq!(refused, 1);
    let counted = snapshotter.snapshot().into_vec();
    let value = |name: &str| {
        let found = counted.iter().find(|(key, ..)| key.key().name() == name);
        match found.map(|(.., value)| value) {
            Some(DebugValue::Counter(count)) => *count,
            Some(DebugValue::Histogram(values)) => values.len() as u64,
            other => panic!("{name}: {other:?}"),
        }
    };
    assert!(value("sterna_storage_sql_commits_total") >= 3);
    assert!(value("sterna_storage_sql_conflicts_total") >= 1);
    assert!(value("sterna_storage_sql_retries_total") >= 1);
    assert_eq!(value("sterna_storage_sql_unknown_outcomes_total"), 1);
    assert_eq!(value("sterna_storage_sql_pool_refused_total"), 1);
    assert!(value("sterna_storage_sql_pool_wait_seconds") >= 1);
}
