//! Whether anything disturbs the ways between nodes at the moment, and since when nothing does.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub struct Calm {
    disturbances: Cell<u32>,
    /// When the last one ended.
    ended_at: Cell<Instant>,
}

impl Calm {
    pub fn start() -> Self {
        Self { disturbances: Cell::new(0), ended_at: Cell::new(Instant::now()) }
    }

    pub fn on_began(&self) {
        self.disturbances.set(self.disturbances.get() + 1);
    }

    pub fn on_ended(&self) {
        self.disturbances.set(self.disturbances.get() - 1);
        self.ended_at.set(Instant::now());
    }

    /// How long nothing has disturbed since `at`; `None` while something does.
    pub fn since(&self, at: Instant) -> Option<Duration> {
        (self.disturbances.get() == 0).then(|| at.max(self.ended_at.get()).elapsed())
    }
}
