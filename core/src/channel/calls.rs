//! What an owner does with each command. Every command is authorised here, where the channel's
//! rules are, whatever the edge has checked before (I11).

use std::collections::HashSet;

use bytes::Bytes;

use sterna_proto::v1::reply::Result as Reply;
use sterna_proto::v1::{ChannelAccess, ChannelKind, PresenceState, Role};
use sterna_proto::{ChannelKey, ErrorCode, Offset, Position, UserId, limits, v1};
use sterna_storage::{ChannelRecord, Created, Membership, NewRecord, Origin};
use tokio::sync::oneshot;

use crate::authz::{self, FirstUse, Verdict};
use crate::channel::sequence;
use crate::channel::shard::{Call, Shard};
use crate::channel::state::{ChannelState, PublishTicket};
use crate::channel::work::{Done, MemberChange, answer, unavailable};
use crate::identity::Action;
use crate::link::{Audience, LinkPush, LinkReply, Verb};
use crate::push::EncodedPush;

/// Roles kept of one channel; above, all are forgotten and looked up again.
const ROLES_CACHED: usize = 4096;

/// Members that a channel can be made with; more are added one by one.
const FIRST_MEMBERS: usize = 1000;

/// Users in one answer about presence.
const PRESENCE_LISTED: usize = 1000;

impl Shard {
    /// Takes a command; it waits behind look-ups of its channel.
    pub(super) fn handle_call(&mut self, call: Call) {
        let key = call.command.key;
        let queues = self.context.config.queues;
        let state = self
            .channels
            .entry(key)
            .or_insert_with(|| ChannelState::new(call.command.channel.clone(), key, &queues));
        state.used_at = tokio::time::Instant::now();
        if state.waiting.len() >= queues.channel_pending {
            let busy = v1::Error::new(ErrorCode::Busy, "too many commands wait for this channel");
            return state.refuse(call, busy.with_retry_after_ms(100));
        }
        state.waiting.push_back(call);
        if !state.loaded && !state.looking_up {
            self.start_load(key);
        }
        self.resume_waiting(key);
    }

    /// Handles waiting commands until one needs a look-up.
    pub(super) fn resume_waiting(&mut self, key: ChannelKey) {
        loop {
            let Some(state) = self.channels.get_mut(&key) else { return };
            if state.looking_up {
                break;
            }
            let Some(call) = state.waiting.pop_front() else { break };
            match self.authorise(key, &call) {
                Ok(Ready::Now) => self.execute(key, call),
                Ok(Ready::After(work)) => {
                    if let Some(state) = self.channels.get_mut(&key) {
                        state.looking_up = true;
                        state.waiting.push_front(call);
                    }
                    self.work.push(work);
                }
                Err(error) => {
                    if let Some(state) = self.channels.get_mut(&key) {
                        state.refuse(call, error);
                    }
                }
            }
        }
        self.start_append(key);
    }

    fn start_load(&mut self, key: ChannelKey) {
        if let Some(state) = self.channels.get_mut(&key) {
            state.looking_up = true;
        }
        let stores = self.context.stores.clone();
        self.work.push(Box::pin(async move {
            let result =
                async { Ok((stores.channels.channel(key).await?, stores.log.head(key).await?)) };
            Done::Loaded { key, result: result.await }
        }));
    }

    /// May the call be executed now, or what has to be known first?
    fn authorise(&mut self, key: ChannelKey, call: &Call) -> Result<Ready, v1::Error> {
        let Some(state) = self.channels.get_mut(&key) else { return Ok(Ready::Now) };
        let identity = &call.command.identity;
        let Some(action) = action(&call.command.verb) else { return Ok(Ready::Now) };
        if let Verb::CreateChannel(_) = call.command.verb {
            return may_create(call).map(|()| Ready::Now);
        }
        if state.record.is_some() {
            // Whose roles decide: the asker's, and that of the member who is to be changed.
            let asker = (!identity.operator).then(|| identity.user.clone());
            let mut wanted = asker.into_iter().chain(touched_member(&call.command.verb));
            if let Some(user) = wanted.find(|user| !state.roles.contains_key(user)) {
                if state.roles.len() >= ROLES_CACHED {
                    state.roles.clear();
                }
                return Ok(Ready::After(self.look_up_role(key, user)));
            }
        }
        if let Verb::Attach(subscribe) = &call.command.verb
            && subscribe.presence
            && !identity.permits(&state.name, Action::Presence)
        {
            let message = "the access token does not allow presence here";
            return Err(v1::Error::new(ErrorCode::PermissionDenied, message));
        }
        let role = state.roles.get(&identity.user).copied().flatten();
        let first_use = match self.context.config.create_on_first_use {
            true => FirstUse::Creates,
            false => FirstUse::Fails,
        };
        let (name, record) = (&state.name, state.record.as_ref());
        match authz::allow(identity, name, record, role, action, first_use)? {
            Verdict::CreateFirst => Ok(Ready::After(self.create_on_first_use(key, call))),
            Verdict::Allow => self.ready_with_id(key, call),
        }
    }

