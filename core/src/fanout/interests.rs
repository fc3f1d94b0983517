//! Who behind this node wants which channel that another node owns: its own workers, and nodes that
//! reach the owner through this one. The owner sends one copy, and here it is spread (I9).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use sterna_proto::{ChannelKey, Offset, Position, v1};

use crate::channel::recover;
use crate::config::QueueLimits;
use crate::fanout::debts::Debts;
use crate::fanout::edge_rings::{EdgeRings, Held};
use crate::link::ports::{LinkId, LinkPorts, NoRoom};
use crate::link::{Audience, LinkPush};

/// Parts with a lock of their own: lanes and workers seldom meet.
const PARTS: usize = 16;

/// Interests of one node. Shared by all its lanes and workers.
#[derive(Debug)]
pub struct Interests {
    parts: Vec<Mutex<Part>>,
    ports: Arc<LinkPorts>,
    max_evicts: usize,
}

#[derive(Debug)]
struct Part {
    channels: HashMap<ChannelKey, Interest, RandomState>,
    debts: Debts,
    /// Channels in which a link has missed what could not be owed to it, each once.
    untold: Vec<ChannelKey>,
    rings: EdgeRings,
}

/// What is wanted of one channel.
#[derive(Debug, Default)]
struct Interest {
    links: Vec<LinkId>,
    /// Of these, links behind which somebody has asked for receipts.
    receipts: Vec<LinkId>,
    /// How far the owner has come, as was heard here.
    head: Position,
    /// It is among those of which somebody is to be told where they end.
    is_untold: bool,
}

impl Interests {
    pub fn new(ports: Arc<LinkPorts>, queues: &QueueLimits) -> Self {
        let part = || Part {
            channels: HashMap::default(),
            debts: Debts::new(queues.owed_heads / PARTS),
            untold: Vec::new(),
            rings: EdgeRings::new(queues, PARTS),
        };
        let parts = (0..PARTS).map(|_| Mutex::new(part())).collect();
        Self { parts, ports, max_evicts: queues.owed_evicts / PARTS }
    }

    /// The link wants the channel from now on.
    pub fn add(&self, channel: ChannelKey, link: LinkId, receipts: bool) {
        let mut part = self.part(&channel);
        let interest = part.channels.entry(channel).or_default();
        if !interest.links.contains(&link) {
            interest.links.push(link);
        }
        if receipts && !interest.receipts.contains(&link) {
            interest.receipts.push(link);
        }
    }

    /// Whether anybody wants the channel.
    pub fn wants(&self, channel: &ChannelKey) -> bool {
        self.part(channel).channels.contains_key(channel)
    }

    /// What is kept here of an answer to this.
    pub(crate) fn held(&self, channel: &ChannelKey, subscribe: &v1::Subscribe) -> Option<Held> {
        let since: Position = subscribe.since?.into();
        self.part(channel).rings.held(channel, since.offset, recover::page_max(subscribe))
    }

    /// The link does not want the channel any more. True: nobody does.
    pub fn remove(&self, channel: ChannelKey, link: LinkId) -> bool {
        if sterna_storage::planted!(InterestLeaks) {
            return false;
        }
        let mut part = self.part(&channel);
        part.debts.on_detach(link, channel);
        part.remove(channel, link)
    }

    /// The link is gone. Returns the channels that nobody wants any more.
    pub fn remove_link(&self, link: LinkId) -> Vec<ChannelKey> {
        let mut lost = Vec::new();
        if sterna_storage::planted!(ClosedLinkKeepsInterest) {
            return lost;
        }
        for part in &self.parts {
            let mut part = lock(part);
            part.debts.on_closed(link);
            let wanted: Vec<ChannelKey> = part
                .channels
                .iter()
                .filter(|(_, interest)| interest.links.contains(&link))
                .map(|(channel, _)| *channel)
                .collect();
            lost.extend(wanted.into_iter().filter(|channel| part.remove(*channel, link)));
        }
        lost
    }

    /// Passes a push on to everybody who wants it. False: nobody wants the channel.
    pub fn spread(&self, push: &LinkPush) -> bool {
        let channel = push.channel();
        let mut part = self.part(&channel);
        let Part { channels, debts, untold, rings } = &mut *part;
        let Some(interest) = channels.get_mut(&channel) else { return false };
        interest.note_head(push);
        rings.take(push, tokio::time::Instant::now().into_std());
        if sterna_storage::planted!(EvictNotPassedOn) && matches!(push, LinkPush::Evict { .. }) {
            return true;
        }
        let wanting = match push {
            LinkPush::Event { audience: Audience::Receipts, .. } => &interest.receipts,
            _ => &interest.links,
        };
        if matches!(push, LinkPush::Evict { .. }) && debts.evict_count() >= self.max_evicts {
            // Rather than to forget one: everybody attaches again and is looked at again.
            interest.links.iter().for_each(|link| debts.owe_moved(*link, channel));
        } else if !debts.spread(&self.ports, wanting, push)
            && !std::mem::replace(&mut interest.is_untold, true)
        {
            untold.push(channel);
        }
        true
    }

