//! Channels and their members.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sterna_core::link::Verb;
use sterna_proto::v1::{ChannelAccess, ChannelKind, Role};
use sterna_proto::{ChannelId, ErrorCode, UserId, v1};

use super::Shared;
use super::answer::{Answer, ApiError, success};
use super::caller::Caller;
use super::input::Body;
use super::publish::unexpected;
use super::read::page_limit;

/// Most members that come with a new channel.
const FIRST_MEMBERS: usize = 500;

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindName {
    Direct,
    Group,
    Broadcast,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AccessName {
    Members,
    Open,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RoleName {
    Reader,
    Member,
    Admin,
    Owner,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Reader => Self::Reader,
            RoleName::Member => Self::Member,
            RoleName::Admin => Self::Admin,
            RoleName::Owner => Self::Owner,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberBody {
    user: String,
    role: RoleName,
}

impl MemberBody {
    fn into_wire(self) -> Result<v1::Member, ApiError> {
        UserId::new(&self.user)?;
        Ok(v1::Member { user: self.user, role: Role::from(self.role).into() })
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ChannelInfoBody {
    channel: String,
    kind: &'static str,
    access: &'static str,
    created_at_ms: u64,
    epoch: u32,
    head_offset: u64,
    members: u32,
    created: bool,
}

impl From<v1::ChannelInfo> for ChannelInfoBody {
    fn from(info: v1::ChannelInfo) -> Self {
        Self {
            kind: kind_name(info.kind()),
            access: access_name(info.access()),
            channel: info.channel,
            created_at_ms: info.created_at_ms,
            epoch: info.epoch,
            head_offset: info.head_offset,
            members: info.members,
            created: info.created,
        }
    }
}

fn kind_name(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Unspecified => "unspecified",
        ChannelKind::Direct => "direct",
        ChannelKind::Group => "group",
        ChannelKind::Broadcast => "broadcast",
    }
}

fn access_name(access: ChannelAccess) -> &'static str {
    match access {
        ChannelAccess::Unspecified => "unspecified",
        ChannelAccess::Members => "members",
        ChannelAccess::Open => "open",
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateBody {
    channel: String,
    kind: KindName,
    access: Option<AccessName>,
    #[serde(default)]
    members: Vec<MemberBody>,
}

pub(super) async fn create(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<CreateBody>,
) -> Answer<ChannelInfoBody> {
    let channel = ChannelId::new(&body.channel)?;
    if body.members.len() > FIRST_MEMBERS {
        let message = format!("at most {FIRST_MEMBERS} members come with a new channel");
        return Err(ApiError(v1::Error::new(ErrorCode::LimitExceeded, message)));
    }
    let kind = match body.kind {
        KindName::Direct => ChannelKind::Direct,
        KindName::Group => ChannelKind::Group,
        KindName::Broadcast => ChannelKind::Broadcast,
    };
    let access = match body.access.unwrap_or(AccessName::Members) {
        AccessName::Members => ChannelAccess::Members,
        AccessName::Open => ChannelAccess::Open,
    };
    let members =
        body.members.into_iter().map(MemberBody::into_wire).collect::<Result<_, ApiError>>()?;
    let verb = Verb::CreateChannel(v1::CreateChannel {
        channel: body.channel,
        kind: kind.into(),
        access: access.into(),
        members,
    });
    match surface.call(&caller, channel, verb).await? {
        v1::reply::Result::Channel(info) => success(info.into()),
        other => Err(unexpected(&other)),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListBody {
    after: Option<String>,
    limit: Option<u32>,
}

/// All channels of the node, for the operator alone.
pub(super) async fn list(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<ListBody>,
) -> Answer<ChannelListBody> {
    if !caller.identity.operator {
        let message = "only an API key may list all channels";
        return Err(ApiError(v1::Error::new(ErrorCode::PermissionDenied, message)));
    }
    let after = body.after.as_deref().map(ChannelId::new).transpose()?;
    let limit = page_limit(body.limit)? as usize;
    // One more than asked tells whether there are more.
    let mut channels = surface.parts.node.channels(after, limit + 1).await?;
    let more = channels.len() > limit;
    channels.truncate(limit);
    success(ChannelListBody { channels: channels.into_iter().map(Into::into).collect(), more })
}

#[derive(Debug, Serialize)]
pub(super) struct ChannelListBody {
    channels: Vec<ListedBody>,
    more: bool,
}

/// A channel in a listing, which does not look up heads and members.
#[derive(Debug, Serialize)]
struct ListedBody {
    channel: String,
    kind: &'static str,
    access: &'static str,
    created_at_ms: u64,
}

impl From<v1::ChannelInfo> for ListedBody {
    fn from(info: v1::ChannelInfo) -> Self {
        Self {
            kind: kind_name(info.kind()),
            access: access_name(info.access()),
            channel: info.channel,
            created_at_ms: info.created_at_ms,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MembersBody {
    channel: String,
    after_user: Option<String>,
    limit: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct MemberListBody {
    channel: String,
    members: Vec<MemberBody>,
    more: bool,
}

pub(super) async fn members(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<MembersBody>,
) -> Answer<MemberListBody> {
    let channel = ChannelId::new(&body.channel)?;
    if let Some(user) = &body.after_user {
        UserId::new(user)?;
    }
    let query = v1::MembersQuery {
        channel: body.channel,
        after_user: body.after_user.unwrap_or_default(),
        limit: page_limit(body.limit)?,
    };
    match surface.call(&caller, channel, Verb::Members(query)).await? {
        v1::reply::Result::Members(list) => success(MemberListBody {
            channel: list.channel,
            members: list.members.into_iter().filter_map(member_body).collect(),
            more: list.more,
        }),
        other => Err(unexpected(&other)),
    }
}

/// `None` for a role that this version does not know.
fn member_body(member: v1::Member) -> Option<MemberBody> {
    let role = match member.role() {
        Role::Unspecified => return None,
        Role::Reader => RoleName::Reader,
        Role::Member => RoleName::Member,
        Role::Admin => RoleName::Admin,
        Role::Owner => RoleName::Owner,
    };
    Some(MemberBody { user: member.user, role })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetMemberBody {
    channel: String,
    user: String,
    role: RoleName,
}

pub(super) async fn set_member(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<SetMemberBody>,
) -> Answer<DoneBody> {
    let channel = ChannelId::new(&body.channel)?;
    let member = MemberBody { user: body.user, role: body.role }.into_wire()?;
    let verb = Verb::SetMember(v1::SetMember { channel: body.channel, member: Some(member) });
    done(&surface.call(&caller, channel, verb).await?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoveMemberBody {
    channel: String,
    user: String,
}

pub(super) async fn remove_member(
    State(surface): Shared,
    caller: Caller,
    Body(body): Body<RemoveMemberBody>,
) -> Answer<DoneBody> {
    let channel = ChannelId::new(&body.channel)?;
    UserId::new(&body.user)?;
    let verb = Verb::RemoveMember(v1::RemoveMember { channel: body.channel, user: body.user });
    done(&surface.call(&caller, channel, verb).await?)
}

/// `{}`.
#[derive(Debug, Serialize)]
pub(super) struct DoneBody {}

fn done(result: &v1::reply::Result) -> Answer<DoneBody> {
    match result {
        v1::reply::Result::Done(_) => success(DoneBody {}),
        other => Err(unexpected(other)),
    }
}
