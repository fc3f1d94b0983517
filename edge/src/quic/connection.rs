//! One QUIC connection as its task sees it. All handles of a connection belong to one task; whatever
//! happens to the connection wakes that task.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use quinn_proto::{ConnectionError, ConnectionHandle, Dir, Event, StreamEvent, VarInt};

use super::deadlines::Entry;
use super::endpoint::Shared;
use super::streams::{RecvStream, SendStream};
use super::tls::Protocol;

/// A handle. When the last one of a connection goes, its streams' included, the connection closes.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) inner: Rc<Inner>,
}

/// How a connection came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    Complete,
    /// Something can be read, and the handshake goes on.
    Early,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) handle: ConnectionHandle,
    shared: Rc<Shared>,
    /// How many handles there are.
    handles: Cell<usize>,
    /// Whether the driver has been told to look at this connection.
    pub(super) is_dirty: Cell<bool>,
    /// Its error codes are those of HTTP/3.
    is_http3: Cell<bool>,
    /// The protocol machine panicked and is not to be driven any more.
    pub(super) is_lost: Cell<bool>,
    /// Its next turn panics.
    #[cfg(test)]
    pub(super) is_cursed: Cell<bool>,
    pub(super) state: RefCell<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) proto: quinn_proto::Connection,
    pub(super) deadline: Entry,
    /// Why it is over, boxed: most are not.
    error: Option<Box<ConnectionError>>,
    task: Option<Waker>,
    connected: bool,
    /// Something came before the end of the handshake (0-RTT).
    early: bool,
    /// Streams or datagrams may have something to read.
    has_input: bool,
}

impl Connection {
    pub(super) fn new(
        handle: ConnectionHandle,
        shared: Rc<Shared>,
        proto: quinn_proto::Connection,
    ) -> Self {
        let state = State {
            proto,
            deadline: Entry::default(),
            error: None,
            task: None,
            connected: false,
            early: false,
            has_input: false,
        };
        let inner = Inner {
            handle,
            shared,
            handles: Cell::new(1),
            is_dirty: Cell::new(false),
            is_http3: Cell::new(false),
            is_lost: Cell::new(false),
            #[cfg(test)]
            is_cursed: Cell::new(false),
            state: RefCell::new(state),
        };
        Self { inner: Rc::new(inner) }
    }

    /// Waits for the end of the handshake, or for what a client who has been here before sends
    /// earlier. It is the one who has got the ticket then; where it is, only the handshake proves.
    pub(crate) async fn connected(&self) -> Result<Arrival, ConnectionError> {
        poll_fn(|cx| {
            let mut state = self.inner.state.borrow_mut();
            match &state.error {
                Some(error) => Poll::Ready(Err((**error).clone())),
                None if state.connected => Poll::Ready(Ok(Arrival::Complete)),
                None if state.early => Poll::Ready(Ok(Arrival::Early)),
                None => state.wait(cx),
            }
        })
        .await
    }

    /// Waits for the client's first bidirectional stream.
    pub(crate) async fn accept_bi(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        poll_fn(|cx| {
            if let Some(streams) = self.take_bi() {
                return Poll::Ready(Ok(streams));
            }
            let mut state = self.inner.state.borrow_mut();
            match &state.error {
                Some(error) => Poll::Ready(Err((**error).clone())),
                None => state.wait(cx),
            }
        })
        .await
    }

    /// A bidirectional stream that the client has opened.
    pub(crate) fn take_bi(&self) -> Option<(SendStream, RecvStream)> {
        let id = self.inner.state.borrow_mut().proto.streams().accept(Dir::Bi)?;
        Some((SendStream::new(self.clone(), id), RecvStream::new(self.clone(), id)))
    }

    /// A unidirectional stream that the client has opened.
    pub(crate) fn take_uni(&self) -> Option<RecvStream> {
        let id = self.inner.state.borrow_mut().proto.streams().accept(Dir::Uni)?;
        Some(RecvStream::new(self.clone(), id))
    }

    /// A datagram that has arrived.
    pub(crate) fn take_datagram(&self) -> Option<Bytes> {
        self.inner.state.borrow_mut().proto.datagrams().recv()
    }

    /// `None`: the client allows no more for now.
    pub(crate) fn open_uni(&self) -> Option<SendStream> {
        let id = self.inner.state.borrow_mut().proto.streams().open(Dir::Uni)?;
        Some(SendStream::new(self.clone(), id))
    }

    /// `Ready`: there may be something to read, or the connection is over. After the first of the
    /// two everything has to be looked at, or [`look_again`](Self::look_again) be called.
    pub(crate) fn poll_input(&self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        let mut state = self.inner.state.borrow_mut();
        if std::mem::take(&mut state.has_input) {
            return Poll::Ready(Ok(()));
        }
        match &state.error {
            Some(error) => Poll::Ready(Err((**error).clone())),
            None => state.wait(cx),
        }
    }

    /// Not everything has been looked at.
    pub(crate) fn look_again(&self) {
        self.inner.state.borrow_mut().has_input = true;
    }

