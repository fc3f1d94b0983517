//! The session half of one thread: its sessions, its shard of the hub, and the loop that carries
//! pushes from the link to them. Everything here stays on the worker's thread (`Rc`, no locks).

use std::net::SocketAddr;
use std::rc::Rc;

use sterna_proto::{CloseReason, v1};

use crate::identity::Identity;
use crate::node::Node;
use crate::session::{ConnectionInfo, Outgoing};

/// One edge worker's share of the core. Cheap to clone; must not leave its thread.
#[derive(Debug, Clone)]
pub struct Worker {}

impl Worker {
    /// `index` is the edge worker's number, from 0.
    pub fn new(_node: &Node, _index: u16) -> Self {
        todo!()
    }

    /// Carries pushes to sessions and ends detached ones in time, until the node shuts down. To be
    /// run as one local task of the worker.
    pub async fn run(&self) {
        todo!()
    }

    /// Makes or resumes a session after its connection's Hello was read and its token checked.
    /// The Welcome is the first frame that [`Attachment::next_batch`] gives out. An error closes
    /// the connection.
    pub async fn open(
        &self,
        _hello: v1::Hello,
        _identity: Identity,
        _connection: ConnectionInfo,
    ) -> Result<Attachment, CloseReason> {
        todo!()
    }

    /// Sessions on this worker, attached and detached.
    pub fn session_count(&self) -> usize {
        todo!()
    }

    /// Tells all attached sessions to move (I13: make before break).
    pub fn go_away(&self, _go_away: &v1::GoAway) {
        todo!()
    }
}

/// A session while it has a connection. Dropping it detaches the session, which stays resumable.
#[derive(Debug)]
pub struct Attachment {
    _thread: Rc<()>,
}

impl Attachment {
    /// Whether another command may be given: false while too many wait for an answer or the
    /// outbox is full, and then the connection must not be read.
    pub fn is_ready(&self) -> bool {
        todo!()
    }

    /// Takes a command. Never waits; answers come out of [`next_batch`](Self::next_batch). An
    /// error is a violation of the protocol that ends the connection.
    pub fn handle(&mut self, _command: v1::Command) -> Result<(), CloseReason> {
        todo!()
    }

    /// Waits for frames and moves up to a batch of them into `out`. Also drives the session's
    /// commands, so it has to be polled all the time. Cancel-safe. `Err`: close the connection
    /// with this reason after what is in `out` has been written.
    pub async fn next_batch(&mut self, _out: &mut Vec<Outgoing>) -> Result<(), CloseReason> {
        todo!()
    }

    /// The transport could write again after [`next_batch`](Self::next_batch) gave something out.
    pub fn on_written(&mut self) {
        todo!()
    }

    /// The client's address changed and the new path is validated: tells the client, counts.
    pub fn on_path_changed(&mut self, _remote: SocketAddr) {
        todo!()
    }

    /// A fresh token of the same user was checked.
    pub fn refresh(&mut self, _id: u32, _identity: Identity) -> Result<(), CloseReason> {
        todo!()
    }

    /// Answers command `id` with an error found by the edge.
    pub fn reject(&mut self, _id: u32, _error: v1::Error) {
        todo!()
    }

    /// For logs.
    pub fn session_id(&self) -> sterna_proto::SessionId {
        todo!()
    }
}
