//! The sessions of one worker. Synchronous; the worker's tasks borrow it for moments.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use ahash::RandomState;
use sterna_proto::{ChannelKey, CloseReason, SessionId, UserId, v1};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::CoreConfig;
use crate::fanout::hub::{Hub, Interest, Slot};
use crate::link::{LinkCommand, Verb};
use crate::revocations::Revocation;
use crate::session::{Departed, ResumeTicket, Session};
use crate::vitals::inspect::{SessionDetail, SessionReport};
use crate::vitals::tally::WorkerCounts;
use crate::worker::detached::{Absence, Detached, DetachedQueue};
use crate::worker::later::Later;
use crate::worker::wake::Wake;

/// Values of the metric label `state`.
const STATES: [&str; 2] = ["attached", "detached"];

/// Commands for which no connection waits.
pub const BACKGROUND_COMMANDS: usize = 65_536;

#[derive(Debug)]
pub struct Table {
    /// Boxed: a table that grows moves no session, and a free slot keeps no room for one.
    pub(super) sessions: Vec<Option<Box<Entry>>>,
    free: Vec<Slot>,
    by_id: HashMap<SessionId, Slot, RandomState>,
    pub(super) hub: Hub,
    /// What foreground and background sessions are told later.
    pub(super) later: Later,
    /// Detached sessions; entries of those that have continued or ended are skipped.
    detached: DetachedQueue,
    /// How many sessions are detached.
    detached_count: usize,
    /// How many of each of [`STATES`] the metrics know of.
    recorded: [usize; 2],
    /// Commands for which no connection waits.
    background: VecDeque<LinkCommand>,
    /// Of these, those that were refused for the moment.
    refused: VecDeque<LinkCommand>,
    background_added: Rc<Notify>,
    next_generation: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) session: Session,
    /// Distinguishes this use of the slot from every other.
    pub(super) generation: u64,
    pub(super) attached: bool,
    /// Since when it has no connection.
    detached_at: Option<Instant>,
    /// What it was given waits for more.
    pub(super) is_merging: bool,
    /// How present the session is for others.
    presence: v1::PresenceState,
    /// Wakes the attachment.
    pub(super) wake: Rc<Wake>,
}

