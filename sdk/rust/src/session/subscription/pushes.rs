//! Where a publication belongs: delivered when it follows the own position, dropped when it does
//! not lie above it, kept, bounded, while what is between is fetched. Pure.

use sterna_proto::{Epoch, Offset, Position, v1};

use super::{Phase, Repair, Subscription};
use crate::event::Event;

/// Where a publication lies as seen from the own position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Next,
    Duplicate,
    Hole,
    NoRoom,
}

impl Subscription {
    /// A publication was pushed.
    pub(crate) fn handle_publication(
        &mut self,
        publication: v1::Publication,
        room: usize,
        out: &mut Vec<Event>,
    ) {
        match self.phase {
            Phase::Stalled => {}
            Phase::Wanted(_) | Phase::Asking { .. } => self.keep_waiting(publication),
            Phase::Live => self.take_live(publication, room, out),
        }
    }

    fn take_live(&mut self, publication: v1::Publication, room: usize, out: &mut Vec<Event>) {
        let mut room = room;
        self.seen = self.seen.max(position_of(&publication));
        match self.place_push(&publication, room) {
            Place::NoRoom => self.stall(),
            Place::Next => {
                self.deliver(publication, &mut room, out);
                self.take_waiting(&mut room, out);
            }
            Place::Hole if self.is_background() => self.pass_by(position_of(&publication), out),
            Place::Hole => {
                self.keep_waiting(publication);
                self.start_repair();
            }
            Place::Duplicate => {}
        }
    }

    /// As [`place`](Self::place), for a push: it is of the newest epoch, and one of an older epoch
    /// may belong to a history that is gone.
    fn place_push(&mut self, publication: &v1::Publication, room: usize) -> Place {
        let Some(own) = &mut self.position else { return Place::Hole };
        if own.is_earliest() && publication.offset == Offset::ZERO.next().0 {
            own.epoch = Epoch(publication.epoch);
        }
        if publication.epoch < own.epoch.0 {
            self.counts.duplicates += 1;
            return Place::Duplicate;
        }
        self.place(publication, room)
    }

    /// By the offset, which counts on through the epochs: a page holds publications with the
    /// epochs under which they were stored.
    pub(super) fn place(&mut self, publication: &v1::Publication, room: usize) -> Place {
        let Some(own) = self.position else { return Place::Hole };
        // Of an epoch that only the next answer can explain.
        if publication.epoch > own.epoch.0 {
            return Place::Hole;
        }
        if publication.offset <= own.offset.0 {
            self.counts.duplicates += 1;
            return Place::Duplicate;
        }
        if publication.offset != own.offset.next().0 {
            return Place::Hole;
        }
        if room > 0 { Place::Next } else { Place::NoRoom }
    }

    pub(super) fn deliver(
        &mut self,
        publication: v1::Publication,
        room: &mut usize,
        out: &mut Vec<Event>,
    ) {
        if let Some(own) = &mut self.position {
            own.offset = Offset(publication.offset);
        }
        if let Repair::Hole { late } = &mut self.repair {
            *late += 1;
        }
        if publication.kind() != v1::PublicationKind::Epoch {
            *room -= 1;
            self.counts.delivered += 1;
            out.push(Event::Publication(publication.into()));
        }
    }

    fn keep_waiting(&mut self, publication: v1::Publication) {
        let heard = position_of(&publication);
        if self.position.is_some_and(|own| heard <= own) {
            self.counts.duplicates += 1;
            return;
        }
        self.seen = self.seen.max(heard);
        let offset = publication.offset;
        if self.waiting.get(&offset).is_some_and(|twin| twin.epoch > publication.epoch) {
            return;
        }
        let size = publication.payload.len();
        if self.waiting.len() < WAITING_PUBLICATIONS && self.waiting_bytes + size <= WAITING_BYTES {
            self.waiting_bytes += size;
            if let Some(twin) = self.waiting.insert(offset, publication) {
                self.waiting_bytes -= twin.payload.len();
            }
        }
    }

    pub(super) fn take_waiting(&mut self, room: &mut usize, out: &mut Vec<Event>) {
        while let Some((_, publication)) = self.waiting.pop_first() {
            self.waiting_bytes -= publication.payload.len();
            match self.place_push(&publication, *room) {
                Place::Next => self.deliver(publication, room, out),
                Place::Duplicate => {}
                Place::NoRoom => return self.stall(),
                Place::Hole => {
                    self.waiting_bytes += publication.payload.len();
                    self.waiting.insert(publication.offset, publication);
                    return;
                }
            }
        }
    }

    pub(super) fn forget_waiting(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.seen = Position::EARLIEST;
    }
}

fn position_of(publication: &v1::Publication) -> Position {
    Position::new(publication.epoch, publication.offset)
}

/// Pushes kept above a hole. What does not fit comes with the recovery.
const WAITING_PUBLICATIONS: usize = 256;
const WAITING_BYTES: usize = 1024 * 1024;
