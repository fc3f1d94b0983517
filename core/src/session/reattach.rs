//! When a channel gets another owner, or another way leads to it. The client hears nothing of it,
//! unless it has missed something: then the gap is named as always (I5). Pure.

use sterna_proto::{ChannelId, ChannelKey, v1};

use crate::link::{LinkReply, Verb};
use crate::session::session::{Call, Session};

impl Session {
    /// The owner that knew of the subscription is not asked any more: tell the one that is. It looks
    /// at the right to it again (I11) and learns who is present.
    pub fn handle_moved(&mut self, key: ChannelKey) {
        if self.close_reason().is_some() {
            return;
        }
        if self.watched_inbox() == Some(key) {
            return self.rewatch();
        }
        let Some(subscription) = self.subscriptions.get(&key) else { return };
        let channel = subscription.channel.clone();
        let subscribe = v1::Subscribe {
            channel: channel.to_string(),
            presence: subscription.presence,
            receipts: subscription.receipts,
            // No page, in whatever class the session follows the channel: the head is enough to know whether something is missing.
            since: None,
            ..Default::default()
        };
        let turn = self.next_turn();
        self.call(
            Call::Reattach { channel: channel.clone() },
            channel,
            Verb::Attach { subscribe, turn, again: true, held_upto: None, replaces: None },
        );
    }

    /// Tries again where nobody has answered.
    pub fn retry_reattach(&mut self) {
        self.retry_rewatch();
        for key in std::mem::take(&mut self.unattached) {
            self.handle_moved(key);
        }
    }

    /// Whether an owner has said where its channel ends, and nothing was concluded from that.
    pub fn has_ends(&self) -> bool {
        !self.ends.is_empty()
    }

    /// Names as a gap what channels have, as far as an owner has said, and the session was not given.
    /// Not to be called while publications go round that it has not had its turn of: those are on
    /// their way, and a whole room would ask for them.
    pub fn conclude_from_ends(&mut self) {
        for (key, head) in std::mem::take(&mut self.ends) {
            self.handle_head(key, head);
        }
    }

    pub(super) fn handle_reattached(&mut self, channel: &ChannelId, reply: LinkReply) {
        let key = channel.key();
        match reply {
            Ok(_) if sterna_storage::planted!(ReattachSeesNoHead) => {}
            Ok(v1::reply::Result::Subscribed(page)) => {
                let head = page.position.unwrap_or_default().into();
                if let Some(subscription) = self.subscriptions.get_mut(&key) {
                    subscription.on_allowed(head);
                }
                // One for each subscription at most.
                self.ends.retain(|(of, _)| *of != key);
                self.ends.push((key, head));
            }
            Ok(other) => tracing::error!(?other, "an attach was answered by something else"),
            Err(error) if error.retryable => {
                if self.subscriptions.contains_key(&key) && !self.unattached.contains(&key) {
                    self.unattached.push(key);
                }
            }
            Err(error) => self.end_subscription(key, &error),
        }
    }
}
