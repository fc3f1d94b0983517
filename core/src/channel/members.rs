//! What an owner does with commands about the channel itself and its members. Authorised by
//! [`calls`](super::calls) before they come here.

use std::collections::HashSet;

use bytes::Bytes;
use prost::Message as _;
use sterna_proto::v1::reply::Result as Reply;
use sterna_proto::v1::{ChannelAccess, ChannelKind, Role};
use sterna_proto::{ChannelKey, ErrorCode, Offset, Position, PublicationId, UserId, limits, v1};
use sterna_storage::{ChannelRecord, Created, Membership, MembershipChange, NewRecord, Record};
use tokio::sync::oneshot;

use crate::authz;
use crate::channel::sequence::{Answer, Verdict};
use crate::channel::shard::{Call, Shard};
use crate::channel::state::PublishTicket;
use crate::channel::work::{Done, answer, unavailable};
use crate::identity::Action;
use crate::inbox;
use crate::link::{LinkPush, LinkReply, Verb};

/// Members that a channel can be made with; more are added one by one.
const FIRST_MEMBERS: usize = 1000;

/// By then the log has been read, if the store answers.
const MEMBERS_KNOWN_MS: u32 = 200;

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
        let (stores, rules) = (self.context.stores.clone(), self.context.config.inbox);
        let is_new = self.channels.get(&key).is_some_and(|state| state.record.is_none());
        let count = members.len();
        self.work.push(Box::pin(async move {
            let shown = match is_new {
                true => inbox::before_create(&stores, &rules, &record, &members).await,
                false => Ok(()),
            };
            let result = match shown {
                Ok(()) => stores.channels.create(record.clone(), members.clone()).await,
                Err(error) => Err(error),
            };
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

    /// A change of members is a record of the channel's log and takes effect with it (I11): whoever
    /// follows the log, another owner too, learns of it at its place among the publications.
    pub(super) fn change_members(&mut self, key: ChannelKey, call: Call) {
        let change = match self.allowed_change(key, &call) {
            Ok(Some(change)) => change,
            // What is known of the members may be of before: an append whose outcome is not known yet may
            // have changed them.
            _ if self.channels.get(&key).is_some_and(|state| state.catching_up) => {
                return answer(call.reply, Err(members_unknown()));
            }
            Ok(None) => return answer(call.reply, Ok(Reply::Done(v1::Done {}))),
            Err(error) => return answer(call.reply, Err(error)),
        };
        let Some(state) = self.channels.get_mut(&key) else { return };
        state.shown = None;
        let Ok(id) = self.context.ids.try_next() else {
            // Another shard has taken the last one since this call was let through.
            return state.waiting.push_front(call);
        };
        let caller = call.command.caller;
        let record = change_record(id, caller.identity.user.clone(), &change);
        let by_role = !caller.identity.operator;
        let ticket =
            PublishTicket { member_change: true, by_role, ..PublishTicket::new(call.reply) };
        match state.sequence.handle_change(record, change, ticket) {
            // What comes behind it is judged by the members as they are then.
            Verdict::Waiting => state.looking_up = true,
            Verdict::Answered(ticket, result) => state.answer(ticket, result),
        }
    }

    /// The change that is asked for; `None` if it would change nothing.
    fn allowed_change(
        &self,
        key: ChannelKey,
        call: &Call,
    ) -> Result<Option<MembershipChange>, v1::Error> {
        let role_of_caller = match call.command.caller.identity.operator {
            true => Some(Role::Owner),
            false => self.role(key, &call.command.caller.identity.user),
        };
        let change = member_change(&call.command.verb, self.context.clock.unix_ms())?;
        let before = self.role(key, change.user());
        if before.max(change.role()) >= Some(Role::Owner) && role_of_caller < Some(Role::Owner) {
            return Err(v1::Error::new(ErrorCode::PermissionDenied, "only owners change owners"));
        }
        match (before, change.role()) {
            (None, None) => Err(v1::Error::new(ErrorCode::BadRequest, "there is no such member")),
            (before, after) => Ok((before != after).then_some(change)),
        }
    }

    /// Takes over what committed records say about members, before anybody hears of the records.
    /// Returns what waited of users who have lost the right to it.
    pub(super) fn apply_member_changes(
        &mut self,
        key: ChannelKey,
        committed: &[Record],
    ) -> Vec<(PublishTicket, Answer)> {
        let mut refused = Vec::new();
        for record in committed {
            let Some(member) = told_by(record) else { continue };
            let Ok(user) = UserId::new(&member.user) else { continue };
            let role = Some(member.role()).filter(|role| *role != Role::Unspecified);
            refused.extend(self.apply_member_change(key, &user, role, record.position));
        }
        refused
    }

    fn apply_member_change(
        &mut self,
        key: ChannelKey,
        user: &UserId,
        role: Option<Role>,
        at: Position,
    ) -> Vec<(PublishTicket, Answer)> {
        let Some(state) = self.channels.get_mut(&key) else { return Vec::new() };
        state.role_changes += 1;
        if !sterna_storage::planted!(RoleCachedForever) {
            state.roles.insert(user.clone(), role);
        }
        let Some(record) = &state.record else { return Vec::new() };
        let lost = |ticket: &PublishTicket, change: bool| {
            let action = if change { Action::Manage } else { Action::Publish };
            ticket.by_role && !authz::by_role(record, role, action)
        };
        let withdrawn = state.sequence.withdraw(user, lost);
        match authz::by_role(record, role, Action::Subscribe) {
            true => self.withdraw_evicts(key, user),
            false => self.evict(key, user.clone(), at),
        }
        self.on_inbox_member(key, user, role.is_some());
        let denied = v1::Error::new(ErrorCode::PermissionDenied, "your role has changed meanwhile");
        withdrawn.into_iter().map(|ticket| (ticket, Err(denied.clone()))).collect()
    }

    /// I11: a removed member hears nothing more of a channel that only members may read.
    fn evict(&mut self, key: ChannelKey, user: UserId, at: Position) {
        let Some(state) = self.channels.get_mut(&key) else { return };
        let left = state.presence.remove_user(&user);
        self.spread_presence(key, left);
        let error = v1::Error::new(ErrorCode::PermissionDenied, "no longer a member");
        self.spread_evict(key, &LinkPush::Evict { channel: key, user, at, error });
    }

    /// Changes of members may have been missed: everybody's right is looked at again (I11).
    pub(super) fn forget_members(&mut self, key: ChannelKey) {
        let Some(state) = self.channels.get_mut(&key) else { return };
        state.role_changes += 1;
        state.roles.clear();
        self.spread(key, &LinkPush::Moved { channel: key });
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
pub(crate) fn touched_member(verb: &Verb) -> Option<UserId> {
    let name = match verb {
        Verb::SetMember(set) => &set.member.as_ref()?.user,
        Verb::RemoveMember(remove) => &remove.user,
        _ => return None,
    };
    UserId::new(name).ok()
}

fn members_unknown() -> v1::Error {
    let message = "whether the last change of members is stored is not known yet; try again";
    v1::Error::new(ErrorCode::Unavailable, message).with_retry_after_ms(MEMBERS_KNOWN_MS)
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

/// What a record of the log says about a member: without a role it was removed.
pub(super) fn told_by(record: &Record) -> Option<v1::Member> {
    if record.body.kind != i32::from(v1::PublicationKind::Membership) {
        return None;
    }
    match v1::Member::decode(record.body.payload.clone()) {
        Ok(member) => Some(member),
        Err(error) => {
            tracing::error!(position = %record.position, %error, "a change of members is unreadable");
            None
        }
    }
}

fn change_record(id: PublicationId, sender: UserId, change: &MembershipChange) -> NewRecord {
    let role = change.role().unwrap_or(Role::Unspecified).into();
    let member = v1::Member { user: change.user().to_string(), role };
    NewRecord {
        id,
        sender,
        origin: None,
        client_msg_id: Bytes::new(),
        server_ts_ms: 0,
        client_ts_ms: 0,
        kind: v1::PublicationKind::Membership.into(),
        target_offset: Offset::ZERO,
        payload: member.encode_to_vec().into(),
    }
}

fn member_change(verb: &Verb, now_ms: u64) -> Result<MembershipChange, v1::Error> {
    let bad = |message: String| v1::Error::new(ErrorCode::BadRequest, message);
    let user = |name: &str| UserId::new(name).map_err(|error| bad(error.to_string()));
    match verb {
        Verb::SetMember(set) => {
            let member = set.member.clone().unwrap_or_default();
            let role = match member.role() {
                Role::Unspecified => return Err(bad("a member needs a role".into())),
                role => role,
            };
            Ok(MembershipChange::Set(Membership {
                user: user(&member.user)?,
                role,
                since_ms: now_ms,
            }))
        }
        Verb::RemoveMember(remove) => Ok(MembershipChange::Removed(user(&remove.user)?)),
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
