//! The sessions of one worker. Synchronous; the worker's tasks borrow it for moments.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use ahash::RandomState;
use sterna_proto::{ChannelId, ChannelKey, CloseReason, SessionId, UserId, v1};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::fanout::hub::{Hub, Interest, Slot};
use crate::link::{LinkCommand, Verb};
use crate::session::{ResumeTicket, Session};

/// Commands for which no connection waits.
const BACKGROUND_COMMANDS: usize = 65_536;

#[derive(Debug)]
pub struct Table {
    sessions: Vec<Option<Entry>>,
    free: Vec<Slot>,
    by_id: HashMap<SessionId, Slot, RandomState>,
    hub: Hub,
    /// Detached sessions, oldest first; entries that were attached again are skipped.
    detached: VecDeque<Detached>,
    max_detached: usize,
    /// Commands for which no connection waits.
    background: VecDeque<LinkCommand>,
    next_generation: u64,
}

#[derive(Debug)]
struct Entry {
    session: Session,
    /// Distinguishes this use of the slot from every other.
    generation: u64,
    attached: bool,
    /// Wakes the attachment.
    wake: Rc<Notify>,
}

#[derive(Debug)]
struct Detached {
    slot: Slot,
    generation: u64,
    at: Instant,
    /// Others have been told that the session is detached.
    told: bool,
}

/// What a session leaves behind for the worker on which it continues.
#[derive(Debug)]
pub struct Departed {
    /// One for each channel in which it was present: takes it out there.
    pub leaves: Vec<LinkCommand>,
}

