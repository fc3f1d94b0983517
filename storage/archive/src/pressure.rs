//! Whether the log has something better to do than to be archived: seen from how long its appends
//! take.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Whether the log has something better to do.
pub trait Pressure: Send + Sync + Debug {
    /// Writes take long: whoever can wait should.
    fn writes_are_slow(&self) -> bool;
}

/// Nothing ever is in the way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unpressed;

impl Pressure for Unpressed {
    fn writes_are_slow(&self) -> bool {
        false
    }
}

/// How long appends take, as a mean in which the last ones weigh most.
#[derive(Debug)]
pub struct WriteTimes {
    slow_after: Duration,
    began: Instant,
    mean_us: AtomicU64,
    /// When an append was noted last, since `began`.
    noted_at_ms: AtomicU64,
}

/// What one append counts beside all before it: one in so many.
const WEIGHT: u64 = 16;

/// Silence after which earlier appends say nothing of the present.
const FRESH: Duration = Duration::from_secs(5);

impl WriteTimes {
    /// Writes are slow when they take this long.
    pub fn new(slow_after: Duration) -> Self {
        let (mean_us, noted_at_ms) = Default::default();
        Self { slow_after, began: Instant::now(), mean_us, noted_at_ms }
    }

    /// An append took this long. Of two at one time one may be left out, which does no harm.
    pub(crate) fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min(MOST_US);
        let mean = self.mean_us.load(Ordering::Relaxed);
        self.mean_us.store((mean * (WEIGHT - 1) + took) / WEIGHT, Ordering::Relaxed);
        self.noted_at_ms.store(self.age_ms(), Ordering::Relaxed);
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Longer ones count as an hour.
const MOST_US: u64 = 3_600_000_000;

impl Pressure for WriteTimes {
    fn writes_are_slow(&self) -> bool {
        let silent = self.age_ms().saturating_sub(self.noted_at_ms.load(Ordering::Relaxed));
        let mean = Duration::from_micros(self.mean_us.load(Ordering::Relaxed));
        Duration::from_millis(silent) < FRESH && mean >= self.slow_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn slow_writes_press_until_they_are_quick_or_there_are_none() {
        let times = WriteTimes::new(Duration::from_millis(100));
        assert!(!times.writes_are_slow());
        (0..100).for_each(|_| times.note(Duration::from_millis(2)));
        assert!(!times.writes_are_slow());
        times.note(Duration::from_millis(900));
        assert!(!times.writes_are_slow(), "one is no rule");
        (0..10).for_each(|_| times.note(Duration::from_millis(300)));
        assert!(times.writes_are_slow());
        (0..100).for_each(|_| times.note(Duration::from_millis(2)));
        assert!(!times.writes_are_slow());
        (0..100).for_each(|_| times.note(Duration::from_secs(10_000)));
        assert!(times.writes_are_slow());
        tokio::time::sleep(2 * FRESH).await;
        assert!(!times.writes_are_slow(), "nobody writes");
    }
}
