//! Turns at a steady rate. Finer than a timer's millisecond: turns that are due come at once, up to a
//! bound.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

/// Turns, counted from 0, until its time is over.
#[derive(Debug)]
pub(crate) struct Pace {
    began: Instant,
    until: Instant,
    per_second: f64,
    taken: u64,
    /// Turns that may come without a pause.
    burst: u32,
    /// Turns since the last pause.
    at_once: u32,
}

impl Pace {
    pub(crate) fn begin(per_second: f64, duration: Duration) -> Self {
        let began = Instant::now();
        let per_second = per_second.max(MIN_PER_SECOND);
        Self { began, until: began + duration, per_second, taken: 0, burst: u32::MAX, at_once: 0 }
    }

    /// The same, with pauses in what comes at once: whoever was held up must not make up for it in one
    /// go, which would be a load of another kind. What a millisecond is for comes at once in any case.
    pub(crate) fn in_bursts_of(mut self, burst: u32) -> Self {
        let in_a_pause = (self.per_second * PAUSE.as_secs_f64() * CATCH_UP).ceil() as u32;
        self.burst = burst.max(in_a_pause);
        self
    }

    /// Waits for the next turn; `None` when the time is over.
    pub(crate) async fn next(&mut self) -> Option<u64> {
        let due = self.began + Duration::from_secs_f64(self.taken as f64 / self.per_second);
        if due >= self.until {
            sleep_until(self.until).await;
            return None;
        }
        if due > Instant::now() {
            sleep_until(due).await;
            self.at_once = 0;
        } else if self.at_once >= self.burst {
            sleep(PAUSE).await;
            self.at_once = 0;
        }
        self.at_once += 1;
        self.taken += 1;
        Some(self.taken - 1)
    }

    /// When the turn that was given last was due.
    pub(crate) fn due(&self) -> Instant {
        self.began + Duration::from_secs_f64(self.taken.saturating_sub(1) as f64 / self.per_second)
    }
}

const PAUSE: Duration = Duration::from_millis(1);

/// So many times faster than the rate may be what was held up.
const CATCH_UP: f64 = 4.0;

const MIN_PER_SECOND: f64 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn there_are_as_many_turns_as_the_rate_promises() {
        for (rate, turns) in [(1.0, 10), (100.0, 1000), (30_000.0, 300_000)] {
            let mut pace = Pace::begin(rate, Duration::from_secs(10));
            let mut seen = 0;
            while let Some(turn) = pace.next().await {
                assert_eq!(turn, seen);
                seen += 1;
            }
            assert_eq!(seen, turns, "{rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_held_up_makes_up_for_it_in_pieces() {
        let mut pace = Pace::begin(1000.0, Duration::from_secs(1)).in_bursts_of(8);
        assert_eq!(pace.next().await, Some(0));
        tokio::time::advance(Duration::from_millis(100)).await;
        let held_up = Instant::now();
        let (mut at_once, mut seen) = (vec![0], 1);
        let mut last = held_up;
        while pace.next().await.is_some() {
            assert!(pace.due() <= Instant::now());
            seen += 1;
            if Instant::now() > last {
                last = Instant::now();
                at_once.push(0);
            }
            *at_once.last_mut().unwrap() += 1;
        }
        assert_eq!(seen, 1000, "none is left out");
        assert_eq!(at_once.iter().max(), Some(&8), "{at_once:?}");
        assert!(at_once.iter().filter(|count| **count == 8).count() > 10, "{at_once:?}");
    }
}
