//! The session half of one thread: its sessions, its shard of the hub, and the loop that carries
//! pushes from the link to them. Everything here stays on the worker's thread (`Rc`, no locks).
//!
//! The edge runs [`Worker::run`] as one local task and calls [`Worker::open`] for each connection
//! that has said Hello; it then drives the [`Attachment`] until either side is done.

mod attachment;
mod classes;
mod delivering;
mod detached;
mod farewell;
mod incoming;
mod later;
mod pass;
mod table;
mod takeover;
mod wake;

pub use attachment::Attachment;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use sterna_proto::{ChannelKey, ClientId, CloseReason, SessionId, UserId, limits, v1};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep};

use crate::identity::Identity;
use crate::link::Link;
use crate::link::ports::LinkLoad;
use crate::node::Node;
use crate::revocations::Revocation;
use crate::session::{ConnectionInfo, Departed, ResumeTicket, Session};
use crate::vitals::inspect::{SessionDetail, SessionReport};
use crate::vitals::journey::{Leg, Way};
use delivering::let_write;
use farewell::Farewell;
use incoming::Incoming;
pub use table::BACKGROUND_COMMANDS;
use table::Table;
pub use takeover::Given;

/// What other threads ask of a worker.
#[derive(Debug)]
pub enum WorkerControl {
    /// A session continues on worker `to`: give it up.
    TakeOver { ticket: ResumeTicket, user: UserId, to: u16, reply: oneshot::Sender<Given> },
    /// All sessions are to move to another node.
    GoAway(v1::GoAway),
    /// The sessions end whose tokens are void.
    Revoke(Revocation),
    /// Channels of these slots have other owners: sessions without a connection, which nobody tells
    /// to attach again, say there who they are.
    Rehomed(Arc<HashSet<u16>>),
    /// Who is busiest and who is behind, for an operator.
    Inspect { most: usize, reply: oneshot::Sender<Vec<SessionReport>> },
    /// How many sessions follow a channel, for an operator.
    CountFollowing { channel: ChannelKey, reply: oneshot::Sender<usize> },
    /// One session, for an operator.
    Examine { session: SessionId, reply: oneshot::Sender<Option<SessionDetail>> },
}

/// Requests of other threads that wait for one worker.
pub const CONTROL_QUEUE: usize = 1024;

/// Commands without a connection that are on their way at a time.
const BACKGROUND_AT_ONCE: usize = 64;

/// Beat at which detached sessions and expired tokens are looked at, and what owners have said of the
/// ends of channels while publications were on their way: a gap is named after two of them at most (I5).
const TICK: Duration = Duration::from_millis(500);

/// One edge worker's share of the core. Cheap to clone; must not leave its thread.
#[derive(Debug, Clone)]
pub struct Worker {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    node: Node,
    index: u16,
    link: Arc<dyn Link>,
    table: RefCell<Table>,
    /// Being said to its sessions.
    farewell: RefCell<Option<Farewell>>,
    /// Publications go round, or wait behind those that did.
    giving: Cell<bool>,
    /// What has come down the link and was not taken.
    waiting: LinkLoad,
    /// Taken by `run`.
    inputs: RefCell<Option<Inputs>>,
}

#[derive(Debug)]
struct Inputs {
    pushes: Incoming,
    control: mpsc::Receiver<WorkerControl>,
}

impl Inner {
    /// Whether something is on its way to sessions, who may hear of it before they are given it.
    fn gives(&self) -> bool {
        self.giving.get() || !self.waiting.is_empty()
    }
}

impl Worker {
    /// `index` is the edge worker's number, from 0; each number is used once per node.
    pub fn new(node: &Node, index: u16) -> Self {
        let (link, pushes, control) = node.open_worker(index);
        let waiting = pushes.load();
        let table = RefCell::new(Table::new());
        let inputs = RefCell::new(Some(Inputs { pushes: Incoming::new(pushes), control }));
        let farewell = RefCell::default();
        let (node, giving) = (node.clone(), Cell::new(false));
        let inner = Inner { node, index, link, table, farewell, giving, waiting, inputs };
        Self { inner: Rc::new(inner) }
    }

