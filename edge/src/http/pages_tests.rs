//! Pages for browsers, those for this machine alone, and their WebSockets.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use rustls_pki_types::ServerName;
use serde_json::Value;

use super::tests::Api;
use super::{Audience, Content, Page, Trust};

async fn with_pages() -> Api {
    Api::start_with(|settings| {
        let page = |path: &str, content_type, content, audience| Page {
            path: path.into(),
            content_type,
            content,
            audience,
        };
        let made = Content::Made(Arc::new(|client| format!("{client:?}").into_bytes()));
        let html = Content::Fixed(b"<!doctype html>");
        settings.http.pages = vec![
            page("/try/", "text/html; charset=utf-8", html.clone(), Audience::ThisMachine),
            page("/try/node.json", "application/json", made, Audience::ThisMachine),
            page("/look/", "text/html; charset=utf-8", html, Audience::Anybody),
            page("/look", "text/plain", Content::Elsewhere("look/"), Audience::Anybody),
        ];
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let server_name = ServerName::try_from("localhost").unwrap();
        settings.http.bridge = Some(Trust { tls: Arc::new(tls), server_name });
    })
    .await
}

fn get(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let request = Request::builder().uri(path);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Body::empty()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_for_names_that_cannot_but_mean_this_machine() {
    let api = with_pages().await;
    for host in ["localhost", "localhost:4480", "127.0.0.1:4480", "[::1]:4480", "[::1]"] {
        let (status, page) = api.send(get("/try/", &[("host", host)])).await;
        assert_eq!((status, page), (StatusCode::OK, Value::from("<!doctype html>")), "{host}");
    }
    for host in ["rebound.example", "localhost.example:80", "10.0.0.1", "", "::1"] {
        let (status, answer) = api.send(get("/try/node.json", &[("host", host)])).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{host}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("localhost"), "{answer}");
    }
    assert_eq!(api.send(get("/try/", &[])).await.0, StatusCode::FORBIDDEN);
    let (status, made) = api.send(get("/try/node.json", &[("host", "localhost")])).await;
    assert_eq!((status, made), (StatusCode::OK, Value::from("Some(127.0.0.1:1)")));
    let elsewhere = get("/try/other", &[("host", "localhost")]);
    assert_eq!(api.send(elsewhere).await.0, StatusCode::NOT_FOUND);
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_for_anybody_comes_under_any_name_and_may_ask_nobody_but_its_own_origin() {
    let api = with_pages().await;
    for host in ["localhost", "operators.example", "10.0.0.1:4480"] {
        let response = api.response(get("/look/", &[("host", host)])).await;
        assert_eq!(response.status(), StatusCode::OK, "{host}");
        let header = |name| response.headers()[name].to_str().unwrap();
        let policy = header("content-security-policy");
        for needed in [
            "default-src 'none'",
            "script-src 'self';",
            "style-src 'self';",
            "connect-src 'self';",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(needed), "{needed} is missing in {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("https:"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
    }
    let response = api.response(get("/look", &[("host", "operators.example")])).await;
    assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(response.headers()["location"], "look/", "relative: a proxy may have moved it");
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_pages_of_this_surface_may_connect_here() {
    let api = with_pages().await;
    let host = ("host", "localhost:4480");
    for (headers, wanted) in [
        (vec![host], StatusCode::UPGRADE_REQUIRED),
        (vec![host, ("origin", "http://localhost:4480")], StatusCode::UPGRADE_REQUIRED),
        (vec![host, ("origin", "http://localhost:9999")], StatusCode::FORBIDDEN),
        (vec![host, ("origin", "https://localhost:4480")], StatusCode::FORBIDDEN),
        (vec![host, ("origin", "null")], StatusCode::FORBIDDEN),
        (vec![("host", "rebound.example")], StatusCode::FORBIDDEN),
    ] {
        let (status, answer) = api.send(get("/v1/connect", &headers)).await;
        assert_eq!(status, wanted, "{headers:?}: {answer}");
        // Plain HTTP is carried on, to where nobody listens here.
        let wanted = match wanted {
            StatusCode::FORBIDDEN => wanted,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let (status, answer) = api.send(get("/v1/stream", &headers)).await;
        assert_eq!(status, wanted, "{headers:?}: {answer}");
    }
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_surface_without_pages_has_neither() {
    let api = Api::start().await;
    for path in ["/try/", "/v1/connect", "/v1/stream"] {
        let (status, answer) = api.send(get(path, &[("host", "localhost")])).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {answer}");
    }
    api.stop().await;
}
