//! WebSockets without TLS, for pages of this surface: browsers do not trust the certificate that
//! `sterna dev` has made, and pages on `localhost` may do without one. What comes in is carried to the
//! client port of the same node, so that sessions are made in one place; nothing of it is understood
//! here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use sterna_proto::{ErrorCode, v1, version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::listen::Working;
use super::{Shared, Surface, answer, pages};

/// Bridges at a time, of WebSockets and of requests over plain HTTP; more are refused.
pub(super) const BRIDGES: usize = 64;

/// How long the client port may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Largest head of the client port's answer.
const HEAD_BYTES: usize = 4096;

/// What the client port of this node shows.
#[derive(Debug, Clone)]
pub struct Trust {
    /// Trusts its certificate.
    pub tls: Arc<rustls::ClientConfig>,
    /// The name in it.
    pub server_name: ServerName<'static>,
}

impl Trust {
    /// A connection to the client port.
    pub(super) async fn connect(
        &self,
        address: SocketAddr,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let connector = TlsConnector::from(self.tls.clone());
        connector.connect(self.server_name.clone(), stream).await
    }
}

/// Carries a WebSocket to the client port.
pub(super) async fn bridge(State(surface): Shared, mut request: Request) -> Response {
    let far_end = surface.bridge.clone().zip(surface.parts.ready.client_address);
    let Some((trust, address)) = far_end else { return super::operate::unknown_path().await };
    if !pages::is_local(&request) || !is_of_own_page(request.headers()) {
        return pages::foreign();
    }
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        let message = "connect with a WebSocket";
        let error = v1::Error::new(ErrorCode::BadRequest, message);
        return answer::respond(StatusCode::UPGRADE_REQUIRED, error);
    };
    let Some(place) = place(&surface) else { return crowded() };
    let opened = tokio::time::timeout(PATIENCE, open(&trust, address, request.headers())).await;
    match opened {
        Ok(Ok((head, far))) => {
            if head.status() == StatusCode::SWITCHING_PROTOCOLS {
                metrics::counter!("sterna_edge_http_bridges_total").increment(1);
                let connection = request.extensions().get::<ConnectInfo<Working>>();
                let working = connection.map(|info| info.0.begin());
                surface.tasks.spawn("bridge", async move {
                    carry(upgrade, far).await;
                    drop((working, place));
                });
            }
            head
        }
        Ok(Err(error)) => refused(format!("the client port does not answer: {error}")),
        Err(_) => refused("the client port does not answer in time".into()),
    }
}

/// One of the places for pages, given back when dropped. `None`: all are taken.
pub(super) fn place(surface: &Surface) -> Option<OwnedSemaphorePermit> {
    surface.bridges.clone().try_acquire_owned().ok()
}

pub(super) fn crowded() -> Response {
    refused(format!("{BRIDGES} pages are connected already; close one"))
}

/// Only a page that came from this very surface.
pub(super) fn is_of_own_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => origin.strip_prefix("http://") == Some(host),
        (origin, _) => origin.is_none(),
    }
}

/// Makes the same request at the client port, and answers with what that answers.
async fn open(
    trust: &Trust,
    address: SocketAddr,
    headers: &HeaderMap,
) -> std::io::Result<(Response, TlsStream<TcpStream>)> {
    let mut far = trust.connect(address).await?;
    let mut head = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n", version::WEBSOCKET_PATH);
    for name in CARRIED {
        for value in headers.get_all(&name) {
            if let Ok(value) = value.to_str() {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
    }
    far.write_all(format!("{head}\r\n").as_bytes()).await?;
    let answered = read_head(&mut far).await?;
    Ok((answered, far))
}

/// The head of the answer, and no byte more.
async fn read_head(far: &mut TlsStream<TcpStream>) -> std::io::Result<Response> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_BYTES {
            return Err(std::io::Error::other("the head of its answer is too long"));
        }
        head.push(far.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.ok_or_else(|| std::io::Error::other("its answer is not HTTP"))?;
    let mut response = (status, Body::empty()).into_response();
    for line in head.lines().skip(1) {
        if let Some((name, value)) = line.split_once(": ")
            && let Some(name) =
                ANSWERED.into_iter().find(|it| name.eq_ignore_ascii_case(it.as_str()))
            && let Ok(value) = value.parse()
        {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// Until either side ends. What the node says at the end reaches the page as any other bytes.
async fn carry(upgrade: OnUpgrade, mut far: TlsStream<TcpStream>) {
    match upgrade.await {
        Ok(near) => {
            let ended = tokio::io::copy_bidirectional(&mut TokioIo::new(near), &mut far).await;
            if let Err(error) = ended {
                tracing::debug!(%error, "a page's connection ended");
            }
        }
        Err(error) => tracing::debug!(%error, "a page did not take its upgrade"),
    }
}

pub(super) fn refused(message: String) -> Response {
    let error = v1::Error::new(ErrorCode::Unavailable, message);
    answer::respond(StatusCode::SERVICE_UNAVAILABLE, error)
}

/// What a handshake needs (RFC 6455, section 4.1), and whose page it is.
const CARRIED: [header::HeaderName; 6] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::ORIGIN,
];

const ANSWERED: [header::HeaderName; 4] = [
    header::CONNECTION,
    header::UPGRADE,
    header::SEC_WEBSOCKET_ACCEPT,
    header::SEC_WEBSOCKET_PROTOCOL,
];
