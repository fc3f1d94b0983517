//! What an owner does with each command. Every command is authorised here, where the channel's
//! rules are, whatever the edge has checked before (I11).

use bytes::Bytes;

use sterna_proto::v1::reply::Result as Reply;
use sterna_proto::v1::{ChannelAccess, ChannelKind, PresenceState, Role};
use sterna_proto::{ChannelKey, ErrorCode, Offset, PublicationId, UserId, limits, v1};
use sterna_storage::{ChannelRecord, Created, Membership, NewRecord, Origin};

use crate::authz::{self, FirstUse, Verdict};
use crate::channel::keep;
use crate::channel::members::touched_member;
use crate::channel::sequence;
use crate::channel::shard::{Call, Shard};
use crate::channel::state::{ChannelState, PublishTicket};
use crate::channel::work::{Done, answer};
use crate::identity::{Action, Identity};
use crate::link::turns::out_of_turn;
use crate::link::{Audience, LinkCommand, LinkPush, Verb};
use crate::push::EncodedPush;
use crate::vitals::trace::Step;

/// Roles kept of one channel; above, all are forgotten and looked up again.
const ROLES_CACHED: usize = 4096;

impl Shard {
    /// Takes a command; it waits behind look-ups of its channel.
    pub(super) fn handle_call(&mut self, call: Call) {
        let key = call.command.key;
        let queues = self.context.config.queues;
        let state = self.channels.entry(key).or_insert_with(|| {
            let turns = self.context.turns.clone();
            let ring = self.rings.ring(queues.ring_publications, queues.ring_bytes);
            let name = call.command.channel.clone();
            let mut state = ChannelState::new(name, key, &queues, turns, ring);
            state.released = self.rehoming.is_lost(key);
            state
        });
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
                Err(error) => self.deny(key, call, error),
            }
        }
        self.want_append(key);
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
        let identity = &call.command.caller.identity;
        let Some(action) = action(&call.command.verb) else { return Ok(Ready::Now) };
        if let Verb::CreateChannel(_) = call.command.verb {
            return may_create(call).map(|()| Ready::Now);
        }
        if let Verb::Keep(wish) = &call.command.verb {
            keep::may_order(identity, wish)?;
            // Of direct channels, too, whose members nobody changes.
            if identity.operator && state.record.is_some() {
                return Ok(Ready::Now);
            }
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
        if let Verb::Attach { subscribe, .. } = &call.command.verb
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
            Verdict::Allow => match self.show_in_inbox(key, call) {
                Some(work) => Ok(Ready::After(work)),
                None => self.ready_with_id(key, call),
            },
        }
    }

    fn look_up_role(&self, key: ChannelKey, user: UserId) -> super::shard::Work {
        let channels = self.context.stores.channels.clone();
        let role_changes = self.channels.get(&key).map_or(0, |state| state.role_changes);
        Box::pin(async move {
            let result = channels.member(key, user.clone()).await;
            Done::RoleFound { key, user, role_changes, result }
        })
    }

    /// A record of the log needs an id, and once in ten seconds ids need a durable bound.
    fn ready_with_id(&self, key: ChannelKey, call: &Call) -> Result<Ready, v1::Error> {
        let numbered = matches!(
            call.command.verb,
            Verb::Publish(_) | Verb::SetMember(_) | Verb::RemoveMember(_)
        );
        if !numbered {
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
            None => vec![member(call.command.caller.identity.user.clone(), Role::Owner)],
        };
        let record = ChannelRecord {
            name: channel.clone(),
            kind,
            access,
            created_by: call.command.caller.identity.user.clone(),
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
            Verb::Attach { .. } => self.attach(key, call),
            Verb::History(_) => self.history(key, call),
            Verb::Presence => self.list_presence(key, call.reply),
            Verb::MoveCursor { delivered, read } => {
                let head = self.head_position(&key).offset;
                let (delivered, read) = ((*delivered).min(head), (*read).min(head));
                let user = call.command.caller.identity.user.clone();
                let moved = self.move_cursor(key, user, delivered, read);
                answer(call.reply, moved.map(|()| Reply::Done(v1::Done {})));
            }
            Verb::Ephemeral(_) => self.ephemeral(key, call),
            Verb::SetPresence { state, turn, again } => {
                self.set_presence(key, &call, *state, *turn, *again);
                answer(call.reply, Ok(Reply::Done(v1::Done {})));
            }
            Verb::CreateChannel(_) => self.create(key, call),
            Verb::SetMember(_) | Verb::RemoveMember(_) => self.change_members(key, call),
            Verb::Members(_) => self.list_members(key, call),
            Verb::Info => self.info(key, call.reply),
            Verb::Sync(_) | Verb::ChangeInbox(_) | Verb::Touch(_) => self.handle_inbox_call(call),
            Verb::KeepPresence(_) => self.keep_presence(call),
            Verb::Keep(_) => self.keep(key, call),
        }
    }

    fn publish(&mut self, key: ChannelKey, call: Call) {
        let Verb::Publish(publish) = &call.command.verb else { return };
        if let Err(error) = check_publish(publish) {
            let Some(state) = self.channels.get(&key) else { return };
            return state.refuse(call, error);
        }
        let Ok(id) = self.context.ids.try_next() else {
            // Another shard has taken the last one since this call was let through.
            if let Some(state) = self.channels.get_mut(&key) {
                state.waiting.push_front(call);
            }
            return;
        };
        self.context.traces.note_command(&call.command, Step::AtOwner);
        let record = record_of(&call.command, publish, id);
        let origin = record.origin.clone().filter(|_| publish.ordered);
        let ordered = origin.map(|origin| (origin.client_id, origin.client_seq));
        let reader = self.reader(key, &call.command.caller.identity);
        let Some(state) = self.channels.get_mut(&key) else { return };
        let by_role = !call.command.caller.identity.operator;
        let ticket = PublishTicket { ordered, reader, by_role, ..PublishTicket::new(call.reply) };
        if !state.turns.admits(&call.command) {
            return state.answer(ticket, Err(out_of_turn()));
        }
        if let sequence::Verdict::Answered(ticket, result) =
            state.sequence.handle_publish(record, ticket)
        {
            let read = ticket.read_upto(&result);
            state.answer(ticket, result);
            if let Some((user, offset)) = read {
                self.read_by_sending(key, user, offset);
            }
        }
    }

    /// The user, if it may move its cursors here itself.
    fn reader(&self, key: ChannelKey, identity: &Identity) -> Option<UserId> {
        let state = self.channels.get(&key)?;
        let role = state.roles.get(&identity.user).copied().flatten();
        let record = state.record.as_ref();
        let read = (Action::Subscribe, FirstUse::Fails);
        let readable = authz::allow(identity, &state.name, record, role, read.0, read.1).is_ok();
        (readable && !identity.operator).then(|| identity.user.clone())
    }

    fn ephemeral(&mut self, key: ChannelKey, mut call: Call) {
        let Verb::Ephemeral(ephemeral) = &mut call.command.verb else { return };
        let mut ephemeral = std::mem::take(ephemeral);
        ephemeral.sender = call.command.caller.identity.user.to_string();
        let push = EncodedPush::new(v1::push::Event::Ephemeral(ephemeral));
        let audience = Audience::EphemeralFrom(call.command.caller.session);
        self.spread(key, &LinkPush::Event { channel: key, audience, push });
        answer(call.reply, Ok(Reply::Done(v1::Done {})));
    }
}

