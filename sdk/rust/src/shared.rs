//! What handles and the driver share: the session's state machine behind a lock that is never held
//! across an await, what the application wishes, and the bell that wakes the driver.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use sterna_proto::v1;

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

/// The present wish and how often there was one, so that a quick pair of wishes is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) desired: Desired,
    /// Calls of connect, disconnect and close.
    pub(crate) calls: u64,
    /// Calls of disconnect among them.
    pub(crate) disconnects: u64,
    /// The application is in the background.
    pub(crate) background: bool,
}

impl Wish {
    /// Before the first call.
    pub(crate) const NONE: Self =
        Self { desired: Desired::Offline, calls: 0, disconnects: 0, background: false };
}

#[derive(Debug)]
struct Wishes {
    wish: Wish,
    network_change: Option<NetworkChange>,
    /// What the device is connected through is to be said.
    network_news: bool,
}

impl Shared {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session: Mutex::new(session),
            wishes: Mutex::new(Wishes {
                wish: Wish::NONE,
                network_change: None,
                network_news: false,
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
            let wish = &mut self.wishes().wish;
            if wish.desired != Desired::Closed {
                if desired == Desired::Online {
                    self.show_asked(wish.desired == Desired::Offline);
                }
                wish.desired = desired;
                wish.calls += 1;
                wish.disconnects += u64::from(desired == Desired::Offline);
            }
        }
        self.wake.notify_one();
    }

    pub(crate) fn wish(&self) -> Wish {
        self.wishes().wish
    }

    pub(crate) fn set_background(&self, background: bool) {
        self.wishes().wish.background = background;
        self.wake.notify_one();
    }

    pub(crate) fn set_network_change(&self, change: NetworkChange) {
        self.wishes().network_change = Some(change);
        self.wake.notify_one();
    }

    pub(crate) fn take_network_change(&self) -> Option<NetworkChange> {
        self.wishes().network_change.take()
    }

    pub(crate) fn set_network(&self, network: v1::Network) {
        if self.session().set_network(network) {
            self.wishes().network_news = true;
            self.wake.notify_one();
        }
    }

    pub(crate) fn take_network_news(&self) -> bool {
        std::mem::take(&mut self.wishes().network_news)
    }

    /// Shows a state unless it is shown already.
    pub(crate) fn show(&self, state: ClientState) {
        self.state.send_if_modified(|shown| {
            let changed = *shown != state;
            *shown = state;
            changed
        });
    }

    /// At once, so that nobody takes the end of an earlier session, or that session itself when
    /// its end is wished for (`leaving`), for the outcome of the new wish.
    fn show_asked(&self, leaving: bool) {
        self.state.send_if_modified(|state| {
            let idle = leaving || matches!(state, ClientState::Disconnected { .. });
            if idle {
                *state = ClientState::Connecting { attempt: 1, last_error: None };
            }
            idle
        });
    }

    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
