//! Presence in a channel, as its owner keeps it and tells it: those that are present hear of each
//! other, and so do those that may own the channel after this node.

use sterna_proto::v1::PresenceState;
use sterna_proto::v1::reply::Result as Reply;
use sterna_proto::{ChannelKey, ErrorCode, SessionId, v1};
use tokio::sync::oneshot;

use crate::channel::recall::{CONFIRMED_WITHIN, Recall};
use crate::channel::shard::{Call, Shard};
use crate::channel::work::answer;
use crate::link::{Audience, LinkPush, LinkReply};
use crate::presence::{Change, Word};
use crate::push::EncodedPush;

/// Users in one answer about presence.
const PRESENCE_LISTED: usize = 1000;

impl Shard {
    /// I12: everybody who is present hears of everybody who comes, so there is an end to it.
    pub(super) fn may_enter(&self, key: ChannelKey, call: &Call) -> Result<(), v1::Error> {
        let Some(state) = self.channels.get(&key) else { return Ok(()) };
        let user = &call.command.caller.identity.user;
        let most = self.context.config.queues.present_users;
        if state.presence.user_count() < most || state.presence.has_user(user) {
            return Ok(());
        }
        metrics::counter!("sterna_core_presence_refused_total").increment(1);
        let message =
            format!("{most} users are present here, as many as may be; subscribe without presence");
        Err(v1::Error::new(ErrorCode::LimitExceeded, message))
    }

    /// `again`: an earlier owner has told others already.
    pub(super) fn set_presence(
        &mut self,
        key: ChannelKey,
        call: &Call,
        set: PresenceState,
        turn: u64,
        again: bool,
    ) {
        self.start_recall(key);
        let now_ms = self.context.clock.unix_ms();
        let awaited_until = self.awaited_until();
        let is_taking_over = self.rehoming.owned_for(key) < CONFIRMED_WITHIN;
        let Some(state) = self.channels.get_mut(&key) else { return };
        let (session, user) = (call.command.caller.session, &call.command.caller.identity.user);
        if let (Recall::Asking { left }, PresenceState::Offline) = (&mut state.recall, set) {
            left.insert(session);
        }
        // A session that is not in the channel cannot become detached in it.
        if set != PresenceState::Online && !again && !state.presence.contains(session, user) {
            // Another owner has let others know of it, perhaps, and is not asked any more.
            let is_replaced = state.presence.is_replaced(session);
            let is_cluster = self.context.config.head_watch.is_some();
            if set == PresenceState::Offline && is_cluster && !is_replaced {
                let gone = state.presence.absent(user);
                self.spread_presence(key, gone);
            }
            return;
        }
        let was_known = state.presence.contains(session, user);
        // Who is new here, and not to the channel, is no news to those who come from the owner
        // before this one. But others may have been with this one all the time.
        let is_news = was_known || !again || !is_taking_over || state.presence.is_relied_on();
        if !was_known && !again {
            state.presence.on_newcomer();
        }
        let edge = call.command.caller.edge;
        let is_connected = call.link.is_some_and(|link| state.interest.contains(&link));
        let awaited_until = match set {
            PresenceState::Online if is_connected => None,
            PresenceState::Offline => None,
            _ => Some(awaited_until),
        };
        let word = Word { session, edge, link: call.link, state: set, turn, awaited_until };
        let changed = state.presence.set(user, word, now_ms);
        if let Some(until) = awaited_until {
            self.awaited.look_at(state, until);
        }
        self.tell_presence(key, (session, edge), user, (set, turn), now_ms);
        self.heirs.note(key, edge == self.context.config.incarnation);
        self.want_presence_beacon(key);
        if is_news {
            self.spread_presence(key, changed);
        }
    }

    /// The client had a session at another edge, which may be dead or not know yet that it is left.
    /// Whoever comes back so has not left, is in the channel once, and is out when it leaves.
    pub(super) fn on_replaced(&mut self, key: ChannelKey, call: &Call, former: SessionId) {
        self.start_recall(key);
        let caller = &call.command.caller;
        let Some(state) = self.channels.get_mut(&key) else { return };
        if let Recall::Asking { left } = &mut state.recall {
            left.insert(former);
        }
        let session = (caller.session, caller.edge, call.link);
        let (known, changed) = state.presence.replace(&caller.identity.user, former, session);
        let Some(it) = known else { return };
        let gone = (PresenceState::Offline, it.turn);
        self.tell_presence(key, (it.session, it.edge), &it.user, gone, it.since_ms);
        self.heirs.note(key, it.edge == self.context.config.incarnation);
        metrics::counter!("sterna_core_presence_replaced_total").increment(1);
        self.spread_presence(key, changed);
    }

    pub(super) fn spread_presence(&mut self, key: ChannelKey, change: Option<Change>) {
        let (Some(state), Some(change)) = (self.channels.get(&key), change) else { return };
        let (channel, member) = (state.name.to_string(), Some(change.member));
        let push =
            EncodedPush::new(v1::push::Event::Presence(v1::PresenceChange { channel, member }));
        let audience = Audience::Presence { shift: change.shift };
        self.spread(key, &LinkPush::Event { channel: key, audience, push });
        self.want_presence_beacon(key);
    }

    pub(super) fn list_presence(&mut self, key: ChannelKey, reply: oneshot::Sender<LinkReply>) {
        self.start_recall(key);
        let Some(state) = self.channels.get(&key) else { return };
        let (members, total) = state.presence.list(PRESENCE_LISTED);
        let total = u32::try_from(total).unwrap_or(u32::MAX);
        let channel = state.name.to_string();
        answer(reply, Ok(Reply::Presence(v1::PresenceList { channel, members, total })));
    }
}
