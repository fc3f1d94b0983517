//! How a shard carries intents out: reads them from the store, looks up members, tells the owners of
//! their inboxes, writes marks and completes what is written. Everything that takes time is
//! [work](crate::channel::shard) of the shard; the [agenda](super::agenda) decides what is next.
//!
//! At least once: an intent is completed after its marks are stored, and whoever owns the slot then
//! begins with what is not completed. Two owners write the same marks, which is no harm.

use std::collections::HashSet;
use std::time::Duration;

use sterna_proto::{ChannelId, ChannelKey, UserId};
use sterna_storage::{Intent, PageLimit, StorageError};
use tokio::time::Instant;

use super::agenda::{Agenda, RoundId};
use super::diffusion::{Change, Diffusion, InboxRules};
use super::enroll;
use super::resolve::Resolved;
use super::tells::Tells;
use super::watch::Watch;
use crate::channel::members::touched_member;
use crate::channel::shard::{Call, Shard, Work};
use crate::channel::work::Done;
use crate::config::CoreConfig;
use crate::link::Verb;
use crate::link::ports::LinkId;

/// Slots whose intents one shard reads at a time; each slot is read once in a tick.
const READS_AT_ONCE: usize = 4;

/// Intents of one reading, and their bytes. The channels of a reading are looked up together.
const INTENTS: PageLimit = PageLimit { records: 32, payload_bytes: 64 * 1024 };

/// Slots whose intents one shard completes at a time.
const COMPLETIONS_AT_ONCE: usize = 4;

/// Users whose inboxes one shard writes at a time: the store has publications to write, too.
const WRITES_AT_ONCE: usize = 16;

/// Pause before members are looked up again when the store did not answer.
const RETRY: Duration = Duration::from_millis(500);

/// How often the store is asked for slots with intents: those of an owner that has died, and of this
/// one in an earlier life. The first time when the cluster has had the time to say who owns what.
const LOOK: Duration = Duration::from_secs(15);
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// The inbox part of one shard.
#[derive(Debug)]
pub(crate) struct InboxWork {
    pub(super) rules: InboxRules,
    pub(super) agenda: Agenda,
    pub(super) watch: Watch,
    pub(super) tells: Tells,
    pub(super) telling: usize,
    reading: usize,
    /// Slots that are still to be read in this tick.
    to_read: usize,
    writing: usize,
    completing: usize,
    /// Slots whose intents are still to be completed in this tick.
    to_complete: usize,
    next_look: Option<Instant>,
}

/// A finished piece of work about inboxes.
#[derive(Debug)]
pub(crate) enum InboxDone {
    Slots(Result<Vec<u16>, StorageError>),
    Read {
        slot: u16,
        result: Result<Vec<Intent>, StorageError>,
    },
    Resolved {
        round: Option<RoundId>,
        channel: ChannelKey,
        result: Resolved,
    },
    /// A member was told again, or its inbox has no owner at the moment: whoever looks says so to the
    /// next one and looks then.
    Told,
    Marked {
        user: UserId,
        channels: Vec<ChannelKey>,
        result: Result<(), StorageError>,
    },
    Completed {
        slot: u16,
        upto: u64,
        result: Result<(), StorageError>,
    },
    Counted {
        channel: ChannelKey,
        result: Result<u64, StorageError>,
    },
    Enrolled {
        channel: ChannelKey,
        result: Result<(), StorageError>,
    },
    /// What a member who has left pulls no more. Not stored: it costs a look, syncs show nothing.
    Left {
        result: Result<(), StorageError>,
    },
    /// The user has changed something himself.
    Changed {
        user: UserId,
        channel: ChannelId,
    },
}

impl InboxWork {
    pub fn new(config: &CoreConfig) -> Self {
        let (rules, queues) = (config.inbox, &config.queues);
        Self {
            rules,
            agenda: Agenda::new(queues.inbox_marks, rules.coalesce),
            watch: Watch::new(queues.inbox_touches, rules.coalesce),
            tells: Tells::new(queues.inbox_marks),
            telling: 0,
            reading: 0,
            to_read: 0,
            writing: 0,
            completing: 0,
            to_complete: 0,
            next_look: None,
        }
    }

    /// Nobody behind the link looks at the inbox any more.
    pub fn unwatch(&mut self, inbox: ChannelKey, link: LinkId) {
        self.watch.unwatch(inbox, link);
    }

    pub fn remove_link(&mut self, link: LinkId) {
        self.watch.remove_link(link);
    }
}

impl Shard {
    /// Publications of a channel were committed: its intent is in the store, if it is written.
    pub(crate) fn on_inbox_committed(&mut self, key: ChannelKey, count: usize) {
        let Some(state) = self.channels.get_mut(&key) else { return };
        let Some(diffusion) = &mut state.diffusion else { return };
        let now = Instant::now().into_std();
        let change = diffusion.on_published(count, now, &self.inbox.rules);
        if diffusion.is_written() {
            self.inbox.agenda.note(key.slot());
        }
        if let Some(change) = change {
            self.start_enroll(key, change);
        }
    }

