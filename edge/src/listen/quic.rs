//! QUIC connections of one worker: the endpoint's settings, and what happens to each first packet.
//! Under load a client has to prove its address before it costs a handshake (Retry); far above
//! that, silence is cheapest.

use std::cell::Cell;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::{EndpointConfig, ServerConfig, TransportConfig};
use sterna_proto::CloseReason;
use tokio::time::{timeout, timeout_at};

use super::admission::{Admitted, Proof, Refusal};
use crate::config::EdgeLimits;
use crate::connection;
use crate::error::EdgeError;
use crate::keys::EdgeKeys;
use crate::metrics;
use crate::quic::{Arrival, Connection, ConnectionError, Endpoint, Incoming, Protocol, ServerTls};
use crate::steer::ConnectionIds;
use crate::tls::TlsConfigs;
use crate::transport::webtransport::{self, Rules};
use crate::transport::{self, Transport};
use crate::worker::WorkerContext;

/// What an endpoint is made of.
#[derive(Debug, Clone)]
pub(crate) struct QuicConfigs {
    endpoint: EndpointConfig,
    server: ServerConfig,
}

impl QuicConfigs {
    pub(crate) fn new(
        keys: &EdgeKeys,
        ids: ConnectionIds,
        tls: &TlsConfigs,
        limits: &EdgeLimits,
    ) -> Result<Self, EdgeError> {
        let mut endpoint = EndpointConfig::new(keys.reset.clone());
        endpoint.cid_generator(move || Box::new(ids.clone()));
        // RFC 9000; not its drafts.
        endpoint.supported_versions(vec![QUIC_VERSION]);
        // Only packets with an id of this worker get here, so a reset is always due.
        endpoint.min_reset_interval(Duration::from_millis(1));
        let crypto = ServerTls::new(tls.quic.clone())
            .map_err(|error| EdgeError::Certificate(error.to_string()))?;
        let mut server = ServerConfig::new(Arc::new(crypto), keys.token.clone());
        server
            .transport_config(Arc::new(transport_config(limits)?))
            .migration(true)
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(INCOMING_BUFFER_BYTES)
            .incoming_buffer_size_total(INCOMING_BUFFERS_BYTES);
        Ok(Self { endpoint, server })
    }

    /// Has to be called inside the worker's runtime, which then has to run the endpoint.
    pub(crate) fn open(self, socket: UdpSocket) -> std::io::Result<Endpoint> {
        Endpoint::new(self.endpoint, self.server, socket)
    }
}

fn transport_config(limits: &EdgeLimits) -> Result<TransportConfig, EdgeError> {
    let idle = limits.idle_timeout.try_into().map_err(|_| {
        EdgeError::Config("idle_timeout is longer than QUIC can express (2^62 ms)".into())
    })?;
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(idle))
        // Until the session is open: the request of a WebTransport session and its control stream;
        // control and QPACK, for which HTTP/3 demands room from the beginning (RFC 9114, section
        // 6.2). quinn keeps an entry for every stream that a client may open.
        .max_concurrent_bidi_streams(2u32.into())
        .max_concurrent_uni_streams(3u32.into())
        .receive_window(STRANGERS_WINDOW.into())
        .stream_receive_window(STREAM_RECEIVE_WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .crypto_buffer_size(CRYPTO_BUFFER_BYTES)
        .initial_rtt(INITIAL_RTT);
    Ok(config)
}

/// Takes connections until the endpoint is closed. While the edge drains, it refuses them.
pub(crate) async fn accept(context: Rc<WorkerContext>, endpoint: Endpoint) {
    let handshakes = Rc::new(Cell::new(0));
    while let Some(incoming) = endpoint.accept().await {
        match decide(&context, &incoming, handshakes.get()) {
            Verdict::Accept(admitted) => {
                let handshake = Handshake::begin(handshakes.clone());
                let serve = serve(context.clone(), incoming, admitted, handshake);
                context.tasks.spawn_local("quic connection", serve);
            }
            Verdict::Retry => {
                metrics::retry_sent();
                incoming.retry();
            }
            Verdict::Refuse(refusal) => {
                context.quic.refused(refusal);
                incoming.refuse();
            }
            Verdict::Ignore => {
                context.quic.refused(Refusal::Handshakes);
                incoming.ignore();
            }
        }
    }
}

enum Verdict {
    Accept(Admitted),
    Retry,
    Refuse(Refusal),
    Ignore,
}

fn decide(context: &WorkerContext, incoming: &Incoming, handshakes: usize) -> Verdict {
    let limits = &context.config.limits;
    if context.draining.is_cancelled() {
        return Verdict::Refuse(Refusal::Draining);
    }
    if handshakes >= limits.handshakes_before_retry.saturating_mul(4).max(HANDSHAKES_ALWAYS) {
        return Verdict::Ignore;
    }
    let validated = incoming.is_validated();
    if !validated && incoming.may_retry() && handshakes >= limits.handshakes_before_retry {
        return Verdict::Retry;
    }
    let proof = if validated { Proof::Validated } else { Proof::Unvalidated };
    let remote = incoming.remote_address().ip();
    match context.admission.try_admit(remote, proof, Instant::now()) {
        Ok(admitted) => Verdict::Accept(admitted),
        Err(Refusal::AddressRate) if !validated && incoming.may_retry() => Verdict::Retry,
        Err(refusal) => Verdict::Refuse(refusal),
    }
}

