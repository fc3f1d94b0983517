//! What is told later, oldest first: beacons of channels that sessions follow in the background, and
//! foreground sessions that wait for more before they write. Pure: time comes in.
//!
//! I12: a channel and a session are planned once at a time, so there are at most as many plans as
//! there are subscribed channels and sessions.

use std::collections::VecDeque;
use std::time::Duration;

use sterna_proto::ChannelKey;
use tokio::time::Instant;

use crate::fanout::hub::Slot;

/// Two queues, since each has one delay: what was planned first is due first.
#[derive(Debug, Default)]
pub(super) struct Later {
    beacons: VecDeque<(Instant, ChannelKey)>,
    flushes: VecDeque<(Instant, Slot, u64)>,
}

impl Later {
    pub(super) fn plan_beacon(&mut self, channel: ChannelKey, after: Duration) {
        self.beacons.push_back((Instant::now() + after, channel));
    }

    pub(super) fn plan_flush(&mut self, slot: Slot, generation: u64, after: Duration) {
        self.flushes.push_back((Instant::now() + after, slot, generation));
    }

    pub(super) fn due_beacon(&mut self, now: Instant) -> Option<ChannelKey> {
        self.beacons.pop_front_if(|(at, _)| *at <= now).map(|(_, channel)| channel)
    }

    pub(super) fn due_flush(&mut self, now: Instant) -> Option<(Slot, u64)> {
        let due = self.flushes.pop_front_if(|(at, ..)| *at <= now);
        due.map(|(_, slot, generation)| (slot, generation))
    }

    /// When something is due next.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let beacon = self.beacons.front().map(|(at, _)| *at);
        let flush = self.flushes.front().map(|(at, ..)| *at);
        [beacon, flush].into_iter().flatten().min()
    }
}
