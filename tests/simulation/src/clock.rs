//! Wall-clock time that follows the virtual time, and jumps when it is told to.

use std::sync::atomic::{AtomicU64, Ordering};

use sterna_core::Clock;
use tokio::time::Instant;

/// 2026-01-01 00:00 UTC.
const START_UNIX_MS: u64 = 1_767_225_600_000;

#[derive(Debug)]
pub struct JumpingClock {
    start: Instant,
    /// What the clock showed at the start, jumps included.
    start_unix_ms: AtomicU64,
}

impl JumpingClock {
    pub fn start() -> Self {
        Self { start: Instant::now(), start_unix_ms: AtomicU64::new(START_UNIX_MS) }
    }

    pub fn jump(&self, by_ms: i64) {
        let now = self.start_unix_ms.load(Ordering::Relaxed);
        self.start_unix_ms.store(now.saturating_add_signed(by_ms), Ordering::Relaxed);
    }
}

impl Clock for JumpingClock {
    fn unix_ms(&self) -> u64 {
        let passed = self.start.elapsed().as_millis() as u64;
        self.start_unix_ms.load(Ordering::Relaxed) + passed
    }
}
