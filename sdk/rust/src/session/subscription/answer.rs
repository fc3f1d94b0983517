//! What an answer to a Subscribe changes: the epoch, gaps, the page it carries, and whether the
//! channel is live from here on. Pure.

use std::time::{Duration, Instant};

use sterna_proto::{Epoch, Offset, Position, v1};

use super::pushes::Place;
use super::{Phase, Repair, Subscription};
use crate::event::{Event, SubscriptionState};

impl Subscription {
    /// The answer to a question, as a Reply or, for the questions of a Hello, as a Push.
    pub(crate) fn handle_subscribed(
        &mut self,
        reply: v1::Subscribed,
        now: Instant,
        room: usize,
        out: &mut Vec<Event>,
    ) {
        self.unanswered.reset();
        if self.is_outdated(&reply) {
            if matches!(self.phase, Phase::Wanted(_) | Phase::Asking { .. }) {
                self.phase = Phase::Wanted(Some(now + ODD_REPLY_PAUSE));
            }
            return;
        }
        let had_position = self.position.is_some_and(|own| !own.is_earliest());
        let asked_from = self.position;
        self.adopt_epoch(&reply, out);
        let mut room = room;
        let mut last = Place::Next;
        let gap = reply.gap.clone();
        for publication in reply.publications {
            self.cross_gap(gap.as_ref(), publication.offset.saturating_sub(1), out);
            last = self.place(&publication, room);
            match last {
                Place::Next => self.deliver(publication, &mut room, out),
                Place::Duplicate => {}
                Place::Hole | Place::NoRoom => break,
            }
        }
        match last {
            Place::NoRoom => return self.stall(),
            Place::Hole => {
                tracing::warn!(channel = %self.channel, "a reply has a hole; asking again");
                self.phase = Phase::Wanted(Some(now + ODD_REPLY_PAUSE));
                return;
            }
            Place::Next | Place::Duplicate => {}
        }
        let position = reply.position.unwrap_or_default();
        self.cross_gap(gap.as_ref(), position.offset, out);
        self.catch_up(position.offset, out);
        if reply.live {
            if self.is_background() {
                self.seen = self.seen.max(Position::new(position.epoch, reply.head_offset));
            }
            self.go_live(had_position, &mut room, out);
            self.show_head(out);
        } else {
            self.seen = self.seen.max(Position::new(position.epoch, reply.head_offset));
            self.phase = Phase::Wanted(None);
        }
        let stuck = self.position == asked_from;
        if stuck && self.phase == Phase::Wanted(None) {
            self.phase = Phase::Wanted(Some(now + ODD_REPLY_PAUSE));
        }
    }

    /// True for a late answer to an earlier question that a newer epoch has overtaken.
    fn is_outdated(&self, reply: &v1::Subscribed) -> bool {
        let Some(own) = self.position else { return false };
        let theirs = Epoch(reply.position.unwrap_or_default().epoch);
        match &reply.epoch_change {
            Some(change) => change.old_epoch != own.epoch.0 && theirs != own.epoch,
            None => theirs < own.epoch && own.offset > Offset::ZERO,
        }
    }

    /// Takes over the epoch of the reply. What we have stays valid across epochs, except for what
    /// the reply says never existed.
    fn adopt_epoch(&mut self, reply: &v1::Subscribed, out: &mut Vec<Event>) {
        let theirs = reply.position.unwrap_or_default();
        let before =
            reply.publications.first().map_or(theirs.offset, |p| p.offset.saturating_sub(1));
        let Some(own) = self.position else {
            self.position = Some(Position::new(theirs.epoch, before.min(theirs.offset)));
            return;
        };
        let (old, new) = (own.epoch, Epoch(theirs.epoch));
        // A change that we know already comes with a late answer.
        let change = reply.epoch_change.as_ref().filter(|change| change.old_epoch == old.0);
        let Some(change) = change else {
            self.position = Some(Position { epoch: new, offset: own.offset });
            return;
        };
        let keep_upto = Offset(change.keep_upto);
        self.position = Some(Position { epoch: new, offset: own.offset.min(keep_upto) });
        if new <= old {
            self.forget_waiting();
        }
        if keep_upto < own.offset
            && let Repair::Attach { whole } = &mut self.repair
        {
            *whole = false;
        }
        out.push(Event::EpochChanged { old, new, keep_upto });
    }

    /// Steps over publications that the server says will not come, when that is all that stands
    /// between the own position and `next`.
    fn cross_gap(&mut self, gap: Option<&v1::Gap>, next: u64, out: &mut Vec<Event>) {
        let (Some(gap), Some(own)) = (gap, self.position) else { return };
        let reaches = gap.after_offset <= own.offset.0 && own.offset.0 < gap.upto_offset;
        if reaches && gap.upto_offset <= next {
            self.step_over(gap.upto_offset, out);
        }
    }

    /// The server says that we stand at `offset` now; what it has not shown of that is a gap.
    fn catch_up(&mut self, offset: u64, out: &mut Vec<Event>) {
        if self.position.is_some_and(|own| own.offset.0 < offset) {
            self.step_over(offset, out);
        }
    }

    fn step_over(&mut self, upto: u64, out: &mut Vec<Event>) {
        let Some(own) = &mut self.position else { return };
        out.push(Event::Gap { epoch: own.epoch, after: own.offset, upto: Offset(upto) });
        own.offset = Offset(upto);
        if let Repair::Attach { whole } = &mut self.repair {
            *whole = false;
        }
    }

    fn go_live(&mut self, had_position: bool, room: &mut usize, out: &mut Vec<Event>) {
        let Some(position) = self.position else { return };
        self.phase = Phase::Live;
        match std::mem::replace(&mut self.repair, Repair::None) {
            Repair::Attach { whole } => {
                out.push(Event::State(SubscriptionState::Subscribed {
                    position,
                    was_recovering: had_position,
                    recovered: had_position && whole,
                }));
            }
            Repair::Hole { late } => {
                self.counts.gaps_recovered += 1;
                out.push(Event::Recovered { publications: late });
            }
            Repair::Pause | Repair::None => {}
        }
        self.take_waiting(room, out);
        self.look_behind();
    }
}

/// After an answer that contradicts itself, so that the next question is not part of a hot loop.
const ODD_REPLY_PAUSE: Duration = Duration::from_secs(1);