/// One handshake in progress.
struct Handshake(Rc<Cell<usize>>);

impl Handshake {
    fn begin(count: Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Boxes what is only needed until the client is there: an idle session keeps no room for it.
fn serve(
    context: Rc<WorkerContext>,
    incoming: Incoming,
    admitted: Admitted,
    handshake: Handshake,
) -> impl Future<Output = ()> {
    let opening = Box::pin(open(context.clone(), incoming, handshake));
    async move {
        if let Some((transport, hello_by)) = opening.await {
            connection::serve(context, transport, Some(admitted), hello_by).await;
        }
    }
}

/// From the first packet to the control stream, and until when the Hello has to come.
async fn open(
    context: Rc<WorkerContext>,
    incoming: Incoming,
    handshake: Handshake,
) -> Option<(Box<Transport>, tokio::time::Instant)> {
    let connected = context.unless_closing(shake_hands(&context, incoming)).await;
    drop(handshake);
    let connection = connected.flatten()?;
    let deadline = tokio::time::Instant::now() + context.config.limits.hello_deadline;
    if connection.protocol() == Protocol::Http3 {
        let opened = open_session(&context, connection, deadline).await;
        return Some((Box::new(opened?), deadline));
    }
    let opened = timeout_at(deadline, transport::quic::open(connection.clone()));
    let reason = match context.unless_closing(opened).await {
        Some(Ok(Ok(transport))) => return Some((Box::new(transport), deadline)),
        Some(Ok(Err(end))) => {
            context.quic.closed(end.name());
            return None;
        }
        Some(Err(_)) => CloseReason::HelloTimeout,
        None => CloseReason::Drained,
    };
    context.quic.closed(reason.text());
    connection.close(reason.code().into(), reason.text().as_bytes());
    None
}

/// From the end of a browser's handshake to the control stream of its session.
async fn open_session(
    context: &WorkerContext,
    connection: Connection,
    deadline: tokio::time::Instant,
) -> Option<Transport> {
    let affinity_field = context.node.affinity_field().map(str::to_owned);
    let rules = Rules { config: context.config.clone(), affinity_field };
    let opening = webtransport::open(connection, rules, deadline);
    let end = match context.unless_closing(opening).await {
        Some(Ok(transport)) => return Some(transport),
        Some(Err(end)) => end,
        None => CloseReason::Drained.into(),
    };
    context.webtransport.closed(end.name());
    None
}

async fn shake_hands(context: &WorkerContext, incoming: Incoming) -> Option<Connection> {
    let connected = async {
        // What is costly of a handshake is the answer to the first flight, of which what has come so far
        // is read at once.
        context.turnstile.pass().await;
        if context.draining.is_cancelled() {
            return Err(ConnectionError::LocallyClosed);
        }
        let connection = incoming.accept()?;
        if connection.connected().await? == Arrival::Early {
            // Whoever does not go on is gone after the idle timeout, and gets no more than thrice
            // what it sent until then.
            metrics::early_data_accepted();
        }
        Ok::<_, ConnectionError>(connection)
    };
    let result = timeout(context.config.limits.handshake_deadline, connected).await;
    // Nobody knows what those wanted who did not get so far.
    match &result {
        Ok(Ok(connection)) => match connection.protocol() {
            Protocol::Sterna => context.quic.handshake("ok"),
            Protocol::Http3 => context.webtransport.handshake("ok"),
        },
        Ok(Err(_)) => context.quic.handshake("failed"),
        Err(_) => context.quic.handshake("timeout"),
    }
    match result {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(error)) => {
            tracing::debug!(%error, "QUIC handshake failed");
            None
        }
        Err(_) => None,
    }
}

const QUIC_VERSION: u32 = 1;

/// Handshakes that are answered even if `handshakes_before_retry` is 0, which lets nobody in who
/// has not proved its address.
const HANDSHAKES_ALWAYS: usize = 16;

/// First packets that wait for a decision; more are dropped.
const MAX_INCOMING: usize = 2048;
/// Packets behind one such packet, and behind all of them.
const INCOMING_BUFFER_BYTES: u64 = 64 * 1024;
const INCOMING_BUFFERS_BYTES: u64 = 16 * 1024 * 1024;

/// What one connection may have on its way to us before its client is known, on all streams and on
/// one.
const STRANGERS_WINDOW: u32 = 256 * 1024;
const STREAM_RECEIVE_WINDOW: u32 = 256 * 1024;
/// What one connection may have on its way to its client.
const SEND_WINDOW: u64 = 1024 * 1024;
const DATAGRAM_BUFFER_BYTES: usize = 64 * 1024;
const CRYPTO_BUFFER_BYTES: usize = 16 * 1024;

/// Mobile networks are faster than the 333 ms that the standard assumes.
const INITIAL_RTT: Duration = Duration::from_millis(200);
