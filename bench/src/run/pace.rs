//! Turns at a steady rate. Finer than a timer's millisecond: all turns that are due come at once.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Turns, counted from 0, until its time is over.
#[derive(Debug)]
pub(crate) struct Pace {
    began: Instant,
    until: Instant,
    per_second: f64,
    taken: u64,
}

impl Pace {
    pub(crate) fn begin(per_second: f64, duration: Duration) -> Self {
        let began = Instant::now();
        let per_second = per_second.max(MIN_PER_SECOND);
        Self { began, until: began + duration, per_second, taken: 0 }
    }

    /// Waits for the next turn; `None` when the time is over.
    pub(crate) async fn next(&mut self) -> Option<u64> {
        let due = self.began + Duration::from_secs_f64(self.taken as f64 / self.per_second);
        if due >= self.until {
            sleep_until(self.until).await;
            return None;
        }
        sleep_until(due).await;
        self.taken += 1;
        Some(self.taken - 1)
    }
}

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
}