impl Table {
    pub fn new(max_detached: usize) -> Self {
        Self {
            sessions: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::default(),
            hub: Hub::default(),
            detached: VecDeque::new(),
            max_detached,
            background: VecDeque::new(),
            next_generation: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Adds an attached session.
    pub fn insert(&mut self, session: Session) -> (Slot, u64, Rc<Notify>) {
        self.next_generation += 1;
        let wake = Rc::new(Notify::new());
        let id = session.id();
        let generation = self.next_generation;
        let entry = Entry { session, generation, attached: true, wake: wake.clone() };
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

    pub fn join(&mut self, channel: ChannelKey, slot: Slot) {
        self.hub.join(channel, slot);
    }

    pub fn leave(&mut self, channel: ChannelKey, slot: Slot) -> Interest {
        self.hub.leave(channel, slot)
    }

    /// The connection is gone. Returns the channels in which nobody here is interested any more,
    /// and the session's id if nothing is kept of it.
    pub fn detach(&mut self, slot: Slot, generation: u64) -> (Vec<ChannelKey>, Option<SessionId>) {
        let Some(entry) = self.entry(slot, generation) else { return (Vec::new(), None) };
        entry.attached = false;
        let id = entry.session.id();
        let forget = entry.session.is_forgotten();
        let lost = self.leave_all(slot);
        if forget {
            self.end(slot);
            return (lost, Some(id));
        }
        self.detached.push_back(Detached { slot, generation, at: Instant::now(), told: false });
        (lost, None)
    }

    /// Gives a session up for another connection, if the ticket proves the right to it.
    pub fn depart(
        &mut self,
        ticket: &ResumeTicket,
        user: &UserId,
    ) -> Option<(Departed, Vec<ChannelKey>)> {
        let slot = *self.by_id.get(&ticket.session)?;
        let entry = self.sessions.get(slot as usize)?.as_ref()?;
        let session = &entry.session;
        let proved = session.resume_ticket().proves(ticket) && session.identity().user == *user;
        if !proved || session.is_forgotten() {
            return None;
        }
        let leaves = presence_commands(session, v1::PresenceState::Offline);
        let lost = self.leave_all(slot);
        if let Some(entry) = self.remove(slot) {
            entry.wake.notify_one();
        }
        Some((Departed { leaves }, lost))
    }

    /// Gives a push to every session subscribed to the channel and wakes it; how many there are.
    pub fn for_subscribed(
        &mut self,
        channel: &ChannelKey,
        mut give: impl FnMut(&mut Session),
    ) -> usize {
        let (hub, sessions) = (&self.hub, &mut self.sessions);
        let slots = hub.sessions(channel);
        for slot in slots {
            if let Some(Some(entry)) = sessions.get_mut(*slot as usize) {
                give(&mut entry.session);
                entry.wake.notify_one();
            }
        }
        slots.len()
    }

    /// Does something with every attached session and wakes those that have something to say.
    pub fn for_attached(&mut self, mut act: impl FnMut(&mut Session)) {
        for entry in self.sessions.iter_mut().flatten().filter(|entry| entry.attached) {
            act(&mut entry.session);
            if entry.session.has_output() {
                entry.wake.notify_one();
            }
        }
    }

    /// I11: ends all sessions of a user; nothing of them can be resumed.
    pub fn revoke(&mut self, user: &UserId) {
        for entry in self.sessions.iter_mut().flatten() {
            if entry.session.identity().user == *user {
                entry.session.revoke();
                entry.wake.notify_one();
            }
        }
    }

    /// Ends sessions that were detached for longer than `window` or do not fit, and lets others
    /// know of those detached for longer than `debounce`. Returns the ended ones.
    pub fn sweep(&mut self, now: Instant, debounce: Duration, window: Duration) -> Vec<SessionId> {
        let mut ended = Vec::new();
        let mut surplus = self.detached.len().saturating_sub(self.max_detached);
        while let Some(oldest) = self.detached.front() {
            let (slot, generation) = (oldest.slot, oldest.generation);
            let forgotten = self
                .entry(slot, generation)
                .is_none_or(|entry| entry.attached || entry.session.is_forgotten());
            let over = self.detached.front().is_some_and(|d| now - d.at >= window);
            if !forgotten && !over && surplus == 0 {
                break;
            }
            self.detached.pop_front();
            surplus = surplus.saturating_sub(1);
            if let Some(entry) = self.entry(slot, generation).filter(|entry| !entry.attached) {
                ended.push(entry.session.id());
                self.end(slot);
            }
        }
        self.tell_detached(now, debounce);
        self.record_sizes();
        ended
    }

    /// Adds a command for which no connection waits. When too many wait, the oldest is dropped:
    /// they are about presence, which a newer one or the session's end puts right.
    pub fn push_background(&mut self, command: LinkCommand) {
        if self.background.len() >= BACKGROUND_COMMANDS {
            self.background.pop_front();
            metrics::counter!("sterna_core_background_dropped_total").increment(1);
        }
        self.background.push_back(command);
    }

    pub fn pop_background(&mut self) -> Option<LinkCommand> {
        self.background.pop_front()
    }

    fn tell_detached(&mut self, now: Instant, debounce: Duration) {
        let due: Vec<(Slot, u64)> = self
            .detached
            .iter_mut()
            .take_while(|detached| now - detached.at >= debounce)
            .filter_map(|detached| {
                let told = std::mem::replace(&mut detached.told, true);
                (!told).then_some((detached.slot, detached.generation))
            })
            .collect();
        for (slot, generation) in due {
            if self.entry(slot, generation).is_some_and(|entry| !entry.attached) {
                self.set_presence(slot, v1::PresenceState::Detached);
            }
        }
    }

    /// Forgets a session and lets others know.
    fn end(&mut self, slot: Slot) {
        self.set_presence(slot, v1::PresenceState::Offline);
        self.remove(slot);
    }

    fn set_presence(&mut self, slot: Slot, state: v1::PresenceState) {
        let Some(Some(entry)) = self.sessions.get(slot as usize) else { return };
        let commands = presence_commands(&entry.session, state);
        commands.into_iter().for_each(|command| self.push_background(command));
    }

    fn leave_all(&mut self, slot: Slot) -> Vec<ChannelKey> {
        let Some(Some(entry)) = self.sessions.get_mut(slot as usize) else { return Vec::new() };
        let hub = &mut self.hub;
        // Also those that the session has left without anybody having carried it out.
        let left = entry.session.on_detached();
        let channels = entry.session.channels().chain(left);
        channels.filter(|channel| hub.leave(*channel, slot) == Interest::Lost).collect()
    }

    fn remove(&mut self, slot: Slot) -> Option<Entry> {
        let entry = self.sessions.get_mut(slot as usize)?.take()?;
        self.by_id.remove(&entry.session.id());
        self.free.push(slot);
        Some(entry)
    }

    fn entry(&mut self, slot: Slot, generation: u64) -> Option<&mut Entry> {
        let entry = self.sessions.get_mut(slot as usize)?.as_mut()?;
        (entry.generation == generation).then_some(entry)
    }

    fn record_sizes(&self) {
        let detached = self.detached.len();
        let attached = self.len().saturating_sub(detached);
        metrics::gauge!("sterna_core_sessions", "state" => "attached").set(attached as f64);
        metrics::gauge!("sterna_core_sessions", "state" => "detached").set(detached as f64);
    }
}

fn presence_commands(session: &Session, state: v1::PresenceState) -> Vec<LinkCommand> {
    let command = |c: &ChannelId| session.command(c.clone(), c.key(), Verb::SetPresence(state));
    session.present_in().map(command).collect()
}

impl Session {
    /// I11: the user's right has been taken away.
    fn revoke(&mut self) {
        self.forget();
        self.start_close(CloseReason::Revoked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};
    use std::sync::Arc;
    use sterna_proto::ClientId;

    #[test]
    fn i12_commands_in_the_background_are_bounded_and_what_is_dropped_is_counted() {
        let recorder = DebuggingRecorder::new();
        let channel = ChannelId::new("room:1").unwrap();
        let command = LinkCommand {
            identity: Arc::new(crate::identity::Identity {
                user: UserId::new("alice").unwrap(),
                permissions: Vec::new(),
                expires_at_ms: None,
                operator: false,
            }),
            client_id: ClientId::new("phone").unwrap(),
            session: SessionId(1),
            key: channel.key(),
            channel,
            verb: Verb::SetPresence(v1::PresenceState::Offline),
        };
        let mut table = Table::new(10);
        metrics::with_local_recorder(&recorder, || {
            (0..BACKGROUND_COMMANDS + 3).for_each(|_| table.push_background(command.clone()));
        });
        let waiting = std::iter::from_fn(|| table.pop_background()).count();
        assert_eq!(waiting, BACKGROUND_COMMANDS);
        let snapshot = recorder.snapshotter().snapshot().into_vec();
        let dropped = snapshot.iter().map(|(key, .., value)| (key.key().name(), value));
        let dropped: Vec<_> = dropped.collect();
        let expected = ("sterna_core_background_dropped_total", &DebugValue::Counter(3));
        assert_eq!(dropped, [expected]);
    }
}