    /// False: datagrams do not go to this client, or not of this size, or it has gone. The oldest
    /// that wait make room.
    pub(crate) fn send_datagram(&self, datagram: Bytes) -> bool {
        let sent = {
            let mut state = self.inner.state.borrow_mut();
            state.error.is_none() && state.proto.datagrams().send(datagram, true).is_ok()
        };
        if sent {
            self.inner.mark();
        }
        sent
    }

    pub(crate) fn has_datagrams(&self) -> bool {
        self.inner.state.borrow_mut().proto.datagrams().max_size().is_some()
    }

    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.inner.state.borrow().proto.remote_address()
    }

    pub(crate) fn rtt(&self) -> Duration {
        self.inner.state.borrow().proto.rtt()
    }

    /// What the client wants to speak; known when [`connected`](Self::connected) is.
    pub(crate) fn protocol(&self) -> Protocol {
        let state = self.inner.state.borrow();
        let told = state.proto.crypto_session().handshake_data();
        let protocol = told.and_then(|told| told.downcast_ref().copied());
        let protocol = protocol.unwrap_or(Protocol::Sterna);
        self.inner.is_http3.set(protocol == Protocol::Http3);
        protocol
    }

    /// How many streams the client may have open, and what they may have on their way in all.
    pub(crate) fn set_room(&self, bidirectional: u32, unidirectional: u32, window: u32) {
        {
            let proto = &mut self.inner.state.borrow_mut().proto;
            proto.set_receive_window(window.into());
            proto.set_max_concurrent_streams(Dir::Bi, bidirectional.into());
            proto.set_max_concurrent_streams(Dir::Uni, unidirectional.into());
        }
        self.inner.mark();
    }

    /// Ends the connection; what waits to be sent is discarded.
    pub(crate) fn close(&self, code: u32, reason: &[u8]) {
        self.inner.close(code.into(), Bytes::copy_from_slice(reason));
    }
}

impl Clone for Connection {
    fn clone(&self) -> Self {
        self.inner.handles.set(self.inner.handles.get() + 1);
        Self { inner: self.inner.clone() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let handles = self.inner.handles.get() - 1;
        self.inner.handles.set(handles);
        if handles == 0 {
            let mut state = self.inner.state.borrow_mut();
            state.task = None;
            drop(state);
            self.inner.close(self.inner.parting_code(), Bytes::new());
        }
    }
}

impl Inner {
    /// Ends a connection that nobody holds any more.
    fn parting_code(&self) -> VarInt {
        wide(if self.is_http3.get() { HTTP3_NO_ERROR } else { 0 })
    }

    /// Says of a stream that it is not wanted, for no reason in particular.
    pub(super) fn default_code(&self) -> VarInt {
        wide(if self.is_http3.get() { WEBTRANSPORT_ZERO } else { 0 })
    }

    /// Asks the driver to look at this connection: it has something to send, perhaps.
    pub(super) fn mark(self: &Rc<Self>) {
        self.shared.mark(self);
    }

    pub(super) fn close(self: &Rc<Self>, code: VarInt, reason: Bytes) {
        {
            let mut state = self.state.borrow_mut();
            if state.error.is_some() {
                return;
            }
            state.proto.close(super::now(), code, reason);
            state.fail(ConnectionError::LocallyClosed);
        }
        self.mark();
    }
}

impl State {
    pub(super) fn is_over(&self) -> bool {
        self.error.is_some()
    }

    pub(super) fn error(&self) -> Option<&ConnectionError> {
        self.error.as_deref()
    }

    /// Keeps who is to be woken when anything happens.
    pub(super) fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.task {
            Some(task) => task.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Takes what the protocol machine tells the application.
    pub(super) fn take_events(&mut self) {
        let mut wakes = false;
        while let Some(event) = self.proto.poll() {
            wakes = true;
            match event {
                Event::HandshakeDataReady => {}
                Event::Connected => self.connected = true,
                Event::ConnectionLost { reason } => {
                    self.error.get_or_insert_with(|| Box::new(reason));
                }
                Event::Stream(StreamEvent::Opened { .. }) if !self.connected => {
                    self.early = true;
                    self.has_input = true;
                }
                Event::DatagramReceived
                | Event::Stream(StreamEvent::Opened { .. } | StreamEvent::Readable { .. }) => {
                    self.has_input = true;
                }
                Event::DatagramsUnblocked
                | Event::Stream(
                    StreamEvent::Writable { .. }
                    | StreamEvent::Finished { .. }
                    | StreamEvent::Stopped { .. }
                    | StreamEvent::Available { .. },
                ) => {}
            }
        }
        if wakes {
            self.wake();
        }
    }

    pub(super) fn fail(&mut self, error: ConnectionError) {
        self.error.get_or_insert_with(|| Box::new(error));
        self.wake();
    }

    fn wake(&self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }
}

/// RFC 9114, section 8.1.
const HTTP3_NO_ERROR: u64 = 0x100;

/// What code 0 of an application is on a stream of WebTransport (draft-ietf-webtrans-http3, 4.4).
const WEBTRANSPORT_ZERO: u64 = 0x52e4_a40f_a8db;

/// A code, which is below 2^62 like all that can be sent.
pub(super) fn wide(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}
