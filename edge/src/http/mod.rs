//! The HTTP API for backends and the operations surface, on a listener of their own.
//!
//! Owns its listener, the API keys and the answers' shapes; started and drained by the composition
//! root. Talks to the core through [`Node::call`] alone and never touches storage. Every request
//! is bounded in size and time, and so is the number of connections, hence of requests at a time.
//!
//! | path | who | what |
//! |---|---|---|
//! | `POST /api/v1/…` | API key or access token | see `openapi.json` |
//! | `POST /api/v1/drain` | API key | asks the composition root to drain the node |
//! | `POST /api/v1/archive/…`, `POST /api/v1/backup` | API key | begins a job that is watched with `GET /api/v1/operate/job` |
//! | `GET /api/v1/operate/…` | API key | the cluster, the busiest sessions and channels, the drain |
//! | pages, where the composition root brings them | each says whom it is for | the console, `sterna dev` |
//! | `/v1/connect`, `/v1/stream`, where the composition root wants it | browsers on this machine | `sterna dev` |
//! | `/livez`, `/healthz`, `/readyz`, `/metrics`, `/api/v1/openapi.json` | anybody who can connect | |

mod answer;
mod bridge;
mod caller;
mod carry;
mod channel;
mod channels;
mod cluster;
mod elsewhere;
mod inbox;
mod input;
mod jobs;
mod keeping;
mod listen;
mod once;
mod operate;
mod pages;
mod publish;
mod read;
mod ready;
mod samples;
mod session;
mod trace;

#[cfg(test)]
mod inbox_tests;
#[cfg(test)]
mod jobs_tests;
#[cfg(test)]
mod keeping_tests;
#[cfg(test)]
mod observer_tests;
#[cfg(test)]
mod once_tests;
#[cfg(test)]
mod pages_tests;
#[cfg(test)]
mod pressure_tests;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use sterna_core::{Node, Tasks};
use sterna_proto::{ErrorCode, v1, version};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::auth::Authenticator;
use crate::error::EdgeError;
use crate::listen::Connections;

pub(crate) use answer::failure;
pub use bridge::Trust;
pub use caller::{ApiKey, ApiKeyError, Role};
pub use jobs::{JobOrder, JobState, JobView, Jobs};
pub use pages::{Audience, Content, Page};
pub use ready::ReadyProbe;

/// Largest body of a request.
pub const BODY_BYTES: usize = 256 * 1024;

/// Settings of the HTTP surface.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Port 0 picks a free one.
    pub address: SocketAddr,
    pub api_keys: Vec<ApiKey>,
    /// How long a request may take from its last header to its answer, its body included.
    pub request_deadline: Duration,
    /// How long the head of a request may take to arrive, an idle connection may stay, and a peer
    /// may take nothing of its answer. The body belongs to the request's own deadline.
    pub read_deadline: Duration,
    /// Connections at a time. Full: further ones wait in the kernel's backlog.
    pub connections: usize,
    /// For browsers.
    pub pages: Vec<Page>,
    /// With it pages of this machine may connect here, without TLS.
    pub bridge: Option<Trust>,
}

impl HttpConfig {
    /// The defaults at this address: 256 connections, 30 seconds.
    pub fn new(address: SocketAddr, api_keys: Vec<ApiKey>) -> Self {
        Self {
            address,
            api_keys,
            request_deadline: Duration::from_secs(30),
            read_deadline: Duration::from_secs(30),
            connections: 256,
            pages: Vec::new(),
            bridge: None,
        }
    }
}

/// Whether a surface could be started with these keys.
pub fn check_api_keys(keys: &[ApiKey]) -> Result<(), ApiKeyError> {
    caller::ApiKeys::new(keys).map(drop)
}

/// What the surface needs of the rest of the process.
#[derive(Debug, Clone)]
pub struct HttpParts {
    pub node: Node,
    pub auth: Arc<Authenticator>,
    pub metrics: PrometheusHandle,
    pub ready: ReadyProbe,
    /// `None` on a node without clients.
    pub connections: Option<Connections>,
    /// Where `POST /api/v1/drain` leaves its order; the composition root watches it.
    pub drain: watch::Sender<Option<DrainOrder>>,
    /// What operators may have it do; `None` on a node without a store.
    pub jobs: Option<Arc<dyn Jobs>>,
}

/// What somebody asked of the node through `POST /api/v1/drain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainOrder {
    pub deadline: Duration,
    /// `host:port`; empty: clients go each to an edge with room, and where there is no other, to
    /// where they connected in the first place.
    pub successor: String,
}

/// The running HTTP surface.
#[derive(Debug)]
pub struct HttpSurface {
    local_address: SocketAddr,
    tasks: Tasks,
}

impl HttpSurface {
    /// Binds the listener and serves on the current runtime.
    pub async fn start(config: HttpConfig, parts: HttpParts) -> Result<Self, EdgeError> {
        let address = config.address;
        let bind = |source| EdgeError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let local_address = listener.local_addr().map_err(bind)?;
        let listener = listen::Bounded::new(listener, config.connections, config.read_deadline);
        let tasks = Tasks::new();
        let router = router(&config, parts, tasks.clone())?;
        let stopping = tasks.clone();
        tasks.spawn("http", async move {
            let service = router.into_make_service_with_connect_info::<listen::Working>();
            let serving = axum::serve(listener, service)
                .with_graceful_shutdown(async move { stopping.shutdown_started().await });
            if let Err(error) = serving.await {
                tracing::error!(%error, "HTTP surface ended");
            }
        });
        Ok(Self { local_address, tasks })
    }

    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// Accepts nothing new, answers what has begun. False: something had not ended in time.
    pub async fn shutdown(self, deadline: Duration) -> bool {
        self.tasks.shutdown(deadline).await
    }
}