enum Ready {
    Now,
    After(super::shard::Work),
}

/// What a verb needs; `None`: nothing (it only takes away).
fn action(verb: &Verb) -> Option<Action> {
    Some(match verb {
        Verb::Publish(_) | Verb::Ephemeral(_) => Action::Publish,
        Verb::Attach { .. } | Verb::MoveCursor { .. } => Action::Subscribe,
        Verb::History(_) | Verb::Info => Action::History,
        Verb::Presence => Action::Presence,
        Verb::SetPresence { state: PresenceState::Online, .. }
        | Verb::SetPresence { again: true, .. } => Action::Presence,
        Verb::SetPresence { .. } => return None,
        Verb::CreateChannel(_) | Verb::SetMember(_) | Verb::RemoveMember(_) | Verb::Keep(_) => {
            Action::Manage
        }
        Verb::Members(_) => Action::Presence,
        // Authorised for each channel that they are about.
        Verb::Sync(_) | Verb::ChangeInbox(_) | Verb::Touch(_) => return None,
        // Between owners.
        Verb::KeepPresence(_) => return None,
    })
}

fn may_create(call: &Call) -> Result<(), v1::Error> {
    if call.command.caller.identity.permits(&call.command.channel, Action::Manage) {
        return Ok(());
    }
    let message = "the access token does not allow to create channels here";
    Err(v1::Error::new(ErrorCode::PermissionDenied, message))
}

/// What a publication becomes in the log.
pub(super) fn record_of(
    command: &LinkCommand,
    publish: &v1::Publish,
    id: PublicationId,
) -> NewRecord {
    let (client_id, client_seq) = (command.caller.origin_id.clone(), publish.client_seq);
    NewRecord {
        id,
        sender: command.caller.identity.user.clone(),
        origin: (client_seq > 0).then_some(Origin { client_id, client_seq }),
        // Copied: a slice would keep the whole read buffer of its connection alive (I12).
        client_msg_id: Bytes::copy_from_slice(&publish.client_msg_id),
        server_ts_ms: 0,
        client_ts_ms: publish.client_ts_ms,
        kind: publish.kind,
        target_offset: Offset(publish.target_offset),
        payload: Bytes::copy_from_slice(&publish.payload),
    }
}

fn check_publish(publish: &v1::Publish) -> Result<(), v1::Error> {
    let bad = |message: &str| Err(v1::Error::new(ErrorCode::BadRequest, message));
    if publish.payload.len() > limits::PAYLOAD_BYTES {
        return bad("the payload is too large");
    }
    if !matches!(publish.client_msg_id.len(), 0 | 16) {
        return bad("a client_msg_id has 16 bytes");
    }
    match v1::PublicationKind::try_from(publish.kind) {
        Err(_) => bad("this node does not know the publication kind"),
        Ok(
            v1::PublicationKind::Epoch
            | v1::PublicationKind::Membership
            | v1::PublicationKind::Redaction,
        ) => bad("publications of this kind are made by the node"),
        Ok(v1::PublicationKind::Message) => Ok(()),
        Ok(_) if publish.target_offset == 0 => bad("this kind needs a target_offset"),
        Ok(_) => Ok(()),
    }
}
