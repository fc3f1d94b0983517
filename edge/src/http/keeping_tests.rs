//! Orders about what channels keep, as they come in.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::tests::{API_KEY, Api, post, token};
use super::{ApiKey, Role};

const OBSERVER: &str = "an observer's secret, long enough";

async fn give(api: &Api, secret: &str, path: &str, body: Value) -> (StatusCode, Value) {
    api.send(post(&format!("/api/v1/{path}"), Some(secret), &body.to_string())).await
}

async fn done(api: &Api, path: &str, body: Value) -> Value {
    let (status, answer) = give(api, API_KEY, path, body).await;
    assert_eq!(status, StatusCode::OK, "{path}: {answer}");
    answer["result"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_are_carried_out_and_told_with_who_and_why() {
    let api = Api::start().await;
    for text in ["one", "two", "three"] {
        done(&api, "publish", json!({ "channel": "room:1", "text": text })).await;
    }
    let room = "room:1";
    let why = "a complaint";
    let fresh = done(&api, "keeping", json!({ "channel": room })).await;
    let none = json!({
        "channel": room, "retention_ms": null, "hold": null, "floor": 1, "erased": null,
        "sealed": false, "has_key": false, "deeds": [], "more": false,
    });
    assert_eq!(fresh, none);
    done(&api, "redact", json!({ "channel": room, "offsets": [2], "reason": why })).await;
    done(&api, "retention", json!({ "channel": room, "retention_ms": 86_400_000 })).await;
    done(&api, "seal", json!({ "channel": room, "on": true, "reason": why })).await;
    done(&api, "hold", json!({ "channel": room, "on": true, "reason": why })).await;
    for (path, body) in [
        ("redact", json!({ "channel": room, "offsets": [1], "reason": why })),
        ("erase", json!({ "channel": room, "reason": why })),
    ] {
        let (status, answer) = give(&api, API_KEY, path, body).await;
        assert_eq!((status, &answer["error"]["name"]), (StatusCode::CONFLICT, &"ON_HOLD".into()));
    }
    let kept = done(&api, "keeping", json!({ "channel": room, "limit": 3 })).await;
    assert_eq!((&kept["retention_ms"], &kept["sealed"]), (&json!(86_400_000), &json!(true)));
    assert_eq!((&kept["hold"]["by"], &kept["hold"]["reason"]), (&"api.test".into(), &why.into()));
    let deeds = kept["deeds"].as_array().unwrap();
    let told: Vec<&str> = deeds.iter().map(|deed| deed["what"].as_str().unwrap()).collect();
    let expected = ["put on hold", "sealed in the archive from now on", "retention of 86400000 ms"];
    assert_eq!((told, &kept["more"]), (expected.to_vec(), &json!(true)));
    let rest = json!({ "channel": room, "before_version": deeds[2]["version"] });
    let rest = done(&api, "keeping", rest).await;
    assert_eq!(rest["deeds"][0]["what"], "redacted 2");
    done(&api, "hold", json!({ "channel": room, "on": false, "reason": why })).await;
    done(&api, "erase", json!({ "channel": room, "reason": why })).await;
    let kept = done(&api, "keeping", json!({ "channel": room })).await;
    assert_eq!((&kept["floor"], &kept["erased"]["by"]), (&json!(5), &"api.test".into()));
    let page = done(&api, "history", json!({ "channel": room })).await;
    let left = page["publications"].as_array().unwrap();
    assert_eq!((left.len(), &left[0]["kind"]), (1, &"redaction".into()));
    done(&api, "retention", json!({ "channel": room })).await;
    let kept = done(&api, "keeping", json!({ "channel": room })).await;
    assert_eq!(kept["retention_ms"], Value::Null);
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_who_may_not_is_told_so_and_what_makes_no_sense_too() {
    let observer = ApiKey { id: "watch".into(), secret: OBSERVER.into(), role: Role::Observer };
    let api = Api::start_with(|settings| settings.http.api_keys.push(observer)).await;
    done(&api, "publish", json!({ "channel": "room:1", "text": "one" })).await;
    let orders = [
        ("retention", json!({ "channel": "room:1", "retention_ms": 1000 })),
        ("hold", json!({ "channel": "room:1", "on": true, "reason": "r" })),
        ("seal", json!({ "channel": "room:1", "on": true, "reason": "r" })),
        ("erase", json!({ "channel": "room:1", "reason": "r" })),
        ("redact", json!({ "channel": "room:1", "offsets": [1], "reason": "r" })),
        ("keeping", json!({ "channel": "room:1" })),
    ];
    let user = token("ana", json!(["*"]));
    for (path, body) in orders {
        for secret in [OBSERVER, &user] {
            let (status, answer) = give(&api, secret, path, body.clone()).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {answer}");
        }
        let mut elsewhere = body.clone();
        elsewhere["channel"] = "room:none".into();
        let (status, answer) = give(&api, API_KEY, path, elsewhere).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {answer}");
        if body.get("reason").is_some() {
            let mut mute = body;
            mute["reason"] = "  ".into();
            let (status, answer) = give(&api, API_KEY, path, mute).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {answer}");
        }
    }
    let long = json!({ "channel": "room:1", "reason": "r".repeat(513) });
    assert_eq!(give(&api, API_KEY, "erase", long).await.0, StatusCode::BAD_REQUEST);
    for offsets in [json!([]), json!([0]), json!([9])] {
        let body = json!({ "channel": "room:1", "offsets": offsets, "reason": "r" });
        let (status, answer) = give(&api, API_KEY, "redact", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{offsets}: {answer}");
    }
    api.stop().await;
}
