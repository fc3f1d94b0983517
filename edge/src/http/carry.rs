//! Plain HTTP of clients, for pages of this surface, as [`bridge`](super::bridge) has WebSockets:
//! carried to the client port of the same node, and what that answers is carried back as it comes.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::Uri;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sterna_core::Tasks;
use sterna_proto::version;

use super::bridge::{self, Trust};
use super::listen::Working;
use super::{Shared, pages};

/// How long the client port may take to begin its answer, beside the time that it gives a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Carries a request to the client port.
pub(super) async fn carry(State(surface): Shared, request: Request) -> Response {
    let far_end = surface.bridge.clone().zip(surface.parts.ready.client_address);
    let Some((trust, address)) = far_end else { return super::operate::unknown_path().await };
    if !pages::is_local(&request) || !bridge::is_of_own_page(request.headers()) {
        return pages::foreign();
    }
    let Some(place) = bridge::place(&surface) else { return bridge::crowded() };
    let connection = request.extensions().get::<ConnectInfo<Working>>();
    let working = connection.map(|info| info.0.begin());
    let asked = tokio::time::timeout(PATIENCE, ask(&trust, address, request, &surface.tasks)).await;
    match asked {
        Ok(Ok(response)) => response.map(|body| {
            // Both are held until the last of it has been read.
            let held = (place, working);
            Body::new(body.map_frame(move |frame| {
                let _ = &held;
                frame
            }))
        }),
        Ok(Err(error)) => bridge::refused(format!("the client port does not answer: {error}")),
        Err(_) => bridge::refused("the client port does not answer in time".into()),
    }
}

/// Makes the same request at the client port.
async fn ask(
    trust: &Trust,
    address: SocketAddr,
    request: Request,
    tasks: &Tasks,
) -> std::io::Result<hyper::Response<hyper::body::Incoming>> {
    let far = trust.connect(address).await?;
    let handshake = http1::handshake(TokioIo::new(far)).await;
    let (mut sender, connection) = handshake.map_err(std::io::Error::other)?;
    tasks.spawn("bridge", async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a page's request to the client port ended");
        }
    });
    let (parts, body) = request.into_parts();
    let mut far_request = hyper::Request::new(body);
    *far_request.method_mut() = parts.method;
    *far_request.uri_mut() = Uri::from_static(version::HTTP_PATH);
    carry_over(&parts.headers, far_request.headers_mut());
    let response = sender.send_request(far_request).await.map_err(std::io::Error::other)?;
    let (mut head, body) = response.into_parts();
    // What one connection says of itself is not said of another.
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        head.headers.remove(name);
    }
    Ok(hyper::Response::from_parts(head, body))
}

fn carry_over(from: &HeaderMap, to: &mut HeaderMap) {
    to.insert(header::HOST, HeaderValue::from_static("localhost"));
    let own = [version::HTTP_STREAM_FIELD, version::HTTP_SEQUENCE_FIELD];
    let carried = [
        header::CONTENT_TYPE,
        header::ORIGIN,
        header::ACCESS_CONTROL_REQUEST_METHOD,
        header::ACCESS_CONTROL_REQUEST_HEADERS,
    ];
    for name in carried.into_iter().chain(own.map(HeaderName::from_static)) {
        for value in from.get_all(&name) {
            to.append(&name, value.clone());
        }
    }
}
