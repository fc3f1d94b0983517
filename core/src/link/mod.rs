//! Between an edge and the core that owns a channel. Commands go up, each with one answer; what
//! was committed comes down as [`LinkPush`]. In one process the link is memory ([`memory`]). In a
//! cluster the [`router`] knows the way to the owner, the asking end of a link is a [`lane`], and
//! the other end [`serve`]s it; what carries frames between the two ends is not known here.
//!
//! A link may lose pushes (its queue is bounded) but never reorders those of one channel, and
//! nothing depends on a push arriving: positions show what is missing, and the session half
//! recovers it (I5).

mod answers;
pub mod asking;
pub mod lane;
pub mod memory;
mod peer;
pub mod ports;
pub mod router;
pub mod serve;
pub mod turns;
mod ways;
pub mod wire;

use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use sterna_proto::link::v1 as v1_link;
use sterna_proto::{
    ChannelId, ChannelKey, ClientId, ErrorCode, Offset, Position, SessionId, UserId, v1,
};
use tokio::sync::oneshot;
use tracing::instrument::Instrumented;

use crate::cluster::Incarnation;
use crate::identity::Identity;
use crate::push::{Encoding, SharedPush};

/// A command on its way to a channel's owner.
#[derive(Debug, Clone)]
pub struct LinkCommand {
    pub caller: Arc<Caller>,
    /// Checked by the sender; the verb's own text is not looked at again.
    pub channel: ChannelId,
    pub key: ChannelKey,
    /// How many nodes have passed it on.
    pub hops: u32,
    pub verb: Verb,
}

impl LinkCommand {
    /// A command to the owner of the caller's inbox.
    pub fn of_inbox(caller: Arc<Caller>, verb: Verb) -> Self {
        let key = caller.identity.user.inbox_key();
        Self { caller, channel: ChannelId::inbox(), key, hops: 0, verb }
    }
}

/// The lane of a channel, always the same.
pub(crate) fn lane_of(channel: &ChannelKey) -> usize {
    peer::Peer::lane_of(channel)
}

/// On whose behalf a command comes; the same for all commands of a session.
#[derive(Debug, Clone)]
pub struct Caller {
    pub identity: Arc<Identity>,
    pub client_id: ClientId,
    /// The client id as publications are stored with it (I3).
    pub origin_id: ClientId,
    pub session: SessionId,
    /// The process that holds the session.
    pub edge: Incarnation,
}

impl Caller {
    pub fn new(
        identity: Arc<Identity>,
        client_id: ClientId,
        session: SessionId,
        edge: Incarnation,
    ) -> Self {
        let origin_id = client_id.of_user(&identity.user);
        Self { identity, client_id, origin_id, session, edge }
    }
}

/// What a channel's owner can be asked.
#[derive(Debug, Clone)]
pub enum Verb {
    Publish(v1::Publish),
    /// Register this link's interest, then answer with what is missing.
    Attach {
        subscribe: v1::Subscribe,
        /// As in `SetPresence`.
        turn: u64,
        again: bool,
        /// A node on the way holds all that is asked for up to here: it need not be in the answer,
        /// which then begins behind it.
        held_upto: Option<Position>,
        /// What the client had at another edge: it is present no more.
        replaces: Option<SessionId>,
    },
    History(v1::History),
    Presence,
    /// Move cursors of the session's user.
    MoveCursor {
        delivered: Offset,
        read: Offset,
    },
    Ephemeral(v1::Ephemeral),
    CreateChannel(v1::CreateChannel),
    SetMember(v1::SetMember),
    RemoveMember(v1::RemoveMember),
    Members(v1::MembersQuery),
    Info,
    /// The session is in the channel, with this state. `Offline`: it left. The owner ignores what is
    /// older than what the session has said to it: a higher `turn` is newer.
    SetPresence {
        state: v1::PresenceState,
        turn: u64,
        /// It has said so to an earlier owner: no news for others.
        again: bool,
    },
    /// What is new in the caller's inbox; with `live`, register this link's interest in it.
    Sync(v1::Sync),
    ChangeInbox(v1::ChangeInbox),
    /// Between owners: there is something new for the caller in a channel, and a mark follows.
    Touch(ChannelId),
    /// From a channel's owner to who would be the next: its own sessions there, which would die with
    /// it. Not passed on.
    KeepPresence(v1_link::KeepPresence),
    /// What the channel is to keep, and what it is to give up.
    Keep(v1_link::Keep),
}

impl Verb {
    /// Whether it is about the caller's inbox, and goes to its owner.
    pub fn is_of_inbox(&self) -> bool {
        matches!(self, Self::Sync(_) | Self::ChangeInbox(_) | Self::Touch(_))
    }

