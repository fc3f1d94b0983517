//! How closely the channel is followed. In the background the own position stays where it is, whatever
//! is heard of: what lies above it is asked for on coming forward (I5, I13). Pure.

use sterna_proto::{Position, v1};

use super::{Phase, Repair, Subscription};
use crate::event::Event;
use crate::options::Activity;

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
    pub(crate) fn poll_activity(&mut self) -> Option<v1::Activity> {
        let is_due =
            self.phase == Phase::Live && !self.is_saying && self.told != self.options.activity;
        is_due.then(|| {
            (self.is_saying, self.told) = (true, self.options.activity);
            self.told.into()
        })
    }

    pub(crate) fn on_activity_said(&mut self) {
        self.is_saying = false;
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
