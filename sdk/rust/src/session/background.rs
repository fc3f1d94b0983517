//! Whether the application is in the background, and since when that means having no connection.
//! Mobile systems suspend what runs there, so a connection is kept for a grace, in case the user
//! comes back at once, and is then closed rather than left to die. Pure.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Background {
    grace: Duration,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Foreground,
    /// In the background; what is there of a connection may stay until then.
    Grace {
        until: Instant,
    },
    Asleep,
}

impl Background {
    pub(crate) fn new(grace: Duration) -> Self {
        Self { grace, phase: Phase::Foreground }
    }

    /// The application went into the background. Nothing, when it is there already.
    pub(crate) fn enter(&mut self, now: Instant) {
        if self.phase == Phase::Foreground {
            self.phase = Phase::Grace { until: now + self.grace };
        }
    }

    /// The application is back. True when it was away.
    pub(crate) fn leave(&mut self) -> bool {
        std::mem::replace(&mut self.phase, Phase::Foreground) != Phase::Foreground
    }

    /// True once, when it is time to sleep: the grace is over, or there is nothing to keep (`idle`:
    /// neither a connection nor one on its way).
    pub(crate) fn poll_sleep(&mut self, now: Instant, idle: bool) -> bool {
        match self.phase {
            Phase::Grace { until } if idle || until <= now => {
                self.phase = Phase::Asleep;
                true
            }
            _ => false,
        }
    }

    /// When `poll_sleep` becomes true by time alone.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Grace { until } => Some(until),
            Phase::Foreground | Phase::Asleep => None,
        }
    }

    /// Connections are made in the foreground only.
    pub(crate) fn may_attempt(&self) -> bool {
        self.phase == Phase::Foreground
    }

    pub(crate) fn is_asleep(&self) -> bool {
        self.phase == Phase::Asleep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(25);

    #[test]
    fn a_connection_outlives_the_foreground_by_the_grace_and_no_more() {
        let start = Instant::now();
        let mut background = Background::new(GRACE);
        assert!(background.may_attempt() && !background.leave());
        background.enter(start);
        background.enter(start + GRACE / 2);
        assert_eq!(background.deadline(), Some(start + GRACE), "said twice, counted once");
        assert!(!background.poll_sleep(start + GRACE / 2, false));
        assert!(!background.may_attempt() && !background.is_asleep());
        assert!(background.poll_sleep(start + GRACE, false));
        assert!(background.is_asleep() && !background.may_attempt());
        assert!(!background.poll_sleep(start + GRACE * 2, true), "once");
        assert_eq!(background.deadline(), None);
        assert!(background.leave() && background.may_attempt());
    }

    #[test]
    fn coming_back_within_the_grace_changes_nothing_and_without_a_connection_there_is_none() {
        let start = Instant::now();
        let mut background = Background::new(GRACE);
        background.enter(start);
        assert!(background.leave());
        assert!(!background.poll_sleep(start + GRACE * 2, true));
        background.enter(start + GRACE * 2);
        assert!(background.poll_sleep(start + GRACE * 2, true), "nothing to keep");
    }
}
