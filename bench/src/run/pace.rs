//! Turns at a steady rate.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Turns, counted from 0, until its time is over.
#[derive(Debug)]
pub(crate) struct Pace {
    began: Instant,
    until: Instant,
    per_second: f64,
    taken: u64,
    /// Between two turns at least.
    gap: Duration,
    /// Before this no turn comes, whether it is due or not.
    not_before: Instant,
    precise: bool,
}

impl Pace {
    /// A timer is as coarse as a millisecond: turns of the same one come at once.
    pub(crate) fn begin(per_second: f64, duration: Duration) -> Self {
        let began = Instant::now();
        Self {
            began,
            until: began + duration,
            per_second: per_second.max(MIN_PER_SECOND),
            taken: 0,
            gap: Duration::ZERO,
            not_before: began,
            precise: false,
        }
    }

    /// The same, and whoever was held up makes up for it at most so many times as fast as the rate:
    /// all at once, it would be a load of another kind.
    pub(crate) fn catching_up(mut self, times: f64) -> Self {
        self.gap = Duration::from_secs_f64(1.0 / self.per_second / times);
        self
    }

    /// The same, and turns come when they are due and not in the bursts of a timer. What is left of a
    /// wait when a timer could end too late is spent asking for the time, in turn with the other tasks
    /// of the thread and the other threads of its core.
    pub(crate) fn precisely(mut self) -> Self {
        self.precise = true;
        self
    }

    /// Waits for the next turn; `None` when the time is over.
    pub(crate) async fn next(&mut self) -> Option<u64> {
        let due = self.began + Duration::from_secs_f64(self.taken as f64 / self.per_second);
        if due >= self.until {
            sleep_until(self.until).await;
            return None;
        }
        let at = due.max(self.not_before);
        if self.precise {
            sleep_precisely(at).await;
        } else if at > Instant::now() {
            sleep_until(at).await;
        }
        self.not_before = Instant::now() + self.gap;
        self.taken += 1;
        Some(self.taken - 1)
    }

    /// When the turn that was given last was due.
    pub(crate) fn due(&self) -> Instant {
        self.began + Duration::from_secs_f64(self.taken.saturating_sub(1) as f64 / self.per_second)
    }
}

async fn sleep_precisely(until: Instant) {
    if until > Instant::now() + TIMER_PRECISION {
        sleep_until(until - TIMER_PRECISION).await;
    }
    while until > Instant::now() {
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
}

/// By how much a timer can be late on an idle machine.
const TIMER_PRECISION: Duration = Duration::from_millis(2);

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
    async fn whoever_was_held_up_makes_up_for_it_little_by_little() {
        let mut pace = Pace::begin(10.0, Duration::from_secs(100)).catching_up(2.0);
        assert_eq!(pace.next().await, Some(0));
        tokio::time::advance(Duration::from_secs(10)).await;
        let held_up = Instant::now();
        let mut turns = Vec::new();
        while pace.next().await.is_some() {
            assert!(pace.due() <= Instant::now());
            turns.push(Instant::now());
        }
        assert_eq!(turns.len(), 999, "none is left out");
        let least = turns.windows(2).map(|pair| pair[1] - pair[0]).min();
        assert!(least >= Some(Duration::from_millis(50)), "{least:?}");
        // 100 turns were missed, and each second brings 10 more and 20 of all.
        let in_time = turns.iter().filter(|turn| **turn < held_up + Duration::from_secs(9)).count();
        assert!((170..=185).contains(&in_time), "{in_time}");
        assert!(pace.due() + Duration::from_millis(110) > Instant::now(), "caught up in the end");
    }

    #[tokio::test]
    async fn a_precise_pace_has_all_its_turns_and_none_before_it_is_due() {
        let mut pace = Pace::begin(10_000.0, Duration::from_millis(200)).precisely();
        let mut turns = 0;
        while pace.next().await.is_some() {
            assert!(pace.due() <= Instant::now());
            turns += 1;
        }
        assert_eq!(turns, 2000);
    }
}
