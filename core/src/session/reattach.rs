//! When a channel gets another owner, or another way leads to it. The client hears nothing of it,
//! unless it has missed something: then the gap is named as always (I5). Pure.

use sterna_proto::{ChannelId, ChannelKey, v1};

use crate::link::{LinkReply, Verb};
use crate::session::session::{Call, Session};

/// Channels whose owners have said where they end, when that is still to be held against what has come
/// of them. Each is in it once, for two sweeps at most.
#[derive(Debug, Default)]
pub(super) struct Ends {
    channels: Vec<ChannelKey>,
    /// Of these, from the front, those that a sweep has left.
    old: usize,
}

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

    /// Whether owners have said where channels end, and nothing was concluded from that.
    pub fn has_ends(&self) -> bool {
        !self.ends.channels.is_empty()
    }

    /// Names as a gap what channels have, as their owners have said, and the session was not given.
    /// For when nothing is on its way to it: a whole room would ask for what it is about to be given.
    pub fn conclude_from_ends(&mut self) {
        self.conclude_from(self.ends.channels.len());
    }

    /// For a sweep while there is always something on its way: what the sweep before has found already
    /// has had the time to come.
    pub fn conclude_from_old_ends(&mut self) {
        self.conclude_from(self.ends.old);
        self.ends.old = self.ends.channels.len();
    }

    fn conclude_from(&mut self, count: usize) {
        let due: Vec<_> = self.ends.channels.drain(..count).collect();
        self.ends.old = self.ends.old.saturating_sub(count);
        for key in due {
            if let Some(subscription) = self.subscriptions.get(&key) {
                self.handle_head(key, subscription.allowed_at());
            }
        }
    }

    /// The connection is gone: whoever resumes asks from where the client is.
    pub(super) fn forget_ends(&mut self) {
        self.ends = Ends::default();
    }

    pub(super) fn handle_reattached(&mut self, channel: &ChannelId, reply: LinkReply) {
        let key = channel.key();
        match reply {
            Ok(_) if sterna_storage::planted!(ReattachSeesNoHead) => {}
            Ok(v1::reply::Result::Subscribed(page)) => {
                let head = page.position.unwrap_or_default().into();
                let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
                subscription.on_allowed(head);
                if !self.ends.channels.contains(&key) {
                    self.ends.channels.push(key);
                }
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
