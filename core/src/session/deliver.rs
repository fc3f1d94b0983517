//! What comes down the link, as one session takes it.

use std::net::SocketAddr;

use sterna_proto::{ChannelKey, Offset, Position, limits, v1};

use crate::link::Audience;
use crate::push::SharedPush;
use crate::session::outbox::Class;
use crate::session::session::Session;
use crate::session::subscription::Delivery;
use crate::session::{Encoding, Lane, Outgoing, OutgoingBody};

impl Session {
    /// Publications that come one after the other now, so many in all.
    pub(crate) fn expect_deliveries(&mut self, publications: usize) {
        self.outbox.expect(publications);
    }

    /// Committed publications with consecutive offsets.
    pub fn handle_delivery(
        &mut self,
        key: ChannelKey,
        epoch: u32,
        first: Offset,
        pushes: &[SharedPush],
    ) {
        if self.close_reason().is_some() {
            return;
        }
        let mut offsets = (first.0..).map(Offset);
        let mut left = pushes.iter();
        // Mostly all of them are given at one look at the subscription.
        while let Some((offset, delivery)) = self.give_all(key, epoch, &mut offsets, &mut left) {
            match delivery {
                // There was no room.
                Delivery::Push => self.lag(key, offset),
                other => self.tell(key, &other),
            }
        }
    }

    /// Gives publications as long as they follow and there is room. Returns the first that was not
    /// given, and what its subscription said to it.
    fn give_all<'a>(
        &mut self,
        key: ChannelKey,
        epoch: u32,
        offsets: &mut impl Iterator<Item = Offset>,
        pushes: &mut impl Iterator<Item = &'a SharedPush>,
    ) -> Option<(Offset, Delivery)> {
        let subscription = self.subscriptions.get_mut(&key)?;
        let (lane, encoding) = (subscription.lane(), self.connection.encoding);
        for (push, offset) in pushes.zip(offsets) {
            match subscription.handle_delivery(epoch, offset, push) {
                Delivery::Push => {
                    let outgoing = Outgoing { lane, body: OutgoingBody::Shared(push.clone()) };
                    let class = Class::Publication { channel: key, offset };
                    if self.outbox.push(outgoing, class, encoding).is_err() {
                        return Some((offset, Delivery::Push));
                    }
                }
                Delivery::Nothing => {}
                other => return Some((offset, other)),
            }
        }
        None
    }

    /// Where the channel ends: in place of publications that were lost on the link, or a beacon.
    pub fn handle_head(&mut self, key: ChannelKey, head: Position) {
        if self.close_reason().is_some() {
            return;
        }
        if let Some(subscription) = self.subscriptions.get_mut(&key) {
            let delivery = subscription.handle_head(head);
            self.tell(key, &delivery);
        }
    }

    /// Something without a position.
    pub fn handle_event(&mut self, key: ChannelKey, audience: &Audience, push: &SharedPush) {
        if self.close_reason().is_some() {
            return;
        }
        match audience {
            Audience::Inbox => return self.handle_touched(key, push),
            Audience::Presence { shift } => return self.give_presence(key, push, *shift),
            Audience::PresenceUnlike { digest } => return self.check_presence(key, *digest, push),
            Audience::EphemeralFrom(_) | Audience::Receipts => {}
        }
        let Some(subscription) = self.subscriptions.get(&key) else { return };
        let (wanted, lane) = match audience {
            Audience::EphemeralFrom(session) => (*session != self.id(), self.ephemeral_lane(push)),
            _ => (subscription.receipts, subscription.lane()),
        };
        if wanted {
            // Dropped and counted when there is no room: newest wins, and a list can be asked for.
            self.give(push, lane, Class::Ephemeral { channel: key, key: event_key(push) });
        }
    }

    /// The client's address changed.
    pub fn on_path_changed(&mut self, remote: SocketAddr) {
        self.connection.remote = remote;
        let observed_address = remote.to_string();
        self.push_own(v1::push::Event::PathChanged(v1::PathChanged { observed_address }));
    }

    pub fn go_away(&mut self, go_away: &v1::GoAway) {
        self.push_own(v1::push::Event::GoAway(go_away.clone()));
    }

    /// Lag mode: no room for this publication. All queued publications go (they are in the log),
    /// and each channel's gap is named.
    pub(super) fn lag(&mut self, key: ChannelKey, offset: Offset) {
        let mut dropped = self.outbox.drop_publications();
        dropped.entry(key).or_insert(offset);
        metrics::counter!("sterna_core_lagged_total").increment(1);
        for (key, first) in dropped {
            let Some(subscription) = self.subscriptions.get_mut(&key) else { continue };
            subscription.on_dropped(first);
            if sterna_storage::planted!(GapUnnamed) {
                continue;
            }
            let gap = v1::push::Event::Gap(subscription.gap());
            self.control_as(v1::Frame::push(gap), Class::Gap { channel: key });
        }
    }

    pub(super) fn tell(&mut self, key: ChannelKey, delivery: &Delivery) {
        let Some(subscription) = self.subscriptions.get(&key) else { return };
        match delivery {
            Delivery::Gap => {
                let gap = v1::push::Event::Gap(subscription.gap());
                self.control_as(v1::Frame::push(gap), Class::Gap { channel: key });
            }
            Delivery::Beacon => {
                let head = v1::push::Event::Head(subscription.head());
                self.control_as(v1::Frame::push(head), Class::Head { channel: key });
            }
            Delivery::Push | Delivery::Nothing => {}
        }
    }

    fn ephemeral_lane(&self, push: &SharedPush) -> Lane {
        let fits = || push.encoded(Encoding::Protobuf).len() <= limits::DATAGRAM_BYTES;
        if self.connection.datagrams && fits() { Lane::Datagram } else { Lane::Channel(0) }
    }
}

/// What a newer event replaces.
pub(super) fn event_key(push: &SharedPush) -> u64 {
    let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
    let Some(v1::frame::Body::Push(v1::Push { event: Some(event) })) = &push.frame().body else {
        return 0;
    };
    match event {
        v1::push::Event::Ephemeral(e) => hasher.hash_one((0u8, &e.channel, &e.sender, &e.key)),
        v1::push::Event::Presence(p) => {
            hasher.hash_one((1u8, &p.channel, p.member.as_ref().map(|m| &m.user)))
        }
        v1::push::Event::Receipt(r) => hasher.hash_one((2u8, &r.channel, &r.user)),
        v1::push::Event::InboxTouched(t) => hasher.hash_one((3u8, &t.channel)),
        _ => 0,
    }
}
