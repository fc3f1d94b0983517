//! How closely the session follows a channel: changed at any time, without asking the channel's owner,
//! which knows nothing of it. Pure. When each class is told is the [worker](crate::worker)'s.

use sterna_proto::{ChannelKey, ErrorCode, Position, v1};

use crate::push::{EncodedPush, SharedPush};
use crate::session::Lane;
use crate::session::outbox::Class;
use crate::session::pages::PageCommand;
use crate::session::session::{Effect, Session, channel_id};
use crate::session::subscription::Delivery;

/// What waits for one foreground session before it is sent ahead of its time, in frames and bytes.
pub const MERGED_FRAMES: usize = 64;
pub const MERGED_BYTES: usize = 32 * 1024;

impl Session {
    pub(super) fn set_activity(&mut self, id: u32, set: &v1::SetActivity) {
        let key = match channel_id(&set.channel) {
            Ok(channel) => channel.key(),
            Err(error) => return self.reply_error(id, error),
        };
        let waits = self.set_waiting_activity(set);
        match self.subscriptions.get_mut(&key) {
            Some(subscription) => {
                let was_background = subscription.is_background();
                let delivery = subscription.set_activity(set.activity());
                self.effects.push_back(Effect::Join(key, set.activity()));
                self.reply(id, v1::reply::Result::Done(v1::Done {}));
                self.tell(key, &delivery);
                self.on_forward(key, was_background);
            }
            None if waits => self.reply(id, v1::reply::Result::Done(v1::Done {})),
            None => {
                let message = format!("not subscribed to {}; subscribe in this class", set.channel);
                self.fail(id, ErrorCode::NotSubscribed, message);
            }
        }
    }

    /// Subscriptions that have not been started begin in the new class; whether there were some.
    fn set_waiting_activity(&mut self, set: &v1::SetActivity) -> bool {
        let mut waits = false;
        for waiting in &mut self.waiting_pages {
            if let PageCommand::Attach(_, subscribe) = waiting
                && subscribe.channel == set.channel
            {
                (subscribe.activity, waits) = (set.activity, true);
            }
        }
        waits
    }

    /// The beat of a channel in the background, which was published to. The first session that has
    /// not heard of it makes the `beacon`, the others share it. Whether this one was told.
    pub fn handle_news(
        &mut self,
        key: ChannelKey,
        head: Position,
        beacon: &mut Option<SharedPush>,
    ) -> bool {
        if self.close_reason().is_some() {
            return false;
        }
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return false };
        if subscription.note_head(head) != Delivery::Beacon {
            return false;
        }
        let push = beacon.get_or_insert_with(|| {
            EncodedPush::new(v1::push::Event::Head(v1::Head {
                channel: subscription.channel.to_string(),
                epoch: head.epoch.0,
                offset: head.offset.0,
            }))
        });
        self.give(push, Lane::Control, Class::Head { channel: key })
    }

    /// So much waits in the outbox that it is not to wait for more.
    pub fn has_much_to_say(&self) -> bool {
        let (frames, bytes) = self.outbox.depth();
        frames >= MERGED_FRAMES
            || bytes >= MERGED_BYTES
            || self.outbox.is_full()
            || self.has_effects()
            || self.close_reason().is_some()
    }
}
