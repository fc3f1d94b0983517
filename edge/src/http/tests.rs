//! The API against a real node on the memory store, without sockets.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use jsonwebtoken::{EncodingKey, Header};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use sterna_core::{CoreConfig, Node, SystemClock, Tasks};
use sterna_proto::{NodeId, v1};
use sterna_storage::Stores;
use sterna_storage::memory::MemoryStore;
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::*;
use crate::auth::jwks::{JwksConfig, JwksSource};
use crate::auth::{AuthConfig, AuthKey, KeyAlgorithm};

const TOKEN_SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
pub(super) const API_KEY: &str = "an api key for tests, long enough";

/// The routes on a node of their own.
pub(super) struct Api {
    pub(super) router: Router,
    node: Node,
    pub(super) drain: watch::Receiver<Option<DrainOrder>>,
}

/// What a test may want otherwise.
pub(super) struct ApiSettings {
    pub(super) core: CoreConfig,
    pub(super) stores: Stores,
    pub(super) http: HttpConfig,
    pub(super) auth: AuthConfig,
}

impl Api {
    pub(super) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(super) async fn start_with(change: impl FnOnce(&mut ApiSettings)) -> Self {
        Self::start_from(change, |_| {}).await
    }

    /// With other parts, too.
    pub(super) async fn start_from(
        change: impl FnOnce(&mut ApiSettings),
        with: impl FnOnce(&mut HttpParts),
    ) -> Self {
        let (settings, mut parts, drain) = Self::assemble(change).await;
        with(&mut parts);
        let node = parts.node.clone();
        Self { router: router(&settings, parts, Tasks::new()).unwrap(), node, drain }
    }

    /// What a surface is started from, and where drain orders come out.
    pub(super) async fn assemble(
        change: impl FnOnce(&mut ApiSettings),
    ) -> (HttpConfig, HttpParts, watch::Receiver<Option<DrainOrder>>) {
        let key =
            AuthKey { kid: None, algorithm: KeyAlgorithm::Hs256, material: TOKEN_SECRET.to_vec() };
        let keys = vec![ApiKey { id: "test".into(), secret: API_KEY.into(), role: Role::Operator }];
        let mut settings = ApiSettings {
            core: CoreConfig::embedded(NodeId::new("test").unwrap(), v1::Durability::Memory),
            stores: MemoryStore::new().stores(),
            http: HttpConfig::new("127.0.0.1:0".parse().unwrap(), keys),
            auth: AuthConfig::new(vec![key]),
        };
        change(&mut settings);
        let ApiSettings { core, stores, http, auth } = settings;
        let node = Node::start(core, stores, Arc::new(SystemClock)).await.unwrap();
        let (drain_order, drain) = watch::channel(None);
        let parts = HttpParts {
            auth: Arc::new(Authenticator::new(auth).unwrap().sharing(node.revocations().clone())),
            node,
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            ready: ReadyProbe { client_address: Some("127.0.0.1:1".parse().unwrap()) },
            connections: None,
            drain: drain_order,
            jobs: None,
        };
        (http, parts, drain)
    }

    pub(super) async fn response(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(super) async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.response(request).await;
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Posts as the operator.
    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(post(path, Some(API_KEY), &body.to_string())).await
    }

