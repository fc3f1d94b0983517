//! The inbox of a user: for the user of an access token, or for anybody whom the operator names.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sterna_core::link::{self, LinkCommand, Verb};
use sterna_core::{Identity, Permission};
use sterna_proto::{ErrorCode, SessionId, UserId, limits, v1};

use super::answer::{Answer, ApiError, success};
use super::caller::Caller;
use super::channels::{DoneBody, KindName};
use super::input::Body;
use super::publish::unexpected;
use super::{Shared, Surface};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InboxBody {
    /// Whose inbox; only the operator names somebody.
    user: Option<String>,
    since: Option<InboxPositionBody>,
    limit: Option<u32>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct InboxPositionBody {
    pts: u64,
    looked_ms: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct InboxPageBody {
    entries: Vec<EntryBody>,
    position: InboxPositionBody,
    more: bool,
    start_over: bool,
}

#[derive(Debug, Serialize)]
struct EntryBody {
    channel: String,
    kind: KindName,
    epoch: u32,
    head_offset: u64,
    last_ts_ms: u64,
    read_offset: u64,
    unread: u64,
    muted: bool,
    pinned: bool,
    deleted_before: u64,
    removed: bool,
    left: bool,
}

impl From<v1::InboxEntry> for EntryBody {
    fn from(entry: v1::InboxEntry) -> Self {
        Self {
            kind: entry.kind().into(),
            epoch: entry.epoch,
            head_offset: entry.head_offset,
            last_ts_ms: entry.last_ts_ms,
            read_offset: entry.read_offset,
            unread: entry.unread,
            muted: entry.muted,
            pinned: entry.pinned,
            deleted_before: entry.deleted_before,
            removed: entry.removed,
            left: entry.left,
            channel: entry.channel,
        }
    }
}

pub(super) async fn inbox(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<InboxBody>,
) -> Answer<InboxPageBody> {
    let most = limits::PAGE_INBOX_ENTRIES;
    let limit = body.limit.unwrap_or(most as u32);
    if limit == 0 || limit as usize > most {
        return Err(ApiError::bad_request(format!("limit is 1 to {most}")));
    }
    let since = body.since.map(|at| v1::InboxPosition { pts: at.pts, looked_ms: at.looked_ms });
    let verb = Verb::Sync(v1::Sync { since, limit, live: false });
    match surface.call_inbox(&caller, body.user.as_deref(), verb).await? {
        v1::reply::Result::Inbox(page) => {
            let v1::InboxPosition { pts, looked_ms } = page.position.unwrap_or_default();
            success(InboxPageBody {
                entries: page.entries.into_iter().map(Into::into).collect(),
                position: InboxPositionBody { pts, looked_ms },
                more: page.more,
                start_over: page.start_over,
            })
        }
        other => Err(unexpected(&other)),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeInboxBody {
    user: Option<String>,
    channel: String,
    muted: Option<bool>,
    pinned: Option<bool>,
    #[serde(default)]
    deleted_before: u64,
    #[serde(default)]
    remove: bool,
}

pub(super) async fn change(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<ChangeInboxBody>,
) -> Answer<DoneBody> {
    let verb = Verb::ChangeInbox(v1::ChangeInbox {
        channel: body.channel,
        muted: body.muted,
        pinned: body.pinned,
        deleted_before: body.deleted_before,
        remove: body.remove,
    });
    match surface.call_inbox(&caller, body.user.as_deref(), verb).await? {
        v1::reply::Result::Done(_) => success(DoneBody {}),
        other => Err(unexpected(&other)),
    }
}

impl Surface {
    /// One command to the owner of a user's inbox.
    async fn call_inbox(
        &self,
        caller: &Caller,
        user: Option<&str>,
        verb: Verb,
    ) -> Result<v1::reply::Result, ApiError> {
        self.syncs.take(caller)?;
        let identity = whose(caller, user)?;
        // No session has the number 0.
        let (session, edge) = (SessionId(0), self.parts.node.config().incarnation);
        let caller = link::Caller::new(identity, caller.client_id.clone(), session, edge);
        let command = LinkCommand::of_inbox(Arc::new(caller), verb);
        match self.parts.node.call(command).await? {
            v1::reply::Result::Error(error) => Err(ApiError(error)),
            result => Ok(result),
        }
    }
}

/// I11: an access token opens the inbox of its user alone.
fn whose(caller: &Caller, user: Option<&str>) -> Result<Arc<Identity>, ApiError> {
    let own = &caller.identity;
    match user {
        None if own.operator => {
            Err(ApiError::bad_request("an API key has no inbox: name a `user`"))
        }
        None => Ok(own.clone()),
        Some(user) if own.operator => Ok(Arc::new(Identity {
            user: UserId::new(user)?,
            permissions: vec![Permission::all("*")],
            expires_at_ms: None,
            // What the user could see with an access token for everything, and nothing more.
            issued_at_ms: None,
            operator: false,
        })),
        Some(user) if user == own.user.as_str() => Ok(own.clone()),
        Some(_) => {
            let message = "only an API key may look into the inbox of another user";
            Err(ApiError(v1::Error::new(ErrorCode::PermissionDenied, message)))
        }
    }
}
