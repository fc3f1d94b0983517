//! WebTransport on a QUIC connection that has chosen HTTP/3: the same streams, lanes and datagrams
//! as on raw QUIC, each with a head that says to which session it belongs. What is not of the
//! session (settings, other requests) is answered on the side, and nobody else sees it.
//!
//! [`open`] waits for the request that begins the session and for its control stream. Then
//! [`WebTransport`] is what the receiving half of [`quic`](super::quic) takes streams from, and
//! [`SessionSender`] what its sending half adds. The session ends with its request, and the
//! connection with the session.

mod exchanges;
mod sender;
mod streams;

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use sterna_core::AffinityKey;
use sterna_proto::CloseReason;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::quic::{self, CONTROL_PRIORITY, end_of};
use super::{End, Transport};
use crate::config::EdgeConfig;
use crate::http3::{Violation, code, control_head, varint};
use crate::metrics;
use crate::quic::{Connection, RecvStream, SendStream, WriteError};
use exchanges::{Exchanges, Session};
pub(crate) use sender::SessionSender;
use streams::Streams;

/// What requests are decided by.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) config: Arc<EdgeConfig>,
    /// See `Node::affinity_field`.
    pub(crate) affinity_field: Option<String>,
}

/// Waits for the session and its control stream, until `by`. The connection is closed when there is
/// none by then, or never will be.
pub(crate) async fn open(
    connection: Connection,
    rules: Rules,
    by: Instant,
) -> Result<Transport, End> {
    let control = connection.open_uni().ok_or(End::Lost)?;
    let session = Box::new(WebTransport::new(connection.clone(), rules));
    let mut opening = Opening { session, control, begun: None };
    let end = match timeout_at(by, opening.run()).await {
        Ok(Ok((replies, commands))) => match opening.begun.take() {
            Some(begun) => return Ok(opening.into_transport(begun, replies, commands)),
            None => End::Lost,
        },
        Ok(Err(end)) => end,
        Err(_) => {
            if let Some(begun) = opening.begun.take() {
                let Opening { control, session, .. } = opening;
                let sender = SessionSender::new(begun.session, control, begun.request);
                sender.close(session, CloseReason::HelloTimeout).await;
            }
            CloseReason::HelloTimeout.into()
        }
    };
    connection.close(code::NO_ERROR as u32, end.name().as_bytes());
    Err(end)
}

/// A session that is not there yet.
struct Opening {
    session: Box<WebTransport>,
    /// Ours; it has to stay open.
    control: SendStream,
    begun: Option<Begun>,
}

/// A request that has begun the session.
struct Begun {
    session: u64,
    request: SendStream,
    affinity: Option<AffinityKey>,
}

impl Opening {
    async fn run(&mut self) -> Result<(SendStream, RecvStream), End> {
        write_all(&mut self.control, control_head()).await?;
        let (begun, answer) = self.session.accepted().await?;
        let begun = self.begun.insert(begun);
        begun.request.set_priority(CONTROL_PRIORITY);
        write_all(&mut begun.request, answer).await?;
        self.session.first_stream().await
    }

    fn into_transport(self, begun: Begun, replies: SendStream, commands: RecvStream) -> Transport {
        let sender = SessionSender::new(begun.session, self.control, begun.request);
        let transport = quic::on_session(self.session, sender, replies, commands);
        Transport { affinity: begun.affinity, ..transport }
    }
}

async fn write_all(stream: &mut SendStream, bytes: Bytes) -> Result<(), End> {
    let mut chunks = [bytes];
    while !chunks[0].is_empty() {
        let written = poll_fn(|cx| stream.poll_write(cx, &mut chunks)).await;
        let written = written.map_err(|error| match error {
            WriteError::ConnectionLost(error) => end_of(&error),
            WriteError::Stopped => End::ByClient,
        })?;
        if written.chunks == 1 {
            break;
        }
    }
    Ok(())
}

/// The receiving half of the connection: everything of HTTP/3, and the streams of the session until
/// somebody takes them.
#[derive(Debug)]
pub(crate) struct WebTransport {
    connection: Connection,
    streams: Streams,
    exchanges: Exchanges,
    session: Option<Session>,
    /// A request that has begun the session, until somebody has taken note.
    accepted: Option<Accepted>,
    /// Why it is over.
    end: Option<End>,
}

/// What the sending half gets of the request of the session.
#[derive(Debug)]
struct Accepted {
    request: SendStream,
    answer: Bytes,
    affinity: Option<AffinityKey>,
}

