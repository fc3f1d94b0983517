//! What a shard sends down its links, and what it owes those that had no room. Never waits: a link
//! without room gets a head beacon later instead (I5: a push is only a hint).
//!
//! Three nets catch a publication that did not arrive: the next one, which does not follow; the
//! head that is owed to a link that had no room; and the beacon of a channel that has gone quiet.

use std::collections::{HashMap, HashSet};

use ahash::RandomState;
use sterna_proto::{ChannelKey, ErrorCode, UserId, v1};
use tokio::time::Instant;

use crate::channel::shard::Shard;
use crate::link::LinkPush;
use crate::link::memory::LinkId;

/// What links had no room for.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Links that missed publications of these channels.
    heads: HashSet<(LinkId, ChannelKey), RandomState>,
    /// Evictions; nothing of their channel goes to the link before (I11).
    evicts: HashMap<(LinkId, ChannelKey), Vec<LinkPush>, RandomState>,
    evict_count: usize,
    /// Members that are being removed: each may come to be owed to every link.
    removals: usize,
    /// Channels in which something was published since their last beacon.
    beacons: Vec<ChannelKey>,
    next_beacons: Option<Instant>,
}

/// Whether a channel's subscriptions are to be told where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Beacon {
    #[default]
    Sent,
    /// Something was published lately: the next push tells them.
    Lively,
    /// Nothing was published since beacons were looked at last.
    Quiet,
}

impl Owed {
    pub fn on_detach(&mut self, link: LinkId, channel: ChannelKey) {
        self.heads.remove(&(link, channel));
    }
}

impl Shard {
    /// Sends a push to every link with an interest.
    pub(super) fn spread(&mut self, key: ChannelKey, push: &LinkPush) {
        let Some(state) = self.channels.get(&key) else { return };
        for link in state.wanting(push) {
            let owes = self.owed.evicts.contains_key(&(*link, key));
            if !owes && self.context.ports.try_send(*link, push.clone()).is_ok() {
                continue;
            }
            let kind = match push {
                LinkPush::Deliver { .. } | LinkPush::Head { .. } => "deliver",
                LinkPush::Event { .. } => "event",
                LinkPush::Evict { .. } => "evict",
            };
            metrics::counter!("sterna_core_link_dropped_total", "kind" => kind).increment(1);
            match kind {
                "deliver" if sterna_storage::planted!(LostPushUntold) => {}
                "deliver" if self.owed.heads.len() < self.context.config.queues.owed_heads => {
                    self.owed.heads.insert((*link, key));
                }
                // The channel's beacon tells them.
                "deliver" => metrics::counter!("sterna_core_owed_dropped_total").increment(1),
                "evict" => {
                    self.owed.evicts.entry((*link, key)).or_default().push(push.clone());
                    self.owed.evict_count += 1;
                }
                _ => {}
            }
        }
    }

    pub(super) fn pay_owed(&mut self) {
        let (channels, ports) = (&self.channels, &self.context.ports);
        let Owed { heads, evicts, evict_count, .. } = &mut self.owed;
        evicts.retain(|(link, _), pushes| {
            while let Some(push) = pushes.pop() {
                if ports.try_send(*link, push.clone()).is_err() {
                    pushes.push(push);
                    return true;
                }
                *evict_count -= 1;
            }
            false
        });
        heads.retain(|(link, channel)| {
            if evicts.contains_key(&(*link, *channel)) {
                return true;
            }
            let Some(state) = channels.get(channel) else { return false };
            let head = state.sequence.position();
            ports.try_send(*link, LinkPush::Head { channel: *channel, head }).is_err()
        });
    }

    /// I11, I12: an eviction is never dropped, so no member is removed whose eviction might find
    /// no room to wait in.
    pub(super) fn start_removal(&mut self) -> Result<(), v1::Error> {
        let links = self.context.ports.count();
        let wanted = self.owed.evict_count + (self.owed.removals + 1) * links;
        if wanted > self.context.config.queues.owed_evicts {
            metrics::counter!("sterna_core_removals_refused_total").increment(1);
            let message = "too many evictions wait for a node that is slow; try again";
            return Err(v1::Error::new(ErrorCode::Busy, message).with_retry_after_ms(500));
        }
        self.owed.removals += 1;
        Ok(())
    }

    pub(super) fn on_removal_ended(&mut self) {
        self.owed.removals -= 1;
    }

    /// The user is a member again: an eviction that has not been sent is void.
    pub(super) fn withdraw_evicts(&mut self, key: ChannelKey, member: &UserId) {
        let Owed { evicts, evict_count, .. } = &mut self.owed;
        evicts.retain(|(_, channel), pushes| {
            if *channel == key {
                let before = pushes.len();
                pushes.retain(|p| !matches!(p, LinkPush::Evict { user, .. } if user == member));
                *evict_count -= before - pushes.len();
            }
            !pushes.is_empty()
        });
    }

    /// Something was published: once the channel has gone quiet, a beacon says where it ends.
    pub(super) fn want_beacon(&mut self, key: ChannelKey) {
        let Some(state) = self.channels.get_mut(&key) else { return };
        if sterna_storage::planted!(LostPushUntold) {
            return;
        }
        if std::mem::replace(&mut state.beacon, Beacon::Lively) == Beacon::Sent {
            self.owed.beacons.push(key);
        }
    }

    /// Costs nothing for channels in which nothing happens, and little for lively ones.
    pub(super) fn send_beacons(&mut self, now: Instant) {
        let period = self.context.config.beacon_period;
        if *self.owed.next_beacons.get_or_insert(now + period) > now {
            return;
        }
        self.owed.next_beacons = Some(now + period);
        for key in std::mem::take(&mut self.owed.beacons) {
            let Some(state) = self.channels.get_mut(&key) else { continue };
            state.beacon = match state.beacon {
                Beacon::Sent => continue,
                Beacon::Lively => Beacon::Quiet,
                Beacon::Quiet => {
                    let push = LinkPush::Head { channel: key, head: state.sequence.position() };
                    let (evicts, ports) = (&self.owed.evicts, &self.context.ports);
                    let reached = |link: &&LinkId| {
                        !evicts.contains_key(&(**link, key))
                            && ports.try_send(**link, push.clone()).is_ok()
                    };
                    let count = state.interest.iter().filter(reached).count();
                    metrics::counter!("sterna_core_beacons_total").increment(count as u64);
                    // Whoever was missed is told in the next round.
                    if count == state.interest.len() { Beacon::Sent } else { Beacon::Quiet }
                }
            };
            if state.beacon != Beacon::Sent {
                self.owed.beacons.push(key);
            }
        }
    }
}
