//! Calls, answers and pushes as frames between nodes, and back. Pure. What comes from a peer is
//! checked like what comes from a client: it may be one release away, or broken.

use std::sync::Arc;

use bytes::Bytes;
use sterna_proto::link::v1::{self as wire, frame::Body};
use sterna_proto::{
    ChannelId, ChannelKey, ClientId, ErrorCode, Offset, Position, SessionId, UserId, v1,
};

use crate::cluster::Incarnation;
use crate::identity::{Action, Identity, Permission};
use crate::link::{Audience, Caller, LinkCommand, LinkPush, LinkReply, Verb};
use crate::push::{EncodedPush, Encoding, SharedPush};

/// What a peer sent is not a frame of ours: the link ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a frame of the peer makes no sense: {0}")]
pub struct BadFrame(pub &'static str);

/// Publications in one frame end before they pass this many bytes.
const DELIVER_BYTES: usize = 1 << 20;

pub fn frame(body: Body) -> wire::Frame {
    wire::Frame { body: Some(body) }
}

/// A command as call `id` of its lane.
pub fn call(id: u64, command: &LinkCommand) -> wire::Frame {
    use wire::call::Verb as Wire;
    let verb = match command.verb.clone() {
        Verb::Publish(publish) => Wire::Publish(publish),
        Verb::Attach { subscribe, turn, again, held_upto, replaces } => {
            let replaces = replaces.map(|session| session.0.to_be_bytes().to_vec());
            Wire::Attach(wire::Attach {
                subscribe: Some(subscribe),
                turn,
                again,
                held_upto: held_upto.map(Into::into),
                replaces: replaces.unwrap_or_default().into(),
            })
        }
        Verb::History(history) => Wire::History(history),
        Verb::Presence => {
            Wire::Presence(v1::PresenceQuery { channel: command.channel.to_string() })
        }
        Verb::MoveCursor { delivered, read } => {
            Wire::MoveCursor(wire::MoveCursor { delivered: delivered.0, read: read.0 })
        }
        Verb::Ephemeral(ephemeral) => Wire::Ephemeral(ephemeral),
        Verb::CreateChannel(create) => Wire::CreateChannel(create),
        Verb::SetMember(set) => Wire::SetMember(set),
        Verb::RemoveMember(remove) => Wire::RemoveMember(remove),
        Verb::Members(query) => Wire::Members(query),
        Verb::Info => Wire::Info(wire::Info {}),
        Verb::SetPresence { state, turn, again } => {
            Wire::SetPresence(wire::SetPresence { state: state.into(), turn, again })
        }
        Verb::Sync(sync) => Wire::Sync(sync),
        Verb::ChangeInbox(change) => Wire::ChangeInbox(change),
        Verb::Touch(channel) => Wire::Touch(wire::Touch { channel: channel.to_string() }),
        Verb::KeepPresence(keep) => Wire::KeepPresence(keep),
        Verb::Keep(keep) => Wire::Keep(keep),
    };
    let channel = match command.verb.is_of_inbox() {
        true => String::new(),
        false => command.channel.to_string(),
    };
    frame(Body::Call(wire::Call {
        id,
        caller: Some(caller(&command.caller)),
        channel,
        hops: command.hops,
        verb: Some(verb),
    }))
}

fn caller(caller: &Caller) -> wire::Caller {
    let identity = &caller.identity;
    let permission = |permission: &Permission| wire::Permission {
        pattern: permission.pattern.clone(),
        actions: permission.actions.iter().map(|action| action.name().to_owned()).collect(),
    };
    wire::Caller {
        user: identity.user.to_string(),
        client_id: caller.client_id.to_string(),
        session: Bytes::copy_from_slice(&caller.session.0.to_be_bytes()),
        edge: caller.edge.0,
        permissions: identity.permissions.iter().map(permission).collect(),
        expires_at_ms: identity.expires_at_ms.unwrap_or(0),
        operator: identity.operator,
    }
}

/// The command of a call; the error is its answer.
pub fn command(call: wire::Call) -> Result<LinkCommand, v1::Error> {
    use wire::call::Verb as Wire;
    let bad = |what: &str| v1::Error::new(ErrorCode::BadRequest, what);
    let caller = call.caller.ok_or_else(|| bad("a call without a caller"))?;
    let named = |name: &str| ChannelId::new(name).map_err(|error| bad(&error.to_string()));
    let verb = match call.verb {
        Some(Wire::Publish(publish)) => Verb::Publish(publish),
        Some(Wire::Attach(attach)) => {
            let subscribe = attach.subscribe.ok_or_else(|| bad("attach to what?"))?;
            let (turn, again) = (attach.turn, attach.again);
            let held_upto = attach.held_upto.map(Into::into);
            let replaces = session(&attach.replaces);
            Verb::Attach { subscribe, turn, again, held_upto, replaces }
        }
        Some(Wire::History(history)) => Verb::History(history),
        Some(Wire::Presence(_)) => Verb::Presence,
        Some(Wire::MoveCursor(cursor)) => {
            Verb::MoveCursor { delivered: Offset(cursor.delivered), read: Offset(cursor.read) }
        }
        Some(Wire::Ephemeral(ephemeral)) => Verb::Ephemeral(ephemeral),
        Some(Wire::CreateChannel(create)) => Verb::CreateChannel(create),
        Some(Wire::SetMember(set)) => Verb::SetMember(set),
        Some(Wire::RemoveMember(remove)) => Verb::RemoveMember(remove),
        Some(Wire::Members(query)) => Verb::Members(query),
        Some(Wire::Info(_)) => Verb::Info,
        Some(Wire::SetPresence(set)) => {
            Verb::SetPresence { state: set.state(), turn: set.turn, again: set.again }
        }
        Some(Wire::Sync(sync)) => Verb::Sync(sync),
        Some(Wire::ChangeInbox(change)) => Verb::ChangeInbox(change),
        Some(Wire::Touch(touch)) => Verb::Touch(named(&touch.channel)?),
        Some(Wire::KeepPresence(keep)) => Verb::KeepPresence(keep),
        Some(Wire::Keep(keep)) => Verb::Keep(keep),
        None => return Err(bad("this node does not know the command; it may be older")),
    };
    let client_id = ClientId::new(&caller.client_id).map_err(|error| bad(&error.to_string()))?;
    let session = session(&caller.session).ok_or_else(|| bad("a session id has 16 bytes"))?;
    let edge = Incarnation(caller.edge);
    let identity = Arc::new(identity(caller).map_err(bad)?);
    let caller = Arc::new(Caller::new(identity, client_id, session, edge));
    if verb.is_of_inbox() {
        return Ok(LinkCommand { hops: call.hops, ..LinkCommand::of_inbox(caller, verb) });
    }
    let channel = named(&call.channel)?;
    Ok(LinkCommand { caller, key: channel.key(), channel, hops: call.hops, verb })
}

fn identity(caller: wire::Caller) -> Result<Identity, &'static str> {
    let named = |name: &String| Action::ALL.into_iter().find(|action| action.name() == name);
    let permission = |permission: wire::Permission| Permission {
        pattern: permission.pattern,
        // An action that a newer node knows permits nothing here.
        actions: permission.actions.iter().filter_map(named).collect(),
    };
    Ok(Identity {
        user: UserId::new(&caller.user).map_err(|_| "the caller's name is no user name")?,
        permissions: caller.permissions.into_iter().map(permission).collect(),
        // Revocations are the edge's to check.
        issued_at_ms: None,
        expires_at_ms: (caller.expires_at_ms > 0).then_some(caller.expires_at_ms),
        operator: caller.operator,
    })
}

