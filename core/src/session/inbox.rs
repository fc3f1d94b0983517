//! What a session does about its user's inbox: asks its owner, and passes on what it is told while it
//! looks. Pure.

use sterna_proto::ChannelKey;
use sterna_proto::v1::{self, frame::Body};
use tokio::time::Instant;

use crate::identity::Action;
use crate::link::{LinkCommand, LinkReply, Verb};
use crate::push::SharedPush;
use crate::session::Lane;
use crate::session::commands::rate_limited;
use crate::session::deliver::event_key;
use crate::session::outbox::Class;
use crate::session::pages::PageCommand;
use crate::session::session::{Call, Effect, Session, channel_id};

/// Whether the session wants to hear of touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InboxWatch {
    No,
    Yes,
    /// It does, and no owner has been told so since the last one has gone.
    Lost,
}

impl Session {
    /// The user's inbox, while the session looks at it.
    pub(super) fn watched_inbox(&self) -> Option<ChannelKey> {
        (self.inbox != InboxWatch::No).then(|| self.inbox_key())
    }

    pub(super) fn sync(&mut self, id: u32, sync: v1::Sync, now: Instant) {
        match self.sync_rate.try_take(now) {
            Ok(()) => {
                self.waiting_pages.push_back(PageCommand::Sync(id, sync));
                self.start_pages();
            }
            Err(wait) => self.reply_error(id, rate_limited(wait)),
        }
    }

    /// There is room for the answer.
    pub(super) fn start_sync(&mut self, id: u32, sync: v1::Sync) {
        let key = self.inbox_key();
        if sync.live && self.inbox == InboxWatch::No {
            self.effects.push_back(Effect::Join(key, v1::Activity::Active));
            self.inbox = InboxWatch::Yes;
        }
        self.open_pages += 1;
        let command = LinkCommand::of_inbox(self.caller.clone(), Verb::Sync(sync));
        self.start_call(Call::Page { id, key, question: None, refused: None }, command);
    }

    pub(super) fn change_inbox(&mut self, id: u32, change: v1::ChangeInbox) {
        let command = LinkCommand::of_inbox(self.caller.clone(), Verb::ChangeInbox(change));
        self.start_call(Call::Plain { id, question: None }, command);
    }

    /// Something is new in a channel. Who is subscribed to it hears of it anyway.
    pub(super) fn handle_touched(&mut self, key: ChannelKey, push: &SharedPush) {
        let Some(Body::Push(v1::Push { event: Some(v1::push::Event::InboxTouched(touched)) })) =
            &push.frame().body
        else {
            return;
        };
        if self.watched_inbox() != Some(key) {
            return;
        }
        let Ok(channel) = channel_id(&touched.channel) else { return };
        // I11: a token names what its holder may hear of.
        let permitted = self.identity().permits(&channel, Action::Subscribe);
        if permitted && !self.subscriptions.contains_key(&channel.key()) {
            // Dropped and counted when there is no room: a client that lags has to look anyway.
            self.give(push, Lane::Control, Class::Ephemeral { channel: key, key: event_key(push) });
        }
    }

    /// The inbox has another owner, or word of a touch was lost: say again that somebody looks.
    pub(super) fn rewatch(&mut self) {
        // One entry, since nobody reads them.
        let sync = v1::Sync { live: true, limit: 1, since: None };
        let command = LinkCommand::of_inbox(self.caller.clone(), Verb::Sync(sync));
        self.start_call(Call::Rewatch, command);
    }

    /// What was touched meanwhile is not known, so the client looks.
    pub(super) fn handle_rewatched(&mut self, reply: LinkReply) {
        match reply {
            Ok(_) => {
                self.inbox = InboxWatch::Yes;
                let touched = v1::InboxTouched::default();
                self.push_own(v1::push::Event::InboxTouched(touched));
            }
            Err(_) => self.inbox = InboxWatch::Lost,
        }
    }

    /// Tries again where nobody has answered.
    pub fn retry_rewatch(&mut self) {
        if self.inbox == InboxWatch::Lost {
            self.inbox = InboxWatch::Yes;
            self.rewatch();
        }
    }

    fn inbox_key(&self) -> ChannelKey {
        self.identity().user.inbox_key()
    }
}
