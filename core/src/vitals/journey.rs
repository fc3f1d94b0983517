//! Where sessions have been: each change of path and each resume, for an operator who looks at one
//! session. Kept beside the sessions, so that one which never moves costs nothing, and for the sessions
//! that moved last.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use sterna_proto::{SessionId, v1};

use crate::node::Node;

/// Sessions of one generation; the older generation is forgotten when the younger is full.
pub const JOURNEYS: usize = 4096;

/// Legs that are kept of a session, the newest.
pub const LEGS: usize = 32;

/// A client says at once what network it has moved to; that word and the news of its new path come in
/// any order.
const SAID_WITHIN: Duration = Duration::from_secs(5);

/// How a session came to where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The client's address changed under its connection.
    PathChanged,
    /// It went on with another connection.
    Resumed,
}

/// From one address to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    pub unix_ms: u64,
    pub way: Way,
    /// `None`: the edge where it was does not say.
    pub from: Option<SocketAddr>,
    pub to: SocketAddr,
    /// As in the metric label `transport`.
    pub transport: &'static str,
    /// At most so long nothing was heard of the client. `None`: not known.
    pub silence: Option<Duration>,
    /// What the client was connected through, and is, where it has said so.
    pub from_network: v1::Network,
    pub to_network: v1::Network,
    /// Publications that went with the old way and could not be recovered. `None`: not known, or not yet.
    pub lost: Option<u64>,
}

/// Pure.
#[derive(Debug, Default)]
struct Journeys {
    young: HashMap<SessionId, VecDeque<Leg>, RandomState>,
    old: HashMap<SessionId, VecDeque<Leg>, RandomState>,
}

impl Journeys {
    fn note(&mut self, session: SessionId, leg: Leg) {
        if self.young.len() >= JOURNEYS && !self.young.contains_key(&session) {
            self.old = std::mem::take(&mut self.young);
        }
        let earlier = self.old.remove(&session);
        let legs = self.young.entry(session).or_insert_with(|| earlier.unwrap_or_default());
        legs.push_back(leg);
        if legs.len() > LEGS {
            legs.pop_front();
        }
    }

    /// What the client is connected through now. True if that is where its last leg has led, which was
    /// noted before the client could say so.
    fn tell(&mut self, session: SessionId, network: v1::Network, unix_ms: u64) -> bool {
        let Self { young, old } = self;
        let legs = young.get_mut(&session).or_else(|| old.get_mut(&session));
        let Some(leg) = legs.and_then(|legs| legs.back_mut()) else { return false };
        let is_new = unix_ms.saturating_sub(leg.unix_ms) <= SAID_WITHIN.as_millis() as u64;
        let is_open = is_new && leg.to_network == leg.from_network;
        if is_open {
            leg.to_network = network;
        }
        is_open
    }

    /// What the session's last resume has lost is known.
    fn recovered(&mut self, session: SessionId, lost: u64) {
        let Self { young, old } = self;
        let legs = young.get_mut(&session).or_else(|| old.get_mut(&session));
        let mut newest = legs.into_iter().flatten().rev();
        if let Some(leg) = newest.find(|leg| leg.way == Way::Resumed) {
            leg.lost.get_or_insert(lost);
        }
    }

    fn of(&self, session: SessionId) -> Vec<Leg> {
        let found = self.young.get(&session).or_else(|| self.old.get(&session));
        found.into_iter().flatten().cloned().collect()
    }
}

/// A node's own.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<Journeys>);

impl Node {
    pub(crate) fn note_leg(&self, session: SessionId, leg: Leg) {
        self.kept_journeys().0.lock().unwrap_or_else(PoisonError::into_inner).note(session, leg);
    }

    /// A client has said what it is connected through. True if its last leg has led there.
    pub(crate) fn tell_network(&self, session: SessionId, network: v1::Network) -> bool {
        let (unix_ms, kept) = (self.clock().unix_ms(), &self.kept_journeys().0);
        kept.lock().unwrap_or_else(PoisonError::into_inner).tell(session, network, unix_ms)
    }