fn session(bytes: &[u8]) -> Option<SessionId> {
    Some(SessionId(u128::from_be_bytes(bytes.try_into().ok()?)))
}

pub fn answer(id: u64, reply: LinkReply) -> wire::Frame {
    let result = reply.unwrap_or_else(v1::reply::Result::Error);
    let reply = v1::Reply { id: 0, result: Some(result) };
    frame(Body::Answer(wire::Answer { id, reply: Some(reply) }))
}

pub fn reply(answer: wire::Answer) -> LinkReply {
    match answer.reply.and_then(|reply| reply.result) {
        Some(v1::reply::Result::Error(error)) => Err(error),
        Some(result) => Ok(result),
        None => Err(v1::Error::new(
            ErrorCode::Unavailable,
            "the owner's answer is of another release; try again",
        )),
    }
}

pub fn detach(channel: ChannelKey) -> wire::Frame {
    frame(Body::Detach(wire::Detach { channel: key_bytes(channel) }))
}

/// A push as one frame, or as several if it is long.
pub fn push(push: &LinkPush, out: &mut Vec<wire::Frame>) {
    let channel = key_bytes(push.channel());
    out.push(frame(match push {
        LinkPush::Deliver { epoch, first, pushes, .. } => {
            return deliver(&channel, *epoch, *first, pushes, out);
        }
        LinkPush::Event { audience, push, .. } => {
            use wire::event::Audience as Wire;
            let mut presence_shift = 0;
            let audience = match audience {
                Audience::EphemeralFrom(session) => {
                    Wire::EphemeralFrom(Bytes::copy_from_slice(&session.0.to_be_bytes()))
                }
                Audience::Presence { shift } => {
                    presence_shift = *shift;
                    Wire::Presence(true)
                }
                Audience::PresenceUnlike { digest } => Wire::PresenceUnlike(*digest),
                Audience::Receipts => Wire::Receipts(true),
                Audience::Inbox => Wire::Inbox(true),
            };
            let frame = push.encoded(Encoding::Protobuf).clone();
            Body::Event(wire::Event { channel, audience: Some(audience), frame, presence_shift })
        }
        LinkPush::Head { head, .. } => {
            Body::Head(wire::Head { channel, epoch: head.epoch.0, offset: head.offset.0 })
        }
        LinkPush::Evict { user, at, error, .. } => {
            let (user, error) = (user.to_string(), Some(error.clone()));
            Body::Evict(wire::Evict { channel, user, error, at: Some((*at).into()) })
        }
        LinkPush::Moved { .. } => Body::Moved(wire::Moved { channel }),
    }));
}

