//! What moves the connections of a worker: one poll sends what connections have to say, fires the
//! timers that are due, takes what has arrived, and wakes the tasks concerned. What those write in
//! turn goes out with the next poll, together with the acknowledgements of what they have read.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::{
    ConnectionError, ConnectionHandle, DatagramEvent, EndpointConfig, ServerConfig, Transmit,
    TransportError, TransportErrorCode,
};
use tokio::time::Sleep;

use super::connection::{Inner, State};
use super::deadlines::Deadlines;
use super::endpoint::Shared;
use super::socket::{ReceiveBuffers, Socket, ecn_of};

/// The state of the loop.
pub(super) struct Driver {
    proto: quinn_proto::Endpoint,
    socket: Socket,
    /// By handle.
    pub(super) connections: Vec<Option<Rc<Inner>>>,
    /// How many of them there are.
    pub(super) open: usize,
    /// Bounded by `ServerConfig::max_incoming`.
    pub(super) incoming: VecDeque<quinn_proto::Incoming>,
    pub(super) is_closed: bool,
    deadlines: Deadlines,
    timer: Option<Pin<Box<Sleep>>>,
    received: ReceiveBuffers,
    /// Packets of the connection that is being served.
    sending: Vec<u8>,
    /// What the socket had no room for; its bytes are in `sending`.
    unsent: Option<Transmit>,
    /// The socket failed; it is not read before then.
    pause: Option<Instant>,
}

/// How far a connection got.
#[derive(PartialEq)]
enum Served {
    /// All is sent that may be sent.
    Done,
    /// Others get their turn first.
    More,
    /// The socket takes no more.
    Blocked,
}

impl Driver {
    pub(super) fn new(
        config: EndpointConfig,
        server: Arc<ServerConfig>,
        socket: UdpSocket,
    ) -> io::Result<Self> {
        let socket = Socket::new(socket)?;
        let sizes = !socket.may_fragment();
        let proto = quinn_proto::Endpoint::new(Arc::new(config), Some(server), sizes, None);
        let datagram = proto.config().get_max_udp_payload_size().min(MAX_DATAGRAM_BYTES);
        Ok(Self {
            received: socket.receive_buffers(datagram as usize),
            proto,
            socket,
            connections: Vec::new(),
            open: 0,
            incoming: VecDeque::new(),
            is_closed: false,
            deadlines: Deadlines::default(),
            timer: None,
            sending: Vec::new(),
            unsent: None,
            pause: None,
        })
    }

    pub(super) fn accept(
        &mut self,
        incoming: quinn_proto::Incoming,
        now: Instant,
    ) -> Result<(ConnectionHandle, quinn_proto::Connection), ConnectionError> {
        let mut answer = Vec::new();
        self.proto.accept(incoming, now, &mut answer, None).map_err(|error| {
            if let Some(transmit) = error.response {
                self.respond(&transmit, &answer);
            }
            error.cause
        })
    }

    pub(super) fn insert(&mut self, connection: &Rc<Inner>) {
        let at = connection.handle.0;
        if self.connections.len() <= at {
            self.connections.resize_with(at + 1, || None);
        }
        self.connections[at] = Some(connection.clone());
        self.open += 1;
    }

    pub(super) fn refuse(&mut self, incoming: quinn_proto::Incoming) {
        let mut answer = Vec::new();
        let transmit = self.proto.refuse(incoming, &mut answer);
        self.respond(&transmit, &answer);
    }

    pub(super) fn retry(&mut self, incoming: quinn_proto::Incoming) {
        let mut answer = Vec::new();
        match self.proto.retry(incoming, &mut answer) {
            Ok(transmit) => self.respond(&transmit, &answer),
            Err(error) => self.refuse(error.into_incoming()),
        }
    }

    pub(super) fn ignore(&mut self, incoming: quinn_proto::Incoming) {
        self.proto.ignore(incoming);
    }

    /// Answers to nobody in particular are dropped when the socket has no room: whoever asked asks
    /// again.
    fn respond(&self, transmit: &Transmit, contents: &[u8]) {
        let _ = self.socket.try_send(transmit, contents);
    }

