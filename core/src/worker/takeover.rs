//! A session continues on another connection: it is taken from the worker that has it, this one or
//! another. Asked for by [`Worker::open`] when a Hello brings a ticket.
//!
//! While it moves, the directory names the worker that it moves to, so that a client that has lost
//! patience and says its Hello again finds the session once it has arrived, and not that there is
//! none. What was given to somebody who has gone meanwhile ends; what nobody waits for any more stays
//! where it is.

use std::time::Duration;

use sterna_proto::{SessionId, UserId};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Worker, WorkerControl};
use crate::session::{Departed, ResumeTicket};

/// What a worker says that is asked for a session.
#[derive(Debug)]
pub enum Given {
    Departed(Box<Departed>),
    /// The ticket does not prove the right to it.
    Refused,
    /// Not here: it has moved, or is on its way to here.
    Elsewhere,
}

/// How long a session is asked for before the client gets a new one. A worker that many clients come
/// back to at once is late. Less than a client's attempt takes as a whole, of which the handshake and
/// a Hello on another path are a part: one that stands still for good must not keep it out.
const PATIENCE: Duration = Duration::from_secs(8);

/// Between two looks for a session that is on its way.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Worker {
    /// Finds the session of a ticket on this or another worker and takes it from its connection.
    pub(super) async fn take_over(
        &self,
        ticket: ResumeTicket,
        user: &UserId,
    ) -> Option<Box<Departed>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let worker = self.inner.node.directory().worker(ticket.session)?;
            let given = if worker == self.inner.index {
                Some(self.give_up(&ticket, user, worker))
            } else {
                self.ask(worker, ticket, user, until).await
            };
            match given {
                Some(Given::Departed(departed)) => return Some(departed),
                Some(Given::Refused) => return None,
                Some(Given::Elsewhere) if Instant::now() < until => sleep(LOOK_AGAIN).await,
                Some(Given::Elsewhere) | None => {
                    let session = ticket.session;
                    tracing::debug!(%session, worker, "the worker of a session is late");
                    return None;
                }
            }
        }
    }

    /// `None`: it has not answered in time, and keeps the session.
    async fn ask(
        &self,
        worker: u16,
        ticket: ResumeTicket,
        user: &UserId,
        until: Instant,
    ) -> Option<Given> {
        let (reply, answer) = oneshot::channel();
        let mut asked = Asked { worker: self, session: ticket.session, answer };
        let (user, to) = (user.clone(), self.inner.index);
        let control = self.inner.node.control(worker)?;
        let sent = control.send(WorkerControl::TakeOver { ticket, user, to, reply });
        timeout_at(until, sent).await.ok()?.ok()?;
        match timeout_at(until, &mut asked.answer).await {
            Ok(given) => given.ok(),
            Err(_) => asked.last_word(),
        }
    }

    /// Gives a session up for a connection of worker `to`.
    fn give_up(&self, ticket: &ResumeTicket, user: &UserId, to: u16) -> Given {
        let mut table = self.inner.table.borrow_mut();
        if !table.has(ticket.session) {
            return Given::Elsewhere;
        }
        let Some((departed, lost)) = table.depart(ticket, user) else { return Given::Refused };
        drop(table);
        lost.into_iter().for_each(|channel| self.inner.link.detach(channel));
        self.inner.node.on_session_moves(ticket.session, self.inner.index, to);
        Given::Departed(Box::new(departed))
    }

    /// Another worker asks.
    pub(super) fn on_asked(
        &self,
        ticket: ResumeTicket,
        user: &UserId,
        to: u16,
        reply: oneshot::Sender<Given>,
    ) {
        // Whoever has lost patience has let the client in without it: it stays for who comes next.
        if reply.is_closed() {
            return;
        }
        if let Err(Given::Departed(departed)) = reply.send(self.give_up(&ticket, user, to)) {
            self.end_moving(ticket.session, to, *departed);
        }
    }

    /// A session that was given up continues nowhere.
    pub(super) fn end_moving(&self, session: SessionId, to: u16, departed: Departed) {
        self.inner.node.on_session_ended(session, to);
        let mut table = self.inner.table.borrow_mut();
        departed.leaves.into_iter().for_each(|leave| table.push_background(leave));
    }
}

/// A question to another worker. What is answered when nobody waits any more is not lost.
struct Asked<'a> {
    worker: &'a Worker,
    session: SessionId,
    answer: oneshot::Receiver<Given>,
}

impl Asked<'_> {
    /// What was answered until now; nothing can be answered afterwards.
    fn last_word(&mut self) -> Option<Given> {
        self.answer.close();
        self.answer.try_recv().ok()
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        // The connection has ended while it waited.
        if let Some(Given::Departed(departed)) = self.last_word() {
            self.worker.end_moving(self.session, self.worker.inner.index, *departed);
        }
    }
}