fn deliver(
    channel: &Bytes,
    epoch: u32,
    first: Offset,
    pushes: &[SharedPush],
    out: &mut Vec<wire::Frame>,
) {
    let mut first = first.0;
    let mut frames: Vec<Bytes> = Vec::with_capacity(pushes.len());
    let mut bytes = 0;
    let mut cut = |frames: &mut Vec<Bytes>, first: &mut u64| {
        let frames = std::mem::take(frames);
        let next = *first + frames.len() as u64;
        let channel = channel.clone();
        out.push(frame(Body::Deliver(wire::Deliver { channel, epoch, first: *first, frames })));
        *first = next;
    };
    for push in pushes {
        let encoded = push.encoded(Encoding::Protobuf);
        if bytes + encoded.len() > DELIVER_BYTES && !frames.is_empty() {
            cut(&mut frames, &mut first);
            bytes = 0;
        }
        bytes += encoded.len();
        frames.push(encoded.clone());
    }
    if !frames.is_empty() {
        cut(&mut frames, &mut first);
    }
}

/// The push of a frame; `None` for one that is not a push, or of a newer release.
pub fn link_push(body: Body) -> Result<Option<LinkPush>, BadFrame> {
    Ok(Some(match body {
        Body::Deliver(deliver) => LinkPush::Deliver {
            channel: key(&deliver.channel)?,
            epoch: deliver.epoch,
            first: Offset(deliver.first),
            pushes: deliver.frames.into_iter().map(shared).collect::<Result<_, _>>()?,
        },
        Body::Event(event) => {
            use wire::event::Audience as Wire;
            let audience = match event.audience {
                Some(Wire::EphemeralFrom(from)) => Audience::EphemeralFrom(
                    session(&from).ok_or(BadFrame("a session id has 16 bytes"))?,
                ),
                Some(Wire::Presence(_)) => Audience::Presence { shift: event.presence_shift },
                Some(Wire::PresenceUnlike(digest)) => Audience::PresenceUnlike { digest },
                Some(Wire::Receipts(_)) => Audience::Receipts,
                Some(Wire::Inbox(_)) => Audience::Inbox,
                None => return Ok(None),
            };
            let channel = key(&event.channel)?;
            LinkPush::Event { channel, audience, push: shared(event.frame)? }
        }
        Body::Head(head) => LinkPush::Head {
            channel: key(&head.channel)?,
            head: Position::new(head.epoch, head.offset),
        },
        Body::Evict(evict) => LinkPush::Evict {
            channel: key(&evict.channel)?,
            user: UserId::new(&evict.user).map_err(|_| BadFrame("evicts no user name"))?,
            // Of a node that does not say where: everybody is meant.
            at: evict.at.map_or(Position::new(u32::MAX, u64::MAX), Position::from),
            error: evict.error.unwrap_or_default(),
        },
        Body::Moved(moved) => LinkPush::Moved { channel: key(&moved.channel)? },
        _ => return Ok(None),
    }))
}

fn shared(frame: Bytes) -> Result<SharedPush, BadFrame> {
    EncodedPush::received(&frame).map_err(|_| BadFrame("a push that is no frame of clients"))
}

pub fn key(bytes: &[u8]) -> Result<ChannelKey, BadFrame> {
    bytes.try_into().map(ChannelKey).map_err(|_| BadFrame("a channel key has 16 bytes"))
}

fn key_bytes(channel: ChannelKey) -> Bytes {
    Bytes::copy_from_slice(&channel.0)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
