//! What the application is told: states of the client, events of a subscription, results of calls.

use bytes::Bytes;
use sterna_proto::{Epoch, Offset, Position, v1};

use crate::{Error, Transport};

/// The client as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientState {
    /// Not connected and not trying: before `connect`, after `disconnect`, or after a terminal
    /// error, which is then named.
    Disconnected {
        /// Why, when it was not the application that wanted it.
        error: Option<Error>,
    },
    /// An attempt runs or the next one is being waited for.
    Connecting {
        /// Counts the attempts since the last connection, from 1.
        attempt: u32,
        /// How the last attempt or connection failed.
        last_error: Option<Error>,
    },
    /// There is a session on a living connection.
    Connected(Connected),
    /// A connection is wished for, and there is none because the application is in the background:
    /// [`Client::foreground`](crate::Client::foreground) makes one.
    Background,
    /// After `close`. Final.
    Closed,
}

impl ClientState {
    /// Whether there is a session on a living connection.
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected(_))
    }
}

/// The session as the server described it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connected {
    /// Names the session in the logs of nodes.
    pub session_id: String,
    /// What carries the session now.
    pub transport: Transport,
    /// The node that holds the connection.
    pub node: String,
    /// Whom the access token names.
    pub user: String,
    /// The server continued the earlier session: nobody saw it leave.
    pub resumed: bool,
    /// What an acknowledgement of this cluster promises.
    pub durability: v1::Durability,
    /// The address of this client as the node sees it.
    pub observed_address: String,
}

/// One stored item of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Publication {
    /// Where it was published.
    pub channel: String,
    /// Its place in the channel.
    pub position: Position,
    /// Unique in the cluster; later ones are larger, roughly.
    pub id: u64,
    /// The user who published it.
    pub sender: String,
    /// What was published, untouched.
    pub payload: Bytes,
    /// When it was stored, in milliseconds since 1970. Never decreases along a channel.
    pub server_ts_ms: u64,
    /// When it was published, by the clock of the sender.
    pub client_ts_ms: u64,
    /// A message, or something about an earlier one.
    pub kind: v1::PublicationKind,
    /// The offset that an edit, a recall, a reaction or a redaction is about. Of a redaction 0: all
    /// before it.
    pub target_offset: u64,
    /// Set for kind `Membership`, in place of a payload.
    pub member: Option<MemberChange>,
    /// The payload was taken away after it had been stored, and is empty. Whoever has it from
    /// before learns of that by a publication of kind `Redaction`.
    pub redacted: bool,
    /// Set by the sender; [`Send::message_id`](crate::Send::message_id) of the sending client.
    pub message_id: Option<MessageId>,
}

impl From<v1::Publication> for Publication {
    fn from(publication: v1::Publication) -> Self {
        Self {
            position: Position::new(publication.epoch, publication.offset),
            kind: publication.kind(),
            message_id: MessageId::from_bytes(&publication.client_msg_id),
            member: publication.member.map(MemberChange::from),
            redacted: publication.redacted,
            channel: publication.channel,
            id: publication.id,
            sender: publication.sender,
            payload: publication.payload,
            server_ts_ms: publication.server_ts_ms,
            client_ts_ms: publication.client_ts_ms,
            target_offset: publication.target_offset,
        }
    }
}

/// What the log of a channel says about one of its members.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberChange {
    /// Whose membership it is.
    pub user: String,
    /// The role from here on; `None`: no member any more.
    pub role: Option<v1::Role>,
}

impl From<v1::Member> for MemberChange {
    fn from(member: v1::Member) -> Self {
        let role = Some(member.role()).filter(|role| *role != v1::Role::Unspecified);
        Self { user: member.user, role }
    }
}

/// Names a publication before the server has seen it. A UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub [u8; 16]);

