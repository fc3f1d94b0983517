//! What one shard still owes to inboxes. Pure: stored intents come in, marks to write and intents to
//! complete come out.
//!
//! Intents of a slot are read in **rounds**. A round names channels; each is resolved to its members,
//! and each member gets a **mark**, which waits for the time in which others of the same channel join
//! it. A mark that is being written is joined by nobody: what comes meanwhile might not be covered.
//! Once all marks of a round are written, and of all rounds before it, its intents are completed.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use ahash::RandomState;
use sterna_proto::{ChannelKey, UserId};
use sterna_storage::Intent;

use super::intent;

/// Pause before a mark that could not be written is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// A round of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoundId {
    pub slot: u16,
    /// Counts the rounds of all slots; never used twice.
    serial: u64,
}

/// Whether the owner of a member's inbox counts the channel in already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touch {
    /// So the mark can wait for others.
    Known,
    /// It was told when an earlier publication came, whose mark was still waiting: the devices that
    /// look are to be told [again](super::tells).
    Earlier,
    /// So it is written at once.
    Unknown,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Agenda {
    slots: HashMap<u16, Slot, RandomState>,
    to_read: VecDeque<u16>,
    to_complete: VecDeque<u16>,
    marks: HashMap<ChannelKey, HashMap<UserId, Mark, RandomState>, RandomState>,
    count: usize,
    /// When marks are to be written, with a number to tell those of one moment apart.
    due: BTreeMap<(Instant, u64), (UserId, ChannelKey)>,
    last_serial: u64,
    max_marks: usize,
    coalesce: Duration,
}

#[derive(Debug, Default)]
struct Slot {
    /// Intents up to here are in rounds.
    after: u64,
    /// There may be more behind them.
    unread: bool,
    reading: bool,
    rounds: VecDeque<Round>,
    /// Carried out up to here, and not completed.
    done: Option<u64>,
    completing: bool,
}

#[derive(Debug)]
struct Round {
    serial: u64,
    upto: u64,
    /// Channels to resolve and marks to write.
    open: usize,
    since: Instant,
}

#[derive(Debug, Default)]
struct Mark {
    writing: bool,
    rounds: Vec<RoundId>,
    /// Rounds that came while it was being written: the next mark.
    next: Option<Vec<RoundId>>,
}

impl Agenda {
    pub(super) fn new(max_marks: usize, coalesce: Duration) -> Self {
        Self {
            slots: HashMap::default(),
            to_read: VecDeque::new(),
            to_complete: VecDeque::new(),
            marks: HashMap::default(),
            count: 0,
            due: BTreeMap::new(),
            last_serial: 0,
            max_marks,
            coalesce,
        }
    }

    /// Intents may have been stored in a slot.
    pub(super) fn note(&mut self, slot: u16) {
        let state = self.slots.entry(slot).or_default();
        if !std::mem::replace(&mut state.unread, true) && !state.reading {
            self.to_read.push_back(slot);
        }
    }

    /// Slots that are to be read.
    pub(super) fn slots_to_read(&self) -> usize {
        self.to_read.len()
    }

    /// A slot to read, and the number behind which its intents are wanted. None while too many marks
    /// wait: intents are kept by the store (I12).
    pub(super) fn poll_read(&mut self) -> Option<(u16, u64)> {
        if self.count >= self.max_marks {
            return None;
        }
        let slot = self.to_read.pop_front()?;
        let state = self.slots.entry(slot).or_default();
        state.unread = false;
        state.reading = true;
        Some((slot, state.after))
    }

    /// A slot was read: its next round, and the channels to resolve. `more`: there may be further
    /// intents behind these.
    pub(super) fn on_read(
        &mut self,
        slot: u16,
        intents: &[Intent],
        more: bool,
        now: Instant,
    ) -> Option<(RoundId, HashSet<ChannelKey>)> {
        let state = self.slots.get_mut(&slot)?;
        state.reading = false;
        state.unread |= more;
        if state.unread {
            self.to_read.push_back(slot);
        }
        let Some(last) = intents.last() else {
            self.drop_idle(slot);
            return None;
        };
        let channels: HashSet<ChannelKey> =
            intents.iter().filter_map(|intent| intent::decode(&intent.payload)).collect();
        self.last_serial += 1;
        let round =
            Round { serial: self.last_serial, upto: last.number, open: channels.len(), since: now };
        state.after = last.number;
        state.rounds.push_back(round);
        let id = RoundId { slot, serial: self.last_serial };
        self.finish_rounds(slot, now);
        Some((id, channels))
    }

    /// A slot could not be read: again, later.
    pub(super) fn on_read_failed(&mut self, slot: u16) {
        if let Some(state) = self.slots.get_mut(&slot) {
            state.reading = false;
            state.unread = true;
            self.to_read.push_back(slot);
        }
    }

    /// Members for whom a mark of the channel waits that others can join: nobody has to be told.
    pub(super) fn waiting(&self, channel: &ChannelKey) -> HashSet<UserId> {
        let marks = self.marks.get(channel).into_iter().flatten();
        marks.filter(|(_, mark)| !mark.writing).map(|(user, _)| user.clone()).collect()
    }

    /// The members of a round's channel are known: each gets a mark.
    pub(super) fn on_resolved(
        &mut self,
        round: Option<RoundId>,
        channel: ChannelKey,
        members: Vec<(UserId, Touch)>,
        now: Instant,
    ) {
        if let Some(open) = round.and_then(|id| self.round(id)) {
            open.open += members.len();
        }
        for (user, touch) in members {
            self.add(round, channel, user, touch, now);
        }
        if let Some(id) = round {
            self.settle(id, now);
        }
    }

