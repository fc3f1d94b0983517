//! What an inbox's owner does with calls about it. The caller is the user whose inbox it is.

use sterna_proto::v1::reply::Result as Reply;
use sterna_proto::{ChannelId, ChannelKey, ErrorCode, Offset, v1};
use sterna_storage::{InboxChange, StorageError, Stores};
use tokio::time::Instant;

use super::marks::InboxDone;
use super::sync::{self, Question};
use super::watch::Full;
use crate::authz::{self, FirstUse};
use crate::channel::shard::{Call, Shard};
use crate::channel::work::{Done, answer, unavailable};
use crate::identity::{Action, Identity};
use crate::link::{Audience, LinkPush, Verb};
use crate::push::EncodedPush;

impl Shard {
    /// Takes a call whose verb is [`Verb::is_of_inbox`].
    pub(crate) fn handle_inbox_call(&mut self, call: Call) {
        match &call.command.verb {
            Verb::Sync(_) => self.sync(call),
            Verb::ChangeInbox(_) => self.change_inbox(call),
            Verb::Touch(channel) => {
                let (inbox, channel) = (call.command.key, channel.clone());
                let touched = self.touch_inbox(inbox, &channel);
                let full = |Full| v1::Error::new(ErrorCode::Busy, "too much is new in this inbox");
                answer(call.reply, touched.map(|()| Reply::Done(v1::Done {})).map_err(full));
            }
            _ => answer(call.reply, Err(v1::Error::new(ErrorCode::BadRequest, "not of an inbox"))),
        }
    }

    fn sync(&mut self, mut call: Call) {
        let Verb::Sync(sync) = &mut call.command.verb else { return };
        let sync = std::mem::take(sync);
        let inbox = call.command.key;
        if let (true, Some(link)) = (sync.live, call.link) {
            self.inbox.watch.watch(inbox, link);
        }
        metrics::counter!("sterna_core_inbox_syncs_total").increment(1);
        let question = Question {
            identity: call.command.caller.identity.clone(),
            sync,
            touched: self.inbox.watch.touched(&inbox),
            now_ms: self.context.clock.unix_ms(),
        };
        let stores = self.context.stores.clone();
        self.work.push(Box::pin(async move {
            let page = sync::read(&stores, question).await;
            answer(call.reply, page.map(Reply::Inbox).map_err(|error| unavailable(&error)));
            Done::Answered
        }));
    }

    /// The change, and a mark, so that the user's other devices learn of it.
    fn change_inbox(&mut self, mut call: Call) {
        let Verb::ChangeInbox(change) = &mut call.command.verb else { return };
        let change = std::mem::take(change);
        let identity = call.command.caller.identity.clone();
        let channel = match ChannelId::new(&change.channel) {
            Ok(channel) => channel,
            Err(error) => {
                let error = v1::Error::new(ErrorCode::BadRequest, error.to_string());
                return answer(call.reply, Err(error));
            }
        };
        let stores = self.context.stores.clone();
        self.work.push(Box::pin(async move {
            let changed = make_change(&stores, &identity, &channel, &change).await;
            let done = match &changed {
                Ok(()) => Done::Inbox(InboxDone::Changed { user: identity.user.clone(), channel }),
                Err(_) => Done::Answered,
            };
            answer(call.reply, changed.map(|()| Reply::Done(v1::Done {})));
            done
        }));
    }

    /// Remembers that a mark is on its way and tells whoever looks. A link without room is told to
    /// look again later.
    pub(super) fn touch_inbox(
        &mut self,
        inbox: ChannelKey,
        channel: &ChannelId,
    ) -> Result<(), Full> {
        let touched = self.inbox.watch.touch(inbox, channel, Instant::now().into_std());
        let links = self.inbox.watch.links(&inbox);
        if links.is_empty() {
            return touched;
        }
        let touch = v1::InboxTouched { channel: channel.to_string() };
        let push = EncodedPush::new(v1::push::Event::InboxTouched(touch));
        let push = LinkPush::Event { channel: inbox, audience: Audience::Inbox, push };
        self.owed.debts.spread(&self.context.ports, links, &push);
        touched
    }
}

async fn make_change(
    stores: &Stores,
    identity: &Identity,
    channel: &ChannelId,
    change: &v1::ChangeInbox,
) -> Result<(), v1::Error> {
    let failed = |error: StorageError| unavailable(&error);
    let (key, user) = (channel.key(), &identity.user);
    let record = stores.channels.channel(key).await.map_err(failed)?;
    let role = stores.channels.member(key, user.clone()).await.map_err(failed)?;
    let role = role.map(|membership| membership.role);
    let read = (Action::Subscribe, FirstUse::Fails);
    authz::allow(identity, channel, record.as_ref(), role, read.0, read.1)?;
    if role.is_none() {
        let message = "only members have the channel in their inbox";
        return Err(v1::Error::new(ErrorCode::PermissionDenied, message));
    }
    let head = stores.log.head(key).await.map_err(failed)?;
    let end = head.map_or(Offset::ZERO, |head| head.position.offset);
    let deleted_before = match change.remove {
        true => end.next(),
        // Nobody deletes what is not there yet.
        false => Offset(change.deleted_before).min(end.next()),
    };
    let pinned = if change.remove { Some(false) } else { change.pinned };
    let change = InboxChange { muted: change.muted, pinned, deleted_before };
    stores.inboxes.change_inbox(user.clone(), key, change).await.map_err(failed)?;
    stores.inboxes.mark_dirty(user.clone(), vec![key]).await.map(drop).map_err(failed)
}
