//! Inboxes over HTTP: each user's own, and anybody's for the operator.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::tests::{API_KEY, Api, post, token};

async fn ask(api: &Api, path: &str, secret: &str, body: Value) -> (StatusCode, Value) {
    let (status, answer) = api.send(post(path, Some(secret), &body.to_string())).await;
    (status, if status == StatusCode::OK { answer["result"].clone() } else { answer })
}

/// The entry of the one channel there, once it has so many unread publications.
async fn entry(api: &Api, secret: &str, body: Value, unread: u64) -> Value {
    for _ in 0..200 {
        let (status, page) = ask(api, "/api/v1/inbox", secret, body.clone()).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        if page["entries"][0]["unread"] == unread {
            assert!(page["position"]["looked_ms"].as_u64().unwrap() > 0);
            return page["entries"][0].clone();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never {unread} unread");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_a_token_opens_its_users_inbox_and_an_api_key_any() {
    let api = Api::start().await;
    let alice = token("alice", json!(["*"]));
    let bob = token("bob", json!(["*"]));
    let publish = json!({ "channel": "dm:alice:bob", "text": "hello" });
    let (status, answer) = ask(&api, "/api/v1/publish", &alice, publish).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let found = entry(&api, &bob, json!({}), 1).await;
    assert_eq!((&found["channel"], &found["kind"]), (&json!("dm:alice:bob"), &json!("direct")));
    entry(&api, API_KEY, json!({ "user": "bob" }), 1).await;
    let (status, _) = ask(&api, "/api/v1/inbox", &alice, json!({ "user": "bob" })).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = ask(&api, "/api/v1/inbox", API_KEY, json!({})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    for limit in [0, 201] {
        let (status, _) = ask(&api, "/api/v1/inbox", &bob, json!({ "limit": limit })).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
    let pin = json!({ "channel": "dm:alice:bob", "pinned": true, "deleted_before": 2 });
    let (status, answer) = ask(&api, "/api/v1/inbox/change", &bob, pin).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({})));
    let (_, page) =
        ask(&api, "/api/v1/inbox", &bob, json!({ "since": { "pts": 1, "looked_ms": 1 } })).await;
    let entry = &page["entries"][0];
    assert_eq!((&entry["pinned"], &entry["removed"]), (&json!(true), &json!(true)), "{page}");
    let change = json!({ "channel": "dm:alice:carol", "muted": true });
    let (status, _) = ask(&api, "/api/v1/inbox/change", &bob, change).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    api.stop().await;
}
