//! The newest publications of channels that other nodes own, as they came down a link. They share
//! their bytes with what was pushed. Pure.
//!
//! Nothing is served from here alone: the owner is asked as ever, looks at the right to the channel
//! (I11) and says where it ends. It is told up to where this node [holds](Held) what is asked for, and
//! leaves that out of its answer. So a ring may stay when nobody here follows its channel any more, or
//! when the way to its owner is lost: what it holds has been committed (I4), and of its epoch nothing
//! else will ever have these offsets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use ahash::RandomState;
use sterna_proto::v1::reply::Result as Reply;
use sterna_proto::{ChannelKey, ErrorCode, Offset, Position, limits, v1};

use crate::channel::ring::{Ring, hides, publication, published};
use crate::channel::rings::{Rings, RingsOf};
use crate::config::QueueLimits;
use crate::link::{LinkPush, LinkReply};
use crate::push::SharedPush;
use crate::vitals::tally::{HotRing, Tally};

/// Bytes of payloads in an answer that a node holds itself; as many can follow them.
pub const HELD_BYTES: usize = 48 * 1024;

const _: () = assert!(2 * HELD_BYTES <= limits::PAGE_BYTES, "both parts fit a page");

/// Rings of one part of a node's channels.
#[derive(Debug)]
pub(crate) struct EdgeRings {
    channels: EdgeRingsByKey,
    rings: Rings,
    max_bytes: usize,
}

type EdgeRingsByKey = HashMap<ChannelKey, EdgeRing, RandomState>;

#[derive(Debug)]
struct EdgeRing {
    /// Of all that is in it.
    epoch: u32,
    ring: Ring,
}

/// What a node holds of a page that it asks for: everything behind one offset, up to a position.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    after: Offset,
    pub upto: Position,
    pushes: Arc<[SharedPush]>,
}

impl RingsOf for EdgeRingsByKey {
    fn ring(&mut self, channel: &ChannelKey) -> Option<&mut Ring> {
        self.get_mut(channel).map(|kept| &mut kept.ring)
    }

    fn on_emptied(&mut self, channel: &ChannelKey) {
        self.remove(channel);
    }
}

impl EdgeRings {
    /// One of `parts` that share the node's bounds.
    pub fn new(queues: &QueueLimits, parts: usize) -> Self {
        let rings = Rings::new("edge", queues.edge_ring_age, queues.edge_rings_bytes / parts);
        Self { channels: HashMap::default(), rings, max_bytes: queues.edge_ring_bytes }
    }

    /// Something comes down the link.
    pub fn take(&mut self, push: &LinkPush, now: Instant) {
        let LinkPush::Deliver { channel, pushes, .. } = push else { return };
        if self.max_bytes == 0 {
            return;
        }
        let kept = self.channels.entry(*channel).or_insert_with(|| EdgeRing {
            epoch: 0,
            ring: self.rings.ring(limits::PAGE_PUBLICATIONS, self.max_bytes),
        });
        pushes.iter().for_each(|push| kept.take(push, now));
        self.rings.on_pushed(*channel, &mut kept.ring);
        self.rings.lighten(&mut self.channels);
    }

    /// All that is known here of what follows an offset, if it is all and fits into a page of so many
    /// publications.
    pub fn held(&self, channel: &ChannelKey, after: Offset, max: usize) -> Option<Held> {
        let kept = self.channels.get(channel)?;
        let (pushes, bytes) = kept.ring.pushes(after, max, HELD_BYTES)?;
        let upto = Offset(after.0 + pushes.len() as u64);
        let all = bytes <= HELD_BYTES && kept.ring.next() == Some(upto.next());
        let upto = Position { epoch: sterna_proto::Epoch(kept.epoch), offset: upto };
        (all && !pushes.is_empty()).then_some(Held { after, upto, pushes })
    }

    /// Gives up what is too old, and says what there is.
    pub fn on_tick(&mut self, now: Instant) {
        self.rings.expire(&mut self.channels, now);
        self.rings.tell();
    }
}

impl EdgeRing {
    fn take(&mut self, push: &SharedPush, now: Instant) {
        let Some(publication) = published(push) else { return self.ring.clear() };
        if publication.epoch != self.epoch {
            self.ring.clear();
            self.epoch = publication.epoch;
        }
        let mut offset = Offset(publication.offset);
        // It has come by another way before, as when the owner changes.
        if self.ring.next().is_some_and(|next| offset < next) {
            return;
        }
        if let Some(hidden) = hides(publication) {
            self.ring.forget(hidden);
        }
        if sterna_storage::planted!(HeldKeepsJump) {
            offset = self.ring.next().unwrap_or(offset);
        }
        self.ring.push(offset, push.clone(), now);
    }
}

impl Held {
    /// Puts what is held in front of an answer that leaves it out. That shows: an answer without a gap
    /// and without a change of epochs begins right behind what was asked for, or it relies on the asker.
    pub fn complete(&self, reply: LinkReply, tally: &Tally) -> LinkReply {
        let mut page = match reply {
            Ok(Reply::Subscribed(page)) => page,
            Err(error) if !error.retryable && sterna_storage::planted!(HeldServesRefused) => {
                let channel = self.pushes.iter().find_map(published).map(|it| it.channel.clone());
                v1::Subscribed {
                    channel: channel.unwrap_or_default(),
                    position: Some(self.upto.into()),
                    head_offset: self.upto.offset.0,
                    ..Default::default()
                }
            }
            other => return other,
        };
        let position: Position = page.position.unwrap_or(self.upto.into()).into();
        let first = page.publications.first();
        let begins = first.map_or(position.offset.next(), |first| Offset(first.offset));
        let complete = page.gap.is_some() || page.epoch_change.is_some() || page.error.is_some();
        if complete || begins == self.after.next() {
            tally.on_ring_lookup(HotRing::Edge, false);
            return Ok(Reply::Subscribed(page));
        }
        if begins != self.upto.offset.next() || position.epoch != self.upto.epoch {
            tracing::error!(begins = begins.0, held = %self.upto, "an owner relies on what is not held here");
            let message = "the channel's owner has left something out; try again";
            return Err(v1::Error::new(ErrorCode::Unavailable, message).with_retry_after_ms(500));
        }
        tally.on_ring_lookup(HotRing::Edge, true);
        let mut publications: Vec<_> = self.pushes.iter().filter_map(publication).collect();
        publications.append(&mut page.publications);
        page.publications = publications;
        Ok(Reply::Subscribed(page))
    }
}

#[cfg(test)]
#[path = "edge_rings_tests.rs"]
mod tests;
