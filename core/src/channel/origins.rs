//! What a channel's owner knows of the origins of publications (I3): which of them wait for the log, and
//! which were stored lately and where. Pure. The store knows the rest. Each publication asks once, so this
//! does not depend on how many wait.

use std::collections::{HashMap, VecDeque};

use ahash::RandomState;
use sterna_storage::{Duplicate, Origin};

/// What is known of an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// Its publication waits, or is on its way to the log.
    Waiting,
    Stored(Duplicate),
}

#[derive(Debug)]
pub(super) struct Origins {
    known: HashMap<Origin, Known, RandomState>,
    /// Those that were stored, oldest first.
    stored: VecDeque<Origin>,
    window: usize,
}

impl Origins {
    /// Remembers so many that were stored, and all that wait.
    pub(super) fn new(window: usize) -> Self {
        Self { known: HashMap::default(), stored: VecDeque::new(), window }
    }

    pub(super) fn get(&self, origin: &Origin) -> Option<&Known> {
        self.known.get(origin)
    }

    /// A later publication of the same client that was stored.
    pub(super) fn later(&self, origin: &Origin) -> Option<&Duplicate> {
        self.known.iter().find_map(|(known, what)| match what {
            Known::Stored(stored)
                if known.client_id == origin.client_id && known.client_seq > origin.client_seq =>
            {
                Some(stored)
            }
            _ => None,
        })
    }

    /// A publication begins to wait.
    pub(super) fn on_waiting(&mut self, origin: &Origin) {
        self.known.entry(origin.clone()).or_insert(Known::Waiting);
    }

    /// It waits no more, and was not stored by this node.
    pub(super) fn on_given_up(&mut self, origin: &Origin) {
        if self.get(origin) == Some(&Known::Waiting) {
            self.known.remove(origin);
        }
    }

    pub(super) fn on_stored(&mut self, origin: Origin, stored: Duplicate) {
        let before = self.known.insert(origin.clone(), Known::Stored(stored));
        if !matches!(before, Some(Known::Stored(_))) {
            self.stored.push_back(origin);
        }
        if self.stored.len() > self.window
            && let Some(oldest) = self.stored.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sterna_proto::{ClientId, Position, PublicationId};

    fn origin(client_seq: u64) -> Origin {
        Origin { client_id: ClientId::new("phone").unwrap(), client_seq }
    }

    fn stored(offset: u64) -> Duplicate {
        Duplicate {
            index: 0,
            position: Position::new(1, offset),
            id: PublicationId(offset),
            server_ts_ms: 0,
            fingerprint: 0,
        }
    }

    #[test]
    fn what_waits_is_known_until_it_is_stored_or_given_up() {
        let mut origins = Origins::new(8);
        (1..=3).for_each(|seq| origins.on_waiting(&origin(seq)));
        origins.on_stored(origin(1), stored(1));
        origins.on_given_up(&origin(1));
        origins.on_given_up(&origin(2));
        assert_eq!(origins.get(&origin(1)), Some(&Known::Stored(stored(1))), "stored is stored");
        assert_eq!(origins.get(&origin(2)), None);
        assert_eq!(origins.get(&origin(3)), Some(&Known::Waiting));
        origins.on_waiting(&origin(1));
        assert_eq!(origins.get(&origin(1)), Some(&Known::Stored(stored(1))));
    }

    #[test]
    fn i12_of_what_was_stored_the_oldest_are_forgotten_and_what_waits_never_is() {
        let mut origins = Origins::new(3);
        origins.on_waiting(&origin(100));
        for seq in 1..=10 {
            origins.on_waiting(&origin(seq));
            origins.on_stored(origin(seq), stored(seq));
            // Another node says it once more.
            origins.on_stored(origin(seq), stored(seq));
            assert!(origins.known.len() <= 4 && origins.stored.len() <= 3, "after {seq}");
        }
        assert_eq!(origins.get(&origin(7)), None);
        assert_eq!(origins.get(&origin(8)), Some(&Known::Stored(stored(8))));
        assert_eq!(origins.get(&origin(100)), Some(&Known::Waiting));
        assert_eq!(origins.later(&origin(9)), Some(&stored(10)));
        assert_eq!(origins.later(&origin(10)), None, "what waits is not stored");
    }
}
