//! What is told later, oldest first: beacons of channels that sessions follow in the background, and
//! foreground sessions that wait for more before they write. Pure: time comes in.
//!
//! I12: a channel and a session are planned once at a time, however often they leave and return, so
//! there are at most as many plans as a worker has had channels and sessions within one delay.

use std::collections::VecDeque;
use std::time::Duration;

use ahash::AHashSet;
use sterna_proto::ChannelKey;
use tokio::time::Instant;

use crate::fanout::hub::Slot;

/// Two queues, since each has one delay: what was planned first is due first.
#[derive(Debug, Default)]
pub(super) struct Later {
    beacons: VecDeque<(Instant, ChannelKey)>,
    flushes: VecDeque<(Instant, Slot, u64)>,
    /// What the two hold.
    channels: AHashSet<ChannelKey>,
    sessions: AHashSet<(Slot, u64)>,
}

impl Later {
    pub(super) fn plan_beacon(&mut self, channel: ChannelKey, after: Duration) {
        if self.channels.insert(channel) {
            self.beacons.push_back((Instant::now() + after, channel));
        }
    }

    pub(super) fn plan_flush(&mut self, slot: Slot, generation: u64, after: Duration) {
        if self.sessions.insert((slot, generation)) {
            self.flushes.push_back((Instant::now() + after, slot, generation));
        }
    }

    pub(super) fn due_beacon(&mut self, now: Instant) -> Option<ChannelKey> {
        let (_, channel) = self.beacons.pop_front_if(|(at, _)| *at <= now)?;
        self.channels.remove(&channel);
        Some(channel)
    }

    pub(super) fn due_flush(&mut self, now: Instant) -> Option<(Slot, u64)> {
        let (_, slot, generation) = self.flushes.pop_front_if(|(at, ..)| *at <= now)?;
        self.sessions.remove(&(slot, generation));
        Some((slot, generation))
    }

    /// When something is due next.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let beacon = self.beacons.front().map(|(at, _)| *at);
        let flush = self.flushes.front().map(|(at, ..)| *at);
        [beacon, flush].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn i12_what_is_planned_already_is_not_planned_again() {
        let (mut later, delay) = (Later::default(), Duration::from_secs(3));
        let (one, other) = (ChannelKey([1; 16]), ChannelKey([2; 16]));
        for channel in [one, other, one, one] {
            later.plan_beacon(channel, delay);
        }
        for _ in 0..3 {
            later.plan_flush(7, 1, delay);
        }
        let now = Instant::now() + delay;
        assert_eq!(later.next_at(), Some(now));
        let beacons = std::iter::from_fn(|| later.due_beacon(now)).collect::<Vec<_>>();
        assert_eq!(beacons, [one, other]);
        assert_eq!(later.due_flush(now), Some((7, 1)));
        assert_eq!((later.due_flush(now), later.next_at()), (None, None));
        later.plan_beacon(one, delay);
        assert_eq!(later.due_beacon(now + delay), Some(one), "afterwards it can be planned");
    }
}