impl WebTransport {
    /// Streams beside those of the session, which the client may have open at a time: its request
    /// and another one; control, and two for QPACK.
    pub(crate) const OWN_STREAMS: (u32, u32) = (2, 3);

    fn new(connection: Connection, rules: Rules) -> Self {
        Self {
            connection,
            streams: Streams::default(),
            exchanges: Exchanges::new(rules),
            session: None,
            accepted: None,
            end: None,
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    async fn accepted(&mut self) -> Result<(Begun, Bytes), End> {
        loop {
            self.look();
            if let (Some(accepted), Some(session)) = (self.accepted.take(), &self.session) {
                let Accepted { request, answer, affinity } = accepted;
                return Ok((Begun { session: session.id(), request, affinity }, answer));
            }
            self.wait().await?;
        }
    }

    /// The control stream of the session: the first one that its client has opened.
    async fn first_stream(&mut self) -> Result<(SendStream, RecvStream), End> {
        loop {
            self.look();
            if let Some(streams) = self.take_bi() {
                return Ok(streams);
            }
            self.wait().await?;
        }
    }

    /// Waits until the client has ended the session too, and then its connection: a browser that has
    /// not told its page yet would tell it of our end of the connection in place of the reason.
    async fn gone(&mut self) {
        loop {
            self.look();
            if self.end.is_some() {
                break;
            }
            if self.wait().await.is_err() {
                return;
            }
        }
        while poll_fn(|cx| self.connection.poll_input(cx)).await.is_ok() {}
    }

    async fn wait(&mut self) -> Result<(), End> {
        let deadline = self.deadline();
        let late = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => pending().await,
            }
        };
        let came = tokio::select! {
            came = poll_fn(|cx| self.poll_input(cx)) => Some(came),
            () = late => None,
        };
        came.unwrap_or_else(|| {
            self.stop_late(Instant::now());
            Ok(())
        })
    }

    /// Takes new streams and reads all that belong to HTTP/3.
    pub(crate) fn look(&mut self) {
        if self.end.is_none()
            && let Err(violation) = self.try_look()
        {
            self.on_violation(violation);
        }
    }

    fn try_look(&mut self) -> Result<(), Violation> {
        let Self { connection, streams, exchanges, session, .. } = self;
        streams.look(connection, session.as_ref().map(Session::id), exchanges)?;
        if let Some(begun) = exchanges.look(streams.are_settled(), session.is_some())? {
            streams.on_session(begun.session.id());
            self.session = Some(begun.session);
            self.accepted = Some(begun.accepted);
        }
        if let Some(session) = &mut self.session {
            self.end = session.look()?;
        }
        Ok(())
    }

    fn on_violation(&mut self, violation: Violation) {
        tracing::debug!(%violation, "the client does not keep to HTTP/3");
        metrics::http3_violation(violation.name());
        self.connection.close(violation.code(), violation.to_string().as_bytes());
        self.end = Some(CloseReason::ProtocolError.into());
    }

    pub(crate) fn take_bi(&mut self) -> Option<(SendStream, RecvStream)> {
        self.session.as_ref().and_then(|_| self.streams.take_bi())
    }

    pub(crate) fn take_uni(&mut self) -> Option<RecvStream> {
        self.session.as_ref().and_then(|_| self.streams.take_uni())
    }

    /// A datagram of the session, without the number that says so.
    pub(crate) fn take_datagram(&mut self) -> Option<Bytes> {
        loop {
            let mut datagram = self.connection.take_datagram()?;
            let Some((quarter, length)) = varint::decode(&datagram) else {
                self.on_violation(Violation::Datagram);
                return None;
            };
            if self.session.as_ref().is_some_and(|session| session.id() / 4 == quarter) {
                return Some(datagram.split_off(length));
            }
            metrics::datagram_dropped();
        }
    }

    /// `Ready`: there may be something to look at, or it is over.
    pub(crate) fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if let Some(end) = self.end {
            return Poll::Ready(Err(end));
        }
        self.exchanges.poll_answers(cx);
        self.connection.poll_input(cx).map(|came| came.map_err(|error| end_of(&error)))
    }

    /// When a stream has to have shown what it is.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.streams.deadline(), self.exchanges.deadline()].into_iter().flatten().min()
    }

    pub(crate) fn stop_late(&mut self, now: Instant) {
        self.streams.stop_late(now);
        self.exchanges.stop_late(now);
    }

    pub(crate) fn has_datagrams(&self) -> bool {
        self.streams.has_datagrams() && self.connection.has_datagrams()
    }
}

/// How long a stream may hide what it is, and a request what it wants.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
