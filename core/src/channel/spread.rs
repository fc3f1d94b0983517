//! What a shard sends down its links, and what it owes those that had no room. Never waits: a link
//! without room gets a head beacon later instead (I5: a push is only a hint).
//!
//! Three nets catch a publication that did not arrive: the next one, which does not follow; the
//! head that is owed to a link that had no room; and the beacon of a channel that has gone quiet.

use sterna_proto::{ChannelKey, UserId};
use tokio::time::Instant;

use crate::channel::shard::Shard;
use crate::fanout::debts::Debts;
use crate::link::LinkPush;
use crate::link::ports::LinkId;

/// What a shard still has to say.
#[derive(Debug)]
pub(crate) struct Owed {
    pub debts: Debts,
    /// Channels in which something was published since their last beacon.
    beacons: Vec<ChannelKey>,
    /// The same for beacons of presence.
    pub(super) presence_beacons: Vec<ChannelKey>,
    next_beacons: Option<Instant>,
}

/// Whether a channel's subscriptions are to be told where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Beacon {
    #[default]
    Sent,
    /// Something was published lately: the next push tells them.
    Lively,
    /// Nothing was published since beacons were looked at last.
    Quiet,
}

impl Owed {
    pub fn new(max_heads: usize) -> Self {
        let (beacons, presence_beacons) = Default::default();
        Self { debts: Debts::new(max_heads), beacons, presence_beacons, next_beacons: None }
    }
}

impl Shard {
    /// Sends a push to every link with an interest.
    pub(super) fn spread(&mut self, key: ChannelKey, push: &LinkPush) {
        let Some(state) = self.channels.get(&key) else { return };
        self.owed.debts.spread(&self.context.ports, state.wanting(push), push);
    }

    pub(super) fn pay_owed(&mut self) {
        let channels = &self.channels;
        let head = |key: &ChannelKey| channels.get(key).map(|state| state.sequence.position());
        self.owed.debts.pay(&self.context.ports, head);
    }

    /// I11, I12: an eviction is never dropped. One for which there might be no room to wait in
    /// becomes a word to everybody in the channel to attach again, with their rights looked at.
    pub(super) fn spread_evict(&mut self, key: ChannelKey, evict: &LinkPush) {
        let Some(state) = self.channels.get(&key) else { return };
        let wanted = self.owed.debts.evict_count() + state.interest.len();
        if wanted > self.context.config.queues.owed_evicts {
            metrics::counter!("sterna_core_evicts_replaced_total").increment(1);
            return self.spread(key, &LinkPush::Moved { channel: key });
        }
        self.spread(key, evict);
    }

    /// The user is a member again: an eviction that has not been sent is void.
    pub(super) fn withdraw_evicts(&mut self, key: ChannelKey, member: &UserId) {
        self.owed.debts.withdraw_evicts(key, member);
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
        self.send_presence_beacons();
        for key in std::mem::take(&mut self.owed.beacons) {
            let Some(state) = self.channels.get_mut(&key) else { continue };
            state.beacon = match state.beacon {
                Beacon::Sent => continue,
                Beacon::Lively => Beacon::Quiet,
                Beacon::Quiet => {
                    let push = LinkPush::Head { channel: key, head: state.sequence.position() };
                    let (debts, ports) = (&self.owed.debts, &self.context.ports);
                    let reached = |link: &&LinkId| {
                        !debts.blocks(**link, key) && ports.try_send(**link, push.clone()).is_ok()
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
