//! Publications until the server has answered for them. Pure: it says what to send and is told how
//! that went. Per channel the order of publishing is kept; a publication that has to wait holds
//! its channel, never the others. With a store, everything is saved before it is sent. `T` is
//! whoever waits for the outcome.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use sterna_proto::{ChannelId, v1};

use super::backoff::retransmit_after;
use crate::Error;
use crate::options::{OutboxLimits, OutboxPolicy};
use crate::outbox_store::{OutboxChange, StoredPublication};

#[derive(Debug)]
pub(crate) struct Outbox<T> {
    limits: OutboxLimits,
    next_seq: u64,
    bytes: usize,
    items: BTreeMap<u64, Item<T>>,
    /// Seqs of items by stage; what is in neither is `Unsaved` or `NotSent`.
    queued: BTreeSet<u64>,
    in_flight: BTreeSet<u64>,
    channels: HashMap<ChannelId, ChannelQueue>,
    /// For the store, if there is one. At most a few per item: an item is inserted once, attempted
    /// once and removed once, and what is not saved yet is in `items` as well.
    changes: Option<Vec<OutboxChange>>,
    /// The store is gone: nothing is taken any more.
    store_lost: Option<Error>,
}

#[derive(Debug)]
struct Item<T> {
    channel: ChannelId,
    publish: v1::Publish,
    tag: T,
    stage: Stage,
    /// The server may have it: it must not be dropped as if it had never left.
    left_once: bool,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Not in the store yet.
    Unsaved,
    Queued,
    InFlight {
        retransmissions: u32,
        resend_at: Instant,
    },
    NotSent,
}

#[derive(Debug, Default)]
struct ChannelQueue {
    /// Seqs of its items: whatever lies below the first is settled.
    items: BTreeSet<u64>,
    in_flight: usize,
    not_sent: usize,
    held_until: Option<Instant>,
    /// One was refused while others were on their way: those may have been refused as well, so
    /// nothing else is sent before all are answered.
    settling: bool,
}

/// What became of putting something in.
#[derive(Debug)]
pub(crate) enum Pushed<T> {
    Taken,
    /// Taken, and this one had to go for it.
    Displaced(T),
    Refused(T, Error),
}

/// Something to send now.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) seq: u64,
    pub(crate) publish: v1::Publish,
}

impl<T> Outbox<T> {
    /// `first_seq` has to lie above every number that this client id has used before. `stored`:
    /// there is a store, which is told of every change.
    pub(crate) fn new(limits: OutboxLimits, first_seq: u64, stored: bool) -> Self {
        Self {
            limits,
            next_seq: first_seq.max(1),
            bytes: 0,
            items: BTreeMap::new(),
            queued: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            channels: HashMap::new(),
            changes: stored.then(Vec::new),
            store_lost: None,
        }
    }

    /// Takes back what an earlier process has left in the store, whatever the bounds are now.
    pub(crate) fn restore(&mut self, channel: ChannelId, stored: StoredPublication, tag: T) {
        let StoredPublication { publish, attempted } = stored;
        let seq = publish.client_seq;
        self.next_seq = self.next_seq.max(seq.saturating_add(1));
        self.insert(channel, publish, tag, Stage::Queued, attempted);
    }

