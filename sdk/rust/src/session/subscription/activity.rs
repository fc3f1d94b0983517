//! How closely the channel is followed. In the background the own position stays where it is, whatever
//! is heard of: what lies above it is asked for on coming forward (I5, I13). Pure.

use std::time::Instant;

use sterna_proto::{Position, v1};

use super::{Phase, Repair, Subscription};
use crate::event::Event;
use crate::options::Activity;

/// A word of its own about the class, at most one of which is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Saying {
    /// The node has refused the last one for the moment, if there is a time.
    Nothing { not_before: Option<Instant> },
    /// Before it, the node was told this.
    Word { before: Activity },
    /// A question has said it again since: whatever is answered to the word, the node knows.
    Outdated,
}

impl Saying {
    pub(super) fn on_asked(&mut self) {
        if let Self::Word { .. } = self {
            *self = Self::Outdated;
        }
    }
}

impl Subscription {
    pub(super) fn is_background(&self) -> bool {
        self.options.activity == Activity::Background
    }

    pub(crate) fn set_activity(&mut self, activity: Activity) {
        let was_background = self.is_background();
        self.options.activity = activity;
        if was_background && self.phase == Phase::Live && self.is_short() {
            // Not a loss: it was not wanted.
            self.repair = Repair::Pause;
            self.look_behind();
        }
        if self.is_background() && matches!(self.repair, Repair::Hole { .. }) {
            self.repair = Repair::Pause;
        }
    }

    /// The class that the node has to be told now, if it has to be. A question would say it, too.
    pub(crate) fn poll_activity(&mut self, now: Instant) -> Option<v1::Activity> {
        self.activity_due().filter(|due| due.is_none_or(|at| at <= now))?;
        self.saying = Saying::Word { before: self.told };
        self.told = self.options.activity;
        Some(self.told.into())
    }

    /// When `poll_activity` has something by time alone.
    pub(crate) fn activity_deadline(&self) -> Option<Instant> {
        self.activity_due().flatten()
    }

    /// Whether the node has to be told something, and not before when.
    fn activity_due(&self) -> Option<Option<Instant>> {
        let Saying::Nothing { not_before } = self.saying else { return None };
        let is_wanted = self.phase == Phase::Live && self.told != self.options.activity;
        is_wanted.then_some(not_before)
    }

    pub(crate) fn on_activity_said(&mut self) {
        self.saying = Saying::Nothing { not_before: None };
    }

    /// The node will take the word later: whatever is wanted by then.
    pub(crate) fn on_activity_refused(&mut self, retry_at: Instant) {
        if let Saying::Word { before } = self.saying {
            self.told = before;
        }
        self.saying = Saying::Nothing { not_before: Some(retry_at) };
    }

    /// Asks for what is heard of and missing, unless it is not wanted.
    pub(super) fn look_behind(&mut self) {
        if self.phase == Phase::Live && !self.is_background() && self.is_short() {
            self.start_repair();
        }
    }

    /// In the background: lets the application know where the channel ends, when that is news.
    pub(crate) fn show_head(&mut self, out: &mut Vec<Event>) {
        if self.is_background() && self.is_short() && self.seen > self.shown {
            self.shown = self.seen;
            out.push(Event::Head { position: self.seen });
        }
    }

    fn is_short(&self) -> bool {
        self.position.is_some_and(|own| self.seen > own)
    }

    /// A publication that does not follow, in the background: it is known to be there.
    pub(super) fn pass_by(&mut self, heard: Position, out: &mut Vec<Event>) {
        self.seen = self.seen.max(heard);
        self.show_head(out);
    }
}
