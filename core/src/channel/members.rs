//! What an owner does with commands about the channel itself and its members. Authorised by
//! [`calls`](super::calls) before they come here.

use std::collections::HashSet;

use sterna_proto::v1::reply::Result as Reply;
use sterna_proto::v1::{ChannelAccess, ChannelKind, Role};
use sterna_proto::{ChannelKey, ErrorCode, Position, UserId, limits, v1};
use sterna_storage::{ChannelRecord, Created, Membership};
use tokio::sync::oneshot;

use crate::channel::shard::{Call, Shard};
use crate::channel::work::{Done, MemberChange, answer, unavailable};
use crate::link::{LinkReply, Verb};

/// Members that a channel can be made with; more are added one by one.
const FIRST_MEMBERS: usize = 1000;

impl Shard {
    pub(super) fn create(&mut self, key: ChannelKey, mut call: Call) {
        let Verb::CreateChannel(create) = &mut call.command.verb else { return };
        let create = std::mem::take(create);
        let now_ms = self.context.clock.unix_ms();
        let (record, members) = match new_channel(&call, &create, now_ms) {
            Ok(new) => new,
            Err(error) => return answer(call.reply, Err(error)),
        };
        if let Some(state) = self.channels.get_mut(&key) {
            state.looking_up = true;
        }
        let channels = self.context.stores.channels.clone();
        let count = members.len();
        self.work.push(Box::pin(async move {
            let result = channels.create(record.clone(), members.clone()).await;
            let (reply, result) = match result {
                Ok(Created::New) => {
                    let info = channel_info(&record, Position::EARLIEST, count as u64, true);
                    (Ok(Reply::Channel(info)), Ok((record, members)))
                }
                Ok(Created::Exists(existing)) => {
                    let message = format!("channel {} exists already", existing.name);
                    let error = v1::Error::new(ErrorCode::ChannelExists, message);
                    (Err(error), Ok((existing, Vec::new())))
                }
                Err(error) => (Err(unavailable(&error)), Err(error)),
            };
            answer(call.reply, reply);
            Done::Created { key, result }
        }));
    }

    pub(super) fn change_members(&mut self, key: ChannelKey, call: Call) {
        let role_of_caller = match call.command.caller.identity.operator {
            true => Some(Role::Owner),
            false => self.role(key, &call.command.caller.identity.user),
        };
        let change = match member_change(&call.command.verb, self.context.clock.unix_ms()) {
            Ok(change) => change,
            Err(error) => return answer(call.reply, Err(error)),
        };
        let touched = match &change {
            MemberChange::Set(member) => self.role(key, &member.user).max(Some(member.role)),
            MemberChange::Removed(user) => self.role(key, user),
        };
        if touched >= Some(Role::Owner) && role_of_caller < Some(Role::Owner) {
            let error = v1::Error::new(ErrorCode::PermissionDenied, "only owners change owners");
            return answer(call.reply, Err(error));
        }
        if matches!(change, MemberChange::Removed(_))
            && let Err(busy) = self.start_removal()
        {
            return answer(call.reply, Err(busy));
        }
        if let Some(state) = self.channels.get_mut(&key) {
            state.looking_up = true;
        }
        let channels = self.context.stores.channels.clone();
        self.work.push(Box::pin(async move {
            let result = match &change {
                MemberChange::Set(member) => {
                    channels.set_member(key, member.clone()).await.map(|()| true)
                }
                MemberChange::Removed(user) => channels.remove_member(key, user.clone()).await,
            };
            Done::MembersChanged { key, call, change, result }
        }));
    }

    fn role(&self, key: ChannelKey, user: &UserId) -> Option<Role> {
        self.channels.get(&key).and_then(|state| state.roles.get(user).copied().flatten())
    }

    pub(super) fn list_members(&mut self, key: ChannelKey, mut call: Call) {
        let Verb::Members(query) = &mut call.command.verb else { return };
        let query = std::mem::take(query);
        let channels = self.context.stores.channels.clone();
        self.work.push(Box::pin(async move {
            let limit = (query.limit as usize).clamp(1, limits::PAGE_PUBLICATIONS);
            let after = UserId::new(&query.after_user).ok();
            let reply = match channels.members(key, after, limit + 1).await {
                Ok(mut found) => {
                    let more = found.len() > limit;
                    found.truncate(limit);
                    let members = found.into_iter().map(|member| v1::Member {
                        user: member.user.to_string(),
                        role: member.role.into(),
                    });
                    let members = members.collect();
                    Ok(Reply::Members(v1::MemberList { channel: query.channel, members, more }))
                }
                Err(error) => Err(unavailable(&error)),
            };
            answer(call.reply, reply);
            Done::Answered
        }));
    }

