//! Servers as operators set them up: passwords, TLS, what `check` says of them, and what metrics
//! show.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::time::Duration;

use common::{eventually, few, key, listened, shared_cluster, shared_server};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use sterna_storage::StorageErrorKind;
use sterna_storage_redis::{RedisConfig, RedisStore};
use sterna_test_engines::redis::{PORT_HERE, RedisServer};

#[tokio::test]
async fn a_password_is_told_and_a_wrong_one_is_said_so() {
    let acl = ["--requirepass", "secret", "--user", "sterna", "on", ">word", "~*", "&*", "+@all"];
    let server = RedisServer::start_with(&acl);
    let config = few(RedisConfig::new(server.url()));
    let with = |user: Option<&str>, password: Option<&str>| {
        let (user, password) = (user.map(str::to_owned), password.map(str::to_owned));
        RedisStore::open(RedisConfig { user, password, ..config.clone() }).unwrap().stores()
    };
    for (user, password) in [(None, "secret"), (Some("sterna"), "word")] {
        let stores = with(user, Some(password));
        assert_eq!(stores.id_floor.raise_floor(1, 5).await.unwrap(), 5);
        let partition = stores.routes.partitions().of_channel(key("room"));
        listened(&mut stores.routes.route_changes(), partition).await;
    }
    for (user, password) in [(None, None), (None, Some("word")), (Some("sterna"), Some("secret"))] {
        let error = with(user, password).id_floor.raise_floor(1, 5).await.unwrap_err();
        assert_eq!(error.kind, StorageErrorKind::Unavailable);
        assert!(error.message.contains("password"), "{error}");
    }
    let printed = format!("{:?}", RedisConfig { password: Some("secret".into()), ..config });
    assert!(!printed.contains("secret"), "{printed}");
}

#[tokio::test]
async fn a_password_that_is_set_right_later_is_found_right() {
    let servers = [shared_server().url()].map(RedisConfig::new).into_iter();
    for config in servers.chain([RedisConfig::cluster(shared_cluster().urls())]) {
        let nodes = match config.cluster {
            true => shared_cluster().nodes.iter().collect(),
            false => vec![shared_server()],
        };
        let call_timeout = Duration::from_millis(300);
        let (user, password) = (Some("late".to_owned()), Some("word".to_owned()));
        let config = RedisConfig { user, password, call_timeout, ..few(config) };
        let stores = RedisStore::open(RedisConfig { call_timeout, ..config }).unwrap().stores();
        for _ in 0..5 {
            stores.id_floor.raise_floor(1, 5).await.unwrap_err();
        }
        for node in nodes {
            let rights = ["ACL", "SETUSER", "late", "on", ">word", "~*", "&*", "+@all"];
            node.command::<()>(&rights);
        }
        eventually("the right to ask", || async {
            stores.id_floor.raise_floor(1, 5).await.is_ok()
        })
        .await;
    }
}

#[tokio::test]
async fn tls_trusts_the_named_authority_only() {
    let issued = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let [certificate, private] =
        ["certificate.pem", "key.pem"].map(|name| directory.path().join(name));
    std::fs::write(&certificate, issued.cert.pem()).unwrap();
    std::fs::write(&private, issued.signing_key.serialize_pem()).unwrap();
    let [certificate, private] = [&certificate, &private].map(|path| path.to_str().unwrap());
    let server = RedisServer::start_with(&[
        "--tls-port",
        PORT_HERE,
        "--tls-cert-file",
        certificate,
        "--tls-key-file",
        private,
        "--tls-ca-cert-file",
        certificate,
        "--tls-auth-clients",
        "no",
    ]);
    let config = few(RedisConfig::new(server.url().replace("redis://", "rediss://")));
    let tls_ca_pem = Some(issued.cert.pem().into_bytes());
    let stores = RedisStore::open(RedisConfig { tls_ca_pem, ..config.clone() }).unwrap().stores();
    assert_eq!(stores.id_floor.raise_floor(1, 5).await.unwrap(), 5);
    let partition = stores.routes.partitions().of_channel(key("room"));
    listened(&mut stores.routes.route_changes(), partition).await;

    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let tls_ca_pem = Some(other.cert.pem().into_bytes());
    let stranger = RedisStore::open(RedisConfig { tls_ca_pem, ..config }).unwrap().stores();
    let error = stranger.id_floor.raise_floor(1, 5).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_at_once() {
    let nowhere = RedisConfig { urls: Vec::new(), ..RedisConfig::new("") };
    let socket = RedisConfig::new("redis+unix:///run/redis.sock");
    let braces = RedisConfig { prefix: "a{b}".into(), ..RedisConfig::new("redis://127.0.0.1:1") };
    let pem = Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec());
    let tls = RedisConfig { tls_ca_pem: pem, ..RedisConfig::new("rediss://127.0.0.1:1") };
    for config in [nowhere, RedisConfig::new("http://here"), socket, braces, tls] {
        let printed = format!("{config:?}");
        let error = RedisStore::open(config).expect_err(&printed);
        assert_eq!(error.kind, StorageErrorKind::Fatal, "{printed}: {error}");
    }
}