    /// What the store has to be told.
    pub(crate) fn take_changes(&mut self) -> Vec<OutboxChange> {
        self.changes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The store has these: they may be sent.
    pub(crate) fn handle_saved(&mut self, seqs: &[u64]) {
        seqs.iter().for_each(|seq| self.restage(*seq, Stage::Queued));
    }

    /// The store has refused these, or is gone for good (`lost`), and then has refused whatever
    /// else it has not got yet.
    pub(crate) fn handle_not_saved(&mut self, seqs: &[u64], lost: Option<&Error>) -> Vec<T> {
        let mut refused = seqs.to_vec();
        if let Some(error) = lost {
            self.store_lost = Some(error.clone());
            self.changes = None;
            let unsaved = |(seq, item): (&u64, &Item<T>)| {
                matches!(item.stage, Stage::Unsaved).then_some(*seq)
            };
            refused = self.items.iter().filter_map(unsaved).collect();
        }
        refused.into_iter().filter_map(|seq| self.take(seq)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(crate) fn tag(&self, seq: u64) -> Option<&T> {
        self.items.get(&seq).map(|item| &item.tag)
    }

    /// Takes a publication and numbers it, as far as the bounds and the policy allow.
    pub(crate) fn push(
        &mut self,
        channel: ChannelId,
        mut publish: v1::Publish,
        tag: T,
        online: bool,
    ) -> Pushed<T> {
        if self.limits.policy == OutboxPolicy::FailWhenOffline && !online {
            let reason = "publications fail without a connection (outbox policy)".to_owned();
            return Pushed::Refused(tag, Error::Disconnected { code: None, reason });
        }
        if let Some(error) = &self.store_lost {
            return Pushed::Refused(tag, error.clone());
        }
        let size = publish.payload.len();
        if size > self.limits.bytes {
            let limit = self.limits.bytes;
            return Pushed::Refused(tag, Error::TooLarge { len: size, limit });
        }
        let mut displaced = None;
        if !self.fits(size) {
            displaced = self.displace_for(size);
            if displaced.is_none() {
                return Pushed::Refused(tag, Error::QueueFull);
            }
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        publish.client_seq = seq;
        publish.ordered = true;
        let stage = match &mut self.changes {
            Some(changes) => {
                changes.push(OutboxChange::Insert(publish.clone()));
                Stage::Unsaved
            }
            None => Stage::Queued,
        };
        self.insert(channel, publish, tag, stage, false);
        displaced.map_or(Pushed::Taken, Pushed::Displaced)
    }

    /// What may be sent now, at most `budget` publications, oldest first.
    pub(crate) fn poll_send(&mut self, now: Instant, chance: f64, budget: usize) -> Vec<Sending> {
        for queue in self.channels.values_mut() {
            queue.held_until = queue.held_until.filter(|held| *held > now);
        }
        let mut chosen = Vec::new();
        for &seq in &self.queued {
            if chosen.len() >= budget {
                break;
            }
            let Some(item) = self.items.get(&seq) else { continue };
            let Some(queue) = self.channels.get_mut(&item.channel) else { continue };
            if queue.may_send(self.limits.channel_window) {
                queue.in_flight += 1;
                chosen.push(seq);
            }
        }
        for seq in &chosen {
            self.queued.remove(seq);
            self.in_flight.insert(*seq);
        }
        chosen.into_iter().filter_map(|seq| self.on_sent(seq, 0, now, chance)).collect()
    }

    /// Sent but not answered for long enough: what to send again, and the seqs that are given up
    /// until the next connection.
    pub(crate) fn poll_resend(&mut self, now: Instant, chance: f64) -> (Vec<Sending>, Vec<u64>) {
        let due: Vec<(u64, u32)> = self
            .in_flight
            .iter()
            .filter_map(|seq| match self.items.get(seq)?.stage {
                Stage::InFlight { retransmissions, resend_at } if resend_at <= now => {
                    Some((*seq, retransmissions))
                }
                _ => None,
            })
            .collect();
        let (mut again, mut given_up) = (Vec::new(), Vec::new());
        for (seq, retransmissions) in due {
            if retransmissions < RETRANSMISSIONS {
                again.extend(self.on_sent(seq, retransmissions + 1, now, chance));
            } else {
                self.restage(seq, Stage::NotSent);
                given_up.push(seq);
            }
        }
        (again, given_up)
    }

    /// The server has answered for good: the item leaves, the store included.
    pub(crate) fn remove(&mut self, seq: u64) -> Option<T> {
        let tag = self.take(seq)?;
        if let Some(changes) = &mut self.changes {
            changes.push(OutboxChange::Remove { client_seq: seq });
        }
        Some(tag)
    }

    fn insert(
        &mut self,
        channel: ChannelId,
        publish: v1::Publish,
        tag: T,
        stage: Stage,
        left_once: bool,
    ) {
        let seq = publish.client_seq;
        self.bytes += publish.payload.len();
        self.channels.entry(channel.clone()).or_default().items.insert(seq);
        self.items.insert(seq, Item { channel, publish, tag, stage, left_once });
        if matches!(stage, Stage::Queued) {
            self.queued.insert(seq);
        }
    }

    fn take(&mut self, seq: u64) -> Option<T> {
        self.restage(seq, Stage::Queued);
        self.queued.remove(&seq);
        let item = self.items.remove(&seq)?;
        self.bytes -= item.publish.payload.len();
        if let Some(queue) = self.channels.get_mut(&item.channel) {
            queue.items.remove(&seq);
            if queue.items.is_empty() {
                self.channels.remove(&item.channel);
            }
        }
        Some(item.tag)
    }

    /// The server wants it later: it and all later ones of its channel wait until then, and until
    /// the server has answered for everything of the channel that is on its way.
    pub(crate) fn hold(&mut self, seq: u64, until: Instant) {
        self.restage(seq, Stage::Queued);
        let Some(item) = self.items.get(&seq) else { return };
        if let Some(queue) = self.channels.get_mut(&item.channel) {
            queue.held_until = Some(queue.held_until.map_or(until, |held| held.max(until)));
            queue.settling = queue.in_flight > 0;
        }
    }

    /// The connection is gone: everything unanswered is sent again on the next one, in order.
    pub(crate) fn handle_disconnected(&mut self) {
        let saved =
            |(seq, item): (&u64, &Item<T>)| (!matches!(item.stage, Stage::Unsaved)).then_some(*seq);
        let seqs: Vec<u64> = self.items.iter().filter_map(saved).collect();
        seqs.into_iter().for_each(|seq| self.restage(seq, Stage::Queued));
    }

    /// Empties the outbox, but not the store; for the end of the client.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.queued.clear();
        self.in_flight.clear();
        self.channels.clear();
        self.bytes = 0;
        std::mem::take(&mut self.items).into_values().map(|item| item.tag).collect()
    }

    /// When `poll_send` or `poll_resend` may have something new by time alone.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let resends = self.in_flight.iter().filter_map(|seq| match self.items.get(seq)?.stage {
            Stage::InFlight { resend_at, .. } => Some(resend_at),
            _ => None,
        });
        let holds = self.channels.values().filter_map(|queue| queue.held_until);
        resends.chain(holds).min()
    }

