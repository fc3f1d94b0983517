//! How a shard tells the owners of inboxes that there is something new for their users: at first while
//! it looks up the members of a channel, and [again](super::tells) of what comes while a mark waits.

use std::collections::HashSet;

use sterna_proto::{ChannelKey, Offset, UserId};
use sterna_storage::CursorMove;
use tokio::time::Instant;

use super::agenda::Touch;
use super::marks::InboxDone;
use super::resolve::Resolver;
use super::tells::Full;
use crate::channel::shard::Shard;

/// Members that one shard tells again at a time.
const TELLS_AT_ONCE: usize = 32;

impl Shard {
    /// Cursors were written: other devices of their users show another number of unread ones.
    pub(crate) fn on_inbox_read(&mut self, moves: &[CursorMove]) {
        for moved in moves.iter().filter(|moved| moved.read > Offset::ZERO) {
            let state = self.channels.get(&moved.channel);
            if state.is_some_and(|state| state.diffusion.is_some()) {
                self.start_touch(moved.channel, moved.user.clone());
            }
        }
    }

    /// One member of a channel, without an intent: forgotten by a crash.
    pub(super) fn start_touch(&mut self, channel: ChannelKey, user: UserId) {
        if self.inbox.agenda.len() >= self.context.config.queues.inbox_marks {
            return;
        }
        let resolver = self.resolver(channel);
        self.inbox_work(async move {
            let result = resolver.touch_all(vec![user]).await;
            InboxDone::Resolved { round: None, channel, result }
        });
    }

    /// Those whose touch was not for what has come just now, or did not get through.
    pub(super) fn tell_later(
        &mut self,
        channel: ChannelKey,
        members: &[(UserId, Touch)],
        now: Instant,
    ) {
        for (user, _) in members.iter().filter(|(_, touch)| *touch != Touch::Known) {
            if let Err(Full) = self.inbox.tells.later(user.clone(), channel, now.into_std()) {
                metrics::counter!("sterna_core_inbox_touches_refused_total").increment(1);
            }
        }
    }

    /// What is not told by now is found by the next owner, or with the next look.
    pub(crate) fn end_telling(&mut self) {
        self.inbox.tells.end();
    }

    pub(super) fn start_tells(&mut self, now: Instant) {
        while self.inbox.telling < TELLS_AT_ONCE {
            let Some((user, channel)) = self.inbox.tells.poll(now.into_std()) else { return };
            self.inbox.telling += 1;
            let resolver = Resolver { waiting: HashSet::new(), ..self.resolver(channel) };
            self.inbox_work(async move {
                let told = resolver.touch_all(vec![user]).await;
                if let Err(error) = told {
                    tracing::debug!(%error, "a member was not told again");
                }
                InboxDone::Told
            });
        }
    }

    pub(super) fn resolver(&self, channel: ChannelKey) -> Resolver {
        Resolver {
            stores: self.context.stores.clone(),
            link: self.context.users.get().cloned(),
            edge: self.context.config.incarnation,
            channel,
            waiting: self.inbox.agenda.waiting(&channel),
            most: self.inbox.rules.pull_above,
        }
    }
}
