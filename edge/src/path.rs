//! Notices that a client has moved to another address. Pure: it is shown where packets come from,
//! and says what that means.
//!
//! quinn switches to a new address with the first packet from it and validates it afterwards; there
//! is no event for either. A failed validation brings the old address back. So an address counts
//! once it is still there a round trip after it was first seen, which is when the answer to quinn's
//! challenge has come, or else is overdue.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Every session has one, so times are milliseconds from its beginning, which wrap after 49 days.
#[derive(Debug)]
pub(crate) struct PathWatch {
    current: SocketAddr,
    /// When packets were known to come from there last.
    current_at: u32,
    candidate: Option<Candidate>,
    changes_left: u32,
    minute_began: u32,
    changes_per_minute: u32,
    began: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    address: SocketAddr,
    first_seen: u32,
    confirmed_at: u32,
}

/// What a look at the path has shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PathVerdict {
    Unchanged,
    /// Look again then.
    Unconfirmed(Instant),
    /// The new address, and at most how long nothing came from either.
    Changed(SocketAddr, Duration),
    /// The client moves more often than a phone can.
    TooOften,
}

impl PathWatch {
    pub(crate) fn new(current: SocketAddr, changes_per_minute: u32, now: Instant) -> Self {
        Self {
            current,
            current_at: 0,
            candidate: None,
            changes_left: changes_per_minute,
            minute_began: 0,
            changes_per_minute,
            began: now,
        }
    }

    /// `remote`: where the last packets came from; `rtt`: the round trip of that path.
    pub(crate) fn look(&mut self, remote: SocketAddr, rtt: Duration, now: Instant) -> PathVerdict {
        let at = now.saturating_duration_since(self.began).as_millis() as u32;
        if remote == self.current {
            (self.candidate, self.current_at) = (None, at);
            return PathVerdict::Unchanged;
        }
        match self.candidate {
            Some(candidate) if candidate.address == remote => {
                let left = candidate.confirmed_at.wrapping_sub(at);
                if left == 0 || left > u32::MAX / 2 {
                    return self.confirm(candidate, at);
                }
                PathVerdict::Unconfirmed(now + millis(left))
            }
            _ => {
                let wait = rtt.max(SHORTEST_WAIT);
                let confirmed_at = at.wrapping_add(wait.as_millis() as u32);
                self.candidate = Some(Candidate { address: remote, first_seen: at, confirmed_at });
                PathVerdict::Unconfirmed(now + wait)
            }
        }
    }

    fn confirm(&mut self, candidate: Candidate, at: u32) -> PathVerdict {
        if millis(at.wrapping_sub(self.minute_began)) >= MINUTE {
            self.minute_began = at;
            self.changes_left = self.changes_per_minute;
        }
        let Some(left) = self.changes_left.checked_sub(1) else { return PathVerdict::TooOften };
        self.changes_left = left;
        let silence = millis(candidate.first_seen.wrapping_sub(self.current_at));
        (self.current, self.current_at) = (candidate.address, at);
        self.candidate = None;
        PathVerdict::Changed(candidate.address, silence)
    }
}

fn millis(millis: u32) -> Duration {
    Duration::from_millis(millis.into())
}

/// A timer that fires sooner would cost more than it tells.
const SHORTEST_WAIT: Duration = Duration::from_millis(5);

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn an_address_counts_after_a_round_trip() {
        let start = Instant::now();
        let mut watch = PathWatch::new(address(1), 20, start);
        assert_eq!(watch.look(address(1), RTT, start), PathVerdict::Unchanged);
        assert_eq!(watch.look(address(2), RTT, start), PathVerdict::Unconfirmed(start + RTT));
        let early = start + RTT / 2;
        assert_eq!(watch.look(address(2), RTT, early), PathVerdict::Unconfirmed(start + RTT));
        let changed = watch.look(address(2), RTT, start + RTT);
        assert_eq!(changed, PathVerdict::Changed(address(2), Duration::ZERO));
        assert_eq!(watch.look(address(2), RTT, start + RTT), PathVerdict::Unchanged);
    }

    #[test]
    fn a_change_tells_how_long_nothing_came() {
        let start = Instant::now();
        let mut watch = PathWatch::new(address(1), 20, start);
        let (heard, back) = (start + MINUTE, start + MINUTE + RTT * 3);
        watch.look(address(1), RTT, heard);
        watch.look(address(2), RTT, back);
        let changed = watch.look(address(2), RTT, back + RTT);
        assert_eq!(changed, PathVerdict::Changed(address(2), RTT * 3), "until it was first seen");
    }

    #[test]
    fn an_address_that_quinn_takes_back_never_counts() {
        let start = Instant::now();
        let mut watch = PathWatch::new(address(1), 20, start);
        watch.look(address(2), RTT, start);
        assert_eq!(watch.look(address(1), RTT, start + RTT), PathVerdict::Unchanged);
        let again = start + 2 * RTT;
        assert_eq!(watch.look(address(2), RTT, again), PathVerdict::Unconfirmed(again + RTT));
    }

    #[test]
    fn changes_are_counted_by_the_minute() {
        let mut now = Instant::now();
        let mut watch = PathWatch::new(address(0), 2, now);
        let mut move_to = |port, now: &mut Instant| {
            watch.look(address(port), RTT, *now);
            *now += RTT;
            watch.look(address(port), RTT, *now)
        };
        let to = |port| PathVerdict::Changed(address(port), Duration::ZERO);
        assert_eq!(move_to(1, &mut now), to(1));
        assert_eq!(move_to(2, &mut now), to(2));
        assert_eq!(move_to(3, &mut now), PathVerdict::TooOften);
        now += MINUTE;
        let silence = MINUTE + RTT;
        assert_eq!(move_to(4, &mut now), PathVerdict::Changed(address(4), silence));
    }
}
