//! TLS sessions that QUIC clients may come back to with early data. What a ticket stands for is here
//! and is taken out by the first who shows it (RFC 8446, section 8.1, single-use tickets): early data
//! that somebody records and sends again is not accepted again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use ahash::RandomState;
use rustls::server::StoresServerSessions;

/// The sessions of the newest tickets, whichever worker gave them.
#[derive(Debug)]
pub(super) struct Sessions {
    kept: Mutex<Kept>,
    tickets: usize,
}

#[derive(Debug, Default)]
struct Kept {
    by_ticket: HashMap<Vec<u8>, Vec<u8>, RandomState>,
    /// Oldest first, also those that were shown since.
    tickets: VecDeque<Vec<u8>>,
}

impl Sessions {
    /// Of so many tickets at most. Whoever comes with an older one makes a full handshake.
    pub(super) fn new(tickets: usize) -> Self {
        Self { kept: Mutex::default(), tickets }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        // Nothing in here panics half-way.
        act(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, ticket: Vec<u8>, session: Vec<u8>) -> bool {
        self.with(|kept| {
            kept.tickets.push_back(ticket.clone());
            kept.by_ticket.insert(ticket, session);
            while kept.tickets.len() > self.tickets {
                let Some(oldest) = kept.tickets.pop_front() else { break };
                kept.by_ticket.remove(&oldest);
            }
        });
        true
    }

    fn get(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.with(|kept| kept.by_ticket.get(ticket).cloned())
    }

    fn take(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.with(|kept| kept.by_ticket.remove(ticket))
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_once_and_the_newest_are_kept() {
        let sessions = Sessions::new(3);
        let ticket = |number: u8| vec![number; 32];
        for number in 1..=3 {
            assert!(sessions.put(ticket(number), vec![number]));
        }
        assert_eq!(sessions.take(&ticket(2)), Some(vec![2]));
        assert_eq!(sessions.take(&ticket(2)), None);
        assert_eq!(sessions.get(&ticket(1)), Some(vec![1]));
        sessions.put(ticket(4), vec![4]);
        assert_eq!(sessions.take(&ticket(1)), None, "the oldest");
        assert_eq!(sessions.take(&ticket(3)), Some(vec![3]));
        assert_eq!(sessions.take(&ticket(4)), Some(vec![4]));
        // Whoever comes and goes for ever leaves nothing behind.
        for number in 0..=255 {
            sessions.put(ticket(number), vec![number]);
            assert_eq!(sessions.take(&ticket(number)), Some(vec![number]));
        }
        sessions.with(|kept| assert_eq!((kept.tickets.len(), kept.by_ticket.len()), (3, 0)));
    }
}