    /// Carries pushes to sessions and ends detached ones in time, until the node shuts down. To be
    /// run as one local task of the worker.
    pub async fn run(&self) {
        let Some(mut inputs) = self.inner.inputs.borrow_mut().take() else { return };
        let mut burst = 0;
        let mut background = FuturesUnordered::new();
        let background_added = self.inner.table.borrow().background_added();
        let mut tick = tokio::time::interval(TICK);
        // When the next sessions are told that the node leaves.
        let mut farewell_at = None;
        let mut later = pin!(tokio::time::sleep(TICK));
        // Made once: what waits for it is listed under a lock.
        let mut shutdown = pin!(self.inner.node.shutdown_started());
        loop {
            let due = set_timer(later.as_mut(), self.inner.table.borrow().next_due());
            tokio::select! {
                more = inputs.pushes.ready() => {
                    if !more {
                        break;
                    }
                    self.inner.giving.set(true);
                    let asked = self.deliver_all(&mut inputs, &mut burst).await;
                    self.inner.giving.set(!inputs.pushes.is_empty());
                    if asked {
                        farewell_at = self.say_farewell();
                    }
                    // With nothing behind it the loop waits instead: what comes next is given before
                    // connections that are woken after it, and they write it with their answers.
                    if !inputs.pushes.is_empty() {
                        let_write(&mut burst).await;
                    }
                }
                Some(control) = inputs.control.recv() => {
                    self.handle_control(control);
                    farewell_at = self.say_farewell();
                }
                () = &mut later, if due => self.inner.table.borrow_mut().tell_due(Instant::now()),
                () = until(farewell_at), if farewell_at.is_some() => {
                    farewell_at = self.say_farewell();
                }
                Some(()) = background.next() => self.start_background(&mut background),
                () = background_added.notified() => self.start_background(&mut background),
                _ = tick.tick() => {
                    self.sweep();
                    self.inner.table.borrow_mut().retry_background();
                    self.start_background(&mut background);
                }
                () = &mut shutdown => break,
            }
        }
    }

    /// Makes or resumes a session after its connection's Hello (command `id`) was read and its
    /// token checked. The Welcome is the first frame that [`Attachment::next_batch`] gives out.
    /// An error closes the connection.
    pub async fn open(
        &self,
        id: u32,
        mut hello: v1::Hello,
        identity: Identity,
        connection: ConnectionInfo,
    ) -> Result<Attachment, CloseReason> {
        let node = &self.inner.node;
        if node.is_draining() {
            return Err(CloseReason::Drained);
        }
        let client_id = match hello.client_id.as_str() {
            "" => format!("anonymous-{:016x}", rand::random::<u64>()),
            named => named.to_owned(),
        };
        let client_id = ClientId::new(&client_id).map_err(|_| CloseReason::ProtocolError)?;
        let ticket = ResumeTicket::from_bytes(&hello.resume_ticket);
        let network = hello.network();
        let departed = match ticket {
            Some(ticket) => self.take_over(ticket, &identity.user).await,
            None => None,
        };
        let resumed = departed.is_some();
        let (ticket, former) = match (ticket, &departed) {
            (Some(ticket), Some(_)) => (ticket, None),
            (former, _) => (ResumeTicket::random(), former.map(|ticket| ticket.session)),
        };
        let config = node.config_arc();
        let now = Instant::now();
        let mut session = Session::new(ticket, identity, client_id, connection, config, now);
        session.share_rate(node.volatile().clone());
        session.on_network(network);
        let (_, to_network) = session.take_leg();
        former.into_iter().for_each(|former| session.replace(former));
        session.welcome(id, resumed, node.clock().unix_ms());
        hello.subscriptions.truncate(limits::SUBSCRIPTIONS);
        if node.is_draining() {
            // Began while the old connection was being asked.
            if let Some(departed) = departed {
                self.end_moving(ticket.session, self.inner.index, *departed);
            }
            return Err(CloseReason::Drained);
        }
        let mut table = self.inner.table.borrow_mut();
        if let Some(departed) = departed {
            node.note_leg(session.id(), self.resumed_leg(&departed, connection, to_network));
            let leaves = session.inherit(*departed, &hello.subscriptions);
            leaves.into_iter().for_each(|leave| table.push_background(leave));
            session.start_recovering(&hello.subscriptions);
        }
        session.handle_hello(hello.subscriptions);
        node.on_session(session.id(), &session.identity().user, self.inner.index);
        node.tally().on_session_opened(resumed);
        let (slot, generation, wake) = table.insert(session);
        drop(table);
        Ok(Attachment::new(self.clone(), slot, generation, wake))
    }

