//! Rates.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Rate;

/// A token bucket: `rate.per_second` steadily, `rate.burst` at once.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    rate: Rate,
    tokens: f64,
    filled_at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, tokens: f64::from(rate.burst), filled_at: now }
    }

    /// Takes one token, or says how long until there is one.
    pub fn try_take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        let per_second = f64::from(self.rate.per_second);
        self.tokens = (self.tokens + passed * per_second).min(f64::from(self.rate.burst));
        self.filled_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / per_second.max(0.001)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_steady() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(Rate { per_second: 10, burst: 3 }, start);
        assert!((0..3).all(|_| bucket.try_take(start).is_ok()));
        let wait = bucket.try_take(start).unwrap_err();
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
        assert!(bucket.try_take(start + wait).is_ok());
        assert!(bucket.try_take(start + wait).is_err());
        assert!(bucket.try_take(start + Duration::from_secs(60)).is_ok());
    }
}
