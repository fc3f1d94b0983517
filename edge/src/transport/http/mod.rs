//! Frames over plain HTTP, for networks that let nothing else through: an answer that goes on as
//! `text/event-stream` is what the client receives, further requests are what it sends. The
//! receiving half gets them from whichever worker they came to, over a bounded queue; the sending half
//! puts [`events`] into the body of the answer. Lanes share the one answer.

mod directory;
mod events;
mod outlet;
mod posts;

pub(crate) use directory::{Directory, POSTS_AT_ONCE, StreamId, Way};
pub(crate) use outlet::EventBody;
pub(crate) use posts::{BODY_BYTES, OPENING_BYTES, Post, Turn, What, frames_in};

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use sterna_core::{Encoding, Outgoing, TransportKind};
use sterna_proto::{CloseReason, limits};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::DropGuard;

use super::{CLOSE_PATIENCE, End, Received, Receiver, Sender, Transport};
use crate::metrics::Meter;
use directory::Listed;
use outlet::Outlet;
use posts::{Sequence, Unread};

/// What a request that opens says.
pub(crate) struct Opening {
    pub(crate) remote: SocketAddr,
    pub(crate) encoding: Encoding,
    /// The first frames.
    pub(crate) body: Bytes,
    /// Dropped when the connection has said all.
    pub(crate) over: DropGuard,
}

/// A connection, and the body of the answer that it speaks in.
pub(crate) fn open(directory: &Directory, opening: Opening) -> (Transport, EventBody) {
    let Opening { remote, encoding, body, over } = opening;
    let (listed, posts) = directory.list(encoding);
    let (outlet, events) = outlet::outlet();
    outlet.put(events::open(&listed.id, BODY_BYTES));
    let mut unread = Unread::new(encoding);
    unread.put(body);
    let receiver = HttpReceiver {
        posts,
        outlet: outlet.clone(),
        remote,
        unread,
        limit: limits::HELLO_FRAME_BYTES,
        sequence: Sequence::new(),
        last_heard: Instant::now(),
        _listed: listed,
    };
    let transport = Transport {
        kind: TransportKind::Http,
        encoding,
        affinity: None,
        receiver: Receiver::Http(receiver),
        sender: Sender::Http(HttpSender { outlet, encoding, _over: over }),
    };
    (transport, events)
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct HttpReceiver {
    posts: mpsc::Receiver<Post>,
    outlet: Outlet,
    remote: SocketAddr,
    unread: Unread,
    limit: usize,
    sequence: Sequence,
    last_heard: Instant,
    _listed: Listed,
}

impl HttpReceiver {
    pub(crate) fn on_session_open(&mut self) {
        self.limit = limits::FRAME_BYTES;
    }

    /// Where its answer goes. Requests may come from elsewhere; whoever has its name may send.
    pub(crate) fn path(&self) -> (SocketAddr, Duration) {
        (self.remote, Duration::ZERO)
    }

    pub(crate) fn last_heard(&self) -> Instant {
        self.last_heard
    }

    pub(crate) async fn receive(&mut self, meter: &Meter) -> Result<Received, End> {
        loop {
            if let Some(received) = self.take_received()? {
                return Ok(received);
            }
            let post = poll_fn(|cx| {
                if self.outlet.poll_closed(cx).is_ready() {
                    return Poll::Ready(None);
                }
                self.posts.poll_recv(cx)
            });
            let Post { what, answer, waiting } = post.await.ok_or(End::Lost)?;
            self.last_heard = Instant::now();
            let (turn, end) = match what {
                What::Frames { number, body } => {
                    let turn = self.sequence.judge(number);
                    if turn == Turn::Taken {
                        meter.bytes_in.increment(body.len() as u64);
                        self.unread.put(body);
                    }
                    (turn, Ok(()))
                }
                What::Leave => (Turn::Taken, Err(End::ByClient)),
            };
            drop(waiting);
            // Whoever sent it may have gone: it will ask again with the same number.
            let _ = answer.send(turn);
            end?;
        }
    }

    pub(crate) fn take_received(&mut self) -> Result<Option<Received>, End> {
        let frame = self.unread.next(self.limit)?;
        Ok(frame.map(|frame| Received { frame, reply_on: None }))
    }
}

/// The sending half.
#[derive(Debug)]
pub(crate) struct HttpSender {
    outlet: Outlet,
    encoding: Encoding,
    _over: DropGuard,
}

impl HttpSender {
    pub(crate) fn queue(&mut self, batch: &mut Vec<Outgoing>) -> usize {
        let before = self.outlet.bytes();
        let frames = batch.drain(..).map(|outgoing| outgoing.encoded(self.encoding));
        for piece in events::of_frames(self.encoding, frames) {
            self.outlet.put(piece);
        }
        self.outlet.bytes() - before
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let is_taken = ready!(self.outlet.poll_taken(cx));
        Poll::Ready(if is_taken { Ok(()) } else { Err(End::Lost) })
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.outlet.bytes()
    }

    /// Says why as the last event. The answer is whole then; whoever reads too slowly gets no more of
    /// it, and the task that writes it gives up soon after.
    pub(crate) async fn close(self, reason: CloseReason) {
        if reason == CloseReason::Slow {
            self.outlet.clear();
        }
        self.outlet.put(events::close(reason));
        self.outlet.end();
        let _ = timeout(CLOSE_PATIENCE, poll_fn(|cx| self.outlet.poll_taken(cx))).await;
    }
}

impl Drop for HttpSender {
    fn drop(&mut self) {
        self.outlet.end();
    }
}
