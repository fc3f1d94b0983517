//! What an observer's API key may do: look, and nothing else.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};

use super::tests::{Api, post, token};
use super::{ApiKey, Role};

const SECRET: &str = "an observer's secret, long enough";

fn get(path: &str, secret: &str) -> Request<Body> {
    let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {secret}"));
    request.body(Body::empty()).unwrap()
}

async fn observed() -> Api {
    let key = ApiKey { id: "watch".into(), secret: SECRET.into(), role: Role::Observer };
    Api::start_with(|settings| settings.http.api_keys.push(key)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_looks() {
    let api = observed().await;
    for path in ["cluster", "samples", "node", "drain"] {
        let path = format!("/api/v1/operate/{path}");
        let (status, answer) = api.send(get(&path, SECRET)).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        if path.ends_with("cluster") {
            assert_eq!(answer["result"]["role"], "observer");
            let ahead = &answer["result"]["nodes"][0]["clock_ahead_ms"];
            assert!(ahead.is_null() || ahead == 0, "of itself: {ahead}");
        }
        let user = token("alice", json!(["*"]));
        let (status, answer) = api.send(get(&path, &user)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {answer}");
    }
    let unknown = format!("/api/v1/operate/session?session={:032x}", 7);
    for (path, status) in [
        (unknown.as_str(), StatusCode::NOT_FOUND),
        ("/api/v1/operate/session?session=7", StatusCode::BAD_REQUEST),
        ("/api/v1/operate/session", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(api.send(get(path, SECRET)).await.0, status, "{path}");
    }
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_and_one_publication_of_it_are_shown() {
    let api = observed().await;
    let ask = async |path: &str| api.send(get(&format!("/api/v1/operate/{path}"), SECRET)).await;
    assert_eq!(ask("channel?channel=room:1").await.0, StatusCode::NOT_FOUND);
    let arm = json!({ "channel": "room:1" }).to_string();
    let (status, armed) = api.send(post("/api/v1/operate/trace", Some(SECRET), &arm)).await;
    assert_eq!(status, StatusCode::OK, "{armed}");
    let trace = format!("trace?trace={}", armed["result"]["trace"].as_str().unwrap());
    assert_eq!(ask(&trace).await.1["result"]["state"], "waiting");
    let say = json!({ "channel": "room:1", "text": "hello" }).to_string();
    let (_, said) = api.send(post("/api/v1/publish", Some(super::tests::API_KEY), &say)).await;
    let (_, seen) = ask(&trace).await;
    let seen = &seen["result"];
    assert_eq!((&seen["state"], &seen["channel"]), (&"seen".into(), &"room:1".into()));
    assert_eq!(seen["position"]["offset"], said["result"]["offset"], "{seen}");
    let steps = seen["steps"].as_array().unwrap();
    let whats: Vec<&str> = steps.iter().map(|step| step["what"].as_str().unwrap()).collect();
    let wanted = ["with the owner of the channel", "stored, and in its place", "acknowledged"];
    let mut rest = whats.iter();
    assert!(wanted.iter().all(|what| rest.any(|other| other == what)), "in this order: {seen}");
    assert!(!seen.to_string().contains("hello"), "no payload shows");
    let (_, channel) = ask("channel?channel=room:1").await;
    let channel = &channel["result"];
    assert_eq!((&channel["owner"], &channel["fanout"]["node"]), (&"test".into(), &"test".into()));
    assert_eq!(channel["head_offset"], said["result"]["offset"], "{channel}");
    assert!(channel["ring"]["bytes"].as_u64() > Some(0), "{channel}");
    assert_eq!(ask("trace?trace=7").await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask("channel?channel=%00").await.0, StatusCode::BAD_REQUEST);
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_an_observer_changes_nothing_and_reads_no_payload() {
    let api = observed().await;
    let room = json!({ "channel": "room:1" });
    let say = json!({ "channel": "room:1", "text": "hello" });
    let (status, answer) =
        api.send(post("/api/v1/publish", Some(super::tests::API_KEY), &say.to_string())).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    for (path, body) in [
        ("/api/v1/drain", json!({})),
        ("/api/v1/revoke", json!({ "user": "alice" })),
        ("/api/v1/publish", say),
        ("/api/v1/history", room.clone()),
        ("/api/v1/members", room),
        ("/api/v1/members/remove", json!({ "channel": "room:1", "user": "alice" })),
    ] {
        let (status, answer) = api.send(post(path, Some(SECRET), &body.to_string())).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {answer}");
        assert_eq!(answer["error"]["name"], Value::from("PERMISSION_DENIED"), "{answer}");
    }
    assert!(!api.drain.has_changed().unwrap(), "no order was left");
    api.stop().await;
}