    /// Gives a connection a turn. A panic costs this connection and no other one.
    fn with<T>(
        &mut self,
        connection: &Inner,
        turn: impl FnOnce(&mut Self, &mut State) -> T,
    ) -> Option<T> {
        if connection.is_lost.get() {
            return None;
        }
        // What the turn leaves half done is the connection's own and is not looked at again.
        let turned = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            assert!(!connection.is_cursed.get(), "cursed by a test");
            turn(self, &mut connection.state.borrow_mut())
        }));
        turned.map_err(|panic| self.lose(connection, &*panic)).ok()
    }

    /// The client learns of it by a stateless reset (RFC 9000, section 10.3) when it sends again.
    fn lose(&mut self, connection: &Inner, panic: &(dyn Any + Send)) {
        sterna_core::note_panic("quic connection", panic);
        connection.is_lost.set(true);
        let mut state = connection.state.borrow_mut();
        self.proto.handle_event(connection.handle, quinn_proto::EndpointEvent::drained());
        self.remove(connection.handle);
        self.deadlines.remove(&mut state.deadline, connection.handle.0);
        let mut error = TransportError::from(TransportErrorCode::INTERNAL_ERROR);
        error.reason = "the connection's state is lost to a panic".into();
        state.fail(error.into());
    }

    /// Sends what a connection has to send, a bounded number of packets.
    fn serve(&mut self, connection: &Inner, now: Instant) -> Served {
        let served = self.with(connection, |driver, state| {
            driver.exchange(connection, state);
            let served = driver.transmit(state, now);
            driver.exchange(connection, state);
            if !state.proto.is_drained() {
                let deadline = state.proto.poll_timeout();
                driver.deadlines.set(&mut state.deadline, connection.handle.0, deadline);
            }
            served
        });
        served.unwrap_or(Served::Done)
    }

    fn transmit(&mut self, state: &mut State, now: Instant) -> Served {
        for _ in 0..TRANSMITS_A_TURN {
            self.sending.clear();
            let segments = self.socket.segments();
            let transmit = state.proto.poll_transmit(now, segments, &mut self.sending);
            let Some(transmit) = transmit else { return Served::Done };
            if !self.send(transmit) {
                return Served::Blocked;
            }
        }
        Served::More
    }

    /// False: the socket has no room; the packets are kept and nothing else may be sent before them.
    fn send(&mut self, transmit: Transmit) -> bool {
        match self.socket.try_send(&transmit, &self.sending) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.unsent = Some(transmit);
                false
            }
            // Any other failure is a lost packet.
            _ => true,
        }
    }

    /// Carries events between a connection, the endpoint and the connection's task.
    fn exchange(&mut self, connection: &Inner, state: &mut State) {
        while let Some(event) = state.proto.poll_endpoint_events() {
            let drained = event.is_drained();
            if let Some(answer) = self.proto.handle_event(connection.handle, event) {
                state.proto.handle_event(answer);
            }
            if drained {
                self.remove(connection.handle);
                self.deadlines.remove(&mut state.deadline, connection.handle.0);
            }
        }
        state.take_events();
    }

    fn remove(&mut self, handle: ConnectionHandle) {
        if let Some(Some(_)) = self.connections.get_mut(handle.0).map(Option::take) {
            self.open -= 1;
        }
    }

    /// The datagrams of one system call.
    fn take(&mut self, count: usize, now: Instant, dirty: &mut VecDeque<Rc<Inner>>) {
        let mut answer = Vec::new();
        for index in 0..count {
            let (bytes, meta) = self.received.get(index);
            let mut bytes = BytesMut::from(bytes);
            while !bytes.is_empty() {
                let datagram = bytes.split_to(meta.stride.clamp(1, bytes.len()));
                answer.clear();
                let ecn = ecn_of(&meta);
                let proto = &mut self.proto;
                match proto.handle(now, meta.addr, meta.dst_ip, ecn, datagram, &mut answer) {
                    Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                        let found = self.connections.get(handle.0).and_then(Option::clone);
                        let Some(connection) = found else { continue };
                        self.with(&connection, |_, state| state.proto.handle_event(event));
                        if !connection.is_dirty.replace(true) {
                            dirty.push_back(connection);
                        }
                    }
                    Some(DatagramEvent::NewConnection(incoming)) if self.is_closed => {
                        self.refuse(incoming);
                    }
                    Some(DatagramEvent::NewConnection(incoming)) => {
                        self.incoming.push_back(incoming);
                    }
                    Some(DatagramEvent::Response(transmit)) => self.respond(&transmit, &answer),
                    None => {}
                }
            }
        }
    }
}

#[cfg(test)]
impl Driver {
    pub(super) fn is_empty(&self) -> bool {
        let none = self.connections.iter().all(Option::is_none);
        let kept = self.proto.open_connections() > 0 || self.proto.incoming_buffer_bytes() > 0;
        none && !kept && self.open == 0 && self.deadlines.first().is_none() && self.unsent.is_none()
    }

    /// Connections of the protocol machine, newcomers that nobody has decided about, and bytes that
    /// are kept for these.
    pub(super) fn kept(&self) -> (usize, usize, u64) {
        let bytes = self.proto.incoming_buffer_bytes();
        (self.proto.open_connections(), self.incoming.len(), bytes)
    }