/// All that handlers share.
#[derive(Debug)]
struct Surface {
    parts: HttpParts,
    keys: caller::ApiKeys,
    rates: caller::Rates,
    syncs: caller::Rates,
    ready: ready::Readiness,
    request_deadline: Duration,
    pages: Vec<Page>,
    bridge: Option<Trust>,
    bridges: Arc<Semaphore>,
    traced: trace::Traced,
    /// Of what outlives its request.
    tasks: Tasks,
}

type Shared = State<Arc<Surface>>;

/// The routes without a listener, as tests drive them.
fn router(config: &HttpConfig, parts: HttpParts, tasks: Tasks) -> Result<Router, EdgeError> {
    let keys = caller::ApiKeys::new(&config.api_keys)
        .map_err(|error| EdgeError::Config(error.to_string()))?;
    let surface = Arc::new(Surface {
        keys,
        rates: caller::Rates::new(parts.node.config().rates.publish),
        syncs: caller::Rates::new(parts.node.config().rates.sync),
        ready: ready::Readiness::new(parts.ready.clone()),
        request_deadline: config.request_deadline,
        pages: config.pages.clone(),
        bridge: config.bridge.clone(),
        bridges: Arc::new(Semaphore::new(bridge::BRIDGES)),
        traced: trace::Traced::default(),
        tasks,
        parts,
    });
    // What operators look at, of this node and through it of others.
    let operated = Router::new()
        .route("/api/v1/operate/cluster", get(cluster::cluster))
        .route("/api/v1/operate/samples", get(samples::samples))
        .route("/api/v1/operate/node", get(cluster::node))
        .route("/api/v1/operate/session", get(session::session))
        .route("/api/v1/operate/channel", get(channel::channel))
        .route("/api/v1/operate/following", get(channel::following))
        .route("/api/v1/operate/trace", get(trace::trace))
        .route("/api/v1/operate/trace", post(trace::arm))
        .route("/api/v1/operate/archive", get(jobs::archive))
        .route("/api/v1/operate/job", get(jobs::job))
        .route("/api/v1/operate/drain", get(cluster::drain_progress));
    if let Some(router) = surface.parts.node.router() {
        router.asking().set_answerer(elsewhere::Answers::new(operated.clone(), &surface));
    }
    let ask = middleware::from_fn_with_state(surface.clone(), elsewhere::elsewhere);
    let operated = operated.route_layer(ask);
    let mut router = Router::new()
        .route("/api/v1/channels/create", post(channels::create))
        .route("/api/v1/members/set", post(channels::set_member))
        .route("/api/v1/members/remove", post(channels::remove_member))
        .route_layer(middleware::from_fn_with_state(surface.clone(), once::once))
        .route("/api/v1/publish", post(publish::publish))
        .route("/api/v1/broadcast", post(publish::broadcast))
        .route("/api/v1/history", post(read::history))
        .route("/api/v1/presence", post(read::presence))
        .route("/api/v1/inbox", post(inbox::inbox))
        .route("/api/v1/inbox/change", post(inbox::change))
        .route("/api/v1/channels", post(channels::list))
        .route("/api/v1/members", post(channels::members))
        .merge(ordered())
        .merge(operated)
        .route("/api/v1/openapi.json", get(operate::openapi))
        .route("/livez", get(operate::livez))
        .route("/healthz", get(operate::healthz))
        .route("/readyz", get(operate::readyz))
        .route("/metrics", get(operate::metrics));
    for page in &config.pages {
        router = router.route(&page.path, get(pages::page));
    }
    if config.bridge.is_some() {
        router = router
            .route(version::WEBSOCKET_PATH, get(bridge::bridge))
            .route(version::HTTP_PATH, any(carry::carry));
    }
    let router = router
        .fallback(operate::unknown_path)
        .method_not_allowed_fallback(operate::wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(surface.clone(), guard))
        .with_state(surface);
    Ok(router)
}

/// What operators have this node do, and whom they look for.
fn ordered() -> Router<Arc<Surface>> {
    Router::new()
        .route("/api/v1/sessions", post(operate::sessions))
        .route("/api/v1/revoke", post(operate::revoke))
        .route("/api/v1/drain", post(operate::drain))
        .route("/api/v1/keeping", post(keeping::keeping))
        .route("/api/v1/retention", post(keeping::retention))
        .route("/api/v1/hold", post(keeping::hold))
        .route("/api/v1/seal", post(keeping::seal))
        .route("/api/v1/redact", post(keeping::redact))
        .route("/api/v1/erase", post(keeping::erase))
        .route("/api/v1/archive/run", post(jobs::run_archive))
        .route("/api/v1/archive/verify", post(jobs::verify_archive))
        .route("/api/v1/backup", post(jobs::backup))
}

/// Bounds the time of a request and counts it.
async fn guard(State(surface): Shared, request: Request, next: Next) -> Response {
    let connection = request.extensions().get::<ConnectInfo<listen::Working>>();
    let _working = connection.map(|info| info.0.begin());
    let answer = tokio::time::timeout(surface.request_deadline, next.run(request)).await;
    let response = answer.unwrap_or_else(|_| {
        let message = "not done in time and perhaps carried out; repeat it with the same \
                       Idempotency-Key";
        let error = v1::Error::new(ErrorCode::Unavailable, message);
        answer::ApiError(error).into_response()
    });
    let class = match response.status().as_u16() {
        200..=299 => "2xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    metrics::counter!("sterna_edge_http_requests_total", "result" => class).increment(1);
    response
}