    /// The channel's record is known: decides by it, and by the number of members once that is known.
    pub(crate) fn on_inbox_record(&mut self, key: ChannelKey) {
        let Some(state) = self.channels.get_mut(&key) else { return };
        let Some(record) = &state.record else { return };
        if state.diffusion.is_some() {
            return;
        }
        state.diffusion = Diffusion::of(record);
        if state.diffusion.is_some() && record.kind == sterna_proto::v1::ChannelKind::Group {
            self.start_count(key);
        }
    }

    /// Before somebody becomes a member, the channel has to be in its inbox.
    pub(crate) fn show_in_inbox(&self, key: ChannelKey, call: &Call) -> Option<Work> {
        let Verb::SetMember(_) = &call.command.verb else { return None };
        let user = touched_member(&call.command.verb)?;
        let state = self.channels.get(&key)?;
        if state.shown.as_ref() == Some(&user) {
            return None;
        }
        let record = state.record.clone()?;
        let (stores, rules) = (self.context.stores.clone(), self.inbox.rules);
        Some(Box::pin(async move {
            let result = enroll::before_join(&stores, &rules, &record, &user).await;
            Done::Shown { key, user, result }
        }))
    }

    /// A member came or changed, or left: how many are there, and the member's devices are told.
    pub(crate) fn on_inbox_member(&mut self, key: ChannelKey, user: &UserId, is_member: bool) {
        self.start_count(key);
        self.start_touch(key, user.clone());
        if !is_member {
            let (stores, user) = (self.context.stores.clone(), user.clone());
            self.inbox_work(async move {
                let result = enroll::after_leave(&stores, key, &user).await;
                InboxDone::Left { result }
            });
        }
    }

    /// Slots have other owners: what is known of lost ones is forgotten, and gained ones are looked at.
    pub(crate) fn on_inbox_rehomed(&mut self, lost: &HashSet<u16>, gained: &HashSet<u16>) {
        self.inbox.agenda.forget(lost);
        self.inbox.tells.hurry(lost, Instant::now().into_std());
        let moved = self.inbox.watch.forget(lost);
        for (inbox, links) in moved {
            let push = crate::link::LinkPush::Moved { channel: inbox };
            self.owed.debts.spread(&self.context.ports, &links, &push);
        }
        if !gained.is_empty() {
            self.inbox.next_look = Some(Instant::now());
        }
    }

    pub(crate) fn on_inbox_tick(&mut self, now: Instant) {
        self.inbox.watch.expire(now.into_std());
        self.look_for_intents(now);
        self.inbox.to_read = self.inbox.agenda.slots_to_read();
        self.inbox.to_complete = self.inbox.agenda.slots_to_complete();
        self.start_inbox_work(now);
        metrics::gauge!("sterna_core_inbox_marks_held", "shard" => self.index.to_string())
            .set(self.inbox.agenda.len() as f64);
        metrics::gauge!("sterna_core_inbox_tells_held", "shard" => self.index.to_string())
            .set(self.inbox.tells.len() as f64);
    }

    pub(crate) fn on_inbox_done(&mut self, done: InboxDone) {
        let now = Instant::now();
        self.take_inbox_done(done, now);
        self.start_inbox_work(now);
    }

    /// As much as may run at a time.
    fn start_inbox_work(&mut self, now: Instant) {
        while self.inbox.reading < READS_AT_ONCE && self.inbox.to_read > 0 {
            self.inbox.to_read -= 1;
            let Some((slot, after)) = self.inbox.agenda.poll_read() else { break };
            self.start_read(slot, after);
        }
        self.start_marks(now);
        self.start_tells(now);
        while self.inbox.completing < COMPLETIONS_AT_ONCE && self.inbox.to_complete > 0 {
            self.inbox.to_complete -= 1;
            let Some((slot, upto)) = self.inbox.agenda.poll_complete() else { break };
            self.start_complete(slot, upto);
        }
    }

    fn take_inbox_done(&mut self, done: InboxDone, now: Instant) {
        match done {
            InboxDone::Slots(Ok(slots)) => {
                let own = slots.into_iter().filter(|slot| self.works_on(*slot));
                let own: Vec<u16> = own.collect();
                own.into_iter().for_each(|slot| self.inbox.agenda.note(slot));
            }
            InboxDone::Slots(Err(error)) => self.note_storage_error(&error),
            InboxDone::Read { slot, result } => self.on_read(slot, result, now),
            InboxDone::Resolved { round, channel, result: Ok(members) } => {
                self.tell_later(channel, &members, now);
                self.inbox.agenda.on_resolved(round, channel, members, now.into_std());
            }
            InboxDone::Resolved { round, channel, result: Err(error) } => {
                self.note_storage_error(&error);
                if round.is_some_and(|round| self.works_on(round.slot)) {
                    self.start_resolve(round, channel, RETRY);
                }
            }
            InboxDone::Told => self.inbox.telling -= 1,
            InboxDone::Marked { user, channels, result } => {
                self.inbox.writing -= 1;
                self.inbox.agenda.on_written(&user, &channels, result.is_ok(), now.into_std());
                self.note_inbox_result(result);
            }
            InboxDone::Completed { slot, upto, result } => {
                self.inbox.completing -= 1;
                self.inbox.agenda.on_completed(slot, upto, result.is_ok());
                self.note_inbox_result(result);
            }
            InboxDone::Counted { channel, result } => self.on_counted(channel, result),
            InboxDone::Enrolled { channel, result } => {
                let state = self.channels.get_mut(&channel);
                if let Some(diffusion) = state.and_then(|state| state.diffusion.as_mut()) {
                    diffusion.on_enrolled(result.is_ok());
                }
                self.note_inbox_result(result);
            }
            InboxDone::Left { result } => self.note_inbox_result(result),
            InboxDone::Changed { user, channel } => {
                // Without room the devices hear of it by their next sync.
                let _ = self.touch_inbox(user.inbox_key(), &channel);
            }
        }
    }

