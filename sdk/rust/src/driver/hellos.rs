//! Hellos that nobody has answered. Each may still reach a node, which then moves the session to a
//! connection that is given up already and closes the living one as superseded. That is our own
//! doing, and no reason to stop as when another process has taken the session. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::transport::LinkId;

#[derive(Debug, Default)]
pub(super) struct OpenHellos(VecDeque<(LinkId, Instant)>);

impl OpenHellos {
    pub(super) fn on_said(&mut self, link: LinkId, now: Instant) {
        if self.0.len() >= HELLOS {
            self.0.pop_front();
        }
        self.0.push_back((link, now));
    }

    /// Welcomed or refused: what it does to other connections it has done.
    pub(super) fn on_answered(&mut self, link: LinkId) {
        self.0.retain(|(open, _)| *open != link);
    }

    /// Whether `link` may have been superseded by a Hello of ours on another connection.
    pub(super) fn may_supersede(&self, link: LinkId, now: Instant) -> bool {
        self.0.iter().any(|(open, said)| *open != link && now - *said < ON_ITS_WAY)
    }
}

/// For this long a Hello may be on its way: retransmissions of a bad path included.
const ON_ITS_WAY: Duration = Duration::from_secs(60);
/// Remembered at most; above, the oldest is forgotten.
const HELLOS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unanswered_hello_of_another_connection_counts_and_not_for_ever() {
        let now = Instant::now();
        let (first, second) = (LinkId(1), LinkId(2));
        let mut hellos = OpenHellos::default();
        hellos.on_said(second, now);
        assert!(!hellos.may_supersede(second, now), "somebody else did");
        hellos.on_said(first, now);
        hellos.on_answered(second);
        assert!(hellos.may_supersede(second, now));
        assert!(!hellos.may_supersede(second, now + ON_ITS_WAY));
        hellos.on_answered(first);
        assert!(!hellos.may_supersede(second, now));
    }
}
