//! Plain HTTP on the port where clients connect: what opens a connection over it, what is sent on one,
//! and what is none of that. hyper reads requests and writes answers; what they mean to a session is
//! not known here. A TCP connection may carry any number of requests, of any connection over HTTP; one
//! that carries an answer of events ends with it.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::counter;
use sterna_core::Encoding;
use sterna_proto::{CloseReason, limits, version};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::problem::{self, Problem};
use super::rewound::Rewound;
use super::upgrade::{self, Refused};
use super::wss::REQUEST_BYTES;
use crate::connection;
use crate::transport::CLOSE_PATIENCE;
use crate::transport::http::{
    BODY_BYTES, EventBody, OPENING_BYTES, Opening, POSTS_AT_ONCE, Post, StreamId, Turn, Way, What,
    frames_in, open,
};
use crate::worker::WorkerContext;

/// What is answered: events, or bytes that are all there.
type Answer = Response<Either<EventBody, Full<Bytes>>>;

/// Answers requests until the client has gone, none has come for a while, or the edge ends.
pub(super) async fn serve(context: Rc<WorkerContext>, stream: Rewound, remote: SocketAddr) {
    let over = CancellationToken::new();
    let is_known = Cell::new(false);
    let exchange = Exchange { context: context.clone(), remote, over: over.clone(), is_known };
    let exchange = Rc::new(exchange);
    let service = service_fn(|request| {
        let exchange = exchange.clone();
        async move { Ok::<_, Infallible>(exchange.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(context.config.limits.idle_timeout)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = over.cancelled() => None,
        () = exchange.stays_strange() => {
            context.http.closed(CloseReason::HelloTimeout.text());
            return;
        }
        () = leaves(&context) => {
            // What is being answered is answered to its end; nothing more is read.
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => Some(ended),
                () = over.cancelled() => None,
                () = gives_up(&context) => return,
            }
        }
    };
    // Whoever does not read what was said last has had its time.
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => timeout(CLOSE_PATIENCE, connection).await,
    };
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "an HTTP connection broke");
    }
}

/// Completes when no further request should come here: the edge drains and nobody over HTTP is left
/// who would have something to send, or it ends.
async fn leaves(context: &WorkerContext) {
    let drained = async {
        context.draining.cancelled().await;
        context.over_http.emptied().await;
    };
    tokio::select! {
        () = drained => {}
        () = context.tasks.shutdown_started() => {}
    }
}

/// Completes when even a request that is being answered has had its time.
async fn gives_up(context: &WorkerContext) {
    context.tasks.shutdown_started().await;
    // Connections say why they end meanwhile.
    tokio::time::sleep(2 * CLOSE_PATIENCE).await;
}

/// What the requests of one TCP connection share.
struct Exchange {
    context: Rc<WorkerContext>,
    remote: SocketAddr,
    /// Cancelled when the connection that speaks here has said all.
    over: CancellationToken,
    /// One of its requests has opened a connection or named one.
    is_known: Cell<bool>,
}