    /// Starts commands for which no connection waits, a bounded number at a time; those refused for
    /// the moment come again.
    fn start_background(&self, running: &mut FuturesUnordered<LocalBoxFuture<'static, ()>>) {
        while running.len() < BACKGROUND_AT_ONCE {
            let next = self.inner.table.borrow_mut().pop_background();
            let Some(command) = next else { return };
            let worker = self.clone();
            running.push(Box::pin(async move {
                let answer = worker.inner.link.call(command.clone()).answer().await;
                if answer.is_err_and(|error| error.retryable) {
                    worker.inner.table.borrow_mut().on_background_refused(command);
                }
            }));
        }
    }

    fn resumed_leg(
        &self,
        departed: &Departed,
        connection: ConnectionInfo,
        to_network: v1::Network,
    ) -> Leg {
        Leg {
            unix_ms: self.inner.node.clock().unix_ms(),
            way: Way::Resumed,
            from: Some(departed.remote),
            to: connection.remote,
            transport: connection.transport.name(),
            silence: departed.away,
            from_network: departed.network,
            to_network,
            lost: None,
        }
    }

    /// Sessions on this worker, attached and detached.
    pub fn session_count(&self) -> usize {
        self.inner.table.borrow().len()
    }

    fn handle_control(&self, control: WorkerControl) {
        match control {
            WorkerControl::TakeOver { ticket, user, to, reply } => {
                self.on_asked(ticket, &user, to, reply);
            }
            WorkerControl::GoAway(go_away) => {
                let slots = self.inner.table.borrow().slots();
                let farewell = Farewell::new(go_away, slots, Instant::now());
                self.inner.farewell.borrow_mut().get_or_insert(farewell);
            }
            WorkerControl::Inspect { most, reply } => {
                let _ = reply.send(self.inner.table.borrow_mut().inspect(most));
            }
            WorkerControl::Examine { session, reply } => {
                let _ = reply.send(self.inner.table.borrow().examine(session));
            }
            WorkerControl::CountFollowing { channel, reply } => {
                let _ = reply.send(self.inner.table.borrow().listening(&channel));
            }
            WorkerControl::Revoke(revocation) => {
                let ended = self.inner.table.borrow_mut().revoke(&revocation);
                let node = &self.inner.node;
                ended.into_iter().for_each(|id| node.on_session_ended(id, self.inner.index));
            }
            WorkerControl::Rehomed(slots) => self.inner.table.borrow_mut().on_rehomed(&slots),
        }
    }

    /// Tells the sessions whose turn it is that the node leaves, and where to go: where the GoAway
    /// says, or each where there is room for it. Returns when there are more.
    fn say_farewell(&self) -> Option<Instant> {
        let mut farewell = self.inner.farewell.borrow_mut();
        let (farewell, now) = (farewell.as_mut()?, Instant::now());
        let (slots, go_away) = farewell.due(now);
        let mut table = self.inner.table.borrow_mut();
        let router = self.inner.node.router().filter(|_| go_away.successor.is_empty());
        let successors = router.map(|router| router.successors(table.attached_in(slots.clone())));
        let mut successors = successors.unwrap_or_default().into_iter();
        table.for_slots(slots, |session| match successors.next() {
            Some(successor) => session.go_away(&v1::GoAway { successor, ..go_away.clone() }),
            None => session.go_away(&go_away),
        });
        farewell.next_at(now)
    }

    /// Ends what has been detached for too long, lets others know of it, closes what has expired.
    fn sweep(&self) {
        let (node, now) = (&self.inner.node, Instant::now());
        let mut table = self.inner.table.borrow_mut();
        for ended in table.sweep(now, node.config()) {
            node.on_session_ended(ended, self.inner.index);
        }
        let (unix_ms, gives) = (node.clock().unix_ms(), self.inner.gives());
        table.for_attached(|session| {
            session.check_expiry(unix_ms);
            match gives {
                true => session.conclude_from_old_ends(),
                false => session.conclude_from_ends(),
            }
            session.retry_reattach();
        });
        node.tally().set_worker(self.inner.index, table.count(TICK));
    }
}

/// Sets the timer to what is due next; false: nothing is.
fn set_timer(mut timer: Pin<&mut Sleep>, at: Option<Instant>) -> bool {
    if let Some(at) = at
        && timer.deadline() != at
    {
        timer.as_mut().reset(at);
    }
    at.is_some()
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod sweep_tests;