    fn look_up_role(&self, key: ChannelKey, user: UserId) -> super::shard::Work {
        let channels = self.context.stores.channels.clone();
        Box::pin(async move {
            let result = channels.member(key, user.clone()).await;
            Done::RoleFound { key, user, result }
        })
    }

    /// A publication needs an id, and once in ten seconds ids need a durable bound.
    fn ready_with_id(&self, key: ChannelKey, call: &Call) -> Result<Ready, v1::Error> {
        if !matches!(call.command.verb, Verb::Publish(_)) {
            return Ok(Ready::Now);
        }
        let Some(bound_ms) = self.context.ids.wanted_bound() else { return Ok(Ready::Now) };
        let context = self.context.clone();
        Ok(Ready::After(Box::pin(async move {
            Done::IdsReady { key, result: context.ids.raise(bound_ms).await }
        })))
    }

    fn create_on_first_use(&self, key: ChannelKey, call: &Call) -> super::shard::Work {
        let channel = &call.command.channel;
        let direct = channel.direct_users().ok().flatten();
        let (kind, access) = match direct {
            Some(_) => (ChannelKind::Direct, ChannelAccess::Members),
            None => (ChannelKind::Group, ChannelAccess::Open),
        };
        let created_at_ms = self.context.clock.unix_ms();
        let member = |user: UserId, role| Membership { user, role, since_ms: created_at_ms };
        let members = match direct {
            Some((low, high)) => vec![member(low, Role::Member), member(high, Role::Member)],
            None => vec![member(call.command.identity.user.clone(), Role::Owner)],
        };
        let record = ChannelRecord {
            name: channel.clone(),
            kind,
            access,
            created_by: call.command.identity.user.clone(),
            created_at_ms,
        };
        let channels = self.context.stores.channels.clone();
        Box::pin(async move {
            let result = channels.create(record.clone(), members.clone()).await;
            let result = result.map(|created| match created {
                Created::New => (record, members),
                // Somebody was faster; roles are looked up as for any channel.
                Created::Exists(existing) => (existing, Vec::new()),
            });
            Done::Created { key, result }
        })
    }

    fn execute(&mut self, key: ChannelKey, call: Call) {
        match &call.command.verb {
            Verb::Publish(_) => self.publish(key, call),
            Verb::Attach(_) => self.attach(key, call),
            Verb::History(_) => self.history(key, call),
            Verb::Presence => self.list_presence(key, call.reply),
            Verb::MoveCursor { delivered, read } => {
                let head = self.head_position(&key).offset;
                let (delivered, read) = ((*delivered).min(head), (*read).min(head));
                self.move_cursor(key, call.command.identity.user.clone(), delivered, read);
                answer(call.reply, Ok(Reply::Done(v1::Done {})));
            }
            Verb::Ephemeral(_) => self.ephemeral(key, call),
            Verb::SetPresence(state) => {
                self.set_presence(key, &call, *state);
                answer(call.reply, Ok(Reply::Done(v1::Done {})));
            }
            Verb::CreateChannel(_) => self.create(key, call),
            Verb::SetMember(_) | Verb::RemoveMember(_) => self.change_members(key, call),
            Verb::Members(_) => self.list_members(key, call),
            Verb::Info => self.info(key, call.reply),
        }
    }

    fn publish(&mut self, key: ChannelKey, call: Call) {
        let Verb::Publish(publish) = call.command.verb.clone() else { return };
        if let Err(error) = check_publish(&publish) {
            return answer(call.reply, Err(error));
        }
        let Ok(id) = self.context.ids.try_next() else {
            // Another shard has taken the last one since this call was let through.
            if let Some(state) = self.channels.get_mut(&key) {
                state.waiting.push_front(call);
            }
            return;
        };
        let client_id = call.command.client_id.of_user(&call.command.identity.user);
        let client_seq = publish.client_seq;
        let ordered = (publish.ordered && client_seq > 0).then(|| (client_id.clone(), client_seq));
        let origin = (client_seq > 0).then_some(Origin { client_id, client_seq });
        let record = NewRecord {
            id,
            sender: call.command.identity.user.clone(),
            origin,
            // Copied: a slice would keep the whole read buffer of its connection alive (I12).
            client_msg_id: Bytes::copy_from_slice(&publish.client_msg_id),
            server_ts_ms: 0,
            client_ts_ms: publish.client_ts_ms,
            kind: publish.kind,
            target_offset: Offset(publish.target_offset),
            payload: Bytes::copy_from_slice(&publish.payload),
        };
        let Some(state) = self.channels.get_mut(&key) else { return };
        let ticket = PublishTicket { reply: call.reply, ordered };
        if let Some((client, client_seq)) = &ticket.ordered
            && !state.order.admits(client, *client_seq, tokio::time::Instant::now())
        {
            return state.answer(ticket, Err(out_of_turn()));
        }
        if let sequence::Verdict::Answered(ticket, result) =
            state.sequence.handle_publish(record, ticket)
        {
            state.answer(ticket, result);
        }
    }

