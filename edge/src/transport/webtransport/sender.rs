//! What the sending half of a session adds to that of raw QUIC: heads of streams and datagrams, and
//! the words of HTTP/3 for leaving and for the end.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::Bytes;
use sterna_core::Outgoing;
use sterna_core::session::OutgoingBody;
use sterna_proto::{CloseReason, v1};
use tokio::time::timeout;

use super::WebTransport;
use crate::http3::{close_capsule, code, drain_capsule, go_away, lane_head, varint};
use crate::quic::{SendStream, WriteError};
use crate::transport::CLOSE_PATIENCE;
use crate::transport::quic::OutStream;

#[derive(Debug)]
pub(crate) struct SessionSender {
    session: u64,
    /// Of HTTP/3; it has to stay open.
    control: OutStream,
    /// Our half of the request.
    request: OutStream,
    /// The client has been asked to leave.
    leaving: bool,
}

impl SessionSender {
    pub(super) fn new(session: u64, control: SendStream, request: SendStream) -> Self {
        let (control, request) = (OutStream::new(control), OutStream::new(request));
        Self { session, control, request, leaving: false }
    }

    /// The first bytes of a lane.
    pub(crate) fn lane_head(&self) -> Bytes {
        lane_head(self.session)
    }

    /// The datagram as one of this session.
    pub(crate) fn address(&self, datagram: &[u8]) -> Bytes {
        let mut bytes = Vec::with_capacity(8 + datagram.len());
        varint::encode(self.session / 4, &mut bytes);
        bytes.extend_from_slice(datagram);
        bytes.into()
    }

    /// A GoAway of ours is one for HTTP/3 and for the session as well.
    pub(crate) fn note(&mut self, outgoing: &Outgoing) {
        let OutgoingBody::Own(frame) = &outgoing.body else { return };
        let goes_away = matches!(
            &frame.body,
            Some(v1::frame::Body::Push(v1::Push { event: Some(v1::push::Event::GoAway(_)) }))
        );
        if goes_away && !std::mem::replace(&mut self.leaving, true) {
            self.control.push(go_away());
            self.request.push(drain_capsule());
        }
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        let control = self.control.poll_write(cx)?;
        let request = self.request.poll_write(cx)?;
        if control.is_ready() { request.map(Ok) } else { Poll::Pending }
    }

    /// Tells the client why the session is over, and closes the connection when it knows.
    pub(crate) async fn close(mut self, mut session: Box<WebTransport>, reason: CloseReason) {
        let Self { request, .. } = &mut self;
        let telling = async {
            request.push(close_capsule(reason.code().into(), reason.text()));
            if poll_fn(|cx| request.poll_write(cx)).await.is_ok() {
                request.finish();
                request.settled().await;
                // It may be unread for a while; whoever has read it ends the request and leaves.
                session.gone().await;
            }
        };
        // Whoever does not take it gets to know the end alone.
        let _ = timeout(CLOSE_PATIENCE, telling).await;
        session.connection().close(code::NO_ERROR as u32, reason.text().as_bytes());
    }
}