impl Table {
    pub fn new() -> Self {
        Self {
            sessions: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::default(),
            hub: Hub::default(),
            later: Later::default(),
            detached: DetachedQueue::default(),
            detached_count: 0,
            recorded: [0; 2],
            background: VecDeque::new(),
            refused: VecDeque::new(),
            background_added: Rc::new(Notify::new()),
            next_generation: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Those with a connection.
    pub fn attached_count(&self) -> usize {
        self.len() - self.detached_count
    }

    /// Adds an attached session.
    pub fn insert(&mut self, session: Session) -> (Slot, u64, Rc<Wake>) {
        self.next_generation += 1;
        let wake = Rc::new(Wake::default());
        let id = session.id();
        let generation = self.next_generation;
        let presence = v1::PresenceState::Online;
        let entry = Box::new(Entry {
            session,
            generation,
            attached: true,
            detached_at: None,
            is_merging: false,
            presence,
            wake: wake.clone(),
        });
        let slot = match self.free.pop() {
            Some(slot) => {
                self.sessions[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.sessions.push(Some(entry));
                (self.sessions.len() - 1) as Slot
            }
        };
        self.by_id.insert(id, slot);
        (slot, generation, wake)
    }

    /// The session, if the slot is still that use of it.
    pub fn session(&mut self, slot: Slot, generation: u64) -> Option<&mut Session> {
        self.entry(slot, generation).map(|entry| &mut entry.session)
    }

    pub fn leave(&mut self, channel: ChannelKey, slot: Slot) -> Interest {
        self.hub.leave(channel, slot)
    }

    /// The connection is gone. Returns the channels in which nobody here is interested any more,
    /// and the session's id if nothing is kept of it.
    pub fn detach(
        &mut self,
        slot: Slot,
        generation: u64,
        at: Instant,
    ) -> (Vec<ChannelKey>, Option<SessionId>) {
        let Some(entry) = self.entry(slot, generation) else { return (Vec::new(), None) };
        (entry.attached, entry.detached_at) = (false, Some(at));
        let id = entry.session.id();
        let forget = entry.session.is_forgotten();
        self.detached_count += 1;
        let lost = self.leave_all(slot);
        if forget {
            self.end(slot);
            return (lost, Some(id));
        }
        self.detached.push(Detached { slot, generation, at });
        (lost, None)
    }

    /// Whether the session is here, with a connection or without.
    pub fn has(&self, session: SessionId) -> bool {
        self.by_id.contains_key(&session)
    }

    /// Gives a session up for another connection, if the ticket proves the right to it.
    pub fn depart(
        &mut self,
        ticket: &ResumeTicket,
        user: &UserId,
    ) -> Option<(Departed, Vec<ChannelKey>)> {
        let slot = *self.by_id.get(&ticket.session)?;
        let entry = self.sessions.get_mut(slot as usize)?.as_mut()?;
        let session = &mut entry.session;
        let its_own = session.identity().user == *user || sterna_storage::planted!(ForeignTicket);
        let proved = session.resume_ticket().proves(ticket) && its_own;
        if !proved || session.is_forgotten() {
            return None;
        }
        let mut departed = session.depart();
        departed.away = entry.detached_at.map(|at| at.elapsed());
        let lost = self.leave_all(slot);
        if let Some(entry) = self.remove(slot) {
            entry.wake.notify();
        }
        Some((departed, lost))
    }

    /// Does something with every attached session and wakes those that have something to say.
    pub fn for_attached(&mut self, mut act: impl FnMut(&mut Session)) {
        for entry in self.sessions.iter_mut().flatten().filter(|entry| entry.attached) {
            act(&mut entry.session);
            if entry.session.has_output() {
                entry.wake.notify();
            }
        }
    }

    /// Slots, free ones among them.
    pub fn slots(&self) -> usize {
        self.sessions.len()
    }

    /// Those with a connection, of the sessions of some slots.
    pub fn attached_in(&self, slots: Range<usize>) -> usize {
        let some = self.sessions.get(slots).unwrap_or_default();
        some.iter().flatten().filter(|entry| entry.attached).count()
    }

    /// The same as [`for_attached`](Self::for_attached) for the sessions of some slots.
    pub fn for_slots(&mut self, slots: Range<usize>, mut act: impl FnMut(&mut Session)) {
        let some = self.sessions.get_mut(slots).unwrap_or_default();
        for entry in some.iter_mut().flatten().filter(|entry| entry.attached) {
            act(&mut entry.session);
            entry.wake.notify();
        }
    }

    /// Counts what is here. `since_last`: the time since it was called before.
    pub fn count(&mut self, since_last: Duration) -> WorkerCounts {
        let mut counts = WorkerCounts {
            background: self.background.len() + self.refused.len(),
            ..WorkerCounts::default()
        };
        counts.sessions.detached = self.detached_count as u32;
        self.for_attached(|session| {
            session.look(since_last);
            session.count_into(&mut counts);
        });
        counts
    }

    /// Who is behind and who is busiest, of those with a connection.
    /// One session, whether it has a connection or not.
    pub fn examine(&self, session: SessionId) -> Option<SessionDetail> {
        let slot = *self.by_id.get(&session)?;
        let entry = self.sessions.get(slot as usize)?.as_ref()?;
        Some(SessionDetail { attached: entry.attached, ..entry.session.detail() })
    }

    pub fn inspect(&mut self, most: usize) -> Vec<SessionReport> {
        let mut reports = Vec::new();
        for entry in self.sessions.iter().flatten().filter(|entry| entry.attached) {
            if entry.session.is_active() {
                reports.push(entry.session.report());
            }
        }
        SessionReport::keep_most(&mut reports, most);
        reports
    }

    /// I11: ends the sessions whose tokens are void; nothing of them can be resumed. Returns those
    /// that have ended at once because they have no connection.
    pub fn revoke(&mut self, revocation: &Revocation) -> Vec<SessionId> {
        let mut ended = Vec::new();
        for slot in 0..self.sessions.len() {
            let Some(entry) = &mut self.sessions[slot] else { continue };
            let identity = entry.session.identity();
            if !revocation.covers(&identity.user, identity.issued_at_ms) {
                continue;
            }
            if sterna_storage::planted!(RevokedResumes) {
                entry.session.start_close(CloseReason::Revoked);
                entry.wake.notify();
                continue;
            }
            if entry.attached {
                entry.session.revoke();
                entry.wake.notify();
            } else {
                ended.push(entry.session.id());
                self.end(slot as Slot);
            }
        }
        ended
    }

    /// Ends sessions that were detached for too long or do not fit, and lets others know of those
    /// that are away. Returns the ended ones.
    pub fn sweep(&mut self, now: Instant, config: &CoreConfig) -> Vec<SessionId> {
        let mut ended = Vec::new();
        let mut detached = std::mem::take(&mut self.detached);
        detached.compact(self.detached_count, |d| self.is_current(d));
        detached.advance(now, config, |d, absence| match absence {
            _ if !self.is_current(d) => {}
            Absence::Over => ended.extend(self.end(d.slot)),
            Absence::Roaming => self.set_presence(d.slot, v1::PresenceState::Roaming),
            Absence::Detached => self.set_presence(d.slot, v1::PresenceState::Detached),
            Absence::Unnoticed => {}
        });
        while self.detached_count > config.queues.detached_sessions {
            let Some(oldest) = detached.pop_oldest() else { break };
            if self.is_current(&oldest) {
                ended.extend(self.end(oldest.slot));
            }
        }
        self.detached = detached;
        self.record_sizes();
        ended
    }

    /// Channels of some slots have other owners. Who has a connection attaches there again; the
    /// others say how present they are.
    pub fn on_rehomed(&mut self, slots: &HashSet<u16>) {
        let mut commands = Vec::new();
        for entry in self.sessions.iter_mut().flatten().filter(|entry| !entry.attached) {
            commands.extend(entry.session.presence_again(entry.presence, slots));
        }
        commands.into_iter().for_each(|command| self.push_background(command));
    }

    /// Adds a command for which no connection waits. When too many wait, the oldest is dropped:
    /// they are about presence, which a newer one or the session's end puts right.
    pub fn push_background(&mut self, command: LinkCommand) {
        if self.background.len() + self.refused.len() >= BACKGROUND_COMMANDS {
            if self.background.pop_front().is_none() {
                self.refused.pop_front();
            }
            metrics::counter!("sterna_core_background_dropped_total").increment(1);
        }
        self.background.push_back(command);
        self.background_added.notify_one();
    }

    /// Keeps a command that was refused for the moment until
    /// [`retry_background`](Self::retry_background).
    pub fn on_background_refused(&mut self, command: LinkCommand) {
        metrics::counter!("sterna_core_background_refused_total").increment(1);
        if self.background.len() + self.refused.len() < BACKGROUND_COMMANDS {
            self.refused.push_back(command);
        } else {
            metrics::counter!("sterna_core_background_dropped_total").increment(1);
        }
    }

    /// Lets those that were refused come again.
    pub fn retry_background(&mut self) {
        self.background.append(&mut self.refused);
    }

    /// The next one that still holds: what a session has said of itself since is not undone by what
    /// was refused before.
    pub fn pop_background(&mut self) -> Option<LinkCommand> {
        while let Some(command) = self.background.pop_front() {
            if self.still_holds(&command) {
                return Some(command);
            }
        }
        None
    }

    fn still_holds(&self, command: &LinkCommand) -> bool {
        let state = match command.verb {
            Verb::SetPresence { state, .. } if state != v1::PresenceState::Offline => state,
            _ => return true,
        };
        let slot = self.by_id.get(&command.caller.session);
        let entry = slot.and_then(|slot| self.sessions.get(*slot as usize)?.as_ref());
        entry.is_some_and(|entry| !entry.attached && entry.presence == state)
    }

    /// Notified when there is another command in the background.
    pub fn background_added(&self) -> Rc<Notify> {
        self.background_added.clone()
    }

    /// The detached session is still that one, and still detached.
    fn is_current(&self, detached: &Detached) -> bool {
        let entry = self.sessions.get(detached.slot as usize).and_then(Option::as_ref);
        entry.is_some_and(|entry| entry.generation == detached.generation && !entry.attached)
    }

    /// Forgets a session and lets others know.
    fn end(&mut self, slot: Slot) -> Option<SessionId> {
        self.set_presence(slot, v1::PresenceState::Offline);
        self.remove(slot).map(|entry| entry.session.id())
    }

    fn set_presence(&mut self, slot: Slot, state: v1::PresenceState) {
        let Some(Some(entry)) = self.sessions.get_mut(slot as usize) else { return };
        entry.presence = state;
        let commands = entry.session.presence_commands(state);
        commands.into_iter().for_each(|command| self.push_background(command));
    }

    fn leave_all(&mut self, slot: Slot) -> Vec<ChannelKey> {
        let Some(Some(entry)) = self.sessions.get_mut(slot as usize) else { return Vec::new() };
        let hub = &mut self.hub;
        // Also those that the session has left without anybody having carried it out.
        let (left, commands) = entry.session.on_detached();
        let channels = entry.session.channels().chain(left);
        let lost = channels.filter(|channel| hub.leave(*channel, slot) == Interest::Lost).collect();
        commands.into_iter().for_each(|command| self.push_background(command));
        lost
    }

    fn remove(&mut self, slot: Slot) -> Option<Box<Entry>> {
        let entry = self.sessions.get_mut(slot as usize)?.take()?;
        self.by_id.remove(&entry.session.id());
        self.detached_count -= usize::from(!entry.attached);
        self.free.push(slot);
        Some(entry)
    }

    pub(super) fn entry(&mut self, slot: Slot, generation: u64) -> Option<&mut Entry> {
        let entry = self.sessions.get_mut(slot as usize)?.as_mut()?;
        (entry.generation == generation).then_some(entry)
    }

    /// By what has changed: every worker has a table, and the gauges are of the node.
    fn record_sizes(&mut self) {
        let sizes = [self.attached_count(), self.detached_count];
        let recorded = std::mem::replace(&mut self.recorded, sizes);
        for (state, (size, before)) in STATES.into_iter().zip(sizes.into_iter().zip(recorded)) {
            let change = size as f64 - before as f64;
            metrics::gauge!("sterna_core_sessions", "state" => state).increment(change);
        }
    }
}

impl Session {
    /// I11: the user's right has been taken away.
    fn revoke(&mut self) {
        self.forget();
        self.start_close(CloseReason::Revoked);
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
pub(super) mod tests;