    async fn result(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(path, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer["result"].clone()
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(super) async fn stop(self) {
        assert!(self.node.shutdown(Duration::from_secs(5)).await, "the node ends in time");
    }
}

pub(super) fn post(path: &str, secret: Option<&str>, body: &str) -> Request<Body> {
    let mut request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    if let Some(secret) = secret {
        request = request.header(header::AUTHORIZATION, format!("Bearer {secret}"));
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

pub(super) fn token(user: &str, channels: Value) -> String {
    let exp = jsonwebtoken::get_current_timestamp() + 600;
    let claims = json!({ "sub": user, "exp": exp, "channels": channels });
    let key = EncodingKey::from_secret(TOKEN_SECRET);
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

fn with_idempotency_key(key: &str, body: &Value) -> Request<Body> {
    let mut request = post("/api/v1/publish", Some(API_KEY), &body.to_string());
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_is_in_the_history() {
    let api = Api::start().await;
    let published =
        api.result("/api/v1/publish", json!({ "channel": "room:1", "text": "grüezi" })).await;
    assert_eq!(published["channel"], "room:1");
    assert_eq!(published["duplicate"], false);
    assert!(published["id"].is_string(), "64 bits do not fit a JavaScript number");
    let id = "018f3e1c-7b6a-7000-8000-0123456789ab";
    api.result(
        "/api/v1/publish",
        json!({ "channel": "room:1", "payload_base64": "/wD+", "client_msg_id": id }),
    )
    .await;
    let page = api.result("/api/v1/history", json!({ "channel": "room:1" })).await;
    let publications = page["publications"].as_array().unwrap();
    let found: Vec<&Value> = publications.iter().filter(|p| p["kind"] == "message").collect();
    assert_eq!(found.len(), 2, "{page}");
    assert_eq!(found[0]["text"], "grüezi");
    assert_eq!(found[0]["sender"], "api.test");
    assert_eq!(found[0]["offset"], published["offset"]);
    assert_eq!(found[1]["payload_base64"], "/wD+");
    assert_eq!(found[1]["client_msg_id"], id);
    let since = json!({ "epoch": found[0]["epoch"], "offset": found[0]["offset"] });
    let rest = api
        .result("/api/v1/history", json!({ "channel": "room:1", "since": since, "limit": 1 }))
        .await;
    assert_eq!(rest["publications"][0]["offset"], found[1]["offset"]);
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_an_idempotency_key_stores_once_and_refuses_another_payload() {
    let api = Api::start().await;
    let body = json!({ "channel": "room:1", "text": "once" });
    let (status, first) = api.send(with_idempotency_key("order-7", &body)).await;
    assert_eq!(status, StatusCode::OK, "{first}");
    let (status, second) = api.send(with_idempotency_key("order-7", &body)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(second["result"]["duplicate"], true);
    assert_eq!(second["result"]["offset"], first["result"]["offset"]);
    assert_eq!(second["result"]["id"], first["result"]["id"]);
    let other = json!({ "channel": "room:1", "text": "twice" });
    let (status, answer) = api.send(with_idempotency_key("order-7", &other)).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(answer["error"]["name"], "CONFLICT");
    for key in ["", &"k".repeat(129), "\u{e9}"] {
        let mut request = with_idempotency_key("x", &body);
        let value = header::HeaderValue::from_bytes(key.as_bytes()).unwrap();
        request.headers_mut().insert("idempotency-key", value);
        assert_eq!(api.send(request).await.0, StatusCode::BAD_REQUEST, "{key:?}");
    }
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_keeps_its_order_and_answers_for_each_item() {
    let api = Api::start().await;
    let mut batch: Vec<Value> =
        (0..20).map(|n| json!({ "channel": "room:1", "text": format!("{n}") })).collect();
    batch.insert(3, json!({ "channel": "dm:zoe:adam", "text": "not canonical" }));
    let result = api.result("/api/v1/publish", json!({ "batch": batch })).await;
    let published = result["published"].as_array().unwrap();
    assert_eq!(published.len(), 21);
    assert_eq!(published[3]["error"]["name"], "BAD_REQUEST");
    let offsets: Vec<u64> =
        published.iter().filter_map(|item| item["result"]["offset"].as_u64()).collect();
    assert_eq!(offsets.len(), 20, "{result}");
    assert!(offsets.windows(2).all(|pair| pair[1] == pair[0] + 1), "{offsets:?}");
    let result =
        api.result("/api/v1/broadcast", json!({ "channels": ["a", "b"], "text": "to all" })).await;
    assert_eq!(result["published"][0]["result"]["channel"], "a");
    assert_eq!(result["published"][1]["result"]["channel"], "b");
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_and_members_are_managed() {
    let api = Api::start().await;
    let create = json!({
        "channel": "team", "kind": "group",
        "members": [{ "user": "alice", "role": "owner" }],
    });
    let info = api.result("/api/v1/channels/create", create).await;
    assert_eq!((&info["kind"], &info["created"]), (&json!("group"), &json!(true)));
    let bob = json!({ "channel": "team", "user": "bob", "role": "reader" });
    assert_eq!(api.result("/api/v1/members/set", bob).await, json!({}));
    let list = api.result("/api/v1/members", json!({ "channel": "team" })).await;
    let members = list["members"].as_array().unwrap();
    assert!(members.contains(&json!({ "user": "bob", "role": "reader" })), "{list}");
    assert!(members.contains(&json!({ "user": "alice", "role": "owner" })), "{list}");
    let read = |user: &str| {
        let body = json!({ "channel": "team" }).to_string();
        post("/api/v1/history", Some(&token(user, json!(["*"]))), &body)
    };
    assert_eq!(api.send(read("bob")).await.0, StatusCode::OK);
    assert_eq!(api.send(read("carol")).await.0, StatusCode::FORBIDDEN);
    api.result("/api/v1/members/remove", json!({ "channel": "team", "user": "bob" })).await;
    assert_eq!(api.send(read("bob")).await.0, StatusCode::FORBIDDEN, "I11");
    let presence = api.result("/api/v1/presence", json!({ "channel": "team" })).await;
    assert_eq!(presence["total"], 0);
    let channels = api.result("/api/v1/channels", json!({})).await;
    let names: Vec<&Value> =
        channels["channels"].as_array().unwrap().iter().map(|info| &info["channel"]).collect();
    assert!(names.contains(&&json!("team")), "{channels}");
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_who_may_not_is_told_so() {
    let api = Api::start().await;
    let body = json!({ "channel": "room:1", "text": "x" }).to_string();
    let alice = token("alice", json!(["room:*"]));
    let publish = |secret: Option<&str>| post("/api/v1/publish", secret, &body);
    assert_eq!(api.send(publish(Some(&alice))).await.0, StatusCode::OK);
    for secret in [None, Some("wrong"), Some(""), Some("a.b.c")] {
        let (status, answer) = api.send(publish(secret)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{secret:?}");
        assert_eq!(answer["error"]["name"], "UNAUTHORIZED");
    }
    let expired = {
        let claims = json!({ "sub": "alice", "exp": 1 });
        let key = EncodingKey::from_secret(TOKEN_SECRET);
        jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
    };
    let (status, answer) = api.send(publish(Some(&expired))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer["error"]["name"], "TOKEN_EXPIRED");
    let outsider = token("eve", json!(["other:*"]));
    assert_eq!(api.send(publish(Some(&outsider))).await.0, StatusCode::FORBIDDEN);
    let mut both = publish(Some(&alice));
    both.headers_mut().insert("x-api-key", API_KEY.parse().unwrap());
    assert_eq!(api.send(both).await.0, StatusCode::UNAUTHORIZED, "two answers are none");
    let mut key = publish(None);
    key.headers_mut().insert("x-api-key", API_KEY.parse().unwrap());
    assert_eq!(api.send(key).await.0, StatusCode::OK);
    for path in ["/api/v1/drain", "/api/v1/channels"] {
        let (status, _) = api.send(post(path, Some(&alice), "{}")).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path} is the operator's");
    }
    api.result("/api/v1/revoke", json!({ "user": "alice" })).await;
    assert_eq!(api.send(publish(Some(&alice))).await.0, StatusCode::UNAUTHORIZED, "revoked");
    let (status, _) = api.send(post("/api/v1/revoke", Some(&alice), r#"{"user":"bob"}"#)).await;
    assert_ne!(status, StatusCode::OK);
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bodies_get_a_status_of_their_own() {
    let api = Api::start().await;
    let deep = format!("{}1{}", r#"{"channel":"#.repeat(10_000), "}".repeat(10_000));
    let large = json!({ "channel": "a", "text": "x".repeat(65_537) }).to_string();
    let huge = json!({ "channel": "a", "text": "x".repeat(300_000) }).to_string();
    let crowd = json!({ "batch": vec![json!({ "channel": "a", "text": "x" }); 101] }).to_string();
    let rows = [
        ("", 400),
        ("null", 400),
        (r#"["a","x"]"#, 400),
        (r#"{"channel":"a","text":"x""#, 400),
        ("\u{feff}{\"channel\":\"a\",\"text\":\"x\"}", 400),
        (r#"{"channel":"a","text":NaN}"#, 400),
        (r#"{"channel":"a","text":"\ud800"}"#, 400),
        (r#"{"channel":"a","text":"x"}{}"#, 400),
        (&deep, 422),
        (r#"{"channel":7,"text":"x"}"#, 422),
        (r#"{"channel":"a","text":"x","admin":true}"#, 422),
        (r#"{"channel":"a","channel":"b","text":"x"}"#, 422),
        (r#"{"channel":"a","text":"x","kind":"epoch"}"#, 422),
        (r#"{"channel":"a","text":"x","target_offset":-1}"#, 422),
        (r#"{"channel":"a","text":"x","target_offset":1e400}"#, 400),
        (r#"{"channel":"a","text":"x","target_offset":5}"#, 400),
        (r#"{"channel":"a","text":"x","kind":"edit"}"#, 400),
        (r#"{"channel":"a"}"#, 400),
        (r#"{"text":"x"}"#, 400),
        (r#"{"channel":"a","text":"x","payload_base64":"eA=="}"#, 400),
        (r#"{"channel":"a","payload_base64":"eA"}"#, 400),
        (r#"{"channel":"../../etc/passwd x","text":"x"}"#, 400),
        (r#"{"channel":"","text":"x"}"#, 400),
        (r#"{"channel":"a","text":"x","client_msg_id":"7"}"#, 400),
        (r#"{"channel":"a","batch":[{"channel":"a","text":"x"}]}"#, 400),
        (r#"{"batch":[]}"#, 400),
        (&crowd, 400),
        (&large, 413),
        (&huge, 413),
    ];
    for (body, wanted) in rows {
        let (status, answer) = api.send(post("/api/v1/publish", Some(API_KEY), body)).await;
        assert_eq!(status.as_u16(), wanted, "{body:.120}: {answer}");
        assert!(answer["error"]["message"].is_string(), "{body:.120}: {answer}");
    }
    for limit in ["0", "501"] {
        let body = format!(r#"{{"channel":"a","limit":{limit}}}"#);
        let (status, _) = api.send(post("/api/v1/history", Some(API_KEY), &body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "limit {limit}");
    }
    let mut plain = post("/api/v1/publish", Some(API_KEY), "{}");
    plain.headers_mut().insert(header::CONTENT_TYPE, "text/plain".parse().unwrap());
    assert_eq!(api.send(plain).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let mut zipped = post("/api/v1/publish", Some(API_KEY), "{}");
    zipped.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    assert_eq!(api.send(zipped).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(api.get("/api/v1/publish").await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(api.get("/api/v2/publish").await.0, StatusCode::NOT_FOUND);
    let (status, _) = api.post("/api/v1/history", json!({ "channel": "nobody-was-here" })).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_order_reaches_the_composition_root_once() {
    let mut api = Api::start().await;
    let (status, _) = api.post("/api/v1/drain", json!({ "successor": "no port" })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let first = json!({ "deadline_ms": 2500, "successor": "10.0.0.2:4443" });
    assert_eq!(api.result("/api/v1/drain", first).await["draining"], true);
    let second = api.result("/api/v1/drain", json!({ "deadline_ms": 1 })).await;
    assert_eq!(second["deadline_ms"], 2500, "the first order stands");
    let order = api.drain.borrow_and_update().clone();
    let wanted =
        DrainOrder { deadline: Duration::from_millis(2500), successor: "10.0.0.2:4443".into() };
    assert_eq!(order, Some(wanted));
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_paths_answer() {
    let api = Api::start().await;
    assert_eq!(api.get("/livez").await.0, StatusCode::OK);
    assert_eq!(api.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(api.get("/metrics").await.0, StatusCode::OK);
    let (status, reason) = api.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "nothing listens on the client port");
    assert!(reason.as_str().unwrap().contains("no handshake"), "{reason}");
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_knows_no_key_yet_is_not_ready() {
    let nowhere = JwksSource::File("no such file".into());
    let api = Api::start_with(|settings| {
        settings.auth.keys.clear();
        settings.auth.jwks = Some(JwksConfig::new(nowhere));
    })
    .await;
    let (status, reason) = api.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reason.as_str().unwrap().contains("no key to check access tokens with"), "{reason}");
    assert_eq!(api.get("/livez").await.0, StatusCode::OK);
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_in_the_openapi_document_and_the_other_way_round() {
    let document: Value = serde_json::from_str(operate::OPENAPI).unwrap();
    let mut described: Vec<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(|method| (path.clone(), method.clone()))
        })
        .collect();
    // The routes, as the source names them: axum does not tell.
    let source = include_str!("mod.rs");
    let mut routed: Vec<(String, String)> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".route(\""))
        .map(|rest| {
            let (path, handler) = rest.split_once("\", ").unwrap();
            (path.to_owned(), handler.split('(').next().unwrap().to_owned())
        })
        .collect();
    described.sort();
    routed.sort();
    assert_eq!(routed.len(), 39);
    assert_eq!(described, routed);
    let text = operate::OPENAPI;
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name} is not described");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_and_nobody_else_see_the_cluster_the_sessions_and_the_drain() {
    let api = Api::start().await;
    let paths = ["/api/v1/operate/cluster", "/api/v1/operate/node", "/api/v1/operate/drain"];
    let ask = async |path: &str, secret: &str| {
        let authorization = format!("Bearer {secret}");
        let request = Request::get(path).header(header::AUTHORIZATION, authorization);
        api.send(request.body(Body::empty()).unwrap()).await
    };
    for path in paths {
        assert_eq!(api.get(path).await.0, StatusCode::UNAUTHORIZED, "{path}");
        let user = token("ana", json!(["*"]));
        assert_eq!(ask(path, &user).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    api.result("/api/v1/publish", json!({ "channel": "room:1", "text": "hello" })).await;
    // The node says how it fares from its first sample on.
    let sampled = async {
        loop {
            let (_, cluster) = ask(paths[0], API_KEY).await;
            let node = cluster["result"]["nodes"][0].clone();
            if node["slots"] == 2048 {
                return node;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let node = tokio::time::timeout(Duration::from_secs(30), sampled).await.unwrap();
    assert_eq!((&node["name"], &node["state"]), (&json!("test"), &json!("serving")), "{node}");
    let (_, node) = ask(paths[1], API_KEY).await;
    assert_eq!(node["result"]["channels"][0]["channel"], "room:1", "{node}");
    assert_eq!(node["result"]["queues"]["shard_mailbox"]["bound"], 1024, "{node}");
    for bad in ["?most=201", "?most=x", "?mots=1"] {
        let path = format!("{}{bad}", paths[1]);
        assert_eq!(ask(&path, API_KEY).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    let (_, before) = ask(paths[2], API_KEY).await;
    assert_eq!(before["result"]["draining"], false, "{before}");
    api.node.start_drain(Duration::from_secs(9), "other:4443".into()).await;
    let (_, during) = ask(paths[2], API_KEY).await;
    assert_eq!(during["result"]["successor"], "other:4443", "{during}");
    assert!(during["result"]["left_ms"].as_u64().unwrap() <= 9000, "{during}");
    let (_, cluster) = ask(paths[0], API_KEY).await;
    assert_eq!(cluster["result"]["nodes"][0]["state"], "draining", "{cluster}");
    api.stop().await;
}
