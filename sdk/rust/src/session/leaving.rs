//! A channel that is being left: its Unsubscribe until the server has answered it. Pure.

use std::time::Instant;

use super::backoff::Backoff;

#[derive(Debug)]
pub(super) struct Leaving {
    stage: Stage,
    /// The first Unsubscribe of this departure. Its answer, or that of any later one, says that
    /// the channel is left; an answer to an earlier departure says nothing.
    first_id: Option<u32>,
    unanswered: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unsent { not_before: Option<Instant> },
    Sent,
}

impl Leaving {
    pub(super) fn new() -> Self {
        let stage = Stage::Unsent { not_before: None };
        Self { stage, first_id: None, unanswered: Backoff::new() }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        match self.stage {
            Stage::Unsent { not_before } => not_before.is_none_or(|at| at <= now),
            Stage::Sent => false,
        }
    }

    /// When `is_due` becomes true by time alone.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Unsent { not_before } => not_before,
            Stage::Sent => None,
        }
    }

    pub(super) fn on_sent(&mut self, id: u32) {
        self.stage = Stage::Sent;
        self.first_id.get_or_insert(id);
    }

    /// Nobody answered: to be sent again, ever more seldom. `chance` lies in 0..1.
    pub(super) fn on_unanswered(&mut self, now: Instant, chance: f64) {
        let not_before = Some(now + self.unanswered.on_failure(chance));
        self.stage = Stage::Unsent { not_before };
    }

    /// Whether the answer to `id` says that the channel is left.
    pub(super) fn ends_with(&self, id: u32) -> bool {
        self.first_id.is_some_and(|first| id >= first)
    }
}
