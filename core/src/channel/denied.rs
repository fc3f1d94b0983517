//! What is refused for want of a right may be stored: another owner took it before the right was
//! lost, its answer went with the link, and the publication was sent again. A refusal would tell
//! the sender that it is not there (I1), so the log is asked first.
//!
//! Whoever knows of the loss knows the log as of that change. What the other owner appends later
//! meets it there and is refused, so what is not found now is never stored.

use sterna_proto::v1::reply::Result as Reply;
use sterna_proto::{ChannelKey, ErrorCode, PublicationId, v1};

use crate::channel::calls::record_of;
use crate::channel::sequence::published_before;
use crate::channel::shard::{Call, Shard};
use crate::channel::work::{Done, answer, unavailable};
use crate::link::Verb;

const DENIED: u32 = ErrorCode::PermissionDenied.number();

impl Shard {
    /// Refuses a call, or says where the publication is that it asks for.
    pub(super) fn deny(&mut self, key: ChannelKey, call: Call, error: v1::Error) {
        let Some(state) = self.channels.get(&key) else { return };
        let publish = match &call.command.verb {
            Verb::Publish(publish) if error.code == DENIED => publish,
            _ => return state.refuse(call, error),
        };
        let wanted = record_of(&call.command, publish, PublicationId(0));
        let Some(origin) = wanted.origin.clone() else { return state.refuse(call, error) };
        let (log, turns) = (self.context.stores.log.clone(), self.context.turns.clone());
        self.work.push(Box::pin(async move {
            let reply = match log.find(key, origin).await {
                Ok(Some(stored)) if stored.fingerprint == wanted.fingerprint() => {
                    turns.note_settled(&call.command);
                    Ok(Reply::Published(published_before(&call.command.channel, &stored)))
                }
                Ok(_) => Err(error),
                Err(failed) => Err(unavailable(&failed)),
            };
            turns.note(&call.command, &reply);
            answer(call.reply, reply);
            Done::Answered
        }));
    }
}
