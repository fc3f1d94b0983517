//! What the surface does with callers that are too many, too fast or too slow, and when the node
//! itself is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Response, StatusCode, header};
use metrics_util::debugging::DebuggingRecorder;
use serde_json::{Value, json};
use sterna_core::config::Rate;
use sterna_storage::StorageErrorKind;
use sterna_storage::fault::{FaultPoint, FaultyLog};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use super::HttpSurface;
use super::tests::{API_KEY, Api, ApiSettings, post, token};
use crate::testing::moved_since;

/// Status, seconds of Retry-After, and the error of an answer.
async fn refusal(response: Response<Body>) -> (StatusCode, u64, Value) {
    let status = response.status();
    let after = response.headers().get(header::RETRY_AFTER);
    let seconds = after.and_then(|after| after.to_str().ok()?.parse().ok()).unwrap_or(0);
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    (status, seconds, answer["error"].clone())
}

async fn publish(api: &Api, secret: &str) -> Response<Body> {
    let body = json!({ "channel": "room:1", "text": "x" }).to_string();
    api.router.clone().oneshot(post("/api/v1/publish", Some(secret), &body)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_publishes_too_fast_hears_when_to_come_back() {
    let api = Api::start_with(|settings| {
        settings.core.rates.publish = Rate { per_second: 1, burst: 1 };
    })
    .await;
    let alice = token("alice", json!(["room:*"]));
    assert_eq!(publish(&api, &alice).await.status(), StatusCode::OK);
    let mut refused = refusal(publish(&api, &alice).await).await;
    // A token came back while the machine was busy with the first one.
    while refused.0 == StatusCode::OK {
        refused = refusal(publish(&api, &alice).await).await;
    }
    let (status, seconds, error) = refused;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(error["name"], "RATE_LIMITED");
    assert_eq!((seconds, &error["retryable"]), (1, &json!(true)), "{error}");
    assert!((1..=1000).contains(&error["retry_after_ms"].as_u64().unwrap()), "{error}");
    assert_eq!(
        publish(&api, API_KEY).await.status(),
        StatusCode::OK,
        "the operator is not limited"
    );
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_answer_is_a_503_with_a_time() {
    let mut log = None;
    let api = Api::start_with(|settings| log = Some(faulty(settings))).await;
    let log = log.unwrap();
    // The channel's first append makes its epoch.
    assert_eq!(publish(&api, API_KEY).await.status(), StatusCode::OK);
    log.fail_appends(1, FaultPoint::BeforeAppend, StorageErrorKind::Unavailable);
    let (status, seconds, error) = refusal(publish(&api, API_KEY).await).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{error}");
    assert_eq!((seconds, &error["retryable"]), (1, &json!(true)), "{error}");
    assert_eq!(publish(&api, API_KEY).await.status(), StatusCode::OK, "it is well again");
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_a_deadline_whatever_it_waits_for() {
    let mut log = None;
    let api = Api::start_with(|settings| {
        settings.http.request_deadline = Duration::from_millis(100);
        log = Some(faulty(settings));
    })
    .await;
    let log = log.unwrap();
    log.hold_appends();
    let (status, seconds, error) = refusal(publish(&api, API_KEY).await).await;
    assert_eq!((status, seconds), (StatusCode::SERVICE_UNAVAILABLE, 1), "{error}");
    assert!(error["message"].as_str().unwrap().contains("Idempotency-Key"), "{error}");
    log.release_appends();
    // A body that never ends.
    let drops = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
    let mut request = post("/api/v1/publish", Some(API_KEY), "");
    *request.body_mut() = Body::from_stream(drops);
    let response = api.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    api.stop().await;
}

fn faulty(settings: &mut ApiSettings) -> Arc<FaultyLog> {
    let log = Arc::new(FaultyLog::new(Arc::clone(&settings.stores.log)));
    settings.stores.log = log.clone();
    log
}

/// The only connection there is, for `read_deadline`.
async fn surface(read_deadline: Duration) -> (HttpSurface, SocketAddr) {
    let (config, parts, _drain) = Api::assemble(|settings| {
        settings.http.connections = 1;
        settings.http.read_deadline = read_deadline;
    })
    .await;
    let surface = HttpSurface::start(config, parts).await.unwrap();
    let address = surface.local_address();
    (surface, address)
}

async fn get(connection: &mut TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") {
        assert_ne!(connection.read_buf(&mut answer).await.unwrap(), 0, "{path} is not answered");
    }
    String::from_utf8(answer).unwrap()
}

/// On one thread, whose metrics are its own.
#[tokio::test]
async fn who_sends_drop_by_drop_makes_room_for_others() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _here = metrics::set_default_local_recorder(&recorder);
    let (surface, address) = surface(Duration::from_millis(200)).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    let dripping = async {
        // Each drop comes well before the deadline; only their sum is late.
        while slow.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waiting = async {
        let mut next = TcpStream::connect(address).await.unwrap();
        get(&mut next, "/livez").await
    };
    let (_, answer) = tokio::join!(dripping, waiting);
    assert!(answer.ends_with("ok\n"), "{answer}");
    assert_eq!(moved_since(&snapshotter)["sterna_edge_http_slow_peers_total"], 1.0);
    assert!(surface.shutdown(Duration::from_secs(5)).await);
}

/// With the deadlines of a node, and as many slow senders as it has connections.
#[tokio::test]
async fn slow_senders_do_not_hide_the_probes() {
    const CONNECTIONS: usize = 20;
    let (config, parts, _drain) = Api::assemble(|settings| {
        settings.http.connections = CONNECTIONS;
        settings.http.read_deadline = Duration::from_secs(600);
    })
    .await;
    let surface = HttpSurface::start(config, parts).await.unwrap();
    let address = surface.local_address();
    let mut slow = Vec::new();
    for _ in 0..2 * CONNECTIONS {
        let mut sender = TcpStream::connect(address).await.unwrap();
        sender.write_all(b"GET /livez HTTP/1.1\r\nX-Slow: ").await.unwrap();
        slow.push(sender);
    }
    let probe = async {
        let mut probe = TcpStream::connect(address).await.unwrap();
        get(&mut probe, "/livez").await
    };
    let answer = tokio::time::timeout(Duration::from_secs(60), probe).await;
    assert!(answer.expect("an answer before their deadline").ends_with("ok\n"));
    drop(slow);
    assert!(surface.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_request_that_takes_longer_than_the_read_deadline_is_answered() {
    let (surface, address) = surface(Duration::from_millis(200)).await;
    let mut connection = TcpStream::connect(address).await.unwrap();
    // Looks for two seconds for a node that is not there.
    let answer = get(&mut connection, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(get(&mut connection, "/livez").await.ends_with("ok\n"), "the connection goes on");
    drop(connection);
    assert!(surface.shutdown(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn who_leaves_its_answer_lying_makes_room_for_others() {
    let (surface, address) = surface(Duration::from_millis(200)).await;
    let mut greedy = TcpStream::connect(address).await.unwrap();
    let request = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: test\r\n\r\n";
    let asking = async { while greedy.write_all(request).await.is_ok() {} };
    let waiting = async {
        let mut next = TcpStream::connect(address).await.unwrap();
        get(&mut next, "/livez").await
    };
    tokio::select! {
        ((), answer) = async { tokio::join!(asking, waiting) } => {
            assert!(answer.ends_with("ok\n"), "{answer}");
        }
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("it still has the connection"),
    }
    assert!(surface.shutdown(Duration::from_secs(5)).await);
}
