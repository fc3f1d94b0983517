//! What the client knows of who is present, as far as it has been told here: what it was given of the
//! list and of changes adds up to a digest. Where that is not the owner's, something was lost on the
//! way, and the client is told of a gap: it asks for the list again, as for publications (I5). Pure.

use sterna_proto::{ChannelKey, v1};

use crate::link::LinkReply;
use crate::presence;
use crate::push::SharedPush;
use crate::session::Lane;
use crate::session::outbox::Class;
use crate::session::session::{Session, channel_id};
use crate::session::subscription::Subscription;

impl Session {
    /// The client is given a list. It is followed from here on, unless it had to be cut.
    pub(super) fn note_listed(&mut self, reply: &LinkReply) {
        let Ok(v1::reply::Result::Presence(list)) = reply else { return };
        let Ok(channel) = channel_id(&list.channel) else { return };
        let key = channel.key();
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let is_whole = list.total as usize == list.members.len();
        let is_followed = subscription.presence && is_whole;
        subscription.present_known = is_followed.then(|| presence::digest_of(&list.members));
        subscription.keeps_list = is_followed;
        self.outbox.take_lost_presence(key);
    }

    /// The client is given a change.
    pub(super) fn give_presence(&mut self, key: ChannelKey, push: &SharedPush, shift: u64) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        if !subscription.presence {
            return;
        }
        if let Some(digest) = &mut subscription.present_known {
            *digest = digest.wrapping_add(shift);
        }
        // On the lane of the list, so that neither overtakes the other. Dropped when there is no
        // room, which the next beacon tells.
        let class = Class::Presence { channel: key, key: super::deliver::event_key(push) };
        self.give(push, Lane::Control, class);
    }

    /// What whoever has missed nothing knows. `gap`: for whom that is not so.
    pub(super) fn check_presence(&mut self, key: ChannelKey, digest: u64, gap: &SharedPush) {
        let has_lost = self.outbox.take_lost_presence(key);
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let knows_else = subscription.present_known.is_some_and(|known| known != digest);
        if !(subscription.is_watched() && (knows_else || has_lost))
            || sterna_storage::planted!(PresenceGapUnnamed)
        {
            return;
        }
        subscription.present_known = None;
        metrics::counter!("sterna_core_presence_gaps_total").increment(1);
        self.give(gap, Lane::Control, Class::Control);
    }

    /// The session may have come forward: in the background nobody is told of changes.
    pub(super) fn on_forward(&mut self, key: ChannelKey, was_background: bool) {
        let subscription = self.subscriptions.get(&key);
        if subscription.is_some_and(|it| was_background && !it.is_background() && it.is_watched()) {
            self.name_presence_gap(key);
        }
    }

    /// The client knows the list and was not told of changes for a while.
    pub(super) fn name_presence_gap(&mut self, key: ChannelKey) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        (subscription.present_known, subscription.keeps_list) = (None, true);
        let channel = subscription.channel.to_string();
        metrics::counter!("sterna_core_presence_gaps_total").increment(1);
        self.push_own(v1::push::Event::PresenceGap(v1::PresenceGap { channel }));
    }
}

impl Subscription {
    /// The client has asked for the list, and has not been told to ask again.
    pub(super) fn is_watched(&self) -> bool {
        self.presence && self.present_known.is_some()
    }
}
