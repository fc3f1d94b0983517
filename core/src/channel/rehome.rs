//! When channels change hands. Ownership is a hint: a shard that owns a channel no longer finishes
//! what it has begun, tells whoever is subscribed through it to attach elsewhere, and forgets it;
//! one that owns it again believes nothing that it knew before. Two shards that both believe to
//! own a channel conflict in the log (I2) and find each other's publications there.
//!
//! What a shard cannot finish in time is given up (I13): what has not begun comes again at the next owner,
//! what is on its way to the log holds back what is behind it, and nothing of it is appended a second time.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sterna_proto::{ChannelKey, Offset};
use sterna_storage::{Head, StorageError};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::channel::hints::HINTS_SOUGHT;
use crate::channel::shard::Shard;
use crate::channel::work::Done;
use crate::cluster::Incarnation;
use crate::link::LinkPush;

/// What a shard has to do about channels that have changed hands, or may have.
#[derive(Debug)]
pub(crate) struct Rehoming {
    started_at: Instant,
    any_released: bool,
    /// Slots that other nodes own.
    lost: HashSet<u16>,
    /// Slots that this node has owned for a short time only, and since when.
    gained: HashMap<u16, Instant>,
    /// Who waits for this shard to have finished with them, and until when.
    waiting: Option<(Instant, oneshot::Sender<()>)>,
    /// When the log is asked next whether it has gone on without this shard.
    next_look: Option<Instant>,
    looking: bool,
}

/// Heads as the log has them.
pub(crate) type Heads = Vec<(ChannelKey, Option<Head>)>;

/// How long what has been begun may keep the slots' next owner waiting.
const FINISHING: Duration = Duration::from_secs(1);

impl Rehoming {
    pub fn new() -> Self {
        let (gained, lost) = Default::default();
        Self {
            started_at: Instant::now(),
            any_released: false,
            lost,
            gained,
            waiting: None,
            next_look: None,
            looking: false,
        }
    }

    pub fn has_lost(&self, slot: u16) -> bool {
        self.lost.contains(&slot)
    }

    pub fn is_lost(&mut self, key: ChannelKey) -> bool {
        let lost = self.lost.contains(&key.slot());
        self.any_released |= lost;
        lost
    }

    /// Other nodes may not know yet that the channel is owned here.
    pub fn is_young(&self, key: ChannelKey) -> bool {
        self.owned_for(key) < HINTS_SOUGHT
    }

    /// How long this node has owned the channel, if not for longer than is remembered.
    pub fn owned_for(&self, key: ChannelKey) -> Duration {
        self.gained.get(&key.slot()).unwrap_or(&self.started_at).elapsed()
    }
}

impl Shard {
    /// `done` hears when everything that was begun in lost slots is finished.
    pub(super) fn on_rehomed(
        &mut self,
        lost: &HashSet<u16>,
        gained: &HashSet<u16>,
        done: oneshot::Sender<()>,
    ) {
        if sterna_storage::planted!(ReleasedSlotAnswers) {
            return drop(done);
        }
        self.rehoming.lost.extend(lost);
        self.rehoming.lost.retain(|slot| !gained.contains(slot));
        self.on_inbox_rehomed(lost, gained);
        self.rehoming.gained.retain(|_, at| at.elapsed() < HINTS_SOUGHT);
        self.rehoming.gained.extend(gained.iter().map(|slot| (*slot, Instant::now())));
        for (key, state) in &mut self.channels {
            let slot = key.slot();
            if lost.contains(&slot) {
                state.released = true;
                self.rehoming.any_released = true;
            } else if gained.contains(&slot) {
                (state.released, state.given_up) = (false, false);
            }
        }
        // Where they are listened to is for the new owners to tell.
        self.context.volatile.on_released(lost);
        // What was known of channels that are owned again may be old; heads are compared anyway.
        self.channels.retain(|key, state| !(gained.contains(&key.slot()) && state.is_idle()));
        for state in self.channels.values_mut() {
            state.roles.clear();
        }
        if lost.is_empty() {
            // Nothing more than before is to be finished.
            let _ = done.send(());
        } else {
            self.rehoming.waiting = Some((Instant::now() + FINISHING, done));
        }
        self.drop_released();
    }

