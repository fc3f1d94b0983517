//! Reading a channel: its history and who is in it.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sterna_core::link::Verb;
use sterna_proto::v1::PresenceState;
use sterna_proto::{ChannelId, limits, v1};

use super::Shared;
use super::answer::{Answer, ApiError, PublicationBody, success};
use super::caller::Caller;
use super::input::Body;
use super::publish::unexpected;

/// Publications of a page when the caller does not say.
const PAGE: u32 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryBody {
    channel: String,
    since: Option<PositionBody>,
    limit: Option<u32>,
    #[serde(default)]
    backwards: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PositionBody {
    epoch: u32,
    offset: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct PageBody {
    channel: String,
    epoch: u32,
    head_offset: u64,
    more: bool,
    publications: Vec<PublicationBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch_change: Option<EpochChangeBody>,
}

#[derive(Debug, Serialize)]
struct EpochChangeBody {
    old_epoch: u32,
    new_epoch: u32,
    keep_upto: u64,
}

pub(super) async fn history(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<HistoryBody>,
) -> Answer<PageBody> {
    let channel = ChannelId::new(&body.channel)?;
    let query = v1::History {
        channel: body.channel,
        since: body.since.map(|at| v1::Position { epoch: at.epoch, offset: at.offset }),
        limit: page_limit(body.limit)?,
        backwards: body.backwards,
    };
    match surface.call(&caller, channel, Verb::History(query)).await? {
        v1::reply::Result::History(page) => success(PageBody {
            channel: page.channel,
            epoch: page.epoch,
            head_offset: page.head_offset,
            more: page.more,
            publications: page.publications.into_iter().map(Into::into).collect(),
            epoch_change: page.epoch_change.map(|change| EpochChangeBody {
                old_epoch: change.old_epoch,
                new_epoch: change.new_epoch,
                keep_upto: change.keep_upto,
            }),
        }),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn page_limit(limit: Option<u32>) -> Result<u32, ApiError> {
    let limit = limit.unwrap_or(PAGE);
    if limit == 0 || limit as usize > limits::PAGE_PUBLICATIONS {
        let most = limits::PAGE_PUBLICATIONS;
        return Err(ApiError::bad_request(format!("limit is 1 to {most}")));
    }
    Ok(limit)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChannelBody {
    channel: String,
}

#[derive(Debug, Serialize)]
pub(super) struct PresenceBody {
    channel: String,
    members: Vec<PresentBody>,
    total: u32,
}

#[derive(Debug, Serialize)]
struct PresentBody {
    user: String,
    state: &'static str,
    sessions: u32,
    since_ms: u64,
}

pub(super) async fn presence(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<ChannelBody>,
) -> Answer<PresenceBody> {
    let channel = ChannelId::new(&body.channel)?;
    match surface.call(&caller, channel, Verb::Presence).await? {
        v1::reply::Result::Presence(list) => success(PresenceBody {
            channel: list.channel,
            members: list.members.into_iter().map(Into::into).collect(),
            total: list.total,
        }),
        other => Err(unexpected(&other)),
    }
}

impl From<v1::PresenceMember> for PresentBody {
    fn from(member: v1::PresenceMember) -> Self {
        let state = match member.state() {
            PresenceState::Offline => "offline",
            PresenceState::Online => "online",
            PresenceState::Roaming => "roaming",
            PresenceState::Detached => "detached",
        };
        Self { state, user: member.user, sessions: member.sessions, since_ms: member.since_ms }
    }
}
