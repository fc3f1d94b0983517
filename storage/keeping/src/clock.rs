//! Which time retention goes by. Pure.
//!
//! A wall clock that jumps must not delete. So there is a time of its own, kept in the store, that
//! never goes back, is never ahead of the wall clock when it is used, and follows it only as fast as
//! time passes by a clock that nobody can set, and a quarter faster where it lies behind: a clock that
//! is wrong by a year makes the first day's deletions six hours early, not a year. Nothing is older
//! than its age by both.
//!
//! While no node runs this time stands still, and lies behind by that much afterwards: things stay
//! longer than they should, until it has caught up, or until an operator says that the clock can be
//! believed.

use std::time::Duration;

/// The time of retention, as one process follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionClock {
    believed_ms: u64,
}

impl RetentionClock {
    /// From what the store has kept; 0: nothing yet. Then the newest publication that is there says
    /// when there was a clock that was believed by whoever published.
    pub fn start(stored_ms: u64, newest_ms: u64, wall_ms: u64) -> Self {
        let believed_ms = if stored_ms > 0 { stored_ms } else { newest_ms.min(wall_ms) };
        Self { believed_ms }
    }

    /// What to believe when so much time has passed.
    pub fn after(self, passed: Duration, wall_ms: u64) -> Self {
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let most = self.believed_ms.saturating_add(passed).saturating_add(passed / CATCHING_UP);
        Self { believed_ms: self.believed_ms.max(most.min(wall_ms)) }
    }

    /// What others have come to believe; never goes back.
    pub fn joined(self, stored_ms: u64) -> Self {
        Self { believed_ms: self.believed_ms.max(stored_ms) }
    }

    pub fn believed_ms(self) -> u64 {
        self.believed_ms
    }

    /// What ages are reckoned from.
    pub fn now_ms(self, wall_ms: u64) -> u64 {
        self.believed_ms.min(wall_ms)
    }

    /// How far behind the wall clock.
    pub fn lag(self, wall_ms: u64) -> Duration {
        Duration::from_millis(wall_ms.saturating_sub(self.believed_ms))
    }
}

/// One part in so many faster.
const CATCHING_UP: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_MS: u64 = 3_600_000;
    const YEAR_MS: u64 = 365 * 24 * HOUR_MS;

    #[test]
    fn it_follows_the_wall_clock_hour_by_hour() {
        let mut wall_ms = 100 * YEAR_MS;
        let mut clock = RetentionClock::start(0, wall_ms - 5, wall_ms);
        for _ in 0..100 {
            wall_ms += HOUR_MS;
            clock = clock.after(HOUR, wall_ms);
            assert_eq!((clock.now_ms(wall_ms), clock.lag(wall_ms)), (wall_ms, Duration::ZERO));
        }
    }

    #[test]
    fn a_clock_that_jumps_ahead_is_followed_slowly_and_one_that_comes_back_at_once() {
        let wall_ms = 50 * YEAR_MS;
        let clock = RetentionClock::start(wall_ms, 0, wall_ms);
        let jumped = clock.after(HOUR, wall_ms + YEAR_MS);
        assert_eq!(jumped.now_ms(wall_ms + YEAR_MS), wall_ms + HOUR_MS + HOUR_MS / 4);
        assert!(jumped.lag(wall_ms + YEAR_MS) > 8000 * HOUR);
        assert_eq!(jumped.now_ms(wall_ms + HOUR_MS), wall_ms + HOUR_MS);
    }

    #[test]
    fn a_clock_that_goes_back_is_believed_and_time_does_not_go_back() {
        let wall_ms = 50 * YEAR_MS;
        let clock = RetentionClock::start(wall_ms, 0, wall_ms);
        let back = clock.after(HOUR, wall_ms - YEAR_MS);
        assert_eq!(back.now_ms(wall_ms - YEAR_MS), wall_ms - YEAR_MS);
        assert_eq!(back.believed_ms(), wall_ms);
    }

    #[test]
    fn what_stood_still_catches_up_by_a_quarter() {
        let wall_ms = 50 * YEAR_MS;
        let mut clock = RetentionClock::start(wall_ms - 10 * HOUR_MS, 0, wall_ms);
        let mut hours = 0;
        while clock.lag(wall_ms + hours * HOUR_MS) > Duration::ZERO {
            hours += 1;
            clock = clock.after(HOUR, wall_ms + hours * HOUR_MS);
        }
        assert_eq!(hours, 40);
    }

    #[test]
    fn a_new_store_begins_with_its_newest_publication_and_not_with_the_wall_clock() {
        let clock = RetentionClock::start(0, 7 * YEAR_MS, 50 * YEAR_MS);
        assert_eq!(clock.now_ms(50 * YEAR_MS), 7 * YEAR_MS);
        // One from the future proves nothing.
        let clock = RetentionClock::start(0, 70 * YEAR_MS, 50 * YEAR_MS);
        assert_eq!(clock.believed_ms(), 50 * YEAR_MS);
        assert_eq!(clock.joined(60 * YEAR_MS).now_ms(51 * YEAR_MS), 51 * YEAR_MS);
    }
}
