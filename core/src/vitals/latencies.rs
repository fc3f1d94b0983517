//! How long something took, counted in classes: cheap to note from every thread, good to a sixth of
//! the value. Written by shards, read by the [sampler](super::sampler).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Classes: powers of the square root of two above [`LEAST`]; the last one takes whatever is longer
/// than about a minute.
pub const CLASSES: usize = 44;

/// Upper bound of the first class: what no sync of a disk falls below.
const LEAST: Duration = Duration::from_micros(20);

/// Counts in each class.
pub type Counts = [u64; CLASSES];

/// See the module.
#[derive(Debug)]
pub struct Latencies {
    classes: [AtomicU64; CLASSES],
}

impl Default for Latencies {
    fn default() -> Self {
        Self { classes: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl Latencies {
    pub fn note(&self, took: Duration) {
        self.classes[class(took)].fetch_add(1, Ordering::Relaxed);
    }

    pub fn counts(&self) -> Counts {
        std::array::from_fn(|class| self.classes[class].load(Ordering::Relaxed))
    }
}

/// The value below which a share of what was counted lies; zero when nothing was.
pub fn quantile(counts: &Counts, share: f64) -> Duration {
    let all: u64 = counts.iter().sum();
    let wanted = (all as f64 * share).ceil().max(1.0) as u64;
    let mut below = 0;
    for (class, count) in counts.iter().enumerate() {
        below += count;
        if below >= wanted {
            return middle(class);
        }
    }
    Duration::ZERO
}

fn class(took: Duration) -> usize {
    let ratio = took.as_secs_f64() / LEAST.as_secs_f64();
    // Below one: the first class. `as` takes what is negative for zero.
    ((2.0 * ratio.log2()).ceil() as usize).min(CLASSES - 1)
}

/// What stands for a class: its middle on the scale that the classes are even on.
fn middle(class: usize) -> Duration {
    LEAST.mul_f64(2f64.powf(class as f64 / 2.0 - 0.25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_near_to_what_was_noted() {
        let latencies = Latencies::default();
        assert_eq!(quantile(&latencies.counts(), 0.5), Duration::ZERO);
        for us in 1..=10_000 {
            latencies.note(Duration::from_micros(us));
        }
        for (share, exact) in [(0.5, 5_000.0), (0.99, 9_900.0)] {
            let found = quantile(&latencies.counts(), share).as_secs_f64() * 1e6;
            assert!((found / exact - 1.0).abs() < 0.2, "{share}: {found} µs, not {exact}");
        }
    }

    #[test]
    fn nothing_is_too_short_or_too_long() {
        let latencies = Latencies::default();
        latencies.note(Duration::ZERO);
        latencies.note(Duration::from_secs(100_000));
        let counts = latencies.counts();
        assert_eq!((counts[0], counts[CLASSES - 1]), (1, 1));
    }
}
