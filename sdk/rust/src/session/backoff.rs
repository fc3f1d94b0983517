//! When to try again. Pure: the caller supplies chance and time.

use std::time::Duration;

/// Full jitter under a doubling ceiling.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { failures: 0 }
    }

    /// The wait after one more failure. `chance` lies in 0..1.
    pub(crate) fn on_failure(&mut self, chance: f64) -> Duration {
        let ceiling = BASE.saturating_mul(1 << self.failures.min(MOST_DOUBLINGS)).min(CAP);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(chance.clamp(0.0, 1.0))
    }

    /// The wait after a connection that lived for `lived` has ended: none when it was a good one.
    pub(crate) fn on_lost(&mut self, lived: Duration, chance: f64) -> Duration {
        if lived > GOOD_CONNECTION {
            self.reset();
            return Duration::ZERO;
        }
        self.on_failure(chance)
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Attempts that have failed in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

/// The wait before retransmission number `retransmission` (from 0): 1 s doubling, ±20 %.
pub(crate) fn retransmit_after(retransmission: u32, chance: f64) -> Duration {
    let base = RETRANSMIT_BASE.saturating_mul(1 << retransmission.min(MOST_DOUBLINGS));
    base.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0))
}

const BASE: Duration = Duration::from_millis(500);
const CAP: Duration = Duration::from_secs(20);
const MOST_DOUBLINGS: u32 = 6;
const GOOD_CONNECTION: Duration = Duration::from_secs(10);
const RETRANSMIT_BASE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ceiling_doubles_to_its_cap_and_a_good_connection_resets_it() {
        let mut backoff = Backoff::new();
        let waits: Vec<u128> = (0..8).map(|_| backoff.on_failure(1.0).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 20000, 20000]);
        assert_eq!(backoff.on_lost(Duration::from_secs(11), 1.0), Duration::ZERO);
        assert_eq!(backoff.on_lost(Duration::from_secs(9), 1.0), BASE);
    }

    proptest! {
        #[test]
        fn waits_stay_under_the_cap(failures in 0u32..10_000, chance in 0.0f64..1.0) {
            let mut backoff = Backoff { failures };
            prop_assert!(backoff.on_failure(chance) <= CAP);
            prop_assert!(retransmit_after(failures, chance) >= RETRANSMIT_BASE.mul_f64(0.8));
        }
    }
}
