//! From a channel to the inboxes of its members: who they are, and whose owners know by now that there
//! is something new.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use sterna_proto::{ChannelId, ChannelKey, ClientId, SessionId, UserId};
use sterna_storage::{Membership, StorageError, Stores};

use super::agenda::Touch;
use crate::cluster::Incarnation;
use crate::identity::Identity;
use crate::link::{Caller, Link, LinkCommand, Verb};

/// Members of one channel who are touched at a time.
const TOUCHES_AT_ONCE: usize = 32;

/// A touch is a hint: an owner that cannot be reached, or not before this node ends, is not waited for.
const TOUCH_WITHIN: Duration = Duration::from_secs(5);

/// Members, and whether their marks can wait for others.
pub(super) type Resolved = Result<Vec<(UserId, Touch)>, StorageError>;

/// Finds the members of one channel and lets the owners of their inboxes know.
pub(super) struct Resolver {
    pub stores: Stores,
    /// `None` for a moment while the node starts.
    pub link: Option<Arc<dyn Link>>,
    pub edge: Incarnation,
    pub channel: ChannelKey,
    /// Members who were told already.
    pub waiting: HashSet<UserId>,
    /// More members than this are not marked.
    pub most: u64,
}

impl Resolver {
    pub(super) async fn members(&self) -> Resolved {
        let most = usize::try_from(self.most).unwrap_or(usize::MAX);
        let members = self.stores.channels.members(self.channel, None, most + 1).await?;
        if members.len() > most {
            // It has grown since: they pull.
            return Ok(Vec::new());
        }
        self.touch_all(members.into_iter().map(|Membership { user, .. }| user).collect()).await
    }

    pub(super) async fn touch_all(&self, users: Vec<UserId>) -> Resolved {
        let Some(record) = self.stores.channels.channel(self.channel).await? else {
            return Ok(Vec::new());
        };
        let touches = stream::iter(users).map(|user| self.touch(user, &record.name));
        Ok(touches.buffer_unordered(TOUCHES_AT_ONCE).collect().await)
    }

    async fn touch(&self, user: UserId, channel: &ChannelId) -> (UserId, Touch) {
        if self.waiting.contains(&user) {
            return (user, Touch::Earlier);
        }
        let Some(link) = &self.link else { return (user, Touch::Unknown) };
        let Some(caller) = self.caller(&user) else { return (user, Touch::Unknown) };
        let command = LinkCommand::of_inbox(caller, Verb::Touch(channel.clone()));
        match tokio::time::timeout(TOUCH_WITHIN, link.call(command).answer()).await {
            Ok(Ok(_)) => (user, Touch::Known),
            Ok(Err(_)) | Err(_) => {
                metrics::counter!("sterna_core_inbox_touches_refused_total").increment(1);
                (user, Touch::Unknown)
            }
        }
    }

    /// The node itself, about a member's inbox. Permits nothing but that.
    fn caller(&self, user: &UserId) -> Option<Arc<Caller>> {
        let identity = Identity {
            user: user.clone(),
            permissions: Vec::new(),
            expires_at_ms: None,
            issued_at_ms: None,
            operator: false,
        };
        let client_id = ClientId::new("node").ok()?;
        Some(Arc::new(Caller::new(Arc::new(identity), client_id, SessionId(0), self.edge)))
    }
}