    /// Tells everybody who wants one of these channels to attach again. Returns the channels.
    pub fn announce_moved(&self, moved: impl Fn(&ChannelKey) -> bool) -> Vec<ChannelKey> {
        let mut told = Vec::new();
        for part in &self.parts {
            let mut part = lock(part);
            let Part { channels, debts, .. } = &mut *part;
            for (channel, interest) in channels.iter().filter(|(channel, _)| moved(channel)) {
                let push = LinkPush::Moved { channel: *channel };
                debts.spread(&self.ports, &interest.links, &push);
                told.push(*channel);
            }
        }
        told
    }

    /// Channels that are wanted, of those asked about.
    pub fn channels(&self, asked: impl Fn(&ChannelKey) -> bool) -> Vec<ChannelKey> {
        let of_part = |part: &Mutex<Part>| -> Vec<ChannelKey> {
            lock(part).channels.keys().filter(|channel| asked(channel)).copied().collect()
        };
        self.parts.iter().flat_map(of_part).collect()
    }

    /// Sends what links had no room for, and forgets what has been kept for too long.
    pub fn on_tick(&self) {
        for part in &self.parts {
            let mut part = lock(part);
            part.rings.on_tick(tokio::time::Instant::now().into_std());
            let Part { channels, debts, .. } = &mut *part;
            debts.pay(&self.ports, |channel| channels.get(channel).map(|interest| interest.head));
            part.tell_untold(&self.ports);
        }
    }

    /// Who wants a channel.
    pub fn links(&self, channel: &ChannelKey) -> Vec<LinkId> {
        let part = self.part(channel);
        part.channels.get(channel).map(|interest| interest.links.clone()).unwrap_or_default()
    }

    /// How many channels are wanted.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| lock(part).channels.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn part(&self, channel: &ChannelKey) -> MutexGuard<'_, Part> {
        lock(&self.parts[usize::from(channel.0[15]) % PARTS])
    }
}

impl Part {
    /// I5: tells everybody in a channel where it ends, since it is not known who missed something:
    /// the owner sends this node its beacon once. Whoever has no room is told the next time.
    fn tell_untold(&mut self, ports: &LinkPorts) {
        for channel in std::mem::take(&mut self.untold) {
            let Some(interest) = self.channels.get_mut(&channel) else { continue };
            let push = LinkPush::Head { channel, head: interest.head };
            let told = |link: &LinkId| {
                !self.debts.blocks(*link, channel)
                    && ports.try_send(*link, push.clone()) != Err(NoRoom::Full)
            };
            interest.is_untold = interest.links.iter().filter(|link| !told(link)).count() > 0;
            if interest.is_untold {
                self.untold.push(channel);
            }
        }
    }

    fn remove(&mut self, channel: ChannelKey, link: LinkId) -> bool {
        let Some(interest) = self.channels.get_mut(&channel) else { return false };
        interest.links.retain(|other| *other != link);
        interest.receipts.retain(|other| *other != link);
        let lost = interest.links.is_empty();
        if lost {
            self.channels.remove(&channel);
        }
        lost
    }
}

impl Interest {
    fn note_head(&mut self, push: &LinkPush) {
        match push {
            LinkPush::Deliver { epoch, first, pushes, .. } => {
                let last = Offset((first.0 + pushes.len() as u64).saturating_sub(1));
                self.head = Position { epoch: sterna_proto::Epoch(*epoch), offset: last };
            }
            LinkPush::Head { head, .. } => self.head = *head,
            LinkPush::Event { .. } | LinkPush::Evict { .. } | LinkPush::Moved { .. } => {}
        }
    }
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::ports::LinkReceiver;
    use sterna_proto::{ChannelId, UserId};

    fn key(name: &str) -> ChannelKey {
        ChannelId::new(name).unwrap().key()
    }

    fn head(channel: ChannelKey, offset: u64) -> LinkPush {
        LinkPush::Head { channel, head: Position::new(1, offset) }
    }

    fn evict(channel: ChannelKey, user: &str) -> LinkPush {
        let user = UserId::new(user).unwrap();
        LinkPush::Evict { channel, user, at: Position::new(1, 1), error: v1::Error::default() }
    }

    async fn received(receiver: &mut LinkReceiver, wanted: usize) -> Vec<LinkPush> {
        let mut pushes = Vec::new();
        while pushes.len() < wanted {
            receiver.receive_many(&mut pushes, wanted).await;
        }
        pushes
    }

