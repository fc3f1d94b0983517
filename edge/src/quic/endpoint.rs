//! The endpoint of a worker: its connections, and newcomers until somebody has decided about them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use quinn_proto::{ConnectionError, EndpointConfig, ServerConfig};
use tokio::sync::Notify;

use super::connection::{Connection, Inner};
use super::driver::Driver;

/// A handle to the endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    shared: Rc<Shared>,
}

/// What the driver, the connections and the handles have in common. A borrow of `driver` never
/// outlives a call, and no task runs while there is one.
pub(super) struct Shared {
    pub(super) driver: RefCell<Driver>,
    /// Connections that have something to send, perhaps, each once.
    pub(super) dirty: RefCell<VecDeque<Rc<Inner>>>,
    /// There while the driver waits.
    pub(super) waiting: Cell<Option<Waker>>,
    pub(super) arrived: Notify,
    pub(super) idle: Notify,
}

impl Endpoint {
    /// Has to be called inside the worker's runtime; nothing moves unless [`run`](Self::run) does.
    pub(crate) fn new(
        config: EndpointConfig,
        server: ServerConfig,
        socket: UdpSocket,
    ) -> io::Result<Self> {
        let shared = Shared {
            driver: RefCell::new(Driver::new(config, Arc::new(server), socket)?),
            dirty: RefCell::new(VecDeque::new()),
            waiting: Cell::new(None),
            arrived: Notify::new(),
            idle: Notify::new(),
        };
        Ok(Self { shared: Rc::new(shared) })
    }

    /// Moves packets for as long as it is polled.
    pub(crate) async fn run(&self) {
        std::future::poll_fn(|cx| self.shared.poll(cx)).await
    }

    /// The next newcomer; `None` when the endpoint was closed.
    pub(crate) async fn accept(&self) -> Option<Incoming> {
        loop {
            {
                let mut driver = self.shared.driver.borrow_mut();
                if driver.is_closed {
                    return None;
                }
                if let Some(incoming) = driver.incoming.pop_front() {
                    let (remote, shared) = (incoming.remote_address(), self.shared.clone());
                    return Some(Incoming { remote, inner: Some(incoming), shared });
                }
            }
            self.shared.arrived.notified().await;
        }
    }

    /// Closes all connections and refuses newcomers.
    pub(crate) fn close(&self, code: u32, reason: &'static [u8]) {
        let connections: Vec<_> = {
            let mut driver = self.shared.driver.borrow_mut();
            driver.is_closed = true;
            let waiting = std::mem::take(&mut driver.incoming);
            waiting.into_iter().for_each(|incoming| driver.refuse(incoming));
            driver.connections.iter().flatten().cloned().collect()
        };
        for connection in connections {
            connection.close(code.into(), Bytes::from_static(reason));
        }
        self.shared.arrived.notify_one();
    }

    /// Waits until all connections have said goodbye and nothing of them is due any more.
    pub(crate) async fn wait_idle(&self) {
        while self.shared.driver.borrow().open > 0 {
            self.shared.idle.notified().await;
        }
    }
}

#[cfg(test)]
impl Endpoint {
    pub(super) fn is_empty(&self) -> bool {
        self.shared.dirty.borrow().is_empty() && self.shared.driver.borrow().is_empty()
    }

    /// See [`Driver::kept`].
    pub(super) fn kept(&self) -> (usize, usize, u64) {
        self.shared.driver.borrow().kept()
    }

    /// Moves datagrams by this from now on.
    pub(super) fn attach(&self, wire: Rc<super::wire::Wire>) {
        self.shared.driver.borrow_mut().attach(wire);
    }

    /// As if the kernel's buffer were full.
    pub(super) fn make_every_second_send_fail(&self) {
        self.shared.driver.borrow_mut().make_every_second_send_fail();
    }

    /// As if the kernel had no memory for a while.
    pub(super) fn make_receives_fail(&self, times: usize) {
        self.shared.driver.borrow_mut().make_receives_fail(times);
    }

    pub(super) fn failures_left(&self) -> usize {
        self.shared.driver.borrow().failures_left()
    }

    pub(super) fn has_incoming(&self) -> bool {
        !self.shared.driver.borrow().incoming.is_empty()
    }
}

impl Shared {
    /// Asks for a look at a connection.
    pub(super) fn mark(&self, connection: &Rc<Inner>) {
        if !connection.is_dirty.replace(true) {
            self.dirty.borrow_mut().push_back(connection.clone());
        }
        self.wake();
    }

    pub(super) fn wake(&self) {
        if let Some(driver) = self.waiting.take() {
            driver.wake();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// Somebody who wants to connect and has cost nothing so far. Dropping it refuses.
#[derive(Debug)]
pub(crate) struct Incoming {
    remote: SocketAddr,
    inner: Option<quinn_proto::Incoming>,
    shared: Rc<Shared>,
}

impl Incoming {
    pub(crate) fn remote_address(&self) -> SocketAddr {
        self.remote
    }

    /// Whether the client has shown that it hears us at this address.
    pub(crate) fn is_validated(&self) -> bool {
        self.inner.as_ref().is_some_and(quinn_proto::Incoming::remote_address_validated)
    }

    /// Whether it may be asked to show that.
    pub(crate) fn may_retry(&self) -> bool {
        self.inner.as_ref().is_some_and(quinn_proto::Incoming::may_retry)
    }

    /// Begins the handshake.
    pub(crate) fn accept(mut self) -> Result<Connection, ConnectionError> {
        let Some(incoming) = self.inner.take() else {
            return Err(ConnectionError::LocallyClosed);
        };
        let mut driver = self.shared.driver.borrow_mut();
        let (handle, proto) = driver.accept(incoming, super::now())?;
        let connection = Connection::new(handle, self.shared.clone(), proto);
        driver.insert(&connection.inner);
        drop(driver);
        connection.inner.mark();
        Ok(connection)
    }

    /// Asks the client to prove its address; refuses one that has done so.
    pub(crate) fn retry(mut self) {
        if let Some(incoming) = self.inner.take() {
            self.shared.driver.borrow_mut().retry(incoming);
        }
    }

    /// Says no.
    pub(crate) fn refuse(self) {}

    /// Says nothing.
    pub(crate) fn ignore(mut self) {
        if let Some(incoming) = self.inner.take() {
            self.shared.driver.borrow_mut().ignore(incoming);
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(incoming) = self.inner.take() {
            self.shared.driver.borrow_mut().refuse(incoming);
        }
    }
}
