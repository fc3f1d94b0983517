//! What links had no room for. A push that does not fit is not kept: the link is told later where
//! the channel ends, and whoever is behind it recovers (I5). Only what takes a right away is kept
//! until it has gone out, and nothing else of its channel goes to that link before (I11).

use std::collections::HashMap;

use ahash::RandomState;
use sterna_proto::{ChannelKey, Position, UserId};

use crate::link::ports::{LinkId, LinkPorts, NoRoom};
use crate::link::{Audience, LinkPush};

/// Debts of one spreader towards its links.
#[derive(Debug)]
pub struct Debts {
    debts: HashMap<(LinkId, ChannelKey), Debt, RandomState>,
    heads: usize,
    evicts: usize,
    max_heads: usize,
}

/// What one link is owed about one channel.
#[derive(Debug, Default)]
struct Debt {
    /// Publications were dropped.
    head: bool,
    /// It has to attach again, which also settles everything else.
    moved: bool,
    evicts: Vec<LinkPush>,
    /// The last beacon of presence that did not fit.
    presence: Option<LinkPush>,
}

impl Debt {
    fn blocks(&self) -> bool {
        self.moved || !self.evicts.is_empty()
    }

    fn is_settled(&self) -> bool {
        !self.head && self.presence.is_none() && !self.blocks()
    }
}

impl Debts {
    /// Above `max_heads` dropped publications are only counted; the channel's beacon tells of them.
    pub fn new(max_heads: usize) -> Self {
        Self { debts: HashMap::default(), heads: 0, evicts: 0, max_heads }
    }

    /// Sends a push to every link; what does not fit is owed. False: a link has missed a publication
    /// and is not owed it, since too much is owed already.
    pub fn spread(&mut self, ports: &LinkPorts, links: &[LinkId], push: &LinkPush) -> bool {
        let key = push.channel();
        let mut is_kept = true;
        for link in links {
            let place = (*link, key);
            let blocked = self.debts.get(&place).is_some_and(Debt::blocks);
            if !blocked {
                match ports.try_send(*link, push.clone()) {
                    // Whoever closed the link says so to everybody who spreads to it.
                    Ok(()) | Err(NoRoom::Closed) => continue,
                    Err(NoRoom::Full) => {}
                }
            }
            is_kept &= self.owe(place, push);
        }
        is_kept
    }

    /// Sends what is owed as far as there is room. `head`: where a channel ends now.
    pub fn pay(&mut self, ports: &LinkPorts, head: impl Fn(&ChannelKey) -> Option<Position>) {
        let (heads, evicts) = (&mut self.heads, &mut self.evicts);
        self.debts.retain(|(link, channel), debt| {
            let sent = |push| match ports.try_send(*link, push) {
                Ok(()) | Err(NoRoom::Closed) => true,
                Err(NoRoom::Full) => false,
            };
            if debt.moved {
                let settled = sent(LinkPush::Moved { channel: *channel });
                *heads -= usize::from(settled && debt.head);
                return !settled;
            }
            while let Some(push) = debt.evicts.last() {
                if !sent(push.clone()) {
                    return true;
                }
                debt.evicts.pop();
                *evicts -= 1;
            }
            if debt.head && head(channel).is_none_or(|head| sent(head_push(*channel, head))) {
                debt.head = false;
                *heads -= 1;
            }
            debt.presence.take_if(|push| sent(push.clone()));
            !debt.is_settled()
        });
    }

    /// Whether something has to reach the link before anything else of the channel.
    pub fn blocks(&self, link: LinkId, channel: ChannelKey) -> bool {
        self.debts.get(&(link, channel)).is_some_and(Debt::blocks)
    }

    /// Evictions that are owed.
    pub fn evict_count(&self) -> usize {
        self.evicts
    }

    /// In place of evictions: whoever attaches again has its rights looked at again (I11).
    pub fn owe_moved(&mut self, link: LinkId, channel: ChannelKey) {
        self.forget(link, channel);
        self.debts.insert((link, channel), Debt { moved: true, ..Debt::default() });
    }

    /// The user is a member again: an eviction that has not been sent is void.
    pub fn withdraw_evicts(&mut self, key: ChannelKey, member: &UserId) {
        let evicts = &mut self.evicts;
        self.debts.retain(|(_, channel), debt| {
            if *channel == key {
                let before = debt.evicts.len();
                debt.evicts
                    .retain(|push| !matches!(push, LinkPush::Evict { user, .. } if user == member));
                *evicts -= before - debt.evicts.len();
            }
            !debt.is_settled()
        });
    }

    /// The link wants nothing of the channel any more. Evictions are still owed: a subscription
    /// that is on its way would otherwise outlive the right to it.
    pub fn on_detach(&mut self, link: LinkId, channel: ChannelKey) {
        let Some(debt) = self.debts.get_mut(&(link, channel)) else { return };
        self.heads -= usize::from(std::mem::take(&mut debt.head));
        debt.presence = None;
        if debt.is_settled() {
            self.debts.remove(&(link, channel));
        }
    }

    /// The link is gone.
    pub fn on_closed(&mut self, link: LinkId) {
        let (heads, evicts) = (&mut self.heads, &mut self.evicts);
        self.debts.retain(|(of, _), debt| {
            let gone = *of == link;
            if gone {
                *heads -= usize::from(debt.head);
                *evicts -= debt.evicts.len();
            }
            !gone
        });
    }

    fn owe(&mut self, place: (LinkId, ChannelKey), push: &LinkPush) -> bool {
        metrics::counter!("sterna_core_link_dropped_total", "kind" => push.kind()).increment(1);
        match push {
            LinkPush::Deliver { .. } | LinkPush::Head { .. } => {
                if sterna_storage::planted!(LostPushUntold) {
                    return true;
                }
                if self.heads >= self.max_heads {
                    // The channel's beacon tells them.
                    metrics::counter!("sterna_core_owed_dropped_total").increment(1);
                    return false;
                }
                let debt = self.debts.entry(place).or_default();
                self.heads += usize::from(!debt.head);
                debt.head = true;
            }
            LinkPush::Evict { .. } => {
                let debt = self.debts.entry(place).or_default();
                if !debt.moved {
                    debt.evicts.push(push.clone());
                    self.evicts += 1;
                }
            }
            LinkPush::Moved { .. } => self.owe_moved(place.0, place.1),
            // At most one for each link that wants the channel.
            LinkPush::Event { audience: Audience::PresenceUnlike { .. }, .. } => {
                self.debts.entry(place).or_default().presence = Some(push.clone());
            }
            // Whoever looks at the inbox says so again, and is told to look.
            LinkPush::Event { audience: Audience::Inbox, .. } => self.owe_moved(place.0, place.1),
            LinkPush::Event { .. } => {}
        }
        true
    }

    fn forget(&mut self, link: LinkId, channel: ChannelKey) {
        if let Some(debt) = self.debts.remove(&(link, channel)) {
            self.heads -= usize::from(debt.head);
            self.evicts -= debt.evicts.len();
        }
    }
}

fn head_push(channel: ChannelKey, head: Position) -> LinkPush {
    LinkPush::Head { channel, head }
}
