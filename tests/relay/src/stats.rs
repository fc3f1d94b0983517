//! What the relay did so far. Counters only; written by its tasks, read by tests.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::impairment::Direction;

/// One direction's counters. Datagrams unless a name says TCP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathStats {
    pub received: u64,
    pub forwarded: u64,
    pub lost: u64,
    /// Dropped because they were longer than the path passes.
    pub too_long: u64,
    /// Dropped because the path was blocked.
    pub blocked: u64,
    /// Dropped because a bounded queue was full.
    pub overflowed: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted: u64,
    pub tcp_bytes: u64,
    /// Chunks that waited for a retransmission.
    pub tcp_lost: u64,
}

/// A snapshot of everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayStats {
    pub up: PathStats,
    pub down: PathStats,
    /// Client addresses seen on UDP.
    pub flows: u64,
    pub rebinds: u64,
    pub address_changes: u64,
    pub tcp_opened: u64,
    pub tcp_refused: u64,
    pub tcp_cut: u64,
}

macro_rules! counters {
    ($($name:ident),*) => {
        #[derive(Debug, Default)]
        pub(crate) struct PathCounters { $(pub(crate) $name: Counter),* }

        impl PathCounters {
            fn snapshot(&self) -> PathStats {
                PathStats { $($name: self.$name.value()),* }
            }
        }
    };
}

counters!(
    received, forwarded, lost, too_long, blocked, overflowed, duplicated, reordered, corrupted,
    tcp_bytes, tcp_lost
);

#[derive(Debug, Default)]
pub(crate) struct Counters {
    paths: [PathCounters; 2],
    pub(crate) flows: Counter,
    pub(crate) rebinds: Counter,
    pub(crate) address_changes: Counter,
    pub(crate) tcp_opened: Counter,
    pub(crate) tcp_refused: Counter,
    pub(crate) tcp_cut: Counter,
}

impl Counters {
    pub(crate) fn path(&self, direction: Direction) -> &PathCounters {
        &self.paths[direction.index()]
    }

    pub(crate) fn snapshot(&self) -> RelayStats {
        RelayStats {
            up: self.path(Direction::Up).snapshot(),
            down: self.path(Direction::Down).snapshot(),
            flows: self.flows.value(),
            rebinds: self.rebinds.value(),
            address_changes: self.address_changes.value(),
            tcp_opened: self.tcp_opened.value(),
            tcp_refused: self.tcp_refused.value(),
            tcp_cut: self.tcp_cut.value(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