    /// Tells links to go elsewhere with channels that are owned elsewhere, and forgets those for
    /// which nothing is left to be done.
    pub(super) fn drop_released(&mut self) {
        if !std::mem::take(&mut self.rehoming.any_released) {
            return self.tell_finished(true);
        }
        let released = self.channels.iter().filter(|(_, state)| state.released);
        let released: Vec<ChannelKey> = released.map(|(key, _)| *key).collect();
        for key in released {
            self.spread(key, &LinkPush::Moved { channel: key });
            let Some(state) = self.channels.get_mut(&key) else { continue };
            state.interest.clear();
            state.receipt_interest.clear();
            state.hints = Default::default();
            state.presence = Default::default();
            state.presence_news = Default::default();
            state.recall = Default::default();
            state.roles.clear();
            if state.is_idle() {
                self.channels.remove(&key);
            } else {
                self.rehoming.any_released = true;
            }
        }
        self.tell_finished(!self.rehoming.any_released);
    }

    fn tell_finished(&mut self, finished: bool) {
        let late = |until: Instant| until <= Instant::now();
        let waiting = &mut self.rehoming.waiting;
        let Some((_, done)) = waiting.take_if(|(until, _)| finished || late(*until)) else {
            return;
        };
        if !finished {
            // Before what has waited behind these goes to the next owner.
            self.give_up_released();
        }
        // Whoever asked may have ended.
        let _ = done.send(());
    }

    fn give_up_released(&mut self) {
        let unfinished = self.channels.iter_mut().filter(|(_, state)| state.released);
        let told: Vec<_> = unfinished.map(|(key, state)| (*key, state.give_up())).collect();
        for (key, told) in told {
            self.fail(key, told);
        }
    }

    /// Members whose edge has died have left.
    pub(super) fn drop_dead_edges(&mut self, alive: &HashSet<Incarnation>) {
        if sterna_storage::planted!(DeadEdgeStaysPresent) {
            return;
        }
        let keys: Vec<ChannelKey> = self.channels.keys().copied().collect();
        for key in keys {
            let Some(state) = self.channels.get_mut(&key) else { continue };
            let missed = state.presence.remove_edges(|edge| !alive.contains(&edge));
            self.tell_missed(key, missed);
        }
    }

    /// I5: where two nodes own a channel, each hears only of what went through it. The log is the
    /// truth, so it is asked from time to time about every channel that somebody listens to.
    pub(super) fn watch_heads(&mut self, now: Instant) {
        let Some(period) = self.context.config.head_watch else { return };
        if self.rehoming.looking || *self.rehoming.next_look.get_or_insert(now + period) > now {
            return;
        }
        self.rehoming.next_look = Some(now + period);
        // I11: a member may have been removed through another node.
        self.channels.values_mut().for_each(|state| state.roles.clear());
        let wanted = self.channels.iter().filter(|(_, state)| {
            !state.interest.is_empty() && state.loaded && state.sequence.is_idle()
        });
        let wanted: Vec<ChannelKey> = wanted.map(|(key, _)| *key).collect();
        if wanted.is_empty() {
            return;
        }
        self.rehoming.looking = true;
        let log = self.context.stores.log.clone();
        self.work.push(Box::pin(async move {
            let result = log.heads(wanted.clone()).await;
            Done::HeadsFound { result: result.map(|heads| wanted.into_iter().zip(heads).collect()) }
        }));
    }

    pub(super) fn on_heads_found(&mut self, result: Result<Heads, StorageError>) {
        self.rehoming.looking = false;
        let heads = match result {
            Ok(heads) => heads,
            Err(error) => return self.note_storage_error(&error),
        };
        for (key, head) in heads {
            let Some(state) = self.channels.get_mut(&key) else { continue };
            let stored = head.map_or(Offset::ZERO, |head| head.position.offset);
            let behind = stored > state.sequence.position().offset;
            if behind && state.sequence.is_idle() && !state.catching_up {
                metrics::counter!("sterna_core_heads_behind_total").increment(1);
                self.start_catch_up(key, Duration::ZERO);
            }
        }
    }
}
