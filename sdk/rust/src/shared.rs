//! What handles and the driver share: the session's state machine behind a lock that is never held
//! across an await, what the application wishes, and the bell that wakes the driver.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::event::ClientState;
use crate::options::NetworkChange;
use crate::session::Session;

#[derive(Debug)]
pub(crate) struct Shared {
    session: Mutex<Session>,
    wishes: Mutex<Wishes>,
    /// Rung after every change that the driver may have to act on.
    pub(crate) wake: Notify,
    pub(crate) state: watch::Sender<ClientState>,
    pub(crate) driver: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

/// What the application wants of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Desired {
    Offline,
    Online,
    Closed,
}

#[derive(Debug)]
struct Wishes {
    desired: Desired,
    /// Counts calls of connect and disconnect, so that a quick pair of both is noticed.
    version: u64,
    network_change: Option<NetworkChange>,
}

impl Shared {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session: Mutex::new(session),
            wishes: Mutex::new(Wishes {
                desired: Desired::Offline,
                version: 0,
                network_change: None,
            }),
            wake: Notify::new(),
            state: watch::Sender::new(ClientState::Disconnected { error: None }),
            driver: tokio::sync::Mutex::new(None),
        }
    }

    pub(crate) fn session(&self) -> MutexGuard<'_, Session> {
        // A panic inside the machine is reported by whoever panicked; its state is plain data.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the session and wakes the driver to act on it.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut Session) -> R) -> R {
        let result = change(&mut self.session());
        self.wake.notify_one();
        result
    }

    /// A closed client stays closed.
    pub(crate) fn set_desired(&self, desired: Desired) {
        {
            let mut wishes = self.wishes();
            if wishes.desired != Desired::Closed {
                wishes.desired = desired;
                wishes.version += 1;
            }
        }
        self.wake.notify_one();
    }

    pub(crate) fn desired(&self) -> (Desired, u64) {
        let wishes = self.wishes();
        (wishes.desired, wishes.version)
    }

    pub(crate) fn set_network_change(&self, change: NetworkChange) {
        self.wishes().network_change = Some(change);
        self.wake.notify_one();
    }

    pub(crate) fn take_network_change(&self) -> Option<NetworkChange> {
        self.wishes().network_change.take()
    }

    /// Shows a state unless it is shown already.
    pub(crate) fn show(&self, state: ClientState) {
        self.state.send_if_modified(|shown| {
            let changed = *shown != state;
            *shown = state;
            changed
        });
    }

    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
