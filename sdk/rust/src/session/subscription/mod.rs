//! One channel as it is being received: where it stands, what may be delivered, when to ask the
//! server for what is missing. Pure. A publication is delivered when it follows the own position
//! directly, dropped when it does not lie above it (I13), and otherwise waits, bounded, while the
//! difference is fetched (I5).

mod activity;
mod answer;
mod pushes;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sterna_proto::{ChannelId, Epoch, Offset, Position, v1};

use super::backoff::Backoff;
use crate::mailbox::ROOM_TO_GO_ON;
use crate::options::{Activity, Order, StartFrom, Subscribe};
use activity::Saying;

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
    /// The class that the last question named, and the one that the node was told.
    asked: Activity,
    told: Activity,
    saying: Saying,
    /// What was last shown of where the channel ends.
    shown: Position,
    /// How long an answer is waited for.
    patience: Duration,
    /// Questions in a row that nobody has answered.
    unanswered: Backoff,
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
    /// The reader had no room, or did not want what there was.
    Pause,
    None,
}

/// For the statistics; taken by the session.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) duplicates: u64,
    pub(crate) gaps_recovered: u64,
    pub(crate) delivered: u64,
}

impl Subscription {
    /// An answer is waited for as long as `patience`, then the question is asked anew.
    pub(crate) fn new(channel: ChannelId, options: Subscribe, patience: Duration) -> Self {
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
            asked: options.activity,
            told: options.activity,
            saying: Saying::Nothing { not_before: None },
            shown: Position::EARLIEST,
            patience,
            unanswered: Backoff::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Whether the application wants to hear who comes and goes.
    pub(crate) fn follows_presence(&self) -> bool {
        self.options.presence
    }

    /// The question to send now, if one is due; the caller sends it.
    pub(crate) fn poll_ask(&mut self, now: Instant, room: usize) -> Option<v1::Subscribe> {
        let due = match self.phase {
            Phase::Wanted(not_before) => not_before.is_none_or(|at| at <= now) && room > 0,
            Phase::Stalled => room >= ROOM_TO_GO_ON,
            Phase::Asking { .. } | Phase::Live => false,
        };
        due.then(|| {
            let question = self.question(room);
            self.on_asked(now);
            question
        })
    }

    /// The question was sent.
    pub(crate) fn on_asked(&mut self, now: Instant) {
        self.phase = Phase::Asking { deadline: now + self.patience };
        self.told = self.asked;
        self.saying.on_asked();
    }

    /// Gives up an answer that is overdue: the question is asked again, ever more seldom, so that
    /// it leaves its place to others. `chance` lies in 0..1.
    pub(crate) fn handle_timeout(&mut self, now: Instant, chance: f64) {
        if let Phase::Asking { deadline } = self.phase
            && deadline <= now
        {
            self.phase = Phase::Wanted(Some(now + self.unanswered.on_failure(chance)));
        }
    }

    /// Since when a question is due; `None`: as soon as possible.
    pub(crate) fn wanted_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Wanted(not_before) => not_before,
            _ => None,
        }
    }

    /// Whether a question is to be sent, as soon as time and room allow.
    pub(crate) fn waits_to_ask(&self) -> bool {
        matches!(self.phase, Phase::Wanted(_) | Phase::Stalled)
    }

    /// Whether nothing that was asked has been answered yet.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.phase, Phase::Wanted(_) | Phase::Asking { .. })
    }

    /// Whether a question is on its way, as far as is known.
    pub(crate) fn is_asking(&self) -> bool {
        matches!(self.phase, Phase::Asking { .. })
    }

    /// The question, whatever the phase; for the Hello of a connection.
    pub(crate) fn question(&mut self, room: usize) -> v1::Subscribe {
        self.asked = self.options.activity;
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
            activity: v1::Activity::from(self.options.activity).into(),
        }
    }

    /// When `handle_timeout` gives up an answer.
    pub(crate) fn answer_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Asking { deadline } => Some(deadline),
            _ => None,
        }
    }

    /// The connection is gone, or another one takes over: everything is asked for anew.
    pub(crate) fn handle_detached(&mut self) {
        self.phase = Phase::Wanted(None);
        self.unanswered.reset();
        self.saying = Saying::Nothing { not_before: None };
        self.forget_waiting();
        if !matches!(self.repair, Repair::Attach { .. }) {
            self.repair = Repair::Attach { whole: true };
        }
    }

    /// Pushes of the present connection were dropped before they came here.
    pub(crate) fn handle_pushes_lost(&mut self) {
        match self.phase {
            Phase::Live if self.is_background() => {}
            Phase::Live => self.start_repair(),
            Phase::Asking { .. } => self.phase = Phase::Wanted(None),
            Phase::Wanted(_) | Phase::Stalled => {}
        }
    }

    /// The server will take the question later.
    pub(crate) fn handle_refused(&mut self, retry_at: Instant) {
        self.phase = Phase::Wanted(Some(retry_at));
    }

    /// The server has stopped pushing this channel, or says where it ends.
    pub(crate) fn handle_head(&mut self, epoch: Epoch, offset: Offset) {
        self.seen = self.seen.max(Position { epoch, offset });
        self.look_behind();
    }

    /// A named hole: the server pushes no more until it is asked, whether or not we are behind.
    pub(crate) fn handle_gap(&mut self, gap: &v1::Gap) {
        self.handle_head(Epoch(gap.epoch), Offset(gap.upto_offset));
        if self.phase == Phase::Live && !self.is_background() {
            self.start_repair();
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
            self.repair = Repair::Pause;
        }
    }
}

#[cfg(test)]
mod activity_tests;
#[cfg(test)]
mod tests;
