//! The sessions of a node, as the rest of the cluster hears of them. Workers, which have the
//! sessions, tell the node when one comes and when it ends.

use std::collections::HashSet;
use std::sync::Arc;

use sterna_proto::{SessionId, UserId};
use sterna_storage::volatile::DirectoryEntry;

use super::Node;
use crate::worker::WorkerControl;

/// The activity class of all sessions, as long as there is one only.
const ACTIVE: u8 = 0;

impl Node {
    pub(crate) fn has_clients(&self) -> bool {
        !self.controls().is_empty()
    }

    /// A worker has the session from now on.
    pub(crate) fn on_session(&self, session: SessionId, user: &UserId, worker: u16) {
        self.inner.directory.insert(session, worker);
        let edge = self.config().node.clone();
        let incarnation = self.config().incarnation.0;
        let entry = DirectoryEntry { session, edge, incarnation, class: ACTIVE };
        self.volatile().on_session(user, entry);
    }

    /// It has given it up for a connection of another one, or of its own.
    pub(crate) fn on_session_moves(&self, session: SessionId, worker: u16, to: u16) {
        self.inner.directory.hand_over(session, worker, to);
    }

    /// It has it no more.
    pub(crate) fn on_session_ended(&self, session: SessionId, worker: u16) {
        if self.inner.directory.remove(session, worker) {
            self.volatile().on_session_ended(session);
        }
    }

    /// Sessions without a connection tell the new owners of these slots that they are there. A worker
    /// that has no room for that tells them with its sessions' next step.
    pub(crate) fn tell_workers_rehomed(&self, slots: HashSet<u16>) {
        if slots.is_empty() {
            return;
        }
        let slots = Arc::new(slots);
        for worker in self.controls() {
            let _ = worker.try_send(WorkerControl::Rehomed(slots.clone()));
        }
    }
}
