//! Who may order work of a node and who may watch it.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use serde_json::{Value, json};
use sterna_proto::{ErrorCode, v1};

use super::tests::{API_KEY, Api, post, token};
use super::{ApiKey, JobOrder, JobState, JobView, Jobs, Role};

const OBSERVER: &str = "an observer's secret, long enough";

/// Takes one order, and has always done half of it.
#[derive(Debug, Default)]
struct Noted(Mutex<Vec<JobOrder>>);

impl Jobs for Noted {
    fn begin(&self, order: JobOrder) -> Result<u64, v1::Error> {
        let mut orders = self.0.lock().unwrap();
        if orders.contains(&order) {
            return Err(v1::Error::new(ErrorCode::Busy, "one is running"));
        }
        orders.push(order);
        Ok(orders.len() as u64)
    }

    fn job(&self, id: u64) -> Option<JobView> {
        let order = self.0.lock().unwrap().get(id.checked_sub(1)? as usize)?.clone();
        let (state, stage) = (JobState::Running, "half-way");
        Some(JobView {
            what: order.name(),
            state,
            stage,
            done: 1,
            of: 2,
            result: None,
            error: None,
        })
    }

    fn archive(&self) -> BoxFuture<'_, Result<Value, v1::Error>> {
        ready(Ok(json!({ "segments": 7 }))).boxed()
    }
}

async fn with_jobs(noted: &Arc<Noted>) -> Api {
    let key = ApiKey { id: "watch".into(), secret: OBSERVER.into(), role: Role::Observer };
    let jobs = noted.clone();
    Api::start_from(|settings| settings.http.api_keys.push(key), |parts| parts.jobs = Some(jobs))
        .await
}

fn get(path: &str, secret: &str) -> Request<Body> {
    let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {secret}"));
    request.body(Body::empty()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_orders_and_an_observer_watches() {
    let noted = Arc::default();
    let api = with_jobs(&noted).await;
    let user = token("alice", json!(["*"]));
    let orders = [
        ("/api/v1/archive/run", json!({}), JobOrder::Archive),
        ("/api/v1/archive/verify", json!({}), JobOrder::VerifyArchive),
        ("/api/v1/backup", json!({ "name": "b" }), JobOrder::Backup { name: Some("b".into()) }),
        ("/api/v1/backup", json!({}), JobOrder::Backup { name: None }),
    ];
    for (number, (path, body, order)) in (1..).zip(orders) {
        for secret in [OBSERVER, &user] {
            let (status, answer) = api.send(post(path, Some(secret), &body.to_string())).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{path}: {answer}");
        }
        assert_eq!(noted.0.lock().unwrap().len(), number - 1, "nothing was begun");
        let (status, answer) = api.send(post(path, Some(API_KEY), &body.to_string())).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        assert_eq!(answer["result"]["job"], format!("{number:016x}"));
        let (status, _) = api.send(post(path, Some(API_KEY), &body.to_string())).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "one of a kind");
        let watch = format!("/api/v1/operate/job?job={number:x}");
        let (status, answer) = api.send(get(&watch, OBSERVER)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let expected = json!({
            "what": order.name(), "state": "running", "stage": "half-way", "done": 1, "of": 2,
            "result": null, "error": null,
        });
        assert_eq!(answer["result"], expected);
        assert_eq!(api.send(get(&watch, &user)).await.0, StatusCode::FORBIDDEN);
        assert_eq!(noted.0.lock().unwrap().last(), Some(&order));
    }
    let (_, answer) = api.send(get("/api/v1/operate/archive", OBSERVER)).await;
    assert_eq!(answer["result"]["segments"], 7);
    assert_eq!(api.send(get("/api/v1/operate/archive", &user)).await.0, StatusCode::FORBIDDEN);
    for (path, status) in [
        ("/api/v1/operate/job?job=77", StatusCode::NOT_FOUND),
        ("/api/v1/operate/job?job=x", StatusCode::BAD_REQUEST),
        ("/api/v1/operate/job", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(api.send(get(path, OBSERVER)).await.0, status, "{path}");
    }
    let bad = json!({ "to": "/etc" }).to_string();
    let (status, _) = api.send(post("/api/v1/backup", Some(API_KEY), &bad)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_store_has_nothing_to_do() {
    let api = Api::start().await;
    let (status, answer) = api.send(post("/api/v1/backup", Some(API_KEY), "{}")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    let (status, _) = api.send(get("/api/v1/operate/archive", API_KEY)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    api.stop().await;
}