    #[tokio::test]
    async fn a_push_reaches_every_link_that_wants_the_channel_and_no_other() {
        let ports = Arc::new(LinkPorts::default());
        let interests = Interests::new(ports.clone(), &QueueLimits::default());
        let (one, mut at_one) = ports.open(8, 1 << 20);
        let (two, mut at_two) = ports.open(8, 1 << 20);
        interests.add(key("a"), one, false);
        interests.add(key("a"), two, true);
        interests.add(key("b"), two, false);
        assert!(interests.spread(&head(key("a"), 1)));
        assert!(interests.spread(&head(key("b"), 2)));
        assert!(!interests.spread(&head(key("c"), 3)), "nobody wants it");
        assert_eq!(received(&mut at_one, 1).await.len(), 1);
        assert_eq!(received(&mut at_two, 2).await.len(), 2);
        assert!(!interests.remove(key("a"), one));
        assert_eq!(interests.remove_link(two).len(), 2);
        assert!(interests.is_empty());
    }

    #[tokio::test]
    async fn i11_what_takes_a_right_away_is_not_lost_with_a_full_link() {
        let ports = Arc::new(LinkPorts::default());
        let queues = QueueLimits { owed_evicts: 2 * PARTS, ..QueueLimits::default() };
        let interests = Interests::new(ports.clone(), &queues);
        let (link, mut receiver) = ports.open(1, 1 << 20);
        interests.add(key("a"), link, false);
        interests.spread(&head(key("a"), 1));
        interests.spread(&evict(key("a"), "eve"));
        interests.spread(&head(key("a"), 2));
        received(&mut receiver, 1).await;
        interests.on_tick();
        assert!(matches!(received(&mut receiver, 1).await[0], LinkPush::Evict { .. }));
        interests.on_tick();
        let LinkPush::Head { head: told, .. } = received(&mut receiver, 1).await[0] else {
            panic!("the head is owed too");
        };
        assert_eq!(told.offset, Offset(2));
        // More than may be owed: all attach again, which settles every one of them.
        interests.spread(&head(key("a"), 3));
        for user in ["u1", "u2", "u3"] {
            interests.spread(&evict(key("a"), user));
        }
        received(&mut receiver, 1).await;
        interests.on_tick();
        assert!(matches!(received(&mut receiver, 1).await[0], LinkPush::Moved { .. }));
    }

    #[tokio::test]
    async fn i5_a_link_that_cannot_even_be_owed_a_head_is_told_where_the_channel_ends() {
        let ports = Arc::new(LinkPorts::default());
        // Nothing can be owed.
        let queues = QueueLimits { owed_heads: 1, ..QueueLimits::default() };
        let interests = Interests::new(ports.clone(), &queues);
        let (narrow, mut at_narrow) = ports.open(1, 1 << 20);
        let (wide, mut at_wide) = ports.open(8, 1 << 20);
        interests.add(key("a"), narrow, false);
        interests.add(key("a"), wide, false);
        (1..=3).for_each(|offset| assert!(interests.spread(&head(key("a"), offset))));
        interests.on_tick();
        assert_eq!(received(&mut at_narrow, 1).await.len(), 1);
        interests.on_tick();
        let LinkPush::Head { head: told, .. } = received(&mut at_narrow, 1).await[0] else {
            panic!("it has missed two");
        };
        assert_eq!(told.offset, Offset(3));
        let before = received(&mut at_wide, 3).await.len();
        interests.on_tick();
        interests.spread(&head(key("a"), 4));
        assert_eq!(received(&mut at_narrow, 1).await.len(), 1, "told once");
        assert!(received(&mut at_wide, 1).await.len() + before >= 4);
    }

    #[tokio::test]
    async fn word_of_a_touch_that_is_lost_makes_whoever_looks_look_again() {
        let ports = Arc::new(LinkPorts::default());
        let interests = Interests::new(ports.clone(), &QueueLimits::default());
        let (link, mut receiver) = ports.open(1, 1 << 20);
        let inbox = UserId::new("alice").unwrap().inbox_key();
        interests.add(inbox, link, false);
        let touched = v1::push::Event::InboxTouched(v1::InboxTouched::default());
        let push = crate::push::EncodedPush::new(touched);
        for _ in 0..3 {
            let (audience, push) = (Audience::Inbox, push.clone());
            interests.spread(&LinkPush::Event { channel: inbox, audience, push });
        }
        assert!(matches!(received(&mut receiver, 1).await[0], LinkPush::Event { .. }));
        interests.on_tick();
        assert!(matches!(received(&mut receiver, 1).await[0], LinkPush::Moved { .. }));
    }
}
