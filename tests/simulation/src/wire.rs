//! One connection without a network: two bounded queues with latency between a client and the
//! [`Attachment`] that a node gave it, and a cut that loses what is on its way. The client's end
//! and the node's end learn of a cut at different times.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use sterna_core::Attachment;
use sterna_core::session::{Outgoing, OutgoingBody};
use sterna_proto::{CloseReason, v1};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What reaches the client.
#[derive(Debug)]
pub enum Arrived {
    Frame(Box<v1::Frame>),
    Closed(CloseReason),
}

/// Frames that the network holds; a client that does not read stops its node from writing.
const IN_FLIGHT: usize = 8;

#[derive(Debug)]
pub struct Wire {
    up: Pipe<v1::Command>,
    down: Pipe<Arrived>,
    /// The client's end is gone.
    cut: Cell<bool>,
    cut_told: Notify,
    /// When the node's end learns of it.
    noticed_at: Cell<Option<Instant>>,
    noticed: Notify,
}

impl Wire {
    pub fn new(latency: Duration) -> Rc<Self> {
        Rc::new(Self {
            up: Pipe::new(latency),
            down: Pipe::new(latency),
            cut: Cell::new(false),
            cut_told: Notify::new(),
            noticed_at: Cell::new(None),
            noticed: Notify::new(),
        })
    }

    /// The client's end.
    pub fn send(&self, command: v1::Command) {
        if !self.cut.get() {
            self.up.push(command);
        }
    }

    /// The client's end: the next frame; `None` once it is cut.
    pub async fn receive(&self) -> Option<Arrived> {
        if self.cut.get() {
            return None;
        }
        tokio::select! {
            arrived = self.down.pop() => Some(arrived),
            () = self.cut_told.notified() => None,
        }
    }

    /// The client's end completes with it at once, the node's end after `notice`. What is on its
    /// way down is lost, and what is on its way up unless `arrives`.
    pub fn cut(&self, notice: Duration, arrives: bool) {
        if self.cut.replace(true) {
            return;
        }
        self.down.clear();
        if !arrives {
            self.up.clear();
        }
        self.noticed_at.set(Some(Instant::now() + notice));
        self.cut_told.notify_one();
        self.noticed.notify_one();
    }

    /// Nothing arrives at either end while it is frozen, and everything afterwards.
    pub fn freeze(&self, frozen: bool) {
        self.up.freeze(frozen);
        self.down.freeze(frozen);
    }

    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// The node's end: carries commands and frames until either side is done. `on_leave` sees every
    /// frame as it leaves the node.
    pub async fn serve(&self, mut attachment: Attachment, on_leave: impl Fn(&v1::Frame)) {
        let mut batch: Vec<Outgoing> = Vec::new();
        loop {
            let room = self.down.has_room() || self.cut.get();
            let ready = attachment.is_ready();
            tokio::select! {
                closing = attachment.next_batch(&mut batch), if room => {
                    for outgoing in batch.drain(..) {
                        let frame = match outgoing.body {
                            OutgoingBody::Own(frame) => frame,
                            OutgoingBody::Shared(push) => Box::new(push.frame().clone()),
                        };
                        on_leave(&frame);
                        self.write(Arrived::Frame(frame));
                    }
                    if let Err(reason) = closing {
                        return self.write(Arrived::Closed(reason));
                    }
                }
                () = self.down.room.notified(), if !room => {}
                command = self.up.pop(), if ready => {
                    if let Err(reason) = attachment.handle(command) {
                        return self.write(Arrived::Closed(reason));
                    }
                }
                () = self.wait_until_noticed() => return,
            }
        }
    }

    fn write(&self, arrived: Arrived) {
        if !self.cut.get() {
            self.down.push(arrived);
        }
    }

    async fn wait_until_noticed(&self) {
        loop {
            match self.noticed_at.get() {
                Some(at) => return tokio::time::sleep_until(at).await,
                None => self.noticed.notified().await,
            }
        }
    }
}

/// One direction, first in first out.
#[derive(Debug)]
struct Pipe<T> {
    latency: Duration,
    queue: RefCell<VecDeque<(Instant, T)>>,
    added: Notify,
    room: Notify,
    frozen: Cell<bool>,
}

impl<T> Pipe<T> {
    fn new(latency: Duration) -> Self {
        Self {
            latency,
            queue: RefCell::default(),
            added: Notify::new(),
            room: Notify::new(),
            frozen: Cell::new(false),
        }
    }

    fn push(&self, value: T) {
        self.queue.borrow_mut().push_back((Instant::now() + self.latency, value));
        self.added.notify_one();
    }

    /// Cancel-safe.
    async fn pop(&self) -> T {
        loop {
            let due = self.queue.borrow().front().map(|(due, _)| *due);
            match due.filter(|_| !self.frozen.get()) {
                Some(due) if due <= Instant::now() => {
                    let popped = self.queue.borrow_mut().pop_front();
                    if let Some((_, value)) = popped {
                        self.room.notify_one();
                        return value;
                    }
                }
                Some(due) => tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    () = self.added.notified() => {}
                },
                None => self.added.notified().await,
            }
        }
    }

    fn freeze(&self, frozen: bool) {
        self.frozen.set(frozen);
        self.added.notify_one();
    }

    fn has_room(&self) -> bool {
        self.queue.borrow().len() < IN_FLIGHT
    }

    fn clear(&self) {
        self.queue.borrow_mut().clear();
        self.room.notify_one();
    }
}
