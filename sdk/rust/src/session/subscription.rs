//! One channel as it is being received: where it stands, what may be delivered, when to ask the
//! server for what is missing. Pure. A publication is delivered when it follows the own position
//! directly, dropped when it does not lie above it (I13), and otherwise waits, bounded, while the
//! difference is fetched (I5).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sterna_proto::{ChannelId, Epoch, Offset, Position, v1};

use crate::event::{Event, SubscriptionState};
use crate::mailbox::ROOM_TO_GO_ON;
use crate::options::{Order, StartFrom, Subscribe};

#[derive(Debug)]
pub(crate) struct Subscription {
    channel: ChannelId,
    options: Subscribe,
    /// What has been delivered. `None` until the server has said where "from now on" is.
    position: Option<Position>,
    phase: Phase,
    /// The highest position heard of; a newer epoch lies above every offset of an older one.
    seen: Position,
    /// Pushes above a hole, until the hole is closed.
    waiting: BTreeMap<u64, v1::Publication>,
    waiting_bytes: usize,
    repair: Repair,
    pub(crate) counts: Counts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// To be asked for, not before then.
    Wanted(Option<Instant>),
    Asking {
        deadline: Instant,
    },
    Live,
    /// The reader has no room: pushes are left to the server until it has.
    Stalled,
}

/// What the present question to the server is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repair {
    /// A new subscription or a new connection. `whole`: nothing is known to be lost.
    Attach {
        whole: bool,
    },
    /// A hole on a living connection.
    Hole {
        late: u64,
    },
    /// The reader had no room.
    Stall,
    None,
}

/// For the statistics; taken by the session.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) duplicates: u64,
    pub(crate) gaps_recovered: u64,
    pub(crate) delivered: u64,
}

/// Where a publication lies as seen from the own position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Next,
    Duplicate,
    Hole,
    NoRoom,
}

impl Subscription {
    pub(crate) fn new(channel: ChannelId, options: Subscribe) -> Self {
        let position = match options.from {
            StartFrom::Latest => None,
            StartFrom::Earliest => Some(Position::EARLIEST),
            StartFrom::Position(position) => Some(position),
        };
        Self {
            channel,
            options,
            position,
            phase: Phase::Wanted(None),
            seen: Position::EARLIEST,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            repair: Repair::Attach { whole: true },
            counts: Counts::default(),
        }
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// The question to send now, if one is due; the caller sends it.
    pub(crate) fn poll_ask(&mut self, now: Instant, room: usize) -> Option<v1::Subscribe> {
        let due = match self.phase {
            Phase::Wanted(not_before) => not_before.is_none_or(|at| at <= now) && room > 0,
            Phase::Asking { deadline } => deadline <= now && room > 0,
            Phase::Stalled => room >= ROOM_TO_GO_ON,
            Phase::Live => false,
        };
        due.then(|| {
            self.on_asked(now);
            self.question(room)
        })
    }

    /// The question was sent.
    pub(crate) fn on_asked(&mut self, now: Instant) {
        self.phase = Phase::Asking { deadline: now + ASK_AGAIN };
    }

    /// The question, whatever the phase; for the Hello of a connection.
    pub(crate) fn question(&self, room: usize) -> v1::Subscribe {
        let order = match self.options.order {
            Order::OldestFirst => v1::RecoveryOrder::OldestFirst,
            Order::NewestFirst => v1::RecoveryOrder::NewestFirst,
        };
        v1::Subscribe {
            channel: self.channel.to_string(),
            since: self.position.map(Into::into),
            order: order.into(),
            presence: self.options.presence,
            receipts: self.options.receipts,
            page_publications: u32::try_from(room.max(1)).unwrap_or(u32::MAX),
        }
    }

    /// When `poll_ask` has something new by time alone, provided that there is room.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Wanted(not_before) => not_before,
            Phase::Asking { deadline } => Some(deadline),
            Phase::Live | Phase::Stalled => None,
        }
    }

    /// The connection is gone, or another one takes over: everything is asked for anew.
    pub(crate) fn handle_detached(&mut self) {
        self.phase = Phase::Wanted(None);
        self.forget_waiting();
        if !matches!(self.repair, Repair::Attach { .. }) {
            self.repair = Repair::Attach { whole: true };
        }
    }

    /// Pushes of the present connection were dropped before they came here.
    pub(crate) fn handle_pushes_lost(&mut self) {
        match self.phase {
            Phase::Live => self.start_repair(),
            Phase::Asking { .. } => self.phase = Phase::Wanted(None),
            Phase::Wanted(_) | Phase::Stalled => {}
        }
    }

    /// The server will take the question later.
    pub(crate) fn handle_refused(&mut self, retry_at: Instant) {
        self.phase = Phase::Wanted(Some(retry_at));
    }

    /// The answer to a question, as a Reply or, for the questions of a Hello, as a Push.
    pub(crate) fn handle_subscribed(
        &mut self,
        reply: v1::Subscribed,
        now: Instant,
        room: usize,
        out: &mut Vec<Event>,
    ) {
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
            self.go_live(had_position, &mut room, out);
        } else {
            self.seen = self.seen.max(Position::new(position.epoch, reply.head_offset));
            self.phase = Phase::Wanted(None);
        }
        let stuck = self.position == asked_from;
        if stuck && self.phase == Phase::Wanted(None) {
            self.phase = Phase::Wanted(Some(now + ODD_REPLY_PAUSE));
        }
    }

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

    /// The server has stopped pushing this channel, or says where it ends.
    pub(crate) fn handle_head(&mut self, epoch: Epoch, offset: Offset) {
        self.seen = self.seen.max(Position { epoch, offset });
        if self.phase == Phase::Live && self.position.is_some_and(|own| self.seen > own) {
            self.start_repair();
        }
    }

    /// A named hole: the server pushes no more until it is asked, whether or not we are behind.
    pub(crate) fn handle_gap(&mut self, gap: &v1::Gap) {
        self.handle_head(Epoch(gap.epoch), Offset(gap.upto_offset));
        if self.phase == Phase::Live {
            self.start_repair();
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
            Place::Hole => {
                self.keep_waiting(publication);
                self.start_repair();
            }
            Place::Duplicate => {}
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
            Repair::Stall | Repair::None => {}
        }
        self.take_waiting(room, out);
        if self.phase == Phase::Live && self.position.is_some_and(|own| self.seen > own) {
            self.start_repair();
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
    fn place(&mut self, publication: &v1::Publication, room: usize) -> Place {
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

    fn deliver(&mut self, publication: v1::Publication, room: &mut usize, out: &mut Vec<Event>) {
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

    fn take_waiting(&mut self, room: &mut usize, out: &mut Vec<Event>) {
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

    fn start_repair(&mut self) {
        self.phase = Phase::Wanted(None);
        if self.repair == Repair::None {
            self.repair = Repair::Hole { late: 0 };
        }
    }

    fn stall(&mut self) {
        self.phase = Phase::Stalled;
        self.forget_waiting();
        if self.repair == Repair::None {
            self.repair = Repair::Stall;
        }
    }

    fn forget_waiting(&mut self) {
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
/// A question without an answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// After an answer that contradicts itself, so that the next question is not part of a hot loop.
const ODD_REPLY_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "subscription_tests.rs"]
mod tests;