#[tokio::test]
async fn a_check_names_every_server_and_finds_nothing_wrong() {
    let server = shared_server();
    let report = open(RedisConfig::new(server.url())).check().await.unwrap();
    assert_eq!(report.nodes.len(), 1);
    assert_eq!(report.nodes[0].address, format!("127.0.0.1:{}", server.port()));
    assert!(report.nodes[0].version.starts_with(|c: char| c.is_ascii_digit()));
    assert_eq!(report.nodes[0].eviction.as_deref(), Some("noeviction"));
    assert_eq!(report.warnings, []);
    let report = open(RedisConfig::cluster(shared_cluster().urls())).check().await.unwrap();
    assert_eq!(report.nodes.len(), 3);
    assert!(report.nodes.iter().all(|node| node.cluster_state.as_deref() == Some("ok")));
    assert_eq!(report.warnings, []);
}

#[tokio::test]
async fn a_check_warns_of_what_loses_keys_and_of_the_wrong_kind_of_server() {
    let server = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    let report = open(RedisConfig::new(server.url())).check().await.unwrap();
    assert!(report.warnings[0].what.contains("allkeys-lru"), "{report:?}");
    assert!(report.warnings[0].why.contains("sess:"), "{report:?}");
    let node = RedisConfig::new(shared_cluster().nodes[0].url());
    let report = open(node).check().await.unwrap();
    assert!(report.warnings[0].fix.contains("redis.cluster = true"), "{report:?}");
    let error = open(RedisConfig::new("redis://127.0.0.1:1")).check().await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Unavailable);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn metrics_show_calls_errors_refusals_and_reconnects() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _here = metrics::set_default_local_recorder(&recorder);
    let mut server = RedisServer::start();
    let config = RedisConfig { calls_in_flight: 1, ..few(RedisConfig::new(server.url())) };
    let stores = RedisStore::open(config).unwrap().stores();
    let floor = &stores.id_floor;
    let (first, second) = tokio::join!(floor.raise_floor(1, 1), floor.raise_floor(1, 1));
    assert!(first.is_ok() && second.is_err());
    let moved = counts(&snapshotter);
    assert_eq!(moved["sterna_storage_redis_calls_total group=id_floor"], 1);
    assert_eq!(moved["sterna_storage_redis_call_seconds group=id_floor"], 1);
    assert_eq!(moved["sterna_storage_refused_total engine=redis queue=calls"], 1);
    let mut changes = stores.routes.route_changes();
    listened(&mut changes, stores.routes.partitions().of_channel(key("room"))).await;
    server.kill();
    stores.rates.take("key".into(), 1, RATE).await.unwrap_err();
    listened(&mut changes, stores.routes.partitions().of_channel(key("room"))).await;
    let moved = counts(&snapshotter);
    assert_eq!(moved["sterna_storage_redis_errors_total group=rates"], 1);
    assert_eq!(moved["sterna_storage_redis_reconnects_total purpose=subscription"], 1);
    eventually("the loss of the connection to be counted", || async {
        counts(&snapshotter).contains_key("sterna_storage_redis_reconnects_total purpose=calls")
            || moved.contains_key("sterna_storage_redis_reconnects_total purpose=calls")
    })
    .await;
}

/// What has moved since the last look: counters, and how many values histograms got.
fn counts(snapshotter: &Snapshotter) -> HashMap<String, u64> {
    let all = snapshotter.snapshot().into_vec().into_iter();
    all.map(|(key, _, _, value)| {
        let labels = key.key().labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let name = key.key().name().to_owned() + &labels.collect::<String>();
        let count = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(values) => values.len() as u64,
            DebugValue::Gauge(_) => 0,
        };
        (name, count)
    })
    .filter(|(_, count)| *count > 0)
    .collect()
}

fn open(config: RedisConfig) -> RedisStore {
    RedisStore::open(config).unwrap()
}

const RATE: sterna_storage::volatile::Rate =
    sterna_storage::volatile::Rate { limit: 1, window: Duration::from_secs(1) };