    pub(super) fn attach(&mut self, wire: Rc<super::wire::Wire>) {
        self.socket.wire = Some(wire);
    }

    pub(super) fn make_receives_fail(&mut self, times: usize) {
        self.socket.failures.set(times);
    }

    pub(super) fn failures_left(&self) -> usize {
        self.socket.failures.get()
    }

    pub(super) fn make_every_second_send_fail(&mut self) {
        self.socket.full = Some(std::cell::Cell::new(false));
    }
}

impl Shared {
    /// One turn. Never ready: whoever runs it decides when it ends.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut driver = self.driver.borrow_mut();
        let now = super::now();
        self.fire(&mut driver, now);
        let blocked = self.send_all(&mut driver, now, cx).is_pending();
        let more = self.receive(&mut driver, now, cx);
        if !driver.incoming.is_empty() {
            self.arrived.notify_one();
        }
        if driver.open == 0 {
            self.idle.notify_waiters();
        }
        let again = more || (!blocked && !self.dirty.borrow().is_empty());
        if again || self.is_due(&mut driver, cx) {
            cx.waker().wake_by_ref();
        } else {
            self.waiting.set(Some(cx.waker().clone()));
        }
        Poll::Pending
    }

    fn fire(&self, driver: &mut Driver, now: Instant) {
        while let Some(key) = driver.deadlines.pop(now) {
            let Some(Some(connection)) = driver.connections.get(key).cloned() else { continue };
            driver.with(&connection, |_, state| {
                state.deadline.clear();
                if state.proto.poll_timeout().is_some_and(|due| due <= now) {
                    state.proto.handle_timeout(now);
                }
            });
            // Serving it sets the next deadline.
            if !connection.is_dirty.replace(true) {
                self.dirty.borrow_mut().push_back(connection);
            }
        }
    }

    /// Gives every connection that was marked its turn. `Pending`: the socket has no room.
    fn send_all(&self, driver: &mut Driver, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut turns = self.dirty.borrow().len();
        loop {
            while let Some(transmit) = driver.unsent.take() {
                if !driver.send(transmit) {
                    // A failure shows again when something is sent.
                    let _ = ready!(driver.socket.poll_writable(cx));
                }
            }
            while turns > 0 && driver.unsent.is_none() {
                turns -= 1;
                let Some(connection) = self.dirty.borrow_mut().pop_front() else { break };
                connection.is_dirty.set(false);
                if driver.serve(&connection, now) != Served::Done
                    && !connection.is_dirty.replace(true)
                {
                    self.dirty.borrow_mut().push_back(connection);
                }
            }
            if driver.unsent.is_none() {
                return Poll::Ready(());
            }
        }
    }

    /// True: more has arrived than one turn takes.
    fn receive(&self, driver: &mut Driver, now: Instant, cx: &mut Context<'_>) -> bool {
        if driver.pause.is_some_and(|until| now < until) {
            return false;
        }
        driver.pause = None;
        let mut more = true;
        {
            let mut dirty = self.dirty.borrow_mut();
            for _ in 0..RECEIVES_A_TURN {
                let Driver { socket, received, .. } = driver;
                match socket.poll_receive(cx, received) {
                    Poll::Ready(Ok(count)) => driver.take(count, now, &mut dirty),
                    Poll::Ready(Err(error)) => {
                        tracing::warn!(%error, "cannot read the UDP socket; trying again");
                        driver.pause = Some(now + RECEIVE_PAUSE);
                        more = false;
                        break;
                    }
                    Poll::Pending => {
                        more = false;
                        break;
                    }
                }
            }
        }
        // Tasks are woken before anything is sent, so that they write in time to go with it.
        let dirty = self.dirty.borrow();
        for connection in dirty.iter() {
            driver.with(connection, |driver, state| driver.exchange(connection, state));
        }
        more
    }

    /// Whether the next timer is due; otherwise it will wake the driver.
    fn is_due(&self, driver: &mut Driver, cx: &mut Context<'_>) -> bool {
        let next = [driver.deadlines.first(), driver.pause].into_iter().flatten().min();
        let Some(next) = next.map(tokio::time::Instant::from_std) else { return false };
        let timer = driver.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
        if timer.deadline() != next {
            timer.as_mut().reset(next);
        }
        timer.as_mut().poll(cx).is_ready()
    }
}

/// System calls for reading in one turn, so that a flood leaves time for sending.
const RECEIVES_A_TURN: usize = 4;

/// Times a connection may send in one turn, so that a busy one leaves time for the others.
const TRANSMITS_A_TURN: usize = 4;

/// Until a socket that failed is read again.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

/// What one UDP datagram can hold.
const MAX_DATAGRAM_BYTES: u64 = 64 * 1024;
