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
        error: Option<Error>,
    },
    /// An attempt runs or the next one is being waited for.
    Connecting {
        attempt: u32,
        last_error: Option<Error>,
    },
    Connected(Connected),
    /// After `close`. Final.
    Closed,
}

impl ClientState {
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected(_))
    }
}

/// The session as the server described it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connected {
    pub session_id: String,
    pub transport: Transport,
    pub node: String,
    pub user: String,
    /// The server continued the earlier session: nobody saw it leave.
    pub resumed: bool,
    pub durability: v1::Durability,
    pub observed_address: String,
}

/// One stored item of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Publication {
    pub channel: String,
    pub position: Position,
    pub id: u64,
    pub sender: String,
    pub payload: Bytes,
    pub server_ts_ms: u64,
    pub client_ts_ms: u64,
    pub kind: v1::PublicationKind,
    /// The offset that an edit, a recall or a reaction is about.
    pub target_offset: u64,
    /// Set by the sender; [`Send::message_id`](crate::Send::message_id) of the sending client.
    pub message_id: Option<MessageId>,
}

impl From<v1::Publication> for Publication {
    fn from(publication: v1::Publication) -> Self {
        Self {
            position: Position::new(publication.epoch, publication.offset),
            kind: publication.kind(),
            message_id: MessageId::from_bytes(&publication.client_msg_id),
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
    Publication(Publication),
    /// Not stored, no position.
    Ephemeral(v1::Ephemeral),
    Presence(v1::PresenceChange),
    Receipt(v1::Receipt),
    /// Publications with `after < offset <= upto` will not come: the channel keeps them no longer,
    /// or `Order::NewestFirst` left them to `history`.
    Gap {
        epoch: Epoch,
        after: Offset,
        upto: Offset,
    },
    /// A hole was found and closed; `publications` came late but in order.
    Recovered {
        publications: u64,
    },
    /// The log was replaced. Forget what lies above `keep_upto` of the old epoch.
    EpochChanged {
        old: Epoch,
        new: Epoch,
        keep_upto: Offset,
    },
    State(SubscriptionState),
    /// Events that have no position (presence, receipts, ephemerals) were dropped because the
    /// queue was full. Publications never are.
    Lagged {
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
    /// Live at `position`. `was_recovering`: the subscription had a position before; `recovered`:
    /// and nothing after it is missing.
    Subscribed { position: Position, was_recovering: bool, recovered: bool },
}

/// What a publication's reply proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    pub position: Position,
    pub id: u64,
    /// An earlier attempt had stored it.
    pub duplicate: bool,
    pub server_ts_ms: u64,
}

/// Life of a publication in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendState {
    Queued,
    Sent,
    /// No reply to any of the attempts on this connection; tried again after the next reconnect.
    NotSent,
    Acked(Ack),
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
    pub publications: Vec<Publication>,
    pub epoch: Epoch,
    pub head: Offset,
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
    pub connects: u64,
    pub reconnects: u64,
    /// Connections on which the server continued the session.
    pub resumed: u64,
    /// Connections made before the old one was left: drains, upgrades to QUIC, dying paths.
    pub handovers: u64,
    pub duplicates_dropped: u64,
    pub gaps_recovered: u64,
    pub path_changes: u64,
    pub rebinds: u64,
    pub observed_address: String,
    pub publications_received: u64,
    pub outbox_publications: usize,
}