    fn note_inbox_result(&mut self, result: Result<(), StorageError>) {
        if let Err(error) = result {
            self.note_storage_error(&error);
        }
    }

    /// Whether the slot's intents are this shard's to carry out.
    fn works_on(&self, slot: u16) -> bool {
        let own = usize::from(slot) % self.context.config.shards == self.index;
        own && !self.rehoming.has_lost(slot)
    }

    fn look_for_intents(&mut self, now: Instant) {
        if *self.inbox.next_look.get_or_insert(now + FIRST_LOOK) > now {
            return;
        }
        self.inbox.next_look = Some(now + LOOK);
        let intents = self.context.stores.intents.clone();
        self.inbox_work(async move { InboxDone::Slots(intents.slots_with_intents().await) });
    }

    fn start_read(&mut self, slot: u16, after: u64) {
        self.inbox.reading += 1;
        let intents = self.context.stores.intents.clone();
        self.inbox_work(async move {
            InboxDone::Read { slot, result: intents.intents(slot, after, INTENTS).await }
        });
    }

    fn on_read(&mut self, slot: u16, result: Result<Vec<Intent>, StorageError>, now: Instant) {
        self.inbox.reading -= 1;
        let intents = match result {
            Ok(intents) => intents,
            Err(error) => {
                self.inbox.agenda.on_read_failed(slot);
                return self.note_storage_error(&error);
            }
        };
        let more = intents.len() >= INTENTS.records;
        let round = self.inbox.agenda.on_read(slot, &intents, more, now.into_std());
        for (round, channel) in
            round.into_iter().flat_map(|(id, all)| all.into_iter().map(move |one| (id, one)))
        {
            self.start_resolve(Some(round), channel, Duration::ZERO);
        }
    }

    fn start_resolve(&mut self, round: Option<RoundId>, channel: ChannelKey, delay: Duration) {
        let resolver = self.resolver(channel);
        self.inbox_work(async move {
            tokio::time::sleep(delay).await;
            InboxDone::Resolved { round, channel, result: resolver.members().await }
        });
    }

    fn start_marks(&mut self, now: Instant) {
        let room = WRITES_AT_ONCE.saturating_sub(self.inbox.writing);
        for (user, channels) in self.inbox.agenda.poll_writes(now.into_std(), room) {
            self.inbox.writing += 1;
            let inboxes = self.context.stores.inboxes.clone();
            metrics::counter!("sterna_core_inbox_marks_total").increment(channels.len() as u64);
            self.inbox_work(async move {
                let result = inboxes.mark_dirty(user.clone(), channels.clone()).await.map(drop);
                InboxDone::Marked { user, channels, result }
            });
        }
    }

    fn start_complete(&mut self, slot: u16, upto: u64) {
        self.inbox.completing += 1;
        let intents = self.context.stores.intents.clone();
        self.inbox_work(async move {
            let result = intents.complete_intents(slot, upto).await;
            InboxDone::Completed { slot, upto, result }
        });
    }

    fn start_count(&mut self, channel: ChannelKey) {
        let channels = self.context.stores.channels.clone();
        self.inbox_work(async move {
            InboxDone::Counted { channel, result: channels.member_count(channel).await }
        });
    }

    fn on_counted(&mut self, channel: ChannelKey, result: Result<u64, StorageError>) {
        let members = match result {
            Ok(members) => members,
            Err(error) => return self.note_storage_error(&error),
        };
        let state = self.channels.get_mut(&channel);
        let Some(diffusion) = state.and_then(|state| state.diffusion.as_mut()) else { return };
        if let Some(change) = diffusion.on_members(members, &self.inbox.rules) {
            self.start_enroll(channel, change);
        }
    }

    fn start_enroll(&mut self, channel: ChannelKey, change: Change) {
        let how = if change == Change::Enroll { "pulled" } else { "written" };
        metrics::counter!("sterna_core_inbox_modes_total", "mode" => how).increment(1);
        let stores = self.context.stores.clone();
        self.inbox_work(async move {
            let result = enroll::all(&stores, channel, change == Change::Enroll).await;
            InboxDone::Enrolled { channel, result }
        });
    }

    pub(super) fn inbox_work(&mut self, work: impl Future<Output = InboxDone> + Send + 'static) {
        let work: Work = Box::pin(async move { Done::Inbox(work.await) });
        self.work.push(work);
    }
}
