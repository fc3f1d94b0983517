//! Opening, layouts, and what is deleted after its time.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use sterna_proto::UserId;
use sterna_storage::{Append, Edge, PublicationLog as _, RelationKind, StorageErrorKind};
use sterna_storage_sql::{Layout, SqlConfig, SqlStore};
use sterna_test_engines::MariaDb;

use support::{append, connect, key, origin, read_all, record};

mod support;

async fn refusal(config: SqlConfig) -> String {
    let error = SqlStore::connect(config).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Unavailable);
    error.to_string()
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let url = MariaDb::shared().fresh_url();
    connect(&url).await;
    MariaDb::shared().execute(&format!(
        "INSERT INTO {}.schema_versions VALUES (4000, UTC_TIMESTAMP())",
        database(&url)
    ));
    let told = refusal(SqlConfig::new(&url)).await;
    assert!(told.contains("version 4000") && told.contains("newer"), "{told}");
}

#[tokio::test]
async fn without_migrate_an_older_schema_is_refused_with_the_way_out() {
    let url = MariaDb::shared().fresh_url();
    let strict = SqlConfig { migrate: false, ..SqlConfig::new(&url) };
    let told = refusal(strict.clone()).await;
    assert!(told.contains("`sterna migrate`"), "{told}");
    connect(&url).await;
    SqlStore::connect(strict).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_make_one_store() {
    let url = MariaDb::shared().fresh_url();
    let starts = (0..4).map(|_| SqlStore::connect(SqlConfig::new(&url)));
    let stores = futures_util::future::try_join_all(starts).await.unwrap();
    let mut epochs = Vec::new();
    for (n, store) in stores.iter().enumerate() {
        let head = append(store, key(&format!("room{n}")), None, record("a", 1)).await.unwrap();
        epochs.push(head.position.epoch);
    }
    epochs.dedup();
    assert_eq!(epochs.len(), 1, "one birth");
    let twice = format!(
        "SELECT COUNT(*) - COUNT(DISTINCT version) FROM {}.schema_versions",
        database(&url)
    );
    assert_eq!(MariaDb::shared().execute(&twice).trim(), "0", "each migration is made once");
}

#[tokio::test]
async fn a_store_is_opened_only_with_its_own_layout() {
    let url = MariaDb::shared().fresh_url();
    let sharded = |databases, tables| SqlConfig {
        layout: Layout::Sharded { databases, tables },
        ..SqlConfig::new(&url)
    };
    SqlStore::connect(sharded(2, 1)).await.unwrap();
    let told = refusal(sharded(2, 2)).await;
    assert!(told.contains("2 x 1"), "{told}");
    let told = refusal(sharded(3, 1)).await;
    assert!(told.contains("powers of two"), "{told}");
    let told = refusal(SqlConfig { urls: Vec::new(), ..SqlConfig::new("") }).await;
    assert!(told.contains("no URL"), "{told}");
    let told = refusal(SqlConfig::new("mysql://user:secret@host:not-a-port/x")).await;
    assert!(told.contains("URL number 1") && !told.contains("secret"), "{told}");
}

#[tokio::test]
async fn channels_of_one_call_are_spread_over_databases() {
    let url = MariaDb::shared().fresh_url();
    let layout = Layout::Sharded { databases: 4, tables: 2 };
    let config = SqlConfig { layout, urls: vec![url.clone(); 2], ..SqlConfig::new(&url) };
    let store = SqlStore::connect(config).await.unwrap();
    let names: Vec<String> = (0..32).map(|n| format!("room{n}")).collect();
    let appends = names.iter().map(|name| Append::new(key(name), None, vec![record("a", 1)]));
    for verdict in store.append(appends.collect()).await {
        verdict.unwrap();
    }
    let mut stored = 0;
    for database_number in 0..4 {
        let name = format!("{}_{database_number:02}", database(&url));
        let count = |table: u8| -> usize {
            let sql = format!("SELECT COUNT(*) FROM {name}.publications_{table:02}");
            MariaDb::shared().execute(&sql).trim().parse().unwrap()
        };
        let here = count(0) + count(1);
        assert!(here > 0, "{name} has none of 32");
        stored += here;
    }
    assert_eq!(stored, 32);
    for name in names {
        assert_eq!(read_all(&store, key(&name)).await.len(), 1);
    }
}

#[tokio::test]
async fn what_has_outlived_its_use_is_deleted() {
    let url = MariaDb::shared().fresh_url();
    let store = connect(&url).await;
    let head = append(&store, key("room"), None, record("a", 1)).await.unwrap();
    append(&store, key("room"), Some(head.position), record("a", 2)).await.unwrap();
    let user = |name| UserId::new(name).unwrap();
    let edge = Edge { user: user("alice"), kind: RelationKind(1), target: user("bob") };
    let relations = store.stores().relations;
    relations.remove_relation(edge.clone(), 5).await.unwrap();
    assert_eq!(store.delete_expired().await.unwrap(), 0, "nothing is old enough");
    let (database, week) = (database(&url), 7 * 24 * 3600 + 5);
    MariaDb::shared().execute(&format!(
        "UPDATE {database}.origins SET stored_at_s = stored_at_s - {week} WHERE client_seq = 1; \
         UPDATE {database}.relations SET removed_at_s = removed_at_s - {week}"
    ));
    assert_eq!(store.delete_expired().await.unwrap(), 2);
    assert_eq!(store.delete_expired().await.unwrap(), 0);
    assert_eq!(store.find(key("room"), origin("a", 1)).await.unwrap(), None);
    assert!(store.find(key("room"), origin("a", 2)).await.unwrap().is_some());
    assert_eq!(read_all(&store, key("room")).await.len(), 2, "records stay");
}

fn database(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}