    fn fits(&self, size: usize) -> bool {
        self.items.len() < self.limits.publications && self.bytes + size <= self.limits.bytes
    }

    /// Makes room by the policy. One victim has to be enough, so that one push has one outcome.
    fn displace_for(&mut self, size: usize) -> Option<T> {
        if self.limits.policy != OutboxPolicy::DropOldest {
            return None;
        }
        let victim = self.queued.iter().copied().find(|seq| {
            self.items.get(seq).is_some_and(|item| {
                let bytes_after = self.bytes - item.publish.payload.len() + size;
                !item.left_once && bytes_after <= self.limits.bytes
            })
        })?;
        self.remove(victim)
    }

    fn on_sent(
        &mut self,
        seq: u64,
        retransmissions: u32,
        now: Instant,
        chance: f64,
    ) -> Option<Sending> {
        let item = self.items.get_mut(&seq)?;
        let resend_at = now + retransmit_after(retransmissions, chance);
        item.stage = Stage::InFlight { retransmissions, resend_at };
        if !std::mem::replace(&mut item.left_once, true)
            && let Some(changes) = &mut self.changes
        {
            changes.push(OutboxChange::Attempted { client_seq: seq });
        }
        let queue = self.channels.get(&item.channel)?;
        let settled_below = queue.items.first().copied().unwrap_or(seq);
        Some(Sending { seq, publish: v1::Publish { settled_below, ..item.publish.clone() } })
    }

    fn restage(&mut self, seq: u64, stage: Stage) {
        let Some(item) = self.items.get_mut(&seq) else { return };
        let Some(queue) = self.channels.get_mut(&item.channel) else { return };
        match item.stage {
            Stage::Unsaved => {}
            Stage::Queued => drop(self.queued.remove(&seq)),
            Stage::NotSent => queue.not_sent -= 1,
            Stage::InFlight { .. } => {
                queue.in_flight -= 1;
                queue.settling &= queue.in_flight > 0;
                self.in_flight.remove(&seq);
            }
        }
        item.stage = stage;
        match stage {
            Stage::Queued => drop(self.queued.insert(seq)),
            Stage::NotSent => queue.not_sent += 1,
            Stage::Unsaved | Stage::InFlight { .. } => {
                unreachable!("only insert makes unsaved items and only on_sent sends them")
            }
        }
    }
}

impl ChannelQueue {
    fn may_send(&self, window: usize) -> bool {
        self.not_sent == 0
            && self.in_flight < window.max(1)
            && self.held_until.is_none()
            && !self.settling
    }
}

/// At most 3, then "not sent" is shown.
const RETRANSMISSIONS: u32 = 3;

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