impl MessageId {
    pub(crate) fn new() -> Self {
        Self(uuid::Uuid::now_v7().into_bytes())
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

/// What a subscription yields. Publications come exactly once and in order of their offsets.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The next publication of the channel.
    Publication(Publication),
    /// Not stored, no position.
    Ephemeral(v1::Ephemeral),
    /// Somebody came or went; only with
    /// [`Subscribe::with_presence`](crate::Subscribe::with_presence).
    Presence(v1::PresenceChange),
    /// Joins or leaves were lost, or the session is another one: whoever keeps a list of who is
    /// present asks for it again ([`Client::presence`](crate::Client::presence)). Only with
    /// [`Subscribe::with_presence`](crate::Subscribe::with_presence).
    PresenceGap,
    /// Another member's cursor moved; only with
    /// [`Subscribe::with_receipts`](crate::Subscribe::with_receipts).
    Receipt(v1::Receipt),
    /// Publications with `after < offset <= upto` will not come: the channel keeps them no longer,
    /// or `Order::NewestFirst` left them to `history`.
    Gap {
        /// Of the offsets.
        epoch: Epoch,
        /// The last one before the gap.
        after: Offset,
        /// The last one in the gap.
        upto: Offset,
    },
    /// A hole was found and closed; `publications` came late but in order.
    Recovered {
        /// How many were missing.
        publications: u64,
    },
    /// The log was replaced. Forget what lies above `keep_upto` of the old epoch.
    EpochChanged {
        /// The epoch until now.
        old: Epoch,
        /// The epoch from here on.
        new: Epoch,
        /// Up to here both logs are the same.
        keep_upto: Offset,
    },
    /// Where the channel ends, while the subscription is in the background: for a badge. Merged for
    /// some seconds; only the newest waits for the reader.
    Head {
        /// Of the newest publication.
        position: Position,
    },
    /// The subscription went live, or waits to.
    State(SubscriptionState),
    /// Events that have no position (presence, its gaps, receipts, ephemerals) were dropped because
    /// the queue was full. Publications never are.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The subscription has ended and yields nothing more.
    Error(Error),
}

/// The same under its longer name.
pub type SubscriptionEvent = Event;

/// Life of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Asked for, or waiting for a connection.
    Subscribing,
    /// Live: publications arrive as they are stored.
    Subscribed {
        /// Where the subscription stands.
        position: Position,
        /// There was a position to go on from.
        was_recovering: bool,
        /// There was one, and nothing after it is missing.
        recovered: bool,
    },
}

/// What a publication's reply proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Where it is stored.
    pub position: Position,
    /// Its id in the cluster.
    pub id: u64,
    /// An earlier attempt had stored it.
    pub duplicate: bool,
    /// When it was stored, in milliseconds since 1970.
    pub server_ts_ms: u64,
}

/// Life of a publication in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendState {
    /// Waits for a connection, for its turn, or for the outbox store.
    Queued,
    /// On its way; not answered yet.
    Sent,
    /// No reply to any of the attempts on this connection; tried again after the next reconnect.
    NotSent,
    /// Stored. Final.
    Acked(Ack),
    /// Not stored, as far as is known. Final.
    Failed(Error),
}

impl SendState {
    /// True once nothing more will change.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Acked(_) | Self::Failed(_))
    }
}

/// A page of a channel, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// What the page holds.
    pub publications: Vec<Publication>,
    /// The epoch of the channel now.
    pub epoch: Epoch,
    /// The last offset of the channel.
    pub head: Offset,
    /// There is more in the direction of reading.
    pub more: bool,
}

impl From<v1::HistoryPage> for Page {
    fn from(page: v1::HistoryPage) -> Self {
        Self {
            publications: page.publications.into_iter().map(Into::into).collect(),
            epoch: Epoch(page.epoch),
            head: Offset(page.head_offset),
            more: page.more,
        }
    }
}

/// Counts since the client was built.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// `None` without a connection.
    pub transport: Option<Transport>,
    /// Of the last ping.
    pub round_trip: Option<std::time::Duration>,
    /// Hellos that were said, also those that had no answer.
    pub hellos: u64,
    /// Sessions that were begun or continued.
    pub connects: u64,
    /// All of them but the first.
    pub reconnects: u64,
    /// Connections on which the server continued the session.
    pub resumed: u64,
    /// Connections made before the old one was left: drains, upgrades to QUIC, dying paths.
    pub handovers: u64,
    /// Publications that had arrived before.
    pub duplicates_dropped: u64,
    /// Holes in a living subscription that were found and filled.
    pub gaps_recovered: u64,
    /// How often the node saw another address of this client.
    pub path_changes: u64,
    /// Moves of a QUIC connection to a fresh socket.
    pub rebinds: u64,
    /// The address of this client as the node saw it last.
    pub observed_address: String,
    /// Publications that were delivered to subscriptions.
    pub publications_received: u64,
    /// Publications in the outbox.
    pub outbox_publications: usize,
    /// Entries of the outbox store that could not be read and are lost.
    pub outbox_damaged: u64,
}
