//! Channels and their members.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use sterna_core::link::Verb;
use sterna_proto::v1::{ChannelAccess, ChannelKind, Role};
use sterna_proto::{ChannelId, ErrorCode, UserId, v1};

use super::answer::{Answer, ApiError, success};
use super::caller::Caller;
use super::input::Body;
use super::publish::unexpected;
use super::read::page_limit;
use super::{Shared, Surface};

/// Most members that come with a new channel.
const FIRST_MEMBERS: usize = 500;

/// An enum of the wire under its names here. What this version does not know, or nobody has set, is
/// shown as `unspecified` and cannot be asked for.
macro_rules! names {
    ($name:ident of $wire:ident: $($variant:ident),+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub(super) enum $name {
            #[serde(skip_deserializing)]
            Unspecified,
            $($variant),+
        }

        impl From<$name> for $wire {
            fn from(name: $name) -> Self {
                match name {
                    $name::Unspecified => Self::Unspecified,
                    $($name::$variant => Self::$variant),+
                }
            }
        }

        impl From<$wire> for $name {
            fn from(wire: $wire) -> Self {
                match wire {
                    $wire::Unspecified => Self::Unspecified,
                    $($wire::$variant => Self::$variant),+
                }
            }
        }
    };
}

names!(KindName of ChannelKind: Direct, Group, Broadcast);
names!(AccessName of ChannelAccess: Members, Open);
names!(RoleName of Role: Reader, Member, Admin, Owner);

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

/// What stands in the channel's record, without looking up heads and members.
#[derive(Debug, Serialize)]
struct RecordBody {
    channel: String,
    kind: KindName,
    access: AccessName,
    created_at_ms: u64,
}

impl From<v1::ChannelInfo> for RecordBody {
    fn from(info: v1::ChannelInfo) -> Self {
        let (kind, access) = (info.kind().into(), info.access().into());
        Self { kind, access, channel: info.channel, created_at_ms: info.created_at_ms }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ChannelInfoBody {
    epoch: u32,
    head_offset: u64,
    members: u32,
    created: bool,
    #[serde(flatten)]
    record: RecordBody,
}

impl From<v1::ChannelInfo> for ChannelInfoBody {
    fn from(info: v1::ChannelInfo) -> Self {
        Self {
            epoch: info.epoch,
            head_offset: info.head_offset,
            members: info.members,
            created: info.created,
            record: info.into(),
        }
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
    let members =
        body.members.into_iter().map(MemberBody::into_wire).collect::<Result<_, ApiError>>()?;
    let verb = Verb::CreateChannel(v1::CreateChannel {
        channel: body.channel,
        kind: ChannelKind::from(body.kind).into(),
        access: ChannelAccess::from(body.access.unwrap_or(AccessName::Members)).into(),
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
    caller.check_operator("list all channels")?;
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
    channels: Vec<RecordBody>,
    more: bool,
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
    let role = RoleName::from(member.role());
    (role != RoleName::Unspecified).then_some(MemberBody { user: member.user, role })
}

/// What the log says about a member.
#[derive(Debug, Serialize)]
pub(super) struct MemberChangeBody {
    user: String,
    /// `None`: no member any more.
    role: Option<RoleName>,
}

impl From<v1::Member> for MemberChangeBody {
    fn from(member: v1::Member) -> Self {
        let role = RoleName::from(member.role());
        Self { user: member.user, role: Some(role).filter(|role| *role != RoleName::Unspecified) }
    }
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
    change(&surface, &caller, channel, verb).await
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
    change(&surface, &caller, channel, verb).await
}

/// `{}`.
#[derive(Debug, Serialize)]
pub(super) struct DoneBody {}

/// A command whose answer is that it is done.
async fn change(
    surface: &Surface,
    caller: &Caller,
    channel: ChannelId,
    verb: Verb,
) -> Answer<DoneBody> {
    match surface.call(caller, channel, verb).await? {
        v1::reply::Result::Done(_) => success(DoneBody {}),
        other => Err(unexpected(&other)),
    }
}
