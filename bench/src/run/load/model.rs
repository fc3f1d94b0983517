//! The model: who comes when, stays how long, and says what. Pure; all chance comes from a seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// What sessions do.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// Mean of the lifetimes, which are exponential.
    pub lifetime: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Mean of the times between two publications, which are exponential too.
    pub publish_every: Duration,
    pub payload_bytes: usize,
}

/// The most sessions that there should be at once when `arrivals` come a second: by Little's law,
/// and a fifth more for chance.
#[must_use]
pub fn predicted_sessions(arrivals: f64, lifetime: Duration) -> f64 {
    arrivals * lifetime.as_secs_f64() * MARGIN
}

const MARGIN: f64 = 1.2;

/// Rates between which the peak is looked for: each twice the one before.
#[must_use]
pub fn steps(baseline: f64, peak: f64) -> Vec<f64> {
    let mut steps = vec![peak];
    while let Some(next) = steps.last().map(|step| step / 2.0) {
        if next <= baseline || steps.len() == STEPS {
            break;
        }
        steps.push(next);
    }
    steps.reverse();
    steps
}

const STEPS: usize = 4;

/// A source of chance.
#[derive(Debug)]
pub(crate) struct Dice(StdRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// The next time of something that comes by chance, `mean` apart on average.
    pub(crate) fn exponential(&mut self, mean: Duration) -> Duration {
        // From (0, 1], as the logarithm of 0 is infinite.
        let chance = 1.0 - self.0.random::<f64>();
        mean.mul_f64(-chance.ln())
    }

    /// One of `count`.
    pub(crate) fn one_of(&mut self, count: u32) -> u32 {
        self.0.random_range(0..count.max(1))
    }

    /// A source that shares nothing with this one.
    pub(crate) fn another(&mut self) -> Self {
        Self::new(self.0.random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_exponential() {
        let mean = Duration::from_secs(2);
        let mut dice = Dice::new(7);
        let times: Vec<f64> = (0..100_000).map(|_| dice.exponential(mean).as_secs_f64()).collect();
        let average = times.iter().sum::<f64>() / times.len() as f64;
        assert!((average - 2.0).abs() < 0.05, "{average}");
        // Memoryless: 1/e of them live longer than the mean.
        let longer = times.iter().filter(|time| **time > 2.0).count() as f64 / times.len() as f64;
        assert!((longer - (-1.0_f64).exp()).abs() < 0.01, "{longer}");
    }

    #[test]
    fn the_seed_decides_everything() {
        let draw = |seed| {
            let mut dice = Dice::new(seed);
            let mut other = dice.another();
            (dice.one_of(1000), other.exponential(Duration::from_secs(1)))
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn sessions_are_predicted_from_arrivals_and_lifetimes() {
        assert_eq!(predicted_sessions(100.0, Duration::from_secs(10)), 1200.0);
    }

    #[test]
    fn steps_double_up_to_the_peak() {
        assert_eq!(steps(100.0, 2400.0), [300.0, 600.0, 1200.0, 2400.0]);
        assert_eq!(steps(100.0, 300.0), [150.0, 300.0]);
        assert_eq!(steps(100.0, 50.0), [50.0]);
    }
}
