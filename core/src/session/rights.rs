//! What a session loses with its rights (I11). Pure.

use sterna_proto::{ChannelId, ChannelKey, CloseReason, ErrorCode, Position, UserId, v1};

use crate::identity::Action;
use crate::session::session::{Call, Effect, Session};
use crate::session::subscription::Subscription;

impl Session {
    /// I11: the user lost the right to the channel. Nothing more of it leaves, not even what is
    /// queued already.
    pub fn handle_evict(
        &mut self,
        key: ChannelKey,
        user: &UserId,
        at: Position,
        error: &v1::Error,
    ) {
        if self.identity().user != *user || sterna_storage::planted!(EvictionIgnored) {
            return;
        }
        // A member again, and subscribed since: the word has been on its way for long.
        if self.subscriptions.get(&key).is_none_or(|s| s.allowed_at() < at) {
            self.end_subscription(key, error);
        }
    }

    /// Ends a subscription for want of the right to it.
    pub(super) fn end_subscription(&mut self, key: ChannelKey, error: &v1::Error) {
        for call in self.calls.values_mut() {
            match call {
                Call::Page { key: of, refused, .. } | Call::Again { key: of, refused, .. }
                    if *of == key =>
                {
                    *refused = Some(error.clone());
                }
                // Its page may come after the client has subscribed again, in vain.
                Call::Attach { channel, refused, .. } if channel.key() == key => {
                    *refused = Some(error.clone());
                }
                _ => {}
            }
        }
        // Also of a subscription that has ended before, by the client or by a refusal.
        if !sterna_storage::planted!(EvictionLeavesOutbox) {
            self.outbox.refuse_pages(key, error, self.connection.encoding);
        }
        let Some(subscription) = self.subscriptions.remove(&key) else { return };
        if !sterna_storage::planted!(EvictionLeavesOutbox) {
            self.outbox.drop_channel(key);
        }
        self.effects.push_back(Effect::Leave(key));
        self.on_recovered(key);
        if subscription.presence {
            self.leave_presence(subscription.channel.clone());
        }
        self.push_own(v1::push::Event::Unsubscribed(v1::Unsubscribed {
            channel: subscription.channel.to_string(),
            error: Some(error.clone()),
        }));
    }

    /// I11: an identity that has run out ends its connection.
    pub fn check_expiry(&mut self, unix_ms: u64) {
        if self.identity().expires_at_ms.is_some_and(|at| at <= unix_ms) {
            self.start_close(CloseReason::TokenExpired);
        }
    }

    /// I11: a narrower token ends the subscriptions that it does not cover.
    pub(super) fn drop_what_is_not_permitted(&mut self) {
        let identity = self.identity().clone();
        let permits = |s: &Subscription, action| identity.permits(&s.channel, action);
        let ended: Vec<ChannelKey> = self
            .subscriptions
            .iter()
            .filter(|(_, s)| !permits(s, Action::Subscribe))
            .map(|(key, _)| *key)
            .collect();
        let message = "the new access token does not allow to subscribe here";
        let error = v1::Error::new(ErrorCode::PermissionDenied, message);
        for key in ended {
            self.end_subscription(key, &error);
        }
        let unseen: Vec<ChannelId> = self
            .subscriptions
            .values_mut()
            .filter(|s| s.presence && !permits(s, Action::Presence))
            .map(|s| {
                s.presence = false;
                s.channel.clone()
            })
            .collect();
        for channel in unseen {
            self.leave_presence(channel);
        }
    }
}
