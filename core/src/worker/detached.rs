//! Detached sessions by how long they have been away. Pure. Who is away for moments is not talked
//! about; then others hear that the session is roaming, then that it is detached, then its resume
//! window is over.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::config::CoreConfig;
use crate::fanout::hub::Slot;

/// A session without a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detached {
    pub slot: Slot,
    /// Tells this use of the slot from every other.
    pub generation: u64,
    pub at: Instant,
}

/// What an absence has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absence {
    /// So short that nobody hears of it.
    Unnoticed,
    /// Between two networks: expected back at any moment.
    Roaming,
    /// Away for longer, and still able to resume.
    Detached,
    /// The resume window is over.
    Over,
}

/// Surplus entries that are kept until they are skipped in their turn.
const SKIPPED_LATER: usize = 1024;

/// One queue for each absence but the last, each oldest first.
#[derive(Debug, Default)]
pub struct DetachedQueue {
    queues: [VecDeque<Detached>; 3],
}

impl Absence {
    fn of(detached: &Detached, now: Instant, config: &CoreConfig) -> Self {
        let away = now.saturating_duration_since(detached.at);
        if away >= config.resume_window {
            Self::Over
        } else if away >= config.presence_debounce {
            Self::Detached
        } else if away >= config.roaming_after {
            Self::Roaming
        } else {
            Self::Unnoticed
        }
    }
}

impl DetachedQueue {
    /// Adds the session that was detached last.
    pub fn push(&mut self, detached: Detached) {
        self.queues[0].push_back(detached);
    }

    /// Calls `on_change` for each session whose absence has come to something else.
    pub fn advance(
        &mut self,
        now: Instant,
        config: &CoreConfig,
        mut on_change: impl FnMut(&Detached, Absence),
    ) {
        // Those away for longest first, so that each queue stays in order.
        for index in (0..self.queues.len()).rev() {
            while let Some(detached) = self.queues[index].front().copied() {
                let absence = Absence::of(&detached, now, config);
                if absence as usize <= index {
                    break;
                }
                self.queues[index].pop_front();
                if let Some(next) = self.queues.get_mut(absence as usize) {
                    next.push_back(detached);
                }
                on_change(&detached, absence);
            }
        }
    }

    pub fn pop_oldest(&mut self) -> Option<Detached> {
        self.queues.iter_mut().rev().find_map(VecDeque::pop_front)
    }

    /// Drops what is no longer `current` if there is much of it; `count` sessions are (I12).
    pub fn compact(&mut self, count: usize, current: impl Fn(&Detached) -> bool) {
        let len: usize = self.queues.iter().map(VecDeque::len).sum();
        if len > 2 * count + SKIPPED_LATER {
            self.queues.iter_mut().for_each(|queue| queue.retain(&current));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use sterna_proto::{NodeId, v1};

    fn config() -> CoreConfig {
        CoreConfig::embedded(NodeId::new("test").unwrap(), v1::Durability::Memory)
    }

    fn changes(
        queue: &mut DetachedQueue,
        now: Instant,
        config: &CoreConfig,
    ) -> Vec<(Slot, Absence)> {
        let mut changes = Vec::new();
        queue.advance(now, config, |d, absence| changes.push((d.slot, absence)));
        changes
    }

    #[test]
    fn an_absence_grows_by_steps_that_are_told_once() {
        let (start, config) = (Instant::now(), config());
        let after = |duration: Duration| start + duration;
        let mut queue = DetachedQueue::default();
        queue.push(Detached { slot: 1, generation: 1, at: start });
        let second = Duration::from_secs(1);
        queue.push(Detached { slot: 2, generation: 2, at: after(second) });
        let just_before = config.roaming_after - Duration::from_millis(1);
        assert_eq!(changes(&mut queue, after(just_before), &config), []);
        let roaming = changes(&mut queue, after(config.roaming_after), &config);
        assert_eq!(roaming, [(1, Absence::Roaming)]);
        assert_eq!(changes(&mut queue, after(config.roaming_after), &config), []);
        // Session 2 was not looked at while it was roaming, and nobody hears that it had been.
        let detached = changes(&mut queue, after(config.presence_debounce + second), &config);
        assert_eq!(detached, [(1, Absence::Detached), (2, Absence::Detached)]);
        let over = changes(&mut queue, after(config.resume_window), &config);
        assert_eq!(over, [(1, Absence::Over)]);
        assert_eq!(queue.pop_oldest().map(|d| d.slot), Some(2));
    }

    #[test]
    fn without_debounce_nobody_roams() {
        let (start, mut config) = (Instant::now(), config());
        config.presence_debounce = Duration::ZERO;
        let mut queue = DetachedQueue::default();
        queue.push(Detached { slot: 1, generation: 1, at: start });
        assert_eq!(changes(&mut queue, start, &config), [(1, Absence::Detached)]);
    }

    #[test]
    fn i12_sessions_that_come_and_go_leave_no_entries() {
        let (now, mut queue) = (Instant::now(), DetachedQueue::default());
        for generation in 0..10_000 {
            queue.push(Detached { slot: 0, generation, at: now });
            queue.compact(1, |detached| detached.generation == generation);
        }
        let len: usize = queue.queues.iter().map(VecDeque::len).sum();
        assert!(len <= 2 + SKIPPED_LATER, "{len}");
    }
}