    /// Whether it registers an interest of the link, and one in receipts.
    pub(crate) fn interest(&self) -> Option<bool> {
        match self {
            Self::Attach { subscribe, .. } => Some(subscribe.receipts),
            Self::Sync(sync) => sync.live.then_some(false),
            _ => None,
        }
    }
}

/// The answer to a command: the reply as the client will see it, or an error.
pub type LinkReply = Result<v1::reply::Result, v1::Error>;

/// An answer on its way.
pub type Answering = Instrumented<Answered>;

/// The reply, or that nobody is left to give one.
#[derive(Debug)]
pub struct Answered(oneshot::Receiver<LinkReply>);

impl Answered {
    pub fn new(reply: oneshot::Receiver<LinkReply>) -> Self {
        Self(reply)
    }
}

impl Future for Answered {
    type Output = LinkReply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<LinkReply> {
        Pin::new(&mut self.0).poll(cx).map(|reply| reply.unwrap_or_else(|_| Err(gone())))
    }
}

fn gone() -> v1::Error {
    v1::Error::new(ErrorCode::Unavailable, "the channel's owner is gone; try again")
        .with_retry_after_ms(500)
}

/// A command on its way.
pub enum Calling {
    /// In the owner's mailbox; the answer follows.
    Sent(Answering),
    /// The mailbox is full: wait for room (bounded patience), then for the answer.
    Waiting(BoxFuture<'static, Result<Answering, v1::Error>>),
}

impl Calling {
    /// Waits for the answer.
    pub async fn answer(self) -> LinkReply {
        match self {
            Self::Sent(answer) => answer.await,
            Self::Waiting(sent) => sent.await?.await,
        }
    }
}

impl Debug for Calling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sent(_) => "Sent",
            Self::Waiting(_) => "Waiting",
        })
    }
}

/// What comes down a link unasked.
#[derive(Debug, Clone)]
pub enum LinkPush {
    /// Committed publications with consecutive offsets.
    Deliver { channel: ChannelKey, epoch: u32, first: Offset, pushes: Arc<[SharedPush]> },
    /// Something without a position: ephemerals, receipts, presence.
    Event { channel: ChannelKey, audience: Audience, push: SharedPush },
    /// Where a channel ends: sent in place of publications that did not fit into the link, and once
    /// when nothing has been published for a while.
    Head { channel: ChannelKey, head: Position },
    /// A member was removed or lost the right: its subscriptions end (I11), but for those that
    /// were let in behind the position.
    Evict { channel: ChannelKey, user: UserId, at: Position, error: v1::Error },
    /// The channel has another owner, or another way leads to it: whoever is subscribed attaches
    /// again.
    Moved { channel: ChannelKey },
}

impl LinkPush {
    /// What it is about.
    pub fn channel(&self) -> ChannelKey {
        match self {
            Self::Deliver { channel, .. }
            | Self::Event { channel, .. }
            | Self::Head { channel, .. }
            | Self::Evict { channel, .. }
            | Self::Moved { channel } => *channel,
        }
    }

    /// For metrics.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Deliver { .. } | Self::Head { .. } => "deliver",
            Self::Event { .. } => "event",
            Self::Evict { .. } => "evict",
            Self::Moved { .. } => "moved",
        }
    }

    /// Bytes that a push keeps alive, roughly.
    pub(crate) fn weight(&self) -> usize {
        const FIXED: usize = 128;
        let Self::Deliver { pushes, .. } = self else { return FIXED };
        // It is encoded once, and this is asked several times.
        let len = |push: &SharedPush| FIXED + push.encoded(Encoding::Protobuf).len();
        pushes.iter().map(len).sum()
    }
}

/// Which subscriptions of a channel an event is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// All but the session that caused it.
    EphemeralFrom(SessionId),
    /// A change, which adds this to the [digest](crate::presence::digest_of) of who is present.
    Presence {
        shift: u64,
    },
    /// Who follows presence, and does not know what has this digest.
    PresenceUnlike {
        digest: u64,
    },
    Receipts,
    /// Whoever looks at the inbox that the channel's key stands for.
    Inbox,
}

/// The upward direction.
pub trait Link: Send + Sync + Debug {
    /// Sends a command. Whoever sends several and cares for their order sends the next one only
    /// once this one is [`Calling::Sent`].
    fn call(&self, command: LinkCommand) -> Calling;

    /// Withdraws this link's interest in a channel: nobody here is subscribed any more.
    fn detach(&self, channel: ChannelKey);
}