    pub(super) fn info(&mut self, key: ChannelKey, reply: oneshot::Sender<LinkReply>) {
        let Some(state) = self.channels.get(&key) else { return };
        let Some(record) = state.record.clone() else { return };
        let position = state.sequence.position();
        let channels = self.context.stores.channels.clone();
        self.work.push(Box::pin(async move {
            let count = channels.member_count(key).await;
            answer(
                reply,
                match count {
                    Ok(count) => Ok(Reply::Channel(channel_info(&record, position, count, false))),
                    Err(error) => Err(unavailable(&error)),
                },
            );
            Done::Answered
        }));
    }
}

/// The member that a command is about.
pub(super) fn touched_member(verb: &Verb) -> Option<UserId> {
    let name = match verb {
        Verb::SetMember(set) => &set.member.as_ref()?.user,
        Verb::RemoveMember(remove) => &remove.user,
        _ => return None,
    };
    UserId::new(name).ok()
}

fn new_channel(
    call: &Call,
    create: &v1::CreateChannel,
    now_ms: u64,
) -> Result<(ChannelRecord, Vec<Membership>), v1::Error> {
    let bad = |message: String| v1::Error::new(ErrorCode::BadRequest, message);
    let channel = &call.command.channel;
    let direct = channel.direct_users().map_err(|error| bad(error.to_string()))?.is_some();
    let kind = match create.kind() {
        ChannelKind::Unspecified => ChannelKind::Group,
        kind => kind,
    };
    if direct || kind == ChannelKind::Direct {
        return Err(bad("a direct channel is made by its first use, as dm:USER:USER".into()));
    }
    let access = match create.access() {
        ChannelAccess::Unspecified => ChannelAccess::Members,
        access => access,
    };
    let creator = call.command.caller.identity.user.clone();
    if create.members.len() > FIRST_MEMBERS {
        return Err(bad(format!("a channel is made with at most {FIRST_MEMBERS} members")));
    }
    let mut named = HashSet::from([creator.clone()]);
    let mut members = vec![Membership { user: creator, role: Role::Owner, since_ms: now_ms }];
    for member in &create.members {
        let user = UserId::new(&member.user).map_err(|error| bad(error.to_string()))?;
        if !named.insert(user.clone()) {
            continue;
        }
        let role = match member.role() {
            Role::Unspecified => Role::Member,
            role => role,
        };
        members.push(Membership { user, role, since_ms: now_ms });
    }
    let created_by = call.command.caller.identity.user.clone();
    let record =
        ChannelRecord { name: channel.clone(), kind, access, created_by, created_at_ms: now_ms };
    Ok((record, members))
}

fn member_change(verb: &Verb, now_ms: u64) -> Result<MemberChange, v1::Error> {
    let bad = |message: String| v1::Error::new(ErrorCode::BadRequest, message);
    let user = |name: &str| UserId::new(name).map_err(|error| bad(error.to_string()));
    match verb {
        Verb::SetMember(set) => {
            let member = set.member.clone().unwrap_or_default();
            let role = match member.role() {
                Role::Unspecified => return Err(bad("a member needs a role".into())),
                role => role,
            };
            Ok(MemberChange::Set(Membership { user: user(&member.user)?, role, since_ms: now_ms }))
        }
        Verb::RemoveMember(remove) => Ok(MemberChange::Removed(user(&remove.user)?)),
        _ => Err(bad("not a change of members".into())),
    }
}

pub(crate) fn channel_info(
    record: &ChannelRecord,
    head: Position,
    members: u64,
    created: bool,
) -> v1::ChannelInfo {
    v1::ChannelInfo {
        channel: record.name.to_string(),
        kind: record.kind.into(),
        access: record.access.into(),
        created_at_ms: record.created_at_ms,
        epoch: head.epoch.0,
        head_offset: head.offset.0,
        members: u32::try_from(members).unwrap_or(u32::MAX),
        created,
    }
}
