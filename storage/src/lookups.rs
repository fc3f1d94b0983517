//! How often what was looked for was where it was looked for first: counted beside the metrics, for
//! operators who look at a whole cluster. Nothing is decided by it.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one place was asked for since the process started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TierLookups {
    /// A word of a closed set, as in `owner_ring`.
    pub tier: String,
    pub hits: u64,
    pub misses: u64,
}

/// Counts them.
#[derive(Debug, Default)]
pub struct Lookups {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Lookups {
    pub fn note(&self, hits: usize, misses: usize) {
        self.hits.fetch_add(hits as u64, Ordering::Relaxed);
        self.misses.fetch_add(misses as u64, Ordering::Relaxed);
    }

    /// The counts so far, under the name of their tier.
    pub fn told(&self, tier: impl Into<String>) -> TierLookups {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TierLookups { tier: tier.into(), hits: read(&self.hits), misses: read(&self.misses) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_add_up() {
        let lookups = Lookups::default();
        lookups.note(3, 0);
        lookups.note(0, 2);
        lookups.note(1, 1);
        let told = TierLookups { tier: "owner_ring".into(), hits: 4, misses: 3 };
        assert_eq!(lookups.told("owner_ring"), told);
    }
}
