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

#[derive(Debug)]
pub(crate) struct PathWatch {
    current: SocketAddr,
    candidate: Option<Candidate>,
    changes_left: u32,
    minute_began: Instant,
    changes_per_minute: u32,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    address: SocketAddr,
    confirmed_at: Instant,
}

/// What a look at the path has shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PathVerdict {
    Unchanged,
    /// Look again then.
    Unconfirmed(Instant),
    Changed(SocketAddr),
    /// The client moves more often than a phone can.
    TooOften,
}

impl PathWatch {
    pub(crate) fn new(current: SocketAddr, changes_per_minute: u32, now: Instant) -> Self {
        Self {
            current,
            candidate: None,
            changes_left: changes_per_minute,
            minute_began: now,
            changes_per_minute,
        }
    }

    /// `remote`: where the last packets came from; `rtt`: the round trip of that path.
    pub(crate) fn look(&mut self, remote: SocketAddr, rtt: Duration, now: Instant) -> PathVerdict {
        if remote == self.current {
            self.candidate = None;
            return PathVerdict::Unchanged;
        }
        match self.candidate {
            Some(candidate) if candidate.address == remote => {
                if now < candidate.confirmed_at {
                    return PathVerdict::Unconfirmed(candidate.confirmed_at);
                }
                self.confirm(remote, now)
            }
            _ => {
                let confirmed_at = now + rtt.max(SHORTEST_WAIT);
                self.candidate = Some(Candidate { address: remote, confirmed_at });
                PathVerdict::Unconfirmed(confirmed_at)
            }
        }
    }

    fn confirm(&mut self, remote: SocketAddr, now: Instant) -> PathVerdict {
        if now.duration_since(self.minute_began) >= MINUTE {
            self.minute_began = now;
            self.changes_left = self.changes_per_minute;
        }
        let Some(left) = self.changes_left.checked_sub(1) else { return PathVerdict::TooOften };
        self.changes_left = left;
        self.current = remote;
        self.candidate = None;
        PathVerdict::Changed(remote)
    }
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
        assert_eq!(watch.look(address(2), RTT, start + RTT), PathVerdict::Changed(address(2)));
        assert_eq!(watch.look(address(2), RTT, start + RTT), PathVerdict::Unchanged);
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
        assert_eq!(move_to(1, &mut now), PathVerdict::Changed(address(1)));
        assert_eq!(move_to(2, &mut now), PathVerdict::Changed(address(2)));
        assert_eq!(move_to(3, &mut now), PathVerdict::TooOften);
        now += MINUTE;
        assert_eq!(move_to(4, &mut now), PathVerdict::Changed(address(4)));
    }
}
