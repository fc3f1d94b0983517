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
    /// The highest offset heard of in this epoch.
    seen: Offset,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivered {
    Yes,
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
            seen: Offset::ZERO,
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

    /// When `poll_ask` has something new by time alone.
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
        let had_position = self.position.is_some_and(|own| !own.is_earliest());
        let asked_from = self.position;
        self.adopt_epoch(&reply, out);
        let mut room = room;
        let mut last = Delivered::Yes;
        let gap = reply.gap.clone();
        for publication in reply.publications {
            self.cross_gap(gap.as_ref(), publication.offset.saturating_sub(1), out);
            last = self.deliver(publication, &mut room, out);
            if matches!(last, Delivered::Hole | Delivered::NoRoom) {
                break;
            }
        }
        match last {
            Delivered::NoRoom => return self.stall(),
            Delivered::Hole => {
                tracing::warn!(channel = %self.channel, "a reply has a hole; asking again");
                self.phase = Phase::Wanted(Some(now + ODD_REPLY_PAUSE));
                return;
            }
            Delivered::Yes | Delivered::Duplicate => {}
        }
        let position = reply.position.unwrap_or_default();
        self.cross_gap(gap.as_ref(), position.offset, out);
        self.catch_up(position.offset, out);
        if reply.live {
            self.go_live(had_position, &mut room, out);
        } else {
            self.seen = self.seen.max(Offset(reply.head_offset));
            let stuck = self.position == asked_from;
            self.phase = Phase::Wanted(stuck.then(|| now + ODD_REPLY_PAUSE));
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
        let Some(own) = self.position else { return };
        if epoch < own.epoch {
            return;
        }
        if epoch == own.epoch {
            self.seen = self.seen.max(offset);
        }
        if self.phase == Phase::Live && (epoch > own.epoch || self.seen > own.offset) {
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
        let own = self.position.unwrap_or_default();
        if publication.epoch > own.epoch.0 {
            return self.start_repair();
        }
        if publication.epoch < own.epoch.0 {
            self.counts.duplicates += 1;
            return;
        }
        let mut room = room;
        let offset = publication.offset;
        if offset > own.offset.next().0 {
            self.keep_waiting(publication);
            return self.start_repair();
        }
        match self.deliver(publication, &mut room, out) {
            Delivered::NoRoom => self.stall(),
            Delivered::Yes => self.take_waiting(&mut room, out),
            Delivered::Duplicate | Delivered::Hole => {}
        }
    }

    /// Takes over the epoch of the reply, forgetting what the reply says never existed.
    fn adopt_epoch(&mut self, reply: &v1::Subscribed, out: &mut Vec<Event>) {
        let theirs = reply.position.unwrap_or_default();
        let before =
            reply.publications.first().map_or(theirs.offset, |p| p.offset.saturating_sub(1));
        let Some(own) = self.position else {
            self.position = Some(Position::new(theirs.epoch, before.min(theirs.offset)));
            return;
        };
        if own.epoch.0 == theirs.epoch {
            return;
        }
        if own.epoch == Epoch(0) {
            self.position = Some(Position { epoch: Epoch(theirs.epoch), offset: own.offset });
            return;
        }
        let keep = reply.epoch_change.as_ref().map_or(0, |change| change.keep_upto);
        let (old, new, keep_upto) = (own.epoch, Epoch(theirs.epoch), Offset(keep));
        self.position = Some(Position { epoch: new, offset: own.offset.min(keep_upto) });
        self.seen = Offset::ZERO;
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
        let own = self.position.unwrap_or_default();
        if self.phase == Phase::Live && self.seen > own.offset {
            self.start_repair();
        }
    }

    fn deliver(
        &mut self,
        publication: v1::Publication,
        room: &mut usize,
        out: &mut Vec<Event>,
    ) -> Delivered {
        let Some(own) = &mut self.position else { return Delivered::Hole };
        if publication.epoch != own.epoch.0 || publication.offset <= own.offset.0 {
            self.counts.duplicates += 1;
            return Delivered::Duplicate;
        }
        if publication.offset != own.offset.next().0 {
            return Delivered::Hole;
        }
        if *room == 0 {
            return Delivered::NoRoom;
        }
        own.offset = Offset(publication.offset);
        if let Repair::Hole { late } = &mut self.repair {
            *late += 1;
        }
        if publication.kind() != v1::PublicationKind::Epoch {
            *room -= 1;
            self.counts.delivered += 1;
            out.push(Event::Publication(publication.into()));
        }
        Delivered::Yes
    }

    fn keep_waiting(&mut self, publication: v1::Publication) {
        let offset = publication.offset;
        match self.position {
            Some(own) if publication.epoch < own.epoch.0 => return,
            Some(own) if publication.epoch == own.epoch.0 => {
                if offset <= own.offset.0 {
                    self.counts.duplicates += 1;
                    return;
                }
                self.seen = self.seen.max(Offset(offset));
            }
            // Of an epoch that only the answer can explain: it will be part of it.
            Some(_) => return,
            None => self.seen = self.seen.max(Offset(offset)),
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
            let copy = publication.clone();
            match self.deliver(publication, room, out) {
                Delivered::Yes | Delivered::Duplicate => {}
                Delivered::NoRoom => return self.stall(),
                Delivered::Hole => {
                    self.waiting_bytes += copy.payload.len();
                    self.waiting.insert(copy.offset, copy);
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
        self.seen = Offset::ZERO;
    }
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