    /// Marks to write now, each user's together, for at most so many users.
    pub(super) fn poll_writes(
        &mut self,
        now: Instant,
        max_users: usize,
    ) -> BTreeMap<UserId, Vec<ChannelKey>> {
        let mut writes: BTreeMap<UserId, Vec<ChannelKey>> = BTreeMap::new();
        while let Some(entry) = self.due.first_entry() {
            let ((at, _), user) = (*entry.key(), &entry.get().0);
            // Room is wanted more than merging.
            let due = at <= now || self.count >= self.max_marks;
            if !due || (writes.len() >= max_users && !writes.contains_key(user)) {
                break;
            }
            let (user, channel) = entry.remove();
            if let Some(mark) = self.marks.get_mut(&channel).and_then(|of| of.get_mut(&user)) {
                mark.writing = true;
                writes.entry(user).or_default().push(channel);
            }
        }
        writes
    }

    /// Marks were written, or not: then again, later.
    pub(super) fn on_written(
        &mut self,
        user: &UserId,
        channels: &[ChannelKey],
        stored: bool,
        now: Instant,
    ) {
        for channel in channels {
            let Some(of) = self.marks.get_mut(channel) else { continue };
            let Some(mut mark) = of.remove(user) else { continue };
            mark.writing = false;
            if !stored {
                mark.rounds.extend(mark.next.take().into_iter().flatten());
                of.insert(user.clone(), mark);
                self.schedule(now + RETRY, user.clone(), *channel);
                continue;
            }
            match mark.next.take() {
                Some(rounds) => {
                    of.insert(user.clone(), Mark { rounds, ..Mark::default() });
                    self.schedule(now + self.coalesce, user.clone(), *channel);
                }
                None => {
                    self.count -= 1;
                    if of.is_empty() {
                        self.marks.remove(channel);
                    }
                }
            }
            for id in mark.rounds {
                self.settle(id, now);
            }
        }
    }

    /// Slots that are to be completed.
    pub(super) fn slots_to_complete(&self) -> usize {
        self.to_complete.len()
    }

    /// A slot whose intents up to a number have been carried out.
    pub(super) fn poll_complete(&mut self) -> Option<(u16, u64)> {
        while let Some(slot) = self.to_complete.pop_front() {
            let Some(state) = self.slots.get_mut(&slot) else { continue };
            if let Some(upto) = state.done.take_if(|_| !state.completing) {
                state.completing = true;
                return Some((slot, upto));
            }
        }
        None
    }

    /// They were completed, or not: then with the next ones.
    pub(super) fn on_completed(&mut self, slot: u16, upto: u64, stored: bool) {
        let Some(state) = self.slots.get_mut(&slot) else { return };
        state.completing = false;
        if !stored {
            state.done = state.done.max(Some(upto));
        }
        if state.done.is_some() {
            self.to_complete.push_back(slot);
        }
        self.drop_idle(slot);
    }

    /// Slots that others own from now on. Marks that wait are written all the same: once too often
    /// is no harm.
    pub(super) fn forget(&mut self, lost: &HashSet<u16>) {
        self.slots.retain(|slot, _| !lost.contains(slot));
        self.to_read.retain(|slot| !lost.contains(slot));
    }

    /// Marks that wait or are being written.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    fn add(
        &mut self,
        round: Option<RoundId>,
        channel: ChannelKey,
        user: UserId,
        touch: Touch,
        now: Instant,
    ) {
        let of = self.marks.entry(channel).or_default();
        if let Some(mark) = of.get_mut(&user) {
            metrics::counter!("sterna_core_inbox_marks_merged_total").increment(1);
            let rounds = match mark.writing {
                true => mark.next.get_or_insert_default(),
                false => &mut mark.rounds,
            };
            rounds.extend(round);
            return;
        }
        of.insert(user.clone(), Mark { rounds: round.into_iter().collect(), ..Mark::default() });
        self.count += 1;
        let at = match touch {
            Touch::Known | Touch::Earlier => now + self.coalesce,
            Touch::Unknown => now,
        };
        self.schedule(at, user, channel);
    }

    fn schedule(&mut self, at: Instant, user: UserId, channel: ChannelKey) {
        self.last_serial += 1;
        self.due.insert((at, self.last_serial), (user, channel));
    }

    fn round(&mut self, id: RoundId) -> Option<&mut Round> {
        let rounds = &mut self.slots.get_mut(&id.slot)?.rounds;
        rounds.iter_mut().find(|round| round.serial == id.serial)
    }

    /// One of the things that a round waits for is done.
    fn settle(&mut self, id: RoundId, now: Instant) {
        if let Some(round) = self.round(id) {
            round.open -= 1;
            if round.open == 0 {
                self.finish_rounds(id.slot, now);
            }
        }
    }

    fn finish_rounds(&mut self, slot: u16, now: Instant) {
        let Some(state) = self.slots.get_mut(&slot) else { return };
        let mut done = None;
        while let Some(round) = state.rounds.pop_front_if(|round| round.open == 0) {
            metrics::histogram!("sterna_core_intent_lag_seconds").record(now - round.since);
            done = Some(round.upto);
        }
        if done.is_some() {
            state.done = done;
            self.to_complete.push_back(slot);
        }
    }

    /// Forgets a slot in which nothing waits; what is completed is not read again.
    fn drop_idle(&mut self, slot: u16) {
        let idle = |state: &Slot| {
            !state.unread
                && !state.reading
                && !state.completing
                && state.rounds.is_empty()
                && state.done.is_none()
        };
        if self.slots.get(&slot).is_some_and(idle) {
            self.slots.remove(&slot);
        }
    }
}

#[cfg(test)]
#[path = "agenda_tests.rs"]
mod tests;