    /// All channels that the session's last resume has interrupted go on.
    pub(crate) fn note_recovered(&self, session: SessionId, lost: u64) {
        let kept = &self.kept_journeys().0;
        kept.lock().unwrap_or_else(PoisonError::into_inner).recovered(session, lost);
    }

    /// Where the session has been lately, oldest first.
    pub fn journey(&self, session: SessionId) -> Vec<Leg> {
        self.kept_journeys().0.lock().unwrap_or_else(PoisonError::into_inner).of(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(unix_ms: u64) -> Leg {
        let to = ([127, 0, 0, 1], 1).into();
        let (way, transport) = (Way::PathChanged, "quic");
        let (from_network, to_network) = <(v1::Network, v1::Network)>::default();
        Leg {
            unix_ms,
            way,
            from: None,
            to,
            transport,
            silence: None,
            from_network,
            to_network,
            lost: None,
        }
    }

    #[test]
    fn a_network_that_is_told_belongs_to_a_leg_that_is_new_and_open() {
        use v1::Network::{Cellular, Unspecified, Wifi};
        let mut journeys = Journeys::default();
        assert!(!journeys.tell(SessionId(1), Cellular, 10), "it has never moved");
        journeys.note(SessionId(1), Leg { from_network: Wifi, to_network: Wifi, ..leg(1000) });
        assert!(journeys.tell(SessionId(1), Cellular, 1200));
        assert!(!journeys.tell(SessionId(1), Wifi, 1300), "where it has led is known");
        journeys.note(SessionId(1), leg(20_000));
        assert!(!journeys.tell(SessionId(1), Wifi, 25_001), "long ago");
        let legs = journeys.of(SessionId(1));
        let told = |leg: &Leg| (leg.from_network, leg.to_network);
        assert_eq!(
            legs.iter().map(told).collect::<Vec<_>>(),
            [(Wifi, Cellular), (Unspecified, Unspecified)]
        );
    }

    #[test]
    fn what_was_lost_belongs_to_the_last_resume_and_is_told_once() {
        let mut journeys = Journeys::default();
        journeys.recovered(SessionId(1), 9);
        assert!(journeys.of(SessionId(1)).is_empty(), "it has never moved");
        let resumed = |unix_ms| Leg { way: Way::Resumed, ..leg(unix_ms) };
        // The first one's connection has ended before it was known.
        for leg in [resumed(1), resumed(2), Leg { lost: Some(0), ..leg(3) }] {
            journeys.note(SessionId(1), leg);
        }
        journeys.recovered(SessionId(1), 7);
        journeys.recovered(SessionId(1), 8);
        let lost: Vec<_> = journeys.of(SessionId(1)).iter().map(|leg| leg.lost).collect();
        assert_eq!(lost, [None, Some(7), Some(0)]);
    }

    #[test]
    fn i12_the_newest_legs_of_the_sessions_that_moved_last_are_kept() {
        let mut journeys = Journeys::default();
        for n in 0..LEGS as u64 + 3 {
            journeys.note(SessionId(1), leg(n));
        }
        let kept: Vec<u64> = journeys.of(SessionId(1)).iter().map(|leg| leg.unix_ms).collect();
        assert_eq!(kept, (3..LEGS as u64 + 3).collect::<Vec<_>>());
        for n in 0..JOURNEYS as u128 {
            journeys.note(SessionId(100 + n), leg(0));
        }
        assert_eq!(journeys.of(SessionId(1)).len(), LEGS, "in the older generation");
        journeys.note(SessionId(1), leg(99));
        assert_eq!(journeys.of(SessionId(1)).last(), Some(&leg(99)));
        for n in 0..2 * JOURNEYS as u128 {
            journeys.note(SessionId(10_000 + n), leg(0));
        }
        assert!(journeys.of(SessionId(1)).is_empty());
        assert!(journeys.young.len() + journeys.old.len() <= 2 * JOURNEYS);
    }
}