impl Exchange {
    /// Completes when nobody has said a Hello here in time, nor named a connection that has one.
    async fn stays_strange(&self) {
        tokio::time::sleep(self.context.config.limits.hello_deadline).await;
        if self.is_known.get() {
            std::future::pending().await
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        if path != version::HTTP_PATH {
            return elsewhere(&request);
        }
        let origins = request.headers().get_all(header::ORIGIN);
        let allowed = &self.context.config.allowed_origins;
        let checked = Refused::check_origins(origins.iter().map(HeaderValue::as_bytes), allowed);
        if let Err(refused) = checked {
            return whole(told(Problem::forbidden(refused)));
        }
        let origin = origins.iter().next().cloned();
        let done = self.answer_allowed(request).await;
        let mut answer = done.unwrap_or_else(|problem| whole(told(problem)));
        problem::share(answer.headers_mut(), origin.as_ref());
        answer
    }

    async fn answer_allowed(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        let headers = request.headers();
        if problem::is_preflight(request.method(), headers) {
            let mut answer = nothing("preflight");
            problem::preflight(answer.headers_mut());
            return Ok(answer);
        }
        let stream = problem::stream_of(headers)?;
        match (request.method(), stream) {
            (&Method::POST, None) => self.open(request).await,
            (&Method::POST, Some(id)) => self.send(id, request).await,
            (&Method::DELETE, Some(id)) => self.leave(id).await,
            // A client looks whether anything lets it come here, before it says who it is.
            (&Method::GET, None) => Ok(nothing("probed")),
            _ => Err(Problem::method()),
        }
    }

    /// Begins a connection with the frames of the body.
    async fn open(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        if self.context.draining.is_cancelled() {
            return Err(Problem::draining());
        }
        let headers = request.headers();
        let encoding = encoding_of(headers).ok_or_else(|| {
            let (protobuf, json) = (version::MEDIA_TYPE_PROTOBUF, version::MEDIA_TYPE_JSON);
            Problem::media_type(&format!("{protobuf} or {json}"))
        })?;
        let affinity = upgrade::affinity(headers, self.context.node.affinity_field());
        let body = read(request.into_body(), OPENING_BYTES).await?;
        if frames_in(&body, encoding, limits::HELLO_FRAME_BYTES)? == 0 {
            return Err(Problem::invalid("a connection begins with a Hello"));
        }
        self.is_known.set(true);
        let context = self.context.clone();
        let opening =
            Opening { remote: self.remote, encoding, body, over: self.over.clone().drop_guard() };
        let (mut transport, events) = open(&context.over_http, opening);
        transport.affinity = affinity;
        let hello_by = Instant::now() + context.config.limits.hello_deadline;
        let session = connection::serve(context.clone(), Box::new(transport), None, hello_by);
        context.tasks.spawn_local("http connection", session);
        counted("opened");
        let mut answer = Response::new(Either::Left(events));
        for (name, value) in [
            (header::CONTENT_TYPE, "text/event-stream"),
            // Nobody on the way keeps it, presses it together or waits for its end.
            (header::CACHE_CONTROL, "no-store, no-transform"),
            (header::HeaderName::from_static("x-accel-buffering"), "no"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CONNECTION, "close"),
        ] {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        Ok(answer)
    }

    /// Carries the frames of the body to the connection, wherever it is on this edge.
    async fn send(&self, id: StreamId, request: Request<Incoming>) -> Result<Answer, Problem> {
        let way = self.find(id)?;
        let number = problem::sequence_of(request.headers())?;
        if encoding_of(request.headers()) != Some(way.encoding) {
            return Err(Problem::media_type(media_type(way.encoding)));
        }
        let waiting = way.place().ok_or_else(|| Problem::crowded(POSTS_AT_ONCE))?;
        let body = read(request.into_body(), BODY_BYTES).await?;
        frames_in(&body, way.encoding, limits::FRAME_BYTES)?;
        let (answer, answered) = oneshot::channel();
        let what = What::Frames { number, body };
        if !way.send(Post { what, answer, waiting }) {
            return Err(Problem::unknown());
        }
        match heard(answered).await? {
            Turn::Taken => Ok(nothing("taken")),
            Turn::Repeated => Ok(nothing("repeated")),
            Turn::Skipped { expected } => Err(Problem::skipped(expected)),
        }
    }

    fn find(&self, id: StreamId) -> Result<Way, Problem> {
        let way = self.context.over_http.find(&id).ok_or_else(Problem::unknown)?;
        self.is_known.set(true);
        Ok(way)
    }

    /// Ends the connection as the client's own close does elsewhere.
    async fn leave(&self, id: StreamId) -> Result<Answer, Problem> {
        let way = self.find(id)?;
        let waiting = way.place().ok_or_else(|| Problem::crowded(POSTS_AT_ONCE))?;
        let (answer, answered) = oneshot::channel();
        if !way.send(Post { what: What::Leave, answer, waiting }) {
            return Err(Problem::unknown());
        }
        heard(answered).await.map(|_| nothing("left"))
    }
}

/// What the connection says of a request, if it takes it in time. It may take it later: then the same
/// number is a repeated one.
async fn heard(answered: oneshot::Receiver<Turn>) -> Result<Turn, Problem> {
    match timeout(POST_PATIENCE, answered).await {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) => Err(Problem::unknown()),
        Err(_) => Err(Problem::busy()),
    }
}

/// The whole body. What is too large is read on for a while, or the connection would be reset before
/// its client has read why.
async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::too_large(limit);
    if body.size_hint().lower() > DISCARDED_BYTES as u64 {
        return Err(too_large());
    }
    let reading = async {
        let (mut kept, mut length) = (BytesMut::new(), 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::invalid("the body is not whole"))?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            if length > DISCARDED_BYTES {
                return Err(too_large());
            }
            if length <= limit {
                kept.extend_from_slice(&data);
            }
        }
        if length > limit { Err(too_large()) } else { Ok(kept.freeze()) }
    };
    timeout(BODY_PATIENCE, reading).await.map_err(|_| Problem::slow())?
}

fn encoding_of(headers: &HeaderMap) -> Option<Encoding> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    [Encoding::Protobuf, Encoding::Json]
        .into_iter()
        .find(|encoding| media_type(*encoding).eq_ignore_ascii_case(essence))
}

const fn media_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Protobuf => version::MEDIA_TYPE_PROTOBUF,
        Encoding::Json => version::MEDIA_TYPE_JSON,
    }
}

/// One line, as on a connection that was never anything else. A WebSocket is none on a connection that
/// had other requests before: clients and balancers open one for it.
fn elsewhere(request: &Request<Incoming>) -> Answer {
    let path = request.uri().path();
    let refused = match (request.method(), path) {
        (&Method::GET, "/") => Refused::welcome(),
        (_, version::WEBSOCKET_PATH) => Refused::not_here(),
        _ => Refused::nothing_at(path),
    };
    let mut answer = Response::new(Either::Right(Full::from(format!("{}\n", refused.line))));
    *answer.status_mut() = refused.status;
    for (name, value) in
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CONNECTION, "close")]
    {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn nothing(result: &'static str) -> Answer {
    counted(result);
    let mut answer = Response::new(Either::Right(Full::default()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

fn told(problem: Problem) -> Response<Bytes> {
    counted(problem.result);
    problem.response()
}

fn whole(response: Response<Bytes>) -> Answer {
    response.map(|body| Either::Right(Full::new(body)))
}

fn counted(result: &'static str) {
    counter!("sterna_edge_http_exchanges_total", "result" => result).increment(1);
}

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// How long a request may wait until its connection takes it.
const POST_PATIENCE: Duration = Duration::from_secs(5);

/// How much of a body that is too large is read to be thrown away.
const DISCARDED_BYTES: usize = 1024 * 1024;

/// What hyper keeps of a request's head, and of an answer beside one event.
const BUFFER_BYTES: usize = 2 * REQUEST_BYTES;
