//! Repeated requests that no log recognises.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::tests::{API_KEY, Api, post, token};
use crate::testing::moved_by;

fn keyed(path: &str, secret: &str, key: &str, body: &Value) -> Request<Body> {
    let mut request = post(path, Some(secret), &body.to_string());
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

fn create(key: &str, channel: &str) -> Request<Body> {
    let body = json!({ "channel": channel, "kind": "group" });
    keyed("/api/v1/channels/create", API_KEY, key, &body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repetition_is_given_the_first_answer_and_is_not_carried_out() {
    let api = Api::start().await;
    let (status, first) = api.send(create("k1", "room:1")).await;
    assert_eq!((status, &first["result"]["created"]), (StatusCode::OK, &json!(true)), "{first}");
    assert_eq!(api.send(create("k1", "room:1")).await, (StatusCode::OK, first));
    let (status, other) = api.send(create("k2", "room:1")).await;
    assert_eq!(status, StatusCode::CONFLICT, "carried out, and the channel is there: {other}");
    assert_eq!(api.send(create("k2", "room:1")).await, (status, other), "final, too");
    let (status, answer) = api.send(create("k1", "room:2")).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("another request"));
    let (status, _) = api.send(create(&"k".repeat(129), "room:3")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_its_callers_own_and_what_may_pass_is_tried_again() {
    let api = Api::start().await;
    let body = json!({ "channel": "room:1", "user": "bob", "role": "member" });
    let set = |secret: &str| keyed("/api/v1/members/set", secret, "k1", &body);
    let alice = token("alice", json!({ "*": ["manage"] }));
    let (refused, _) = api.send(set(&alice)).await;
    assert!(refused.is_client_error(), "no such channel yet");
    api.send(create("k0", "room:1")).await;
    assert_eq!(api.send(set(API_KEY)).await.0, StatusCode::OK, "the operator's own k1");
    assert_eq!(api.send(set(&alice)).await.0, refused, "hers is answered as before");
    assert_eq!(api.send(set("nobody")).await.0, StatusCode::UNAUTHORIZED);
    api.stop().await;
}

#[test]
fn replays_are_counted() {
    let moved = moved_by(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let api = Api::start().await;
            for _ in 0..3 {
                api.send(create("k1", "room:1")).await;
            }
            api.stop().await;
        });
    });
    assert_eq!(moved["sterna_edge_http_replays_total"], 2.0);
}
