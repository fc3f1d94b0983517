//! Commands that the server owes an answer to, by their ids. One that is not answered in time frees
//! its place and is asked anew by whoever asked; its answer may still come, and is then known as a
//! late one. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use sterna_proto::ChannelId;

/// What an id in flight stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum InFlight {
    Publish { seq: u64 },
    Subscribe { channel: ChannelId, serial: u64 },
    Unsubscribe { channel: ChannelId },
    SetActivity { channel: ChannelId, serial: u64 },
    Call { serial: u64 },
    Ping { sent: Instant },
    Refresh,
}

/// What an answer is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) what: InFlight,
    /// It was given up already, and perhaps asked anew.
    pub(super) late: bool,
}

#[derive(Debug)]
pub(super) struct InFlights {
    next_id: u32,
    open: HashMap<u32, (InFlight, Instant)>,
    late: VecDeque<(u32, InFlight)>,
}

impl InFlights {
    pub(super) fn new() -> Self {
        Self { next_id: 1, open: HashMap::new(), late: VecDeque::new() }
    }

    /// Ids go up without end, so that a reply from an earlier connection is never taken for one
    /// of this connection; 0 is not an id.
    pub(super) fn take_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        id
    }

    /// Numbers a command that is sent now.
    pub(super) fn insert(&mut self, what: InFlight, now: Instant) -> u32 {
        let id = self.take_id();
        self.open.insert(id, (what, now));
        id
    }

    /// The answer to `id` has come. `None`: of an earlier connection, or forgotten.
    pub(super) fn take(&mut self, id: u32) -> Option<Answered> {
        if let Some((what, _)) = self.open.remove(&id) {
            return Some(Answered { what, late: false });
        }
        let at = self.late.iter().position(|(late, _)| *late == id)?;
        self.late.remove(at).map(|(_, what)| Answered { what, late: true })
    }

    /// Gives up what was sent `patience` ago or earlier, and says what that is.
    pub(super) fn expire(&mut self, now: Instant, patience: Duration) -> Vec<InFlight> {
        let mut expired: Vec<(u32, InFlight)> = self
            .open
            .extract_if(|_, (_, sent)| *sent + patience <= now)
            .map(|(id, (what, _))| (id, what))
            .collect();
        expired.sort_by_key(|(id, _)| *id);
        for late in &expired {
            if self.late.len() >= LATE_ANSWERS {
                self.late.pop_front();
            }
            self.late.push_back(late.clone());
        }
        expired.into_iter().map(|(_, what)| what).collect()
    }

    /// When `expire` has something.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Instant> {
        self.open.values().map(|(_, sent)| *sent + patience).min()
    }

    /// The connection is gone, and with it every answer.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.late.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Changes of activity that may still be answered in time.
    pub(super) fn activities(&self) -> usize {
        let is_one = |what: &InFlight| matches!(what, InFlight::SetActivity { .. });
        self.open.values().filter(|(what, _)| is_one(what)).count()
    }

    /// Subscribes that may still be answered in time.
    pub(super) fn questions(&self) -> usize {
        self.open.values().filter(|(what, _)| matches!(what, InFlight::Subscribe { .. })).count()
    }
}

/// Commands whose late answers would be understood; above, the oldest is forgotten and its answer
/// dropped, since it was asked anew long ago.
pub(super) const LATE_ANSWERS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[test]
    fn an_answer_is_in_time_late_or_unknown() {
        let start = Instant::now();
        let mut in_flights = InFlights::new();
        let first = in_flights.insert(InFlight::Refresh, start);
        let second = in_flights.insert(InFlight::Publish { seq: 7 }, start + PATIENCE);
        assert_eq!(in_flights.deadline(PATIENCE), Some(start + PATIENCE));
        assert_eq!(in_flights.expire(start + PATIENCE, PATIENCE), [InFlight::Refresh]);
        let in_time = Answered { what: InFlight::Publish { seq: 7 }, late: false };
        assert_eq!(in_flights.take(second), Some(in_time));
        assert!(in_flights.is_empty());
        assert_eq!(in_flights.take(first), Some(Answered { what: InFlight::Refresh, late: true }));
        assert_eq!(in_flights.take(first), None, "one answer each");
    }

    #[test]
    fn only_so_many_late_answers_are_remembered() {
        let start = Instant::now();
        let mut in_flights = InFlights::new();
        let ids: Vec<u32> =
            (0..=LATE_ANSWERS).map(|_| in_flights.insert(InFlight::Refresh, start)).collect();
        assert_eq!(in_flights.expire(start + PATIENCE, PATIENCE).len(), LATE_ANSWERS + 1);
        assert_eq!(in_flights.take(ids[0]), None);
        assert!(in_flights.take(ids[1]).is_some());
    }
}
