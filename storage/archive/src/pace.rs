//! How fast records move: a bucket that fills with time.

use std::time::Duration;

use tokio::time::Instant;

/// A bucket that fills with time.
#[derive(Debug)]
pub struct Pace {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Pace {
    pub fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second.max(1)), left: 0.0, at: Instant::now() }
    }

    /// Waits until this many records may move.
    pub async fn take(&mut self, records: usize) {
        let now = Instant::now();
        let earned = (now - self.at).as_secs_f64() * self.per_second;
        self.at = now;
        // What was not used for a second is not saved up.
        self.left = (self.left + earned).min(self.per_second) - records as f64;
        if self.left < 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(-self.left / self.per_second)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_holds_over_time_and_is_not_saved_up() {
        let begin = Instant::now();
        let mut pace = Pace::new(100);
        for _ in 0..50 {
            pace.take(10).await;
        }
        let took = begin.elapsed().as_secs_f64();
        assert!((4.9..5.1).contains(&took), "{took}");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let begin = Instant::now();
        for _ in 0..50 {
            pace.take(10).await;
        }
        let took = begin.elapsed().as_secs_f64();
        assert!((3.9..4.1).contains(&took), "{took}");
    }
}
