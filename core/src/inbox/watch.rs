//! Who looks at the inboxes that are owned here, and what has been touched in them and not yet
//! written. Pure.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use ahash::RandomState;
use sterna_proto::{ChannelId, ChannelKey};

use crate::link::ports::LinkId;

/// Touched channels that one inbox remembers. Full: refused, and the mark is written at once.
pub(super) const TOUCHED_OF_INBOX: usize = 200;

/// How long a touch outlives the time in which its mark should have been written.
const GRACE: Duration = Duration::from_secs(5);

/// Inboxes of one shard. Inboxes are named by their keys.
#[derive(Debug)]
pub(super) struct Watch {
    links: HashMap<ChannelKey, Vec<LinkId>, RandomState>,
    touched: HashMap<ChannelKey, Vec<(ChannelId, Instant)>, RandomState>,
    /// In the order in which touches end; those that were renewed meanwhile are skipped.
    ends: VecDeque<(Instant, ChannelKey)>,
    max: usize,
    life: Duration,
}

/// No room for another touch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Watch {
    /// `coalesce`: how long a mark may follow its touch.
    pub(super) fn new(max: usize, coalesce: Duration) -> Self {
        Self {
            links: HashMap::default(),
            touched: HashMap::default(),
            ends: VecDeque::new(),
            max,
            life: coalesce + GRACE,
        }
    }

    /// Somebody behind the link wants to hear of touches.
    pub(super) fn watch(&mut self, inbox: ChannelKey, link: LinkId) {
        let links = self.links.entry(inbox).or_default();
        if !links.contains(&link) {
            links.push(link);
        }
    }

    /// Nobody behind the link does any more.
    pub(super) fn unwatch(&mut self, inbox: ChannelKey, link: LinkId) {
        if let Some(links) = self.links.get_mut(&inbox) {
            links.retain(|other| *other != link);
            if links.is_empty() {
                self.links.remove(&inbox);
            }
        }
    }

    /// The link is gone.
    pub(super) fn remove_link(&mut self, link: LinkId) {
        self.links.retain(|_, links| {
            links.retain(|other| *other != link);
            !links.is_empty()
        });
    }

    /// Links behind which somebody looks.
    pub(super) fn links(&self, inbox: &ChannelKey) -> &[LinkId] {
        self.links.get(inbox).map_or(&[], Vec::as_slice)
    }

    /// There is something new in a channel.
    pub(super) fn touch(
        &mut self,
        inbox: ChannelKey,
        channel: &ChannelId,
        now: Instant,
    ) -> Result<(), Full> {
        let of_inbox = self.touched.get(&inbox).map_or(0, Vec::len);
        if self.ends.len() >= self.max || of_inbox >= TOUCHED_OF_INBOX {
            return Err(Full);
        }
        let end = now + self.life;
        let touched = self.touched.entry(inbox).or_default();
        touched.retain(|(other, _)| other != channel);
        touched.push((channel.clone(), end));
        self.ends.push_back((end, inbox));
        Ok(())
    }

    /// What was touched lately, the latest last.
    pub(super) fn touched(&self, inbox: &ChannelKey) -> Vec<ChannelId> {
        let touched = self.touched.get(inbox).into_iter().flatten();
        touched.map(|(channel, _)| channel.clone()).collect()
    }

    /// Forgets touches whose marks have been written.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((end, inbox)) = self.ends.front().copied()
            && end <= now
        {
            self.ends.pop_front();
            if let Some(touched) = self.touched.get_mut(&inbox) {
                touched.retain(|(_, end)| *end > now);
                if touched.is_empty() {
                    self.touched.remove(&inbox);
                }
            }
        }
    }

    /// Inboxes in these slots are owned elsewhere. Returns those that somebody looks at: whoever does
    /// has to say so there.
    pub(super) fn forget(&mut self, lost: &HashSet<u16>) -> Vec<(ChannelKey, Vec<LinkId>)> {
        self.touched.retain(|inbox, _| !lost.contains(&inbox.slot()));
        self.ends.retain(|(_, inbox)| !lost.contains(&inbox.slot()));
        let gone: Vec<ChannelKey> =
            self.links.keys().filter(|inbox| lost.contains(&inbox.slot())).copied().collect();
        gone.into_iter().filter_map(|inbox| self.links.remove_entry(&inbox)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::ports::LinkPorts;
    use sterna_proto::UserId;

    fn inbox(user: &str) -> ChannelKey {
        UserId::new(user).unwrap().inbox_key()
    }

    fn channel(name: &str) -> ChannelId {
        ChannelId::new(name).unwrap()
    }

    #[test]
    fn a_touch_is_remembered_until_its_mark_must_be_there() {
        let coalesce = Duration::from_secs(5);
        let (mut watch, start) = (Watch::new(8, coalesce), Instant::now());
        let alice = inbox("alice");
        watch.touch(alice, &channel("a"), start).unwrap();
        watch.touch(alice, &channel("b"), start).unwrap();
        watch.touch(alice, &channel("a"), start + coalesce).unwrap();
        assert_eq!(watch.touched(&alice), [channel("b"), channel("a")]);
        watch.expire(start + coalesce + GRACE);
        assert_eq!(watch.touched(&alice), [channel("a")], "it was touched again");
        watch.expire(start + 2 * coalesce + GRACE);
        assert!(watch.touched(&alice).is_empty() && watch.ends.is_empty());
    }

    #[test]
    fn i12_touches_are_bounded_in_one_inbox_and_in_all() {
        let (mut watch, now) = (Watch::new(TOUCHED_OF_INBOX + 1, Duration::ZERO), Instant::now());
        for n in 0..TOUCHED_OF_INBOX {
            watch.touch(inbox("alice"), &channel(&format!("c{n}")), now).unwrap();
        }
        assert_eq!(watch.touch(inbox("alice"), &channel("more"), now), Err(Full));
        watch.touch(inbox("bob"), &channel("a"), now).unwrap();
        assert_eq!(watch.touch(inbox("carol"), &channel("a"), now), Err(Full));
    }

    #[test]
    fn links_are_told_of_what_they_watch_and_of_what_moved() {
        let ports = LinkPorts::default();
        let (one, two) = (ports.open(1, 1).0, ports.open(1, 1).0);
        let mut watch = Watch::new(8, Duration::ZERO);
        let (alice, bob) = (inbox("alice"), inbox("bob"));
        for link in [one, one, two] {
            watch.watch(alice, link);
        }
        watch.watch(bob, two);
        assert_eq!(watch.links(&alice), [one, two]);
        watch.unwatch(alice, two);
        watch.remove_link(two);
        assert!(watch.links(&bob).is_empty());
        let moved = watch.forget(&HashSet::from([alice.slot()]));
        assert_eq!(moved, [(alice, vec![one])]);
        assert!(watch.links(&alice).is_empty());
    }
}