    fn ephemeral(&mut self, key: ChannelKey, mut call: Call) {
        let Verb::Ephemeral(ephemeral) = &mut call.command.verb else { return };
        let mut ephemeral = std::mem::take(ephemeral);
        ephemeral.sender = call.command.identity.user.to_string();
        let push = EncodedPush::new(v1::push::Event::Ephemeral(ephemeral));
        let audience = Audience::EphemeralFrom(call.command.session);
        self.spread(key, &LinkPush::Event { channel: key, audience, push });
        answer(call.reply, Ok(Reply::Done(v1::Done {})));
    }

    pub(super) fn set_presence(&mut self, key: ChannelKey, call: &Call, set: PresenceState) {
        let now_ms = self.context.clock.unix_ms();
        let Some(state) = self.channels.get_mut(&key) else { return };
        let (session, user) = (call.command.session, &call.command.identity.user);
        // A session that is not in the channel cannot become detached in it.
        if set != PresenceState::Online && !state.presence.contains(session, user) {
            return;
        }
        let changed = state.presence.set(session, user, set, now_ms);
        self.spread_presence(key, changed);
    }

    pub(super) fn spread_presence(&mut self, key: ChannelKey, member: Option<v1::PresenceMember>) {
        let Some(state) = self.channels.get(&key) else { return };
        if member.is_none() {
            return;
        }
        let change = v1::PresenceChange { channel: state.name.to_string(), member };
        let push = EncodedPush::new(v1::push::Event::Presence(change));
        self.spread(key, &LinkPush::Event { channel: key, audience: Audience::Presence, push });
    }

    fn list_presence(&mut self, key: ChannelKey, reply: oneshot::Sender<LinkReply>) {
        let Some(state) = self.channels.get(&key) else { return };
        let (members, total) = state.presence.list(PRESENCE_LISTED);
        let total = u32::try_from(total).unwrap_or(u32::MAX);
        let channel = state.name.to_string();
        answer(reply, Ok(Reply::Presence(v1::PresenceList { channel, members, total })));
    }

    fn create(&mut self, key: ChannelKey, mut call: Call) {
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

    fn change_members(&mut self, key: ChannelKey, call: Call) {
        let role_of_caller = match call.command.identity.operator {
            true => Some(Role::Owner),
            false => self.role(key, &call.command.identity.user),
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

    fn list_members(&mut self, key: ChannelKey, mut call: Call) {
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

    fn info(&mut self, key: ChannelKey, reply: oneshot::Sender<LinkReply>) {
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
fn touched_member(verb: &Verb) -> Option<UserId> {
    let name = match verb {
        Verb::SetMember(set) => &set.member.as_ref()?.user,
        Verb::RemoveMember(remove) => &remove.user,
        _ => return None,
    };
    UserId::new(name).ok()
}

fn out_of_turn() -> v1::Error {
    let message = "an earlier publication of this client was refused; send that one first";
    v1::Error::new(ErrorCode::Busy, message).with_retry_after_ms(100)
}

enum Ready {
    Now,
    After(super::shard::Work),
}

/// What a verb needs; `None`: nothing (it only takes away).
fn action(verb: &Verb) -> Option<Action> {
    Some(match verb {
        Verb::Publish(_) | Verb::Ephemeral(_) => Action::Publish,
        Verb::Attach(_) | Verb::MoveCursor { .. } => Action::Subscribe,
        Verb::History(_) | Verb::Info => Action::History,
        Verb::Presence => Action::Presence,
        Verb::SetPresence(PresenceState::Online) => Action::Presence,
        Verb::SetPresence(_) => return None,
        Verb::CreateChannel(_) | Verb::SetMember(_) | Verb::RemoveMember(_) => Action::Manage,
        Verb::Members(_) => Action::Presence,
    })
}

fn may_create(call: &Call) -> Result<(), v1::Error> {
    if call.command.identity.permits(&call.command.channel, Action::Manage) {
        return Ok(());
    }
    let message = "the access token does not allow to create channels here";
    Err(v1::Error::new(ErrorCode::PermissionDenied, message))
}

fn check_publish(publish: &v1::Publish) -> Result<(), v1::Error> {
    let bad = |message: &str| Err(v1::Error::new(ErrorCode::BadRequest, message));
    if !matches!(publish.client_msg_id.len(), 0 | 16) {
        return bad("a client_msg_id has 16 bytes");
    }
    match v1::PublicationKind::try_from(publish.kind) {
        Err(_) => bad("this node does not know the publication kind"),
        Ok(v1::PublicationKind::Epoch | v1::PublicationKind::Membership) => {
            bad("publications of this kind are made by the node")
        }
        Ok(v1::PublicationKind::Message) => Ok(()),
        Ok(_) if publish.target_offset == 0 => bad("this kind needs a target_offset"),
        Ok(_) => Ok(()),
    }
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
    let creator = call.command.identity.user.clone();
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
    let created_by = call.command.identity.user.clone();
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
